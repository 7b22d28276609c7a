"""The node agent: follows the pods bound to its node, and the node object itself."""

from __future__ import annotations

import asyncio
import platform
import shutil
from collections.abc import Iterable
from pathlib import Path

from localcluster.controllers.base import Controller
from localcluster.errors import ApiError
from localcluster.events import Recorder
from localcluster.kubelet.pod import PodRuntime
from localcluster.kubelet.runs import Run, compile_shim
from localcluster.objects import Obj, name_of, namespace_of, uid_of
from localcluster.registry import Registry
from localcluster.resources import CONFIG_MAPS, NODES, PODS, SECRETS
from localcluster.store import Change, Key

SHUTDOWN_REASON = ("Terminated", "Pod was terminated in response to imminent node shutdown.")
# A pod's own grace period is honoured at a shutdown up to this, so that Ctrl-C of the server does not take for ever.
SHUTDOWN_GRACE = 30.0


class Kubelet(Controller):
    name = "kubelet"

    def __init__(self, registry: Registry, folder: Path, node_name: str) -> None:
        super().__init__(registry)
        self.node_name = node_name
        self.pods_folder, self.claims_folder = folder / "pods", folder / "claims"
        self.events = Recorder(registry, "kubelet", node_name)
        self.runtimes: dict[str, PodRuntime] = {}
        for path in (self.pods_folder, self.claims_folder):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.shim_file = compile_shim(folder)
        self._leaving: dict[str, PodRuntime] = {}

    def initial_keys(self) -> Iterable[Key]:
        known = set()
        for item in self.store.items(PODS.bucket):
            known.add(uid_of(item.obj))
            if item.obj["spec"].get("nodeName") == self.node_name:
                runtime = self.runtimes[uid_of(item.obj)] = PodRuntime(self, item.obj)
                runtime.adopt()
                yield item.key
        for path in self.pods_folder.iterdir():
            if path.name not in known:
                self._remove_left_over(path)

    def keys_for(self, change: Change) -> Iterable[Key]:
        if change.bucket == PODS.bucket:
            if change.kind == "DELETED" or change.item.obj["spec"].get("nodeName") == self.node_name:
                return (change.item.key,)
            return ()
        if change.bucket in (SECRETS.bucket, CONFIG_MAPS.bucket):
            return [_key(r) for r in self.runtimes.values() if r.waits_for_config and _key(r)[0] == change.item.key[0]]
        return ()

    def reconcile(self, key: Key) -> float | None:
        item = self.store.get(PODS.bucket, *key)
        uid = uid_of(item.obj) if item else ""
        for runtime in [r for r in self.runtimes.values() if _key(r) == key and r.uid != uid]:
            self._drop(runtime)
        if item is None or item.obj["spec"].get("nodeName") != self.node_name:
            return None
        runtime = self.runtimes.get(uid) or PodRuntime(self, item.obj)
        self.runtimes[uid] = runtime
        return runtime.sync(item.obj)

    def pod_changed(self, runtime: PodRuntime) -> None:
        """A container ended, or a probe changed its mind."""
        if runtime.uid in self._leaving:
            self._drop(runtime)
        else:
            self.enqueue(_key(runtime))

    async def shut_down(self) -> None:
        """Graceful node shutdown: every pod is terminated and says why; afterwards no process is left."""
        busy = [runtime for runtime in self.runtimes.values() if runtime.running]
        for runtime in busy:
            runtime.failure = SHUTDOWN_REASON
            runtime.stop(min(runtime.pod["spec"].get("terminationGracePeriodSeconds", 30), SHUTDOWN_GRACE))
        for runtime in self.runtimes.values():
            if runtime not in busy and runtime.containers and _is_active(runtime.pod) and _has_begun(runtime):
                runtime.failure = SHUTDOWN_REASON
                runtime.stop(0)
                self.enqueue(_key(runtime))
        while any(runtime.running for runtime in [*self.runtimes.values(), *self._leaving.values()]):
            await asyncio.sleep(0.02)
        for runtime in list(self.runtimes.values()):
            if _is_active(runtime.pod) and _has_begun(runtime):
                try:
                    runtime.write_status()
                except ApiError as error:
                    self.log.warning("status of %s is not written: %s", _key(runtime), error)

    def kill_all(self) -> None:
        for runtime in self.runtimes.values():
            runtime.stop(0)

    def stop(self) -> None:
        super().stop()
        for runtime in [*self.runtimes.values(), *self._leaving.values()]:
            runtime.detach()

    def _drop(self, runtime: PodRuntime) -> None:
        self.runtimes.pop(runtime.uid, None)
        if runtime.running:
            self._leaving[runtime.uid] = runtime
        else:
            self._leaving.pop(runtime.uid, None)
        runtime.remove()

    def _remove_left_over(self, path: Path) -> None:
        """A pod that was force-deleted just before the server died: end its processes, remove its folder."""
        for container in (path / "containers").glob("*/[0-9]*"):
            run = Run(container, int(container.name))
            run.adopt(lambda: None)
            run.kill()
            run.detach()
        shutil.rmtree(path, ignore_errors=True)


def ensure_node(registry: Registry, name: str, capacity: dict[str, str], gpu_type: str) -> None:
    """Create or refresh the node object."""
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        "node.kubernetes.io/instance-type": "localcluster",
    }
    if gpu_type and capacity.get("nvidia.com/gpu"):
        labels["cloud.google.com/gke-accelerator"] = labels["nvidia.com/gpu.product"] = gpu_type
        labels["accelerator"] = gpu_type
    now = registry.now()
    status: Obj = {
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "KubeletReady",
                "message": "kubelet is posting ready status",
                "lastHeartbeatTime": now,
                "lastTransitionTime": now,
            }
        ],
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
        "nodeInfo": {
            "kubeletVersion": "v1.32.0-localcluster",
            "operatingSystem": "linux",
            "architecture": labels["kubernetes.io/arch"],
            "kernelVersion": platform.release(),
            "osImage": "this machine",
            "containerRuntimeVersion": "localcluster://1",
            "kubeProxyVersion": "",
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
        },
    }
    if registry.find(NODES, "", name) is None:
        registry.create(NODES, "", {"metadata": {"name": name, "labels": labels}, "spec": {}})

    def relabel(node: Obj) -> None:
        node["metadata"]["labels"] = {**(node["metadata"].get("labels") or {}), **labels}

    registry.modify(NODES, "", name, relabel)
    registry.modify(NODES, "", name, lambda node: {**node, "status": status}, subresource="status")


def _key(runtime: PodRuntime) -> Key:
    return namespace_of(runtime.pod), name_of(runtime.pod)


def _is_active(pod: Obj) -> bool:
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def _has_begun(runtime: PodRuntime) -> bool:
    return any(container.runs for container in runtime.containers)
