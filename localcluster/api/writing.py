"""PUT and PATCH: from a request body to the new object."""

from __future__ import annotations

from typing import Any

from localcluster import apply
from localcluster.api.requests import ApiPath, Options
from localcluster.errors import ApiError, bad_request, conflict
from localcluster.objects import Obj, fresh
from localcluster.patch import json_patch, merge_patch, strategic_merge
from localcluster.registry import Registry
from localcluster.store import Item

_APPLY = ("application/apply-patch+yaml", "application/apply-patch+json")


def replace_object(registry: Registry, path: ApiPath, options: Options, obj: Obj) -> Item:
    namespace = path.namespace or ""
    old = registry.get(path.resource, namespace, path.name).obj
    _track(path, old, obj, options, registry)
    return registry.update(
        path.resource, namespace, path.name, obj, subresource=path.subresource, dry_run=options.dry_run
    )


def patch_object(registry: Registry, path: ApiPath, options: Options, kind: str, body: Any) -> tuple[Item, bool]:
    """Apply a patch of the given content type; the result and whether it was created."""
    namespace = path.namespace or ""
    if kind in _APPLY:
        return _apply(registry, path, options, body)
    old = registry.get(path.resource, namespace, path.name).obj
    if kind == "application/json-patch+json":
        new = json_patch(old, body)
    elif not isinstance(body, dict):
        raise bad_request("the patch must be an object")
    elif kind == "application/merge-patch+json":
        new = merge_patch(old, body)
    elif kind == "application/strategic-merge-patch+json":
        new = strategic_merge(old, body)
    else:
        supported = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
        raise ApiError(
            415,
            "UnsupportedMediaType",
            f"the body of the request was in an unknown format - accepted media types include: {supported}, "
            "application/strategic-merge-patch+json",
        )
    new = fresh(new)
    # A patch is made against the present state: it conflicts only if it names another version or object itself.
    _track(path, old, new, options, registry)
    item = registry.update(
        path.resource, namespace, path.name, new, subresource=path.subresource, dry_run=options.dry_run
    )
    return item, False


def _apply(registry: Registry, path: ApiPath, options: Options, body: Any) -> tuple[Item, bool]:
    if not isinstance(body, dict):
        raise bad_request("the applied configuration must be an object")
    if not options.named_manager:
        message = 'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
        raise ApiError(422, "Invalid", message)
    for field, expected in (("kind", path.resource.kind), ("apiVersion", path.resource.api_version)):
        if body.get(field) != expected:
            raise bad_request(f"{field} in the applied configuration must be {expected}")
    name = (body.get("metadata") or {}).get("name") or path.name
    if name != path.name:
        raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({path.name})")
    if (body.get("metadata") or {}).get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    namespace = path.namespace or ""
    found = registry.find(path.resource, namespace, path.name)
    if found is None and path.subresource:
        registry.get(path.resource, namespace, path.name)
    uid = (body.get("metadata") or {}).get("uid")
    if found is None and uid:
        why = "uid mismatch: the provided object specified a uid, and no existing object was found"
        raise conflict(path.resource, path.name, why)
    author = apply.Author(options.manager, path.resource.api_version, path.subresource, registry.now())
    new = apply.server_side_apply(path.resource, found.obj if found else None, body, author, force=options.force)
    new["metadata"].setdefault("name", path.name)
    if found is None:
        return registry.create(path.resource, namespace, new, dry_run=options.dry_run), True
    item = registry.update(
        path.resource, namespace, path.name, new, subresource=path.subresource, dry_run=options.dry_run
    )
    return item, False


def _track(path: ApiPath, old: Obj, new: Obj, options: Options, registry: Registry) -> None:
    """Keep managedFields of objects that server-side apply uses; others carry none."""
    if isinstance(new.get("metadata"), dict) and old["metadata"].get("managedFields"):
        author = apply.Author(options.manager, path.resource.api_version, path.subresource, registry.now())
        new["metadata"]["managedFields"] = apply.after_update(old, new, author)
