"""The assembly: store, registry, controllers, node agent and HTTP server, started and stopped in order."""

from __future__ import annotations

import asyncio
import fcntl
import os
from dataclasses import dataclass, field
from pathlib import Path

from localcluster.accounts import Accounts
from localcluster.admission.limits import LimitRanges
from localcluster.admission.podsecurity import PodSecurity
from localcluster.admission.quota import ResourceQuotas
from localcluster.admission.serviceaccount import ServiceAccounts
from localcluster.api.handlers import Handlers
from localcluster.api.proxy import Proxy
from localcluster.api.server import Server
from localcluster.certs import Credentials, write_private
from localcluster.controllers.autoscaler import AutoscalerController
from localcluster.controllers.base import Controller
from localcluster.controllers.deployment import DeploymentController
from localcluster.controllers.endpoints import EndpointsController
from localcluster.controllers.events import EventExpiry
from localcluster.controllers.gc import GarbageCollector
from localcluster.controllers.job import JobController
from localcluster.controllers.namespace import NamespaceController
from localcluster.controllers.quota import QuotaController
from localcluster.controllers.replicaset import ReplicaSetController
from localcluster.journal import Journal
from localcluster.kubelet.agent import Kubelet, ensure_node
from localcluster.kubelet.logs import LogReader
from localcluster.objects import Clock
from localcluster.registry import Registry
from localcluster.resources import NAMESPACES, SERVICES
from localcluster.scheduler import Scheduler
from localcluster.store import Store

NODE = "local"
_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_SYNC_SECONDS = 1.0


@dataclass(frozen=True)
class Settings:
    folder: Path
    port: int = 0
    capacity: dict[str, str] = field(default_factory=lambda: {"cpu": "32", "memory": "128Gi", "pods": "500"})
    gpu_type: str = ""
    controllers: bool = True
    kubelet: bool = True


class AlreadyRunning(Exception):
    """Another server uses the folder."""


class Cluster:
    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._settings = settings
        folder = settings.folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock(folder / "lock")
        self.store = Store(Journal(folder / "journal"))
        quotas = ResourceQuotas(self.store)
        admissions = (ServiceAccounts(), LimitRanges(), PodSecurity(), quotas)
        self.registry = Registry(self.store, clock or Clock(), admissions)
        self._credentials = Credentials(folder / "pki")
        self.kubelet: Kubelet | None = None
        self._controllers: list[Controller] = []
        if settings.controllers:
            self._controllers = [
                NamespaceController(self.registry),
                GarbageCollector(self.registry),
                JobController(self.registry),
                ReplicaSetController(self.registry),
                DeploymentController(self.registry),
                EndpointsController(self.registry),
                QuotaController(self.registry, quotas),
                AutoscalerController(self.registry),
                EventExpiry(self.registry),
                Scheduler(self.registry, NODE),
            ]
        if settings.controllers and settings.kubelet:
            self.kubelet = Kubelet(self.registry, folder, NODE)
            self._controllers.append(self.kubelet)
        self._proxy = Proxy(self.registry)
        logs = LogReader(self.registry, folder / "pods")
        accounts = Accounts(self.registry, self._credentials.token)
        handlers = Handlers(self.registry, accounts, logs, self._proxy)
        self._server = Server(handlers, accounts, self.registry)
        self._sync_timer: asyncio.TimerHandle | None = None

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def kubeconfig(self) -> Path:
        return self._settings.folder / "kubeconfig"

    async def start(self) -> None:
        """Make the fixed objects, start the controllers, listen, and then publish the kubeconfig."""
        self._bootstrap()
        for controller in self._controllers:
            controller.start()
        await self._listen()
        self._credentials.write_kubeconfig(self.kubeconfig, self.port)
        self.store.observe(lambda change: self._sync_soon())

    def hurry(self) -> None:
        """Do not wait for the grace periods of pods any longer."""
        if self.kubelet is not None:
            self.kubelet.kill_all()

    async def stop(self) -> None:
        """End every pod and say so in its status, then stop serving."""
        for controller in self._controllers:
            if controller is not self.kubelet:
                controller.stop()
        if self.kubelet is not None:
            await self.kubelet.shut_down()
            self.kubelet.stop()
        await self._server.stop()
        await self._proxy.close()
        if self._sync_timer is not None:
            self._sync_timer.cancel()
        self.store.close()
        os.close(self._lock)

    async def _listen(self) -> None:
        remembered = self._settings.folder / "port"
        wanted = self._settings.port
        if not wanted and remembered.exists():
            wanted = int(remembered.read_text())
        await self._server.start(self._credentials.ssl_context(), wanted, fallback=not self._settings.port)
        write_private(remembered, str(self.port))

    def _bootstrap(self) -> None:
        for name in _NAMESPACES:
            if self.registry.find(NAMESPACES, "", name) is None:
                self.registry.create(NAMESPACES, "", {"metadata": {"name": name}})
        ensure_node(self.registry, NODE, self._settings.capacity, self._settings.gpu_type)
        if self.registry.find(SERVICES, "default", "kubernetes") is None:
            ports = [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 443}]
            spec = {"clusterIP": "10.96.0.1", "ports": ports}
            self.registry.create(SERVICES, "default", {"metadata": {"name": "kubernetes"}, "spec": spec})

    def _sync_soon(self) -> None:
        """One background fsync within a second of a write; none while nothing is written."""
        if self._sync_timer is None:
            self._sync_timer = asyncio.get_running_loop().call_later(_SYNC_SECONDS, self._sync)

    def _sync(self) -> None:
        self._sync_timer = None
        self.store.compact_if_large()
        asyncio.get_running_loop().run_in_executor(None, self.store.sync)


def _lock(path: Path) -> int:
    """Hold the folder for this process; the kernel lets go of it when the process ends, however it ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise AlreadyRunning(f"another localcluster uses {path.parent}") from None
    return descriptor
