"""The newest 50 of a tenant's jobs, by API and as a page, while the tenant grows to a million jobs."""

import http.cookiejar
import re
import urllib.parse
import urllib.request
from functools import partial

from bench import load, report
from bench.stack import Stack

SIZES = (1_000, 100_000, 1_000_000)
COUNT = 150


def main(*, largest: int = SIZES[-1]) -> None:
    sizes = [size for size in SIZES if size <= largest]
    with Stack("--no-kubelet", "--no-controllers") as stack:
        from bench.data import fill

        port = stack.web()
        cookie = sign_in(port, "ada", "ada-demo")
        requests = {
            "API": ("/v1/jobs/training?limit=50", {"Authorization": "Bearer tenant-test"}),
            "API, one status": ("/v1/jobs/training?limit=50&status=failed", {"Authorization": "Bearer tenant-test"}),
            "page": ("/t/test/jobs", {"Cookie": cookie}),
        }
        found: dict[tuple[str, int], tuple[float, int]] = {}
        have = 0
        for size in sizes:
            fill("test", have, size - have)
            have = size
            for name, (path, headers) in requests.items():
                for count in (20, COUNT):
                    measured = load.run(
                        port, concurrency=1, count=count, request=partial(_get, path), headers=headers, expected=200
                    )
                assert not measured.wrong, f"{measured.wrong} of {COUNT} answers to {path} were not 200"
                found[name, size] = measured.p50, queries(path, headers)
    rows = []
    for name in requests:
        cells = [f"{report.ms(found[name, size][0])}, {found[name, size][1]} queries" for size in sizes]
        ratio = found[name, sizes[-1]][0] / found[name, sizes[0]][0]
        rows.append([name, *cells, f"**{ratio:.2f}**"])
    report.table(
        f"Newest 50 jobs (p50 of {COUNT} requests)",
        ["request", *(f"{size:,} rows" for size in sizes), "ratio last/first"],
        rows,
    )


def _get(path: str, number: int) -> tuple[str, str, None]:
    return "GET", path, None


def queries(path: str, headers: dict[str, str]) -> int:
    """How many queries the request takes, counted in this process on the same database."""
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    extra = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    with CaptureQueriesContext(connection) as captured:
        answer = Client().get(path, **extra)  # type: ignore[arg-type]
    assert answer.status_code == 200, (path, answer.status_code)
    return len(captured)


def sign_in(port: int, username: str, password: str) -> str:
    """A session cookie of a demo user."""
    jar = http.cookiejar.CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    url = f"http://127.0.0.1:{port}/accounts/login/"
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', opener.open(url).read().decode())
    assert found, "the sign-in page has no form"
    form = {"csrfmiddlewaretoken": found[1], "login": username, "password": password}
    opener.open(urllib.request.Request(url, urllib.parse.urlencode(form).encode(), {"Referer": url}))
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar)
