"""One run of one container: started through the shim, or found again after the server itself was restarted.

The run's folder is the truth about it (see shim.py). A named pipe whose write end only the shim holds says whether the shim
lives, and wakes the event loop when it ends, for own children and adopted runs alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import py_compile
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from localcluster.kubelet import shim

_LONG_AGO = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Exit:
    code: int
    signal: int = 0
    oom: bool = False
    finished: datetime = _LONG_AGO
    failure: str = ""  # why the command could not be started
    lost: bool = False  # the shim vanished without a record (reboot, kill -9 of the shim)


class Run:
    """States: new (nothing started), running, ended (`exit` is set)."""

    def __init__(self, folder: Path, attempt: int) -> None:
        self.folder, self.attempt = folder, attempt
        self.exit: Exit | None = None
        self.started: datetime | None = None
        self.running = False  # the shim lives
        self.up = False  # and the command runs, so that signals reach it
        self._wanted_signal = 0
        self._shim_pid = 0
        self._pid = 0
        self._start_time = ""
        self._alive = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._on_change: Callable[[], None] = _nothing

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start(
        self, shim_file: Path, argv: list[str], env: dict[str, str], cwd: str, limit: int, on_change: Callable[[], None]
    ) -> None:
        """Start the command. The pipe's write end exists before the shim does, so no moment looks like a dead shim."""
        order = shim.encode_order(argv, env, cwd, limit)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        pipe = self.folder / "alive"
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe, 0o600)
        self._alive = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        held = os.open(pipe, os.O_WRONLY | os.O_CLOEXEC)
        try:
            with open(self.folder / "shim.err", "wb") as errors:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(shim_file), str(self.folder), str(held)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    pass_fds=(held,),
                    start_new_session=True,
                    env={},
                )
            assert self._process.stdin is not None
            self._process.stdin.write(order)
            self._process.stdin.close()
        finally:
            os.close(held)
        self._shim_pid = self._process.pid
        self.started = datetime.now(UTC)
        self.running = True
        self._on_change = on_change
        asyncio.get_running_loop().add_reader(self._alive, self._pipe_readable)

    def adopt(self, on_change: Callable[[], None]) -> None:
        """Take over what a previous server started; afterwards the run is new, running or ended."""
        pipe = self.folder / "alive"
        if not pipe.exists():
            return
        self._alive = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if _read_pipe(self._alive) is not None:
            self.up = self._read_started()
            self.running = True
            self._on_change = on_change
            asyncio.get_running_loop().add_reader(self._alive, self._pipe_readable)
            return
        self._close_pipe()
        if self._read_started() or (self.folder / "exit").exists():
            self._read_exit()

    def terminate(self) -> None:
        """Ask the container to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the container and everything it started, now."""
        self._signal(signal.SIGINT)

    def detach(self) -> None:
        """Stop following the run; it goes on without the server."""
        self._close_pipe()

    def _signal(self, number: signal.Signals) -> None:
        if not self.running:
            return
        if not self.up:  # a shim that is just starting does not know its signals yet
            self._wanted_signal = number
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self._shim_pid, number)

    def _pipe_readable(self) -> None:
        data = _read_pipe(self._alive)
        if data:
            self.up = self._read_started()
            if self._wanted_signal:
                self._signal(signal.Signals(self._wanted_signal))
            self._on_change()
        if data is not None:
            return
        self._close_pipe()
        if self._process is not None:
            self._process.wait()
        self._read_started()
        self._read_exit()
        self.running = self.up = False
        self._on_change()

    def _read_started(self) -> bool:
        try:
            shim_pid, pid, start_time, moment = (self.folder / "started").read_text().split()
        except (OSError, ValueError):
            return False
        self._shim_pid, self._pid, self._start_time = int(shim_pid), int(pid), start_time
        self.started = datetime.fromtimestamp(int(moment) / 1e9, UTC)
        return True

    def _read_exit(self) -> None:
        try:
            line, _, failure = (self.folder / "exit").read_text().partition("\n")
            code, number, oom, moment = line.split()
        except (OSError, ValueError):
            self._end_lost()
            return
        finished = datetime.fromtimestamp(int(moment) / 1e9, UTC)
        self.exit = Exit(int(code), int(number), oom == "1", finished, failure)

    def _end_lost(self) -> None:
        """No record of the end: what may still run of it must not, as nobody would see its end either."""
        if self._pid and self._start_time != "0" and shim.start_time(self._pid) == self._start_time:
            shim.signal_group(self._pid, signal.SIGKILL)
        self.exit = Exit(137, 0, False, datetime.now(UTC), lost=True)

    def _close_pipe(self) -> None:
        if self._alive >= 0:
            asyncio.get_running_loop().remove_reader(self._alive)
            os.close(self._alive)
            self._alive = -1


def compile_shim(folder: Path) -> Path:
    """The shim as byte code: a container starts some milliseconds sooner."""
    target = folder / "shim.pyc"
    py_compile.compile(shim.__file__, cfile=str(target), doraise=True)
    return target


def _read_pipe(descriptor: int) -> bytes | None:
    """What the shim said; None when no process holds the write end of the pipe any more."""
    try:
        return os.read(descriptor, 4096) or None
    except BlockingIOError:
        return b""


def _nothing() -> None:
    return
