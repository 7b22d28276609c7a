"""A localcluster server as a child process, for tests, benchmarks and the supervisor's tests."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

_PACKAGE_PARENT = Path(__file__).resolve().parent.parent
_START_SECONDS = 30
_STOP_SECONDS = 60


class LocalCluster:
    """Start, kill and stop a server over one folder. As a context manager it starts, and at the end stops and cleans up."""

    def __init__(self, folder: Path | str | None = None, *extra: str) -> None:
        self._temporary = (
            None if folder else tempfile.TemporaryDirectory(prefix="localcluster-", ignore_cleanup_errors=True)
        )
        self.folder = Path(folder or (self._temporary.name if self._temporary else ""))
        self.extra = extra
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    def start(self) -> LocalCluster:
        """Start and wait until it serves. RuntimeError with its own words when it does not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        errors = self.folder / "server.err"
        with open(errors, "ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "localcluster", "--dir", str(self.folder), *self.extra],
                stdout=subprocess.PIPE,
                stderr=stderr,
                stdin=subprocess.DEVNULL,
                text=True,
                env={**os.environ, "PYTHONPATH": str(_PACKAGE_PARENT)},
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if "serving" not in line:
            code = self.process.wait(_START_SECONDS)
            raise RuntimeError(f"localcluster did not start (exit {code}): {errors.read_text()[-2000:]}")
        self.url = line.strip().rpartition(" ")[2]
        return self

    def stop(self) -> int:
        """A graceful end (SIGTERM); the exit code."""
        return self._end(signal.SIGTERM)

    def kill9(self) -> None:
        """Kill the server only; the containers it started go on."""
        self._end(signal.SIGKILL)

    def __enter__(self) -> LocalCluster:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.stop()
        if self._temporary is not None:
            self._temporary.cleanup()

    def _end(self, number: signal.Signals) -> int:
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(_STOP_SECONDS)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None
        return code
