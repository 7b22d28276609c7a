"""``manage.py up`` as people run it, on a free port and a state folder of its own: one platform, started three times.

The tests of this file follow one another on the same platform, in the order they stand in.
"""

import json
import os
import signal
import socket
import time
import urllib.request
import uuid
from pathlib import Path

import psutil
import pytest

from tests.setup.running import Program, still_running, until

pytestmark = pytest.mark.slow
TOKEN = "tenant-test"
START_SECONDS = 180
SLOW_JOB = """
import pathlib, sys, time
for i in range(100):
    print("tick", i, flush=True)
    time.sleep(0.12)
"""


class Platform:
    """The whole platform as a program, and its API."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.port = free_port()
        self.start()

    def start(self) -> None:
        self.program = up(self.state, self.port)
        self.program.wait_for("The platform is ready", START_SECONDS)

    def call(self, method: str, path: str, body: bytes | None = None, content_type: str = "application/json"):
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": content_type}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v1/{path}", body, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read().decode()
            return json.loads(text) if "json" in answer.headers["Content-Type"] else text

    def answers(self, path: str) -> bool:
        try:
            self.call("GET", path)
        except OSError:
            return False
        return True

    def submit(self, name: str, program: str) -> str:
        boundary = uuid.uuid4().hex
        form = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="train.py"\r\n\r\n{program}\r\n'
        form += f"--{boundary}--\r\n"
        source = self.call("POST", "sources", form.encode(), f"multipart/form-data; boundary={boundary}")
        spec = {"name": name, "source": source["id"], "compute": {"cpu_cores": 1, "memory_gb": 1}}
        return self.call("POST", "jobs/training", json.dumps(spec).encode())["id"]

    def job(self, job_id: str):
        return self.call("GET", f"jobs/training/{job_id}")

    def log(self, job_id: str) -> str:
        return self.call("GET", f"jobs/training/{job_id}/logs")

    def processes(self) -> list[psutil.Process]:
        """Every process that works in the state folder or names it, whoever its parent is by now."""
        found = []
        for process in psutil.process_iter():
            if process.pid != os.getpid() and any(text.startswith(str(self.state)) for text in self._texts(process)):
                found.append(process)
        return still_running(found)

    def is_of_a_pod(self, process: psutil.Process) -> bool:
        return any(text.startswith(str(self.state / "cluster" / "pods")) for text in self._texts(process))

    @staticmethod
    def _texts(process: psutil.Process) -> list[str]:
        """What tells whose a process is: where it works, its arguments, and the state folder it was given."""
        try:
            return [process.cwd(), *process.cmdline(), process.environ().get("PLATFORM_VAR", "")]
        except psutil.Error:
            return []


def up(state: Path, port: int) -> Program:
    # The program finds its own database, whatever this test run uses.
    environment = {"PLATFORM_MODE": "laptop", "PLATFORM_VAR": str(state), "PORT": str(port)}
    return Program("manage.py", "up", env=environment, without=["DATABASE_URL", "KUBECONFIG"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    platform = Platform(tmp_path_factory.mktemp("up") / "var")
    yield platform
    platform.program.kill()
    for process in platform.processes():
        process.kill()


def test_it_says_where_it_is_who_may_sign_in_and_how_to_stop(platform):
    platform.program.wait_for("Stop ")
    said = "\n".join(platform.program.lines)
    for text in (
        f"http://127.0.0.1:{platform.port}",
        "ada / ada-demo",
        "tenant-team-ml-analytics",
        str(platform.state),
    ):
        assert text in said
    assert platform.answers("health")


def test_the_first_start_trains_the_example(platform):
    said = platform.program.wait_for("the example ", 120)
    assert "the example succeeded, accuracy 0.9" in said


def test_a_second_start_on_the_same_state_is_refused(platform):
    second = up(platform.state, free_port())
    assert second.process.wait(60) == 1
    assert "The platform is already running on" in second.output()
    assert platform.answers("health")


def test_a_taken_port_is_refused_before_anything_starts(platform, tmp_path):
    second = up(tmp_path / "var", platform.port)
    assert second.process.wait(60) == 1
    assert f"Port {platform.port} cannot be used: Address already in use. Nothing was started." in second.output()
    assert f"make run PORT={platform.port + 1}" in second.output()
    assert [path.name for path in (tmp_path / "var").iterdir()] == ["run"]


@pytest.mark.parametrize("part", ["web", "cluster", "reconcile", "postgres"])
def test_a_part_that_is_killed_is_started_again(platform, part):
    file = platform.state / "run" / f"{part}.pid"
    before = file.read_text()
    psutil.Process(json.loads(before)["pid"]).kill()
    platform.program.wait_for(f"{part} ended with signal 9 (SIGKILL); starting it again in 1 s")
    until(lambda: file.exists() and file.read_text() != before, what=f"the restart of {part}")
    until(lambda: platform.answers("ready"), 60, "an answer of portal, database and cluster")


def test_a_job_goes_on_while_the_supervisor_is_killed_and_started_again(platform):
    job_id = platform.submit("survivor", SLOW_JOB)
    until(lambda: "tick 3" in platform.log(job_id), 90, "the job's first lines")
    parts = [process for process in platform.program.descendants() if not platform.is_of_a_pod(process)]
    assert len(parts) >= 7
    platform.program.process.send_signal(signal.SIGKILL)
    platform.program.process.wait()
    until(lambda: still_running(parts) == [], 15, "the end of every part")
    assert any(platform.is_of_a_pod(process) for process in platform.processes())

    platform.start()
    until(lambda: platform.job(job_id)["status"] != "running", 90, "the end of the job")
    job = platform.job(job_id)
    assert (job["status"], job["attempts"]) == ("succeeded", 1)
    until(lambda: "tick 99" in platform.log(job_id), 30, "the end of the log")
    assert platform.log(job_id).split("\n")[1:] == [*(f"tick {i}" for i in range(100)), ""]


def test_the_example_is_not_trained_again(platform):
    assert json.loads((platform.state / "example.json").read_text())["status"] == "succeeded"
    assert "training the example" not in platform.program.output_so_far()


def test_sigterm_leaves_no_process_and_the_next_start_takes_the_job_up_again(platform):
    job_id = platform.submit("interrupted", SLOW_JOB)
    until(lambda: platform.job(job_id)["status"] == "running", 90, "the start of the job")
    start = time.monotonic()
    assert platform.program.terminate() == 0
    assert time.monotonic() - start < 30
    assert platform.processes() == []

    platform.start()
    until(lambda: platform.job(job_id)["status"] in {"succeeded", "failed"}, 120, "the end of the job")
    assert platform.job(job_id)["status"] == "succeeded"
    platform.program.terminate()
    assert platform.processes() == []
