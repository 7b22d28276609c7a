"""Just enough OpenAPI for kubectl: paths say that every write takes `fieldValidation`, so that kubectl leaves validation to
the server; schemas are open objects.
"""

from __future__ import annotations

from functools import cache

import orjson
from aiohttp import web

from localcluster.objects import Obj
from localcluster.resources import GROUP_VERSIONS, Resource, of_group


def answer(path: str) -> web.Response | None:
    body = _documents().get(path.rstrip("/")) if path.startswith("/openapi/") else None
    return None if body is None else web.Response(body=body, content_type="application/json")


@cache
def _documents() -> dict[str, bytes]:
    names = {
        "api/v1": ("", "v1"),
        **{f"apis/{group}/{version}": (group, version) for group, version in GROUP_VERSIONS.items()},
    }
    index = {name: {"serverRelativeURL": f"/openapi/v3/{name}?hash=localcluster"} for name in names}
    info = {"title": "Kubernetes", "version": "v1.32.0+localcluster"}
    found: dict[str, Obj] = {
        "/openapi/v2": {"swagger": "2.0", "info": info, "paths": {}, "definitions": {}},
        "/openapi/v3": {"paths": index},
        **{f"/openapi/v3/{name}": _group_version(*pair) for name, pair in names.items()},
    }
    return {path: orjson.dumps(document) for path, document in found.items()}


def _group_version(group: str, version: str) -> Obj:
    resources = of_group(group)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.32.0+localcluster"},
        "paths": {path: item for resource in resources for path, item in _paths(resource).items()},
        "components": {"schemas": {_schema_name(resource): _schema(resource) for resource in resources}},
    }


def _paths(resource: Resource) -> dict[str, Obj]:
    base = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    base += "/namespaces/{namespace}/" if resource.namespaced else "/"
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    parameters = [
        {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
        for name in ("dryRun", "fieldManager", "fieldValidation")
    ]

    def operation(action: str, *content: str) -> Obj:
        schema = {"$ref": f"#/components/schemas/{_schema_name(resource)}"}
        return {
            "operationId": f"{action}{resource.kind}",
            "parameters": parameters,
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": kind,
            **({"requestBody": {"content": {name: {"schema": schema} for name in content}}} if content else {}),
            "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": schema}}}},
        }

    # Strategic merge patch is served but not named here: with open schemas kubectl could not compute one from them, and
    # without a mention it uses its own, built-in types.
    patches = [f"application/{name}" for name in ("apply-patch+yaml", "json-patch+json", "merge-patch+json")]
    return {
        f"{base}{resource.plural}": {"get": operation("list"), "post": operation("post", "application/json")},
        f"{base}{resource.plural}/{{name}}": {
            "get": operation("get"),
            "put": operation("put", "application/json"),
            "patch": operation("patch", *patches),
            "delete": operation("delete"),
        },
    }


def _schema_name(resource: Resource) -> str:
    group = resource.group.partition(".")[0] or "core"
    return f"io.k8s.api.{group}.{resource.version}.{resource.kind}"


def _schema(resource: Resource) -> Obj:
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    return {
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
        "x-kubernetes-preserve-unknown-fields": True,
        "x-kubernetes-group-version-kind": [kind],
    }
