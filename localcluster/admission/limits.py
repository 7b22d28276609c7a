"""LimitRange: container defaults, and the least and most a container may ask for."""

from __future__ import annotations

from localcluster import errors, quantity
from localcluster.objects import Obj, all_containers, name_of, namespace_of
from localcluster.registry import Registry
from localcluster.resources import LIMIT_RANGES, PODS, PVCS, Resource
from localcluster.scheduler import pod_requests


class LimitRanges:
    def mutate(self, registry: Registry, resource: Resource, obj: Obj, old: Obj | None) -> None:
        if resource is not PODS or old is not None:
            return
        changed: list[str] = []
        for limit in _limits(registry, obj, "Container"):
            for _, container in all_containers(obj["spec"]):
                changed += _fill(container, limit)
        if changed:
            note = "LimitRanger plugin set: " + ", ".join(changed)
            obj["metadata"].setdefault("annotations", {})["kubernetes.io/limit-ranger"] = note

    def check(self, registry: Registry, resource: Resource, obj: Obj, old: Obj | None) -> None:
        if old is not None or resource not in (PODS, PVCS):
            return
        problems: list[str] = []
        if resource is PODS:
            for limit in _limits(registry, obj, "Container"):
                for _, container in all_containers(obj["spec"]):
                    resources = container.get("resources") or {}
                    problems += _compare(
                        "Container", limit, resources.get("requests") or {}, resources.get("limits") or {}
                    )
            for limit in _limits(registry, obj, "Pod"):
                requests = {
                    name: quantity.render(v, binary=name == "memory") for name, v in pod_requests(obj["spec"]).items()
                }
                limits = {
                    name: quantity.render(v, binary=name == "memory")
                    for name, v in pod_requests(obj["spec"], "limits").items()
                }
                problems += _compare("Pod", limit, requests, limits)
        else:
            for limit in _limits(registry, obj, "PersistentVolumeClaim"):
                requests = (obj["spec"].get("resources") or {}).get("requests") or {}
                problems += _compare("PersistentVolumeClaim", limit, requests, requests)
        if problems:
            text = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
            raise errors.forbidden(resource, name_of(obj), text)


def _limits(registry: Registry, obj: Obj, kind: str) -> list[Obj]:
    return [
        limit
        for item in registry.store.items(LIMIT_RANGES.bucket, namespace_of(obj))
        for limit in item.obj["spec"].get("limits") or ()
        if limit.get("type") == kind
    ]


def _fill(container: Obj, limit: Obj) -> list[str]:
    resources = container.setdefault("resources", {})
    changed = []
    for kind, source in (("requests", "defaultRequest"), ("limits", "default")):
        for name, value in (limit.get(source) or {}).items():
            if name not in (resources.get(kind) or {}):
                resources.setdefault(kind, {})[name] = value
                changed.append(f"{name} {kind[:-1]} for container {container['name']}")
    return changed


def _compare(kind: str, limit: Obj, requests: Obj, limits: Obj) -> list[str]:
    problems = []
    for name, least in (limit.get("min") or {}).items():
        if name not in requests:
            problems.append(f"minimum {name} usage per {kind} is {least}.  No request is specified")
        elif quantity.parse(requests[name]) < quantity.parse(least):
            problems.append(f"minimum {name} usage per {kind} is {least}, but request is {requests[name]}")
    for name, most in (limit.get("max") or {}).items():
        if name not in limits:
            problems.append(f"maximum {name} usage per {kind} is {most}.  No limit is specified")
        elif quantity.parse(limits[name]) > quantity.parse(most):
            problems.append(f"maximum {name} usage per {kind} is {most}, but limit is {limits[name]}")
    return problems
