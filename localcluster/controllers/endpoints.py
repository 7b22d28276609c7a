"""Endpoints and EndpointSlices of services, from the pods they select."""

from __future__ import annotations

from collections.abc import Iterable

from localcluster.api.proxy import host_port, named_port, selected_pods
from localcluster.controllers.base import Controller
from localcluster.objects import Obj, condition_is_true, is_deleting, labels_of, name_of, owner_reference, uid_of
from localcluster.resources import ENDPOINT_SLICES, ENDPOINTS, PODS, SERVICES, Resource
from localcluster.store import Change, Key


class EndpointsController(Controller):
    name = "endpoints-controller"

    def initial_keys(self) -> Iterable[Key]:
        return self.store.keys(SERVICES.bucket)

    def keys_for(self, change: Change) -> Iterable[Key]:
        if change.bucket == SERVICES.bucket:
            return (change.item.key,)
        if change.bucket != PODS.bucket or not self.store.count(SERVICES.bucket):
            return ()
        labels = labels_of(change.item.obj)
        before = labels_of(change.previous.obj) if change.previous else {}
        found = []
        for item in self.store.items(SERVICES.bucket, change.item.key[0]):
            selector = item.obj["spec"].get("selector")
            if selector and (selector.items() <= labels.items() or selector.items() <= before.items()):
                found.append(item.key)
        return found

    def reconcile(self, key: Key) -> float | None:
        item = self.store.get(SERVICES.bucket, *key)
        if item is None:
            endpoints = self.store.get(ENDPOINTS.bucket, *key)
            if endpoints is not None:
                self.registry.delete(ENDPOINTS, *key)
            return None
        service = item.obj
        if is_deleting(service) or not service["spec"].get("selector"):
            return None
        pods = [
            pod for pod in selected_pods(self.registry, service) if pod["spec"].get("nodeName") and not is_deleting(pod)
        ]
        self._write_endpoints(service, pods)
        self._write_slice(service, pods)
        return None

    def _write_endpoints(self, service: Obj, pods: list[Obj]) -> None:
        # All pods share one address, so each has a subset of its own with the ports it really listens on.
        subsets = []
        for pod in pods:
            kind = "addresses" if condition_is_true(pod, "Ready") else "notReadyAddresses"
            subset: Obj = {kind: [_address(pod)], "ports": _ports(service, pod)}
            subsets.append(subset)
        body: Obj = {"metadata": {"name": name_of(service), "labels": labels_of(service)}}
        self._put(ENDPOINTS, service, {**body, **({"subsets": subsets} if subsets else {})})

    def _write_slice(self, service: Obj, pods: list[Obj]) -> None:
        name = f"{name_of(service)}-{uid_of(service)[:5]}"
        endpoints = [
            {
                "addresses": ["127.0.0.1"],
                "conditions": {"ready": ready, "serving": ready, "terminating": False},
                "nodeName": pod["spec"]["nodeName"],
                "targetRef": _address(pod)["targetRef"],
            }
            for pod in pods
            for ready in [condition_is_true(pod, "Ready")]
        ]
        labels = {
            **labels_of(service),
            "kubernetes.io/service-name": name_of(service),
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        }
        body = {
            "metadata": {"name": name, "labels": labels, "ownerReferences": [owner_reference(service)]},
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": _ports(service, pods[0]) if pods else [],
        }
        self._put(ENDPOINT_SLICES, service, body)

    def _put(self, resource: Resource, service: Obj, body: Obj) -> None:
        namespace, name = service["metadata"]["namespace"], body["metadata"]["name"]
        if not body["metadata"]["labels"]:
            del body["metadata"]["labels"]
        if self.registry.find(resource, namespace, name) is None:
            self.registry.create(resource, namespace, body)
        else:
            self.registry.update(resource, namespace, name, body)


def _address(pod: Obj) -> Obj:
    reference = {"kind": "Pod", "namespace": pod["metadata"]["namespace"], "name": name_of(pod), "uid": uid_of(pod)}
    return {"ip": "127.0.0.1", "nodeName": pod["spec"]["nodeName"], "targetRef": reference}


def _ports(service: Obj, pod: Obj) -> list[Obj]:
    found = []
    for entry in service["spec"].get("ports") or ():
        declared = named_port(pod, str(entry.get("targetPort") or entry["port"]))
        if declared is None:
            continue
        port: Obj = {"port": host_port(pod, declared), "protocol": entry.get("protocol", "TCP")}
        found.append({"name": entry["name"], **port} if entry.get("name") else port)
    return found
