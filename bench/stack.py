"""The parts that a benchmark needs, as processes of their own on loopback, and their end."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from localcluster.testing import LocalCluster
from platform_portal import embedded_postgres

if TYPE_CHECKING:
    from platform_portal.kube.cluster import Cluster

ROOT = Path(__file__).resolve().parent.parent


class Stack:
    """An embedded PostgreSQL (as durable as in production), a cluster, and what ``start`` is asked for."""

    def __init__(self, *cluster_flags: str, kubeconfig: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ml-platform-bench-"))
        self.port = free_port()
        self._database = embedded_postgres.Server(self.folder / "postgres")
        self._cluster = None if kubeconfig else LocalCluster(self.folder / "cluster", *cluster_flags)
        self.kubeconfig = kubeconfig or str(self.folder / "cluster" / "kubeconfig")
        self._processes: list[subprocess.Popen[bytes]] = []
        # On a cluster that is not ours, what was made is taken away again.
        self._namespaces = ["ml-test"]
        self.environment = {
            **os.environ,
            "PLATFORM_MODE": "laptop",
            "PLATFORM_VAR": str(self.folder),
            "PORT": str(self.port),
            "KUBECONFIG": self.kubeconfig,
            "DJANGO_SETTINGS_MODULE": "platform_portal.settings",
            "LOG_LEVEL": "WARNING",
            # A benchmark is what these limits are for; here they would be all that it measures.
            "RATE_LIMIT_ADDRESS": "",
            "RATE_LIMIT_TOKEN": "",
        }

    def __enter__(self) -> "Stack":
        try:
            self._database.start()
            if self._cluster is not None:
                self._cluster.start()
            for folder in ("celery/queue", "celery/control"):
                (self.folder / folder).mkdir(parents=True)
            for command in (["migrate", "-v0"], ["demo"], ["collectstatic", "--noinput", "-v0"]):
                subprocess.run(
                    self.manage(*command), env=self.environment, check=True, stdout=subprocess.DEVNULL, cwd=ROOT
                )
            os.environ.update(self.environment)
            import django

            django.setup()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for process in reversed(self._processes):
            end(process)
        if self._cluster is not None:
            self._cluster.stop()
        else:
            for name in self._namespaces:
                self._kube().delete("Namespace", "", name)
        self._database.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def namespace(self, name: str) -> None:
        """Makes a namespace in the cluster, for as long as the benchmark runs."""
        self._namespaces.append(name)
        self._kube().apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def _kube(self) -> "Cluster":
        from platform_portal.kube.client import load
        from platform_portal.kube.cluster import Cluster

        return Cluster(load(self.kubeconfig))

    def manage(self, *arguments: str) -> list[str]:
        return [sys.executable, str(ROOT / "manage.py"), *arguments]

    def web(self, application: str = "platform_portal.wsgi", *, workers: int = 2, port: int | None = None) -> int:
        """Serves a WSGI application; returns its port once it answers."""
        port = port or self.port
        command = [
            sys.executable,
            "-m",
            "gunicorn",
            application,
            "--bind",
            f"127.0.0.1:{port}",
            "--worker-class",
            "gthread",
        ]
        command += ["--workers", str(workers), "--threads", "8", "--log-level", "warning", "--no-control-socket"]
        self.start(command)
        wait_for_port(port)
        return port

    def start(self, command: list[str]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, env=self.environment, cwd=ROOT)
        self._processes.append(process)
        return process

    @contextlib.contextmanager
    def running(self, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        process = self.start(command)
        try:
            yield process
        finally:
            self._processes.remove(process)
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
