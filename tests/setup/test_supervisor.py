"""The supervisor with small parts of its own: restarts, order, and that nothing outlives it."""

import json
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.setup.running import ROOT, Program, still_running, until

SLEEP = ["sleep", "600"]
STUBBORN = ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"]
WITH_CHILD = ["sh", "-c", "sleep 600 & echo has a child; wait"]


@pytest.fixture
def supervise(tmp_path):
    """Starts a supervisor of the given parts; whatever happens, it and its parts are gone afterwards."""
    programs: list[Program] = []

    def start(*parts: dict) -> Program:
        program = Program(str(ROOT / "tests" / "setup" / "supervised.py"), str(tmp_path), json.dumps(parts))
        programs.append(program)
        program.wait_for("up | started")
        return program

    yield start
    for program in programs:
        program.kill()


def pid_of(folder: Path, name: str) -> int:
    return int(json.loads((folder / f"{name}.pid").read_text())["pid"])


def test_a_part_that_is_killed_is_started_again_and_a_line_says_so(supervise, tmp_path):
    program = supervise({"name": "web", "command": SLEEP})
    first = pid_of(tmp_path, "web")
    psutil.Process(first).kill()
    program.wait_for("web ended with signal 9 (SIGKILL); starting it again in 1 s")
    until(lambda: (tmp_path / "web.pid").exists() and pid_of(tmp_path, "web") != first)
    assert psutil.pid_exists(pid_of(tmp_path, "web"))


def test_a_part_that_cannot_stay_up_is_started_more_and_more_seldom(supervise):
    program = supervise({"name": "web", "command": ["sh", "-c", "echo broken; exit 3"]})
    start = time.monotonic()
    for seconds in (1, 2, 4):
        program.wait_for(f"web ended with exit code 3; starting it again in {seconds} s")
    assert time.monotonic() - start > 2.5
    assert program.lines.count("      web | broken") == 3


def test_a_part_that_cannot_be_started_does_not_disturb_the_others(supervise, tmp_path):
    program_file = tmp_path / "program"
    program_file.write_text("#!/bin/sh\nsleep 600\n")
    program_file.chmod(0o755)
    program = supervise({"name": "good", "command": SLEEP}, {"name": "bad", "command": [str(program_file)]})
    good = pid_of(tmp_path, "good")
    program_file.unlink()
    psutil.Process(pid_of(tmp_path, "bad")).kill()
    program.wait_for("bad could not be started: ")
    assert pid_of(tmp_path, "good") == good


def test_sigterm_ends_the_parts_level_by_level_and_leaves_no_process(supervise):
    say_end = "trap 'echo ended; exit' TERM; echo ready; while :; do sleep 0.05; done"
    levels = {"one": 0, "two": 1, "three": 2, "four": 2}
    program = supervise(*({"name": name, "command": ["sh", "-c", say_end], "level": levels[name]} for name in levels))
    for _ in levels:
        program.wait_for("| ready")
    processes = program.descendants()
    assert program.terminate() == 0
    ended = [line.split("|")[0].strip() for line in program.output().splitlines() if line.endswith("| ended")]
    assert set(ended[:2]) == {"three", "four"}
    assert ended[2:] == ["two", "one"]
    assert still_running(processes) == []


def test_a_part_that_ignores_sigterm_is_killed_after_its_time(supervise):
    program = supervise({"name": "deaf", "command": STUBBORN, "stop_seconds": 0.5})
    program.wait_for("deaf | deaf")
    processes = program.descendants()
    assert program.terminate() == 0
    assert "deaf did not end when asked; killing it" in program.output()
    until(lambda: still_running(processes) == [], what="the end of every process")


def test_the_children_of_a_part_end_with_it(supervise):
    program = supervise({"name": "web", "command": WITH_CHILD})
    program.wait_for("has a child")
    processes = program.descendants()
    assert len(processes) == 2
    program.terminate()
    until(lambda: still_running(processes) == [], what="the end of every process")


@pytest.mark.parametrize("command", [SLEEP, STUBBORN], ids=["obedient", "ignores SIGTERM"])
def test_parts_end_when_the_supervisor_itself_is_killed(supervise, command):
    program = supervise({"name": "web", "command": command}, {"name": "beat", "command": command})
    parts = psutil.Process(program.process.pid).children()
    assert len(parts) == 2
    program.process.send_signal(signal.SIGKILL)
    until(lambda: still_running(parts) == [], what="the end of every part")


def test_output_without_line_ends_and_binary_output_is_shown_in_pieces(supervise):
    noise = "import sys; sys.stdout.buffer.write(b'x' * 40000 + bytes([255, 10]) + b'after')"
    program = supervise({"name": "noisy", "command": ["python3", "-c", noise]})
    assert "�" in program.wait_for("�")
    assert program.wait_for("after").endswith("noisy | after")
    assert sum(line.count("x") for line in program.lines if line.lstrip().startswith("noisy")) >= 40000
