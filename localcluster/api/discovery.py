"""API discovery: groups, versions and resources, and the health and version endpoints. Answers are built once."""

from __future__ import annotations

from functools import cache

import orjson
from aiohttp import web

from localcluster.objects import Obj
from localcluster.resources import ALL_VERBS, GROUP_VERSIONS, Resource, of_group

VERSION: Obj = {
    "major": "1",
    "minor": "32",
    "gitVersion": "v1.32.0+localcluster",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "linux/amd64",
}
_SUBRESOURCE_KINDS = {
    "scale": ("Scale", "autoscaling", "v1"),
    "eviction": ("Eviction", "policy", "v1"),
    "token": ("TokenRequest", "authentication.k8s.io", "v1"),
}
_SUBRESOURCE_VERBS = {"log": ["get"], "eviction": ["create"], "token": ["create"], "finalize": ["update"]}


def answer(path: str) -> web.Response | None:
    """The response to a discovery path; None when it is none."""
    clean = path.rstrip("/") or "/"
    if clean.startswith(("/healthz", "/livez", "/readyz")):
        return web.Response(text="ok")
    body = _documents().get(clean)
    return None if body is None else web.Response(body=body, content_type="application/json")


@cache
def _documents() -> dict[str, bytes]:
    addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}]
    roots = ["/api", "/api/v1", "/apis", *(f"/apis/{g}/{v}" for g, v in GROUP_VERSIONS.items()), "/healthz", "/version"]
    found: dict[str, Obj] = {
        "/": {"paths": roots},
        "/version": VERSION,
        "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(group) for group in GROUP_VERSIONS]},
        "/api/v1": _resources("", "v1"),
    }
    for group, version in GROUP_VERSIONS.items():
        found[f"/apis/{group}"] = {"kind": "APIGroup", "apiVersion": "v1", **_group(group)}
        found[f"/apis/{group}/{version}"] = _resources(group, version)
    return {path: orjson.dumps(document) for path, document in found.items()}


def _group(group: str) -> Obj:
    version = {"groupVersion": f"{group}/{GROUP_VERSIONS[group]}", "version": GROUP_VERSIONS[group]}
    return {"name": group, "versions": [version], "preferredVersion": version}


def _resources(group: str, version: str) -> Obj:
    entries = [entry for resource in of_group(group) for entry in _entries(resource)]
    name = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": entries}


def _entries(resource: Resource) -> list[Obj]:
    main: Obj = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(ALL_VERBS) if resource.stored else ["create"],
    }
    if resource.short:
        main["shortNames"] = list(resource.short)
    if resource.categories:
        main["categories"] = list(resource.categories)
    return [main, *(_subresource(resource, name) for name in resource.subresources)]


def _subresource(resource: Resource, name: str) -> Obj:
    kind, group, version = _SUBRESOURCE_KINDS.get(name, (resource.kind, "", ""))
    verbs = _SUBRESOURCE_VERBS.get(name, ["get", "patch", "update"])
    entry: Obj = {
        "name": f"{resource.plural}/{name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": kind,
        "verbs": ["create", "delete", "get", "patch", "update"] if name == "proxy" else verbs,
    }
    return {**entry, "group": group, "version": version} if group else entry
