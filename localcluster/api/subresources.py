"""Scale and eviction."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from localcluster.api.requests import ApiPath, read_body, read_object, write_options
from localcluster.api.responses import json_response
from localcluster.errors import bad_request
from localcluster.objects import Obj, name_of, namespace_of, set_condition
from localcluster.patch import json_patch, merge_patch
from localcluster.registry import Registry
from localcluster.store import Item

_EVICTION_MESSAGE = "Eviction API: evicting"


async def get_scale(registry: Registry, request: web.Request, path: ApiPath) -> web.Response:
    return json_response(_scale(registry.get(path.resource, path.namespace or "", path.name)))


async def put_scale(registry: Registry, request: web.Request, path: ApiPath) -> web.Response:
    """PUT or PATCH of a Scale: only spec.replicas is taken from it."""
    body, options = await read_body(request), write_options(request)
    current = _scale(registry.get(path.resource, path.namespace or "", path.name))
    wanted: Any = body
    if request.method == "PATCH":
        wanted = (
            json_patch(current, body)
            if request.content_type == "application/json-patch+json"
            else merge_patch(current, body)
        )
    replicas = ((wanted or {}).get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int):
        raise bad_request("spec.replicas must be a number")

    def change(obj: Obj) -> None:
        version = (wanted.get("metadata") or {}).get("resourceVersion")
        if version:
            obj["metadata"]["resourceVersion"] = version
        obj["spec"]["replicas"] = replicas

    return json_response(
        _scale(registry.modify(path.resource, path.namespace or "", path.name, change, dry_run=options.dry_run))
    )


async def evict(registry: Registry, request: web.Request, path: ApiPath) -> web.Response:
    """An eviction is a deletion that the pod's conditions tell from others."""
    body = await read_object(request)
    pod = registry.get(path.resource, path.namespace or "", path.name).obj
    now = registry.now()

    def mark(obj: Obj) -> None:
        set_condition(
            obj.setdefault("status", {}),
            "DisruptionTarget",
            "True",
            now,
            reason="EvictionByEvictionAPI",
            message=_EVICTION_MESSAGE,
        )

    if not write_options(request).dry_run:
        registry.modify(path.resource, namespace_of(pod), name_of(pod), mark, subresource="status")
        registry.delete(path.resource, namespace_of(pod), name_of(pod), body.get("deleteOptions") or {})
    return json_response({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}, 201)


def _scale(item: Item) -> Obj:
    obj = item.obj
    labels = ((obj["spec"].get("selector") or {}).get("matchLabels")) or {}
    metadata = {
        key: obj["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    }
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": obj["spec"].get("replicas", 0)},
        "status": {
            "replicas": (obj.get("status") or {}).get("replicas", 0),
            "selector": ",".join(f"{key}={value}" for key, value in labels.items()),
        },
    }
