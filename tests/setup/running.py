"""Programs that tests start, read line by line, and are sure to end."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from platform_portal.processes import is_running

ROOT = Path(__file__).resolve().parent.parent.parent


class Program:
    """A Python program in a process group of its own, whose output is read as it comes."""

    def __init__(self, *arguments: str, env: dict[str, str] | None = None, without: list[str] | None = None) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | (env or {})
        for name in without or []:
            environment.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        self.lines: list[str] = []
        self._queue: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, text: str, seconds: float = 60) -> str:
        """The first line not yet waited past that contains ``text``."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._queue.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{text!r} was not printed in {seconds} s:\n" + "\n".join(self.lines)) from None
            if text in line:
                return line

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def terminate(self, seconds: float = 60) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def output(self) -> str:
        """Everything it printed; waits for its end."""
        self._reader.join(60)
        return self.output_so_far()

    def output_so_far(self) -> str:
        return "\n".join(self.lines)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            self._queue.put(self.lines[-1])


def until(condition, seconds: float = 20, what: str = "the condition") -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true in {seconds} s"
        time.sleep(0.05)


def still_running(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if is_running(process)]
