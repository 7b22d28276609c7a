"""The init container's program, run as it runs in a pod: a Python of its own, an environment, and a portal over HTTP."""

import hashlib
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from jobs.manifests import FETCH_PROGRAM
from tests.jobs.packing import tarred, zipped

FILES = {"train.py": b"print('hello')\n", "package/data.bin": bytes(range(256)) * 100}
# In place of a status: the answer breaks off half-way, with a length or in chunks.
CUT, CUT_CHUNKED = 1, 2
JOB = "3f2c8a8e-0d7c-4f2b-9f0e-6d8a4d3b2c11"


class Portal(ThreadingHTTPServer):
    """Answers with the statuses of ``plan``, one a request, then with ``content``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.plan = b"", list[int]()
        self.asked: list[tuple[str, str]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Portal
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Authorization"]))
        status = self.server.plan.pop(0) if self.server.plan else 200
        self.send_response(200 if status in (CUT, CUT_CHUNKED) else status)
        half = self.server.content[: len(self.server.content) // 2]
        if status == CUT_CHUNKED:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%b" % (len(self.server.content), half))
        else:
            self.send_header("Content-Length", str(len(self.server.content)))
            self.end_headers()
            self.wfile.write(half if status == CUT else self.server.content)

        self.close_connection = True

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def portal() -> Iterator[Portal]:
    with Portal() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


def fetch(
    portal: Portal, workspace: Path, kind: str, name: str = "code", digest: str = "", patience: bool = False
) -> subprocess.CompletedProcess[str]:
    workspace.mkdir(exist_ok=True)
    env = {
        "PATH": os.environ["PATH"],
        "WORKSPACE": str(workspace),
        "ML_PLATFORM_URL": f"http://127.0.0.1:{portal.server_port}",
        "ML_PLATFORM_JOB_ID": JOB,
        "ML_PLATFORM_JOB_TOKEN": "mlpjob.secret",
        "SOURCE_KIND": kind,
        "SOURCE_NAME": name,
        "SOURCE_SHA256": digest or hashlib.sha256(portal.content).hexdigest(),
    }
    # Retries wait for seconds in a pod; here the clock is made to run.
    program = FETCH_PROGRAM if patience else FETCH_PROGRAM.replace("time.sleep(2**attempt)", "time.sleep(0)")
    return subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("kind", "content", "expected"),
    [
        ("zip", zipped(FILES), FILES),
        ("zip", zipped({"empty/": b"", "a.py": b"1"}), {"a.py": b"1"}),
        ("tar.gz", tarred(FILES), FILES),
        ("tar.gz", tarred({"empty": b""}, tarfile.DIRTYPE), {}),
        ("py", b"print('hello')\n", {"train.py": b"print('hello')\n"}),
    ],
)
def test_the_workspace_holds_what_was_uploaded(
    portal: Portal, tmp_path: Path, kind: str, content: bytes, expected: dict[str, bytes]
) -> None:
    portal.content = content
    done = fetch(portal, tmp_path / "w", kind, "train.py", patience=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert tree(tmp_path / "w") == expected
    assert portal.asked == [(f"/v1/jobs/training/{JOB}/source", "Bearer mlpjob.secret")]
    assert done.stdout.startswith("fetched the source into the workspace: ")


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("zip", zipped({"run.sh": b"#!/bin/sh\n"}, mode=0o100755)),
        ("tar.gz", tarred({"run.sh": b"#!/bin/sh\n"}, mode=0o755)),
    ],
)
def test_what_could_be_run_can_be_run(portal: Portal, tmp_path: Path, kind: str, content: bytes) -> None:
    portal.content = content
    assert fetch(portal, tmp_path / "w", kind).returncode == 0
    assert os.access(tmp_path / "w" / "run.sh", os.X_OK)


def test_another_content_than_the_uploaded_one_is_not_unpacked(portal: Portal, tmp_path: Path) -> None:
    portal.content = zipped(FILES)
    done = fetch(portal, tmp_path / "w", "zip", digest="0" * 64)
    assert done.returncode == 1 and "not what was uploaded" in done.stderr
    assert tree(tmp_path / "w") == {}


def test_a_refusal_ends_it_at_once(portal: Portal, tmp_path: Path) -> None:
    portal.plan = [403] * 10
    done = fetch(portal, tmp_path / "w", "zip", patience=True)
    assert done.returncode == 1 and "did not hand out the source: HTTP Error 403" in done.stderr
    assert len(portal.asked) == 1


def test_a_portal_that_is_away_for_a_while_is_waited_for(portal: Portal, tmp_path: Path) -> None:
    portal.content, portal.plan = zipped(FILES), [500, 503, 502]
    assert fetch(portal, tmp_path / "w", "zip").returncode == 0
    assert tree(tmp_path / "w") == FILES and len(portal.asked) == 4


def test_a_download_that_breaks_off_begins_anew(portal: Portal, tmp_path: Path) -> None:
    portal.content, portal.plan = zipped(FILES), [CUT, CUT_CHUNKED]
    done = fetch(portal, tmp_path / "w", "zip")
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "w") == FILES and len(portal.asked) == 3


@pytest.mark.parametrize("plan", [[500] * 6, [CUT] * 6, [CUT_CHUNKED] * 6])
def test_in_the_end_it_gives_up_and_says_why(portal: Portal, tmp_path: Path, plan: list[int]) -> None:
    portal.content, portal.plan = zipped(FILES), list(plan)
    done = fetch(portal, tmp_path / "w", "zip")
    assert done.returncode == 1
    assert len(portal.asked) == 6 and done.stderr.strip()


def test_a_way_out_of_the_workspace_is_refused_here_too(portal: Portal, tmp_path: Path) -> None:
    for kind, content in (("zip", zipped({"../out.py": b"x"})), ("tar.gz", tarred({"../out.py": b"x"}))):
        portal.content = content
        done = fetch(portal, tmp_path / "w", kind)
        assert done.returncode == 1 and "outside the workspace" in done.stderr
    assert not (tmp_path / "out.py").exists()


@pytest.mark.parametrize("entry", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_are_left_out_here_too(portal: Portal, tmp_path: Path, entry: bytes) -> None:
    portal.content = tarred({"link": b""}, entry, "/etc/passwd")
    assert fetch(portal, tmp_path / "w", "tar.gz").returncode == 0
    assert list((tmp_path / "w").iterdir()) == []


def test_a_single_file_stays_in_the_workspace_whatever_it_is_called(portal: Portal, tmp_path: Path) -> None:
    portal.content = b"x = 1\n"
    assert fetch(portal, tmp_path / "w", "py", "../../train.py").returncode == 0
    assert tree(tmp_path / "w") == {"train.py": b"x = 1\n"}
