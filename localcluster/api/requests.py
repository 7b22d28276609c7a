"""Reading of requests: which resource a path means, the query's options, and bodies in JSON or YAML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import orjson
import yaml
from aiohttp import web

from localcluster.errors import ApiError, bad_request
from localcluster.objects import Obj
from localcluster.resources import BY_PATH, Resource

# A request without Content-Type is read as JSON, as clients that send bare bytes expect; aiohttp calls it octet-stream.
_MEDIA_TYPES = ("application/json", "application/yaml", "text/json", "text/yaml", "application/octet-stream")


@dataclass(frozen=True)
class ApiPath:
    resource: Resource
    namespace: str | None  # None: not given (all namespaces, or a resource without)
    name: str = ""
    subresource: str = ""
    rest: str = ""  # what follows services/NAME/proxy/


def parse_path(path: str) -> ApiPath | None:
    """The resource a path names; None when it is not a path of the API."""
    parts = path.strip("/").split("/")
    if parts[:2] == ["api", "v1"]:
        group, version, parts = "", "v1", parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, version, parts = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace: str | None = None
    if len(parts) >= 3 and parts[0] == "namespaces" and (group, version, parts[2]) in BY_PATH:
        namespace, parts = parts[1], parts[2:]
    resource = BY_PATH.get((group, version, parts[0])) if parts else None
    if resource is None or (namespace is not None and not resource.namespaced):
        return None
    name = parts[1] if len(parts) > 1 else ""
    subresource = parts[2] if len(parts) > 2 else ""
    if len(parts) > 3 and subresource != "proxy":
        return None
    if name and resource.namespaced and namespace is None:
        return None
    return ApiPath(resource, namespace, unquote(name), subresource, "/".join(parts[3:]))


@dataclass(frozen=True)
class Options:
    """The query parameters that any write may carry."""

    dry_run: bool
    manager: str  # who writes, by the fieldManager parameter or else by the User-Agent
    named_manager: bool
    force: bool


def write_options(request: web.Request) -> Options:
    query = request.query
    dry_run = query.get("dryRun", "")
    if dry_run not in ("", "All"):
        raise bad_request(f'Invalid value: "{dry_run}": dryRun supports only All')
    agent = request.headers.get("User-Agent", "unknown").split("/")[0]
    named = query.get("fieldManager", "")
    return Options(dry_run == "All", named or agent or "unknown", bool(named), is_true(query.get("force")))


def is_true(value: str | None) -> bool:
    return value is not None and value.lower() in ("true", "1", "")


def number(query: Any, name: str) -> int | None:
    """A non-negative integer parameter; None when absent."""
    text = query.get(name)
    if text in (None, ""):
        return None
    try:
        return max(int(text), 0)
    except ValueError:
        raise bad_request(f"unable to decode query parameter {name}: {text!r} is not a number") from None


async def read_body(request: web.Request) -> Any:
    """The decoded body; None when there is none."""
    data = await request.read()
    if not data:
        return None
    kind = request.content_type
    if kind not in _MEDIA_TYPES and not kind.endswith(("-patch+json", "-patch+yaml")):
        accepted = ", ".join(_MEDIA_TYPES[:2])
        why = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        raise ApiError(415, "UnsupportedMediaType", why)
    try:
        return yaml.safe_load(data) if "yaml" in kind and data[:1] != b"{" else orjson.loads(data)
    except (orjson.JSONDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise bad_request(f"the object provided is unrecognized: {error}") from None


async def read_object(request: web.Request) -> Obj:
    body = await read_body(request)
    if not isinstance(body, dict):
        raise bad_request("the object provided is unrecognized (must be of type object)")
    return body
