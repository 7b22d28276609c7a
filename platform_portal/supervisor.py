"""Keeps a set of programs running: starts them, restarts what dies, ends them in order.

Requires an event loop in the main thread (children are tied to the thread that starts them) and no other user of SIGCHLD.
Promises: a part that ends by itself is started again after 1, 2, 4 … 30 seconds, and a line says so; every line a part prints
is shown with the part's name; ``stop`` ends the parts level by level, the highest first, each with its own signal and time limit,
then by SIGKILL; if the supervisor itself is killed, its parts end with it.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from platform_portal.processes import describe_end, die_with_parent, kill_group, remember

BACKOFF_SECONDS = (1, 2, 4, 8, 16, 30)
STEADY_SECONDS = 60  # one that ran this long was well: its next end counts as the first
LINE_LIMIT = 16 * 1024


@dataclass(frozen=True)
class Part:
    """One program.

    It may use parts of a lower ``level``, which end after it. ``death_signal`` is what it gets when the supervisor is
    killed: those that must survive a crash anyway take SIGKILL, which none can ignore. ``owns_group`` false: what it
    started outlives it and is its own to find again.
    """

    name: str
    command: Sequence[str]
    level: int = 0
    stop_signal: int = signal.SIGTERM
    stop_seconds: float = 10
    death_signal: int = signal.SIGKILL
    owns_group: bool = True
    before: Callable[[], None] | None = None  # runs before each start, in a thread


@dataclass
class _Run:
    """A part's life: the process of the moment and the task that replaces it."""

    part: Part
    process: subprocess.Popen[bytes] | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    keeper: asyncio.Task[None] | None = None


class Supervisor:
    def __init__(self, *, run_folder: Path, environment: dict[str, str], say: Callable[[str, str], None]) -> None:
        self._run_folder = run_folder
        self._environment = environment
        self._say = say
        self._runs: list[_Run] = []
        self._hurry = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)

    async def start(self, part: Part) -> None:
        """Start it and keep it running from now on."""
        run = _Run(part)
        self._runs.append(run)
        await self._spawn(run)
        run.keeper = asyncio.create_task(self._keep(run), name=f"keep {part.name}")

    def hurry(self) -> None:
        """Do not wait for anybody any more."""
        self._hurry.set()

    async def stop(self) -> None:
        """End every part, last started first where that matters. None is restarted once this was called."""
        for run in self._runs:
            if run.keeper:
                run.keeper.cancel()
        for level in sorted({run.part.level for run in self._runs}, reverse=True):
            await asyncio.gather(*(self._end(run) for run in reversed(self._runs) if run.part.level == level))
        asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)

    async def _keep(self, run: _Run) -> None:
        failures = 0
        while True:
            started = time.monotonic()
            await run.ended.wait()
            assert run.process is not None
            failures = 1 if time.monotonic() - started > STEADY_SECONDS else failures + 1
            delay = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS)) - 1]
            how = describe_end(run.process.returncode)
            self._say("up", f"{run.part.name} ended with {how}; starting it again in {delay} s")
            await asyncio.sleep(delay)
            try:
                await self._spawn(run)
            except Exception as problem:  # a start that fails is one more failure of this part, not of the others
                self._say("up", f"{run.part.name} could not be started: {problem}")

    async def _spawn(self, run: _Run) -> None:
        part = run.part
        if part.before:
            await asyncio.to_thread(part.before)
        reading, writing = os.pipe()
        try:
            run.process = subprocess.Popen(
                part.command,
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                env=self._environment,
                process_group=0,  # Ctrl-C reaches the supervisor alone, which ends the parts in order
                preexec_fn=die_with_parent(part.death_signal),
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        run.ended.clear()
        remember(self._pid_file(part), run.process.pid)
        _Reader(reading, lambda line: self._say(part.name, line))

    def _reap(self) -> None:
        for run in self._runs:
            if run.process and not run.ended.is_set() and run.process.poll() is not None:
                self._bury(run)

    def _bury(self, run: _Run) -> None:
        assert run.process is not None
        if run.part.owns_group:
            kill_group(run.process.pid)
        self._pid_file(run.part).unlink(missing_ok=True)
        run.ended.set()

    async def _end(self, run: _Run) -> None:
        if run.process is None or run.ended.is_set():
            return
        run.process.send_signal(run.part.stop_signal)
        deadline = time.monotonic() + run.part.stop_seconds
        while not run.ended.is_set():
            if self._hurry.is_set() or time.monotonic() > deadline:
                self._say("up", f"{run.part.name} did not end when asked; killing it")
                run.process.kill()
                await run.ended.wait()
            else:
                await asyncio.sleep(0.02)

    def _pid_file(self, part: Part) -> Path:
        return self._run_folder / f"{part.name}.pid"


class _Reader:
    """Takes a pipe's bytes apart into lines as they come; a line without an end is passed on in pieces."""

    def __init__(self, pipe: int, on_line: Callable[[str], None]) -> None:
        self._pipe, self._on_line, self._rest = pipe, on_line, b""
        os.set_blocking(pipe, False)
        asyncio.get_running_loop().add_reader(pipe, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._pipe, 65536)
        except BlockingIOError:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_LIMIT or not data:
            lines, self._rest = ([*lines, self._rest] if self._rest else lines), b""
        for line in lines:
            self._on_line(line.decode(errors="replace").rstrip("\r"))
        if not data:
            asyncio.get_running_loop().remove_reader(self._pipe)
            os.close(self._pipe)


def print_line(name: str, line: str) -> None:
    """Show a part's line; a closed terminal is no reason to end the parts."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(f"{name:>9} | {line}\n")
        sys.stdout.flush()
