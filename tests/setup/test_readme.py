"""The README is true: its commands run, in their order, in a shell of their own, and its links lead somewhere."""

import os
import re
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from tests.setup.running import ROOT
from tests.setup.test_up import free_port

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
# `make test` inside a test would run itself; that it is a target and what it starts is checked instead.
STARTS, TESTS, *SHELL = BLOCKS


def test_the_two_commands_come_first():
    assert (STARTS, TESTS) == ("make run\n", "make test\n")
    planned = subprocess.run(["make", "-n", "test"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "pytest" in planned


def test_every_make_command_in_the_text_is_a_target():
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    named = {name for path in documents for name in re.findall(r"`[^`\n]*\bmake ([a-z-]+)", path.read_text())}
    assert named <= targets


def test_every_link_in_the_documents_leads_to_a_file():
    missing = []
    for path in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "deploy/README.md",
    ]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
            if "://" not in target and not (path.parent / target).exists():
                missing.append(f"{path.relative_to(ROOT)}: {target}")
    assert missing == []


def test_what_the_readme_has_one_type_works(tmp_path: Path):
    port = free_port()
    environment = os.environ | {"PLATFORM_VAR": str(tmp_path / "var")}
    environment.pop("DATABASE_URL", None)
    running = subprocess.Popen(
        ["make", "run", f"PORT={port}"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
    )
    try:
        _until_it_answers(f"http://127.0.0.1:{port}/v1/health", running)
        script = "set -eu\n" + "\n".join(SHELL).replace("8000", str(port))
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert '"name":"my-first-job"' in done.stdout and '"status":"pending"' in done.stdout
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/docs", timeout=10).read().decode()
        assert "swagger" in page.lower()
    finally:
        os.killpg(running.pid, signal.SIGTERM)
        running.communicate(timeout=90)


def _until_it_answers(url: str, running: "subprocess.Popen[bytes]", seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=2)
            return
        except OSError:
            if running.poll() is not None or time.monotonic() > deadline:
                pytest.fail("make run does not answer")
            time.sleep(0.3)
