"""Operating-system processes: children that end with their parent, and recognising one again after a crash.

Requires Linux for ``die_with_parent`` to have an effect; elsewhere it does nothing, and ``end_leftover`` at the next start
does the same work later. A process is identified by its id and its start time, so a reused id is never mistaken for it.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

PR_SET_PDEATHSIG = 1


def die_with_parent(number: int) -> Callable[[], None]:
    """A ``preexec_fn``: the child gets signal ``number`` when the thread that started it ends, however that happens.

    Start children from the main thread only: the kernel watches the thread, not the process.
    """
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def ask_kernel() -> None:
        if prctl is None:
            return
        prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it ended before the kernel was asked
            os.kill(os.getpid(), number)

    return ask_kernel


def remember(file: Path, pid: int) -> None:
    """Write down which process ``pid`` is, for ``end_leftover`` of a later start."""
    try:
        started = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return
    file.write_text(json.dumps({"pid": pid, "started": started}))


def end_leftover(file: Path, *, group: bool) -> bool:
    """Kill the process that ``file`` remembers (and its group) if it still runs; True when there was one."""
    try:
        record = json.loads(file.read_text())
        process = psutil.Process(record["pid"])
        same = abs(process.create_time() - record["started"]) < 0.1
    except (OSError, ValueError, KeyError, TypeError, psutil.NoSuchProcess):
        same = False
    file.unlink(missing_ok=True)
    if not same:
        return False
    if group:
        kill_group(process.pid)
    with contextlib.suppress(psutil.Error):
        process.kill()
    wait_until_ended([process], 10)
    return True


def wait_until_ended(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait for processes that need not be our children; returns those that still run after ``seconds``.

    A zombie has ended: it only waits for a parent that may be slow to notice.
    """
    deadline = time.monotonic() + seconds
    while (running := [process for process in processes if is_running(process)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return running


def is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill_group(pid: int) -> None:
    """SIGKILL every process of the group that ``pid`` leads, if any is left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def describe_end(code: int) -> str:
    """``exit code 3`` or ``signal 9 (SIGKILL)``, from what ``Popen.returncode`` holds."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"
