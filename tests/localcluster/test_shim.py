"""The shim alone: its records, its log, and that it starts fast and lets nothing escape."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from localcluster.kubelet.runs import Exit, Run, compile_shim
from localcluster.kubelet.shim import Log, decode_order, encode_order


def run(
    folder: Path, argv: list[str], *, limit: int = 0, during: Callable[[Run], None] | None = None, cwd: str = "/"
) -> tuple[Exit, Path]:
    """Run a command to its end."""

    async def go() -> Run:
        ended = asyncio.Event()
        started = Run(folder / "run", 0)
        loop = asyncio.get_running_loop()

        def changed() -> None:
            if started.up and during is not None:
                loop.call_later(0.2, during, started)
            if started.exit is not None:
                ended.set()

        env = {"PATH": os.environ["PATH"], "GREETING": "hällo"}
        started.start(compile_shim(folder), argv, env, cwd, limit, changed)
        await asyncio.wait_for(ended.wait(), 20)
        return started

    finished = asyncio.run(go())
    assert finished.exit is not None
    return finished.exit, finished.log


def messages(log: Path) -> list[tuple[bytes, bytes, bytes]]:
    """(stream, flag, text) of each record."""
    return [tuple(line.split(b" ", 3)[1:]) for line in log.read_bytes().splitlines()]  # type: ignore[misc]


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


@pytest.mark.parametrize(("script", "code", "number"), [("exit 0", 0, 0), ("exit 3", 3, 0), ("kill -9 $$", 137, 9)])
def test_the_end_is_recorded(tmp_path: Path, script: str, code: int, number: int) -> None:
    ended, _ = run(tmp_path, shell(script))
    assert (ended.code, ended.signal, ended.oom, ended.lost) == (code, number, False, False)


def test_the_environment_is_the_given_one_and_nothing_else(tmp_path: Path) -> None:
    _, log = run(tmp_path, ["env"], cwd=str(tmp_path))
    names = {text.partition(b"=")[0] for _, _, text in messages(log)}
    assert names == {b"PATH", b"GREETING"}


def test_streams_are_told_apart_and_lines_without_end_are_partial(tmp_path: Path) -> None:
    _, log = run(tmp_path, shell("echo out; echo err >&2; printf rest"))
    assert sorted(messages(log)) == [(b"stderr", b"F", b"err"), (b"stdout", b"F", b"out"), (b"stdout", b"P", b"rest")]


def test_a_command_that_does_not_exist_is_a_failure_to_start(tmp_path: Path) -> None:
    ended, _ = run(tmp_path, ["no-such-command"])
    assert "No such file or directory" in ended.failure


def test_a_stop_reaches_the_whole_process_group(tmp_path: Path) -> None:
    ended, log = run(tmp_path, shell("trap 'echo bye; exit 0' TERM; sleep 60 & wait"), during=Run.terminate)
    assert ended.code == 0
    assert messages(log) == [(b"stdout", b"F", b"bye")]


def test_a_kill_ends_what_ignores_a_stop(tmp_path: Path) -> None:
    ended, _ = run(tmp_path, shell("trap '' TERM; sleep 60 & sleep 60; wait"), during=Run.kill)
    assert ended.code == 137


def test_a_daemon_does_not_outlive_its_container(tmp_path: Path) -> None:
    run(tmp_path, shell("setsid sh -c 'echo $$ > daemon; exec sleep 60' & sleep 0.3"), cwd=str(tmp_path))
    pid = int((tmp_path / "daemon").read_text())
    assert not Path(f"/proc/{pid}").exists()


def test_memory_over_the_limit_is_killed_and_said_so(tmp_path: Path) -> None:
    script = "x = b'x' * 200_000_000; import time; time.sleep(20)"
    ended, _ = run(tmp_path, ["python3", "-c", script], limit=100_000_000)
    assert (ended.code, ended.oom) == (137, True)


def test_pages_that_forked_workers_share_count_once(tmp_path: Path) -> None:
    script = "import os, time\nx = b'x' * 60_000_000\npids = [os.fork() for _ in range(3)]\ntime.sleep(1)\n"
    ended, _ = run(tmp_path, ["python3", "-c", script], limit=150_000_000)
    assert (ended.code, ended.oom) == (0, False)


def test_a_container_starts_within_the_promised_time(tmp_path: Path) -> None:
    times = []
    for number in range(5):
        folder = tmp_path / str(number)
        folder.mkdir()
        began = time.monotonic()
        run(folder, ["true"])
        times.append(time.monotonic() - began)
    # Start, run and end of a whole container, byte-compiling included; generous for a busy machine.
    assert min(times) < 0.25


def test_an_order_that_was_cut_off_is_not_run() -> None:
    order = encode_order(["echo", "a b", ""], {"X": "1=2", "Y": ""}, "/tmp", 5)
    assert decode_order(order) == ([b"echo", b"a b", b""], {b"X": b"1=2", b"Y": b""}, b"/tmp", 5)
    with pytest.raises(ValueError, match="cut off"):
        decode_order(order[:-3])


def test_very_long_lines_are_cut_into_partial_records_of_bounded_size(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "log"))
    for _ in range(10):
        log.write("stdout", b"x" * 5000)
    log.write("stdout", b"\n")
    log.write("stdout", b"")
    log.close()
    found = messages(tmp_path / "log")
    assert [flag for _, flag, _ in found] == [b"P"] * 3 + [b"F"]
    assert sum(len(text) for *_, text in found) == 50_000
