"""The job list page in a real browser: requests and bytes over the wire, first and repeat visit."""

import shutil
import tempfile
from typing import Any

from bench import report
from bench.lists import sign_in
from bench.stack import Stack

CHROMIUM, DRIVER = "chromium", "chromedriver"
COUNT_SCRIPT = """
const entries = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')];
return entries.map(entry => [entry.name, entry.transferSize, entry.encodedBodySize]);
"""


def main() -> None:
    if not (shutil.which(CHROMIUM) and shutil.which(DRIVER)):
        print("page: skipped, because there is no Chromium on this machine")
        return
    with Stack("--no-kubelet", "--no-controllers") as stack:
        from bench.data import fill

        fill("test", 0, 200)
        port = stack.web()
        cookie = sign_in(port, "ada", "ada-demo")
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            first, repeat = _visits(port, cookie, profile)
    rows = []
    for name, entries in (("first visit", first), ("repeat visit", repeat)):
        over_wire = [entry for entry in entries if entry[1] > 0]
        rows.append([name, len(over_wire), f"{sum(entry[1] for entry in over_wire) / 1024:.1f} KiB"])
    uncompressed = f"{sum(entry[2] for entry in first) / 1024:.1f} KiB"
    report.table(
        f"Job list with 50 jobs in Chromium (bodies as sent: {uncompressed})",
        ["visit", "requests over the wire", "bytes"],
        rows,
    )


def _visits(port: int, cookie: str, profile: str) -> tuple[list[Any], list[Any]]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", f"--user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(flag)
    options.binary_location = shutil.which(CHROMIUM) or CHROMIUM
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which(DRIVER)))
    try:
        driver.get(f"http://127.0.0.1:{port}/v1/health")
        for pair in cookie.split("; "):
            name, _, value = pair.partition("=")
            driver.add_cookie({"name": name, "value": value})
        found = []
        for _ in range(2):
            driver.get(f"http://127.0.0.1:{port}/t/test/jobs")
            found.append(driver.execute_script(COUNT_SCRIPT))
            driver.get("about:blank")
        return found[0], found[1]
    finally:
        driver.quit()
