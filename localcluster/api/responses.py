"""Writing of answers: whole objects, lists, tables and metadata, in the form the Accept header asks for."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from aiohttp import web

from localcluster.api import table
from localcluster.objects import Obj
from localcluster.resources import EVENTS_V1, Resource
from localcluster.store import Item

TABLE, METADATA, FULL = "Table", "PartialObjectMetadata", ""


def json_response(document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return raw_response(orjson.dumps(document), status, headers)


def raw_response(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


def form_of(request: web.Request) -> str:
    """Which form the client prefers: the whole object, a Table, or metadata only."""
    for choice in request.headers.get("Accept", "").split(","):
        parameters = dict(part.strip().partition("=")[::2] for part in choice.split(";")[1:])
        kind = choice.split(";")[0].strip()
        if kind not in ("application/json", "*/*", "application/*"):
            continue
        wanted = parameters.get("as", "")
        if wanted == TABLE:
            return TABLE
        if wanted.startswith(METADATA):
            return METADATA
        return FULL
    return FULL


def render_item(request: web.Request, resource: Resource, item: Item) -> bytes:
    form = form_of(request)
    if form == TABLE:
        return orjson.dumps(table.render(resource, [item], item.revision, _include(request)))
    if form == METADATA:
        return orjson.dumps(_metadata(item.obj))
    return raw_of(resource, item)


def render_list(
    request: web.Request, resource: Resource, items: list[Item], revision: int, next_page: str = "", remaining: int = 0
) -> bytes:
    form = form_of(request)
    metadata: Obj = {"resourceVersion": str(revision)}
    if next_page:
        metadata["continue"] = next_page
        metadata["remainingItemCount"] = remaining
    if form == TABLE:
        document = table.render(resource, items, revision, _include(request))
        document["metadata"] = metadata
        return orjson.dumps(document)
    if form == METADATA:
        partial = [_metadata(item.obj) for item in items]
        kind = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
        return orjson.dumps({**kind, "items": partial})
    lead = orjson.dumps({"kind": resource.kind, "apiVersion": resource.api_version})[:-1] + b","
    raws = (raw_of(resource, item) for item in items)
    bare = [b"{" + raw[len(lead) :] if raw.startswith(lead) else raw for raw in raws]
    head = orjson.dumps({"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": metadata})
    return head[:-1] + b',"items":[' + b",".join(bare) + b"]}"


def raw_of(resource: Resource, item: Item) -> bytes:
    return orjson.dumps(_as_new_event(item.obj)) if resource is EVENTS_V1 else item.raw


def _metadata(obj: Obj) -> Obj:
    return {"kind": METADATA, "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def _include(request: web.Request) -> str:
    return request.query.get("includeObject", "Metadata")


def _as_new_event(event: Obj) -> Obj:
    """A core/v1 event in the field names of events.k8s.io/v1."""
    renamed = {
        "involvedObject": "regarding",
        "message": "note",
        "source": "deprecatedSource",
        "count": "deprecatedCount",
        "firstTimestamp": "deprecatedFirstTimestamp",
        "lastTimestamp": "deprecatedLastTimestamp",
        "reportingComponent": "reportingController",
    }
    return {**{renamed.get(key, key): value for key, value in event.items()}, "apiVersion": "events.k8s.io/v1"}
