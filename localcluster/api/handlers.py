"""The verbs, generic over the table of resources; subresources that are more than a part of the object have their own file."""

from __future__ import annotations

import base64
import binascii

import orjson
from aiohttp import web

from localcluster import errors
from localcluster.accounts import Accounts, User
from localcluster.api.proxy import Proxy
from localcluster.api.requests import ApiPath, number, read_body, read_object, write_options
from localcluster.api.responses import json_response, raw_response, render_item, render_list
from localcluster.api.subresources import evict, get_scale, put_scale
from localcluster.api.watching import Watching
from localcluster.api.writing import patch_object, replace_object
from localcluster.authorization import review
from localcluster.errors import ApiError, bad_request, expired
from localcluster.kubelet.logs import LogReader
from localcluster.objects import Obj, labels_of, name_of
from localcluster.registry import Registry
from localcluster.resources import Resource
from localcluster.selectors import FieldSelector, LabelSelector, parse_fields, parse_labels
from localcluster.store import Item, Key

_RETURNED_WHEN_DELETED = frozenset({"pods", "services", "serviceaccounts", "resourcequotas", "persistentvolumeclaims"})

_CONTINUE_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the "
    "continue parameter."
)


class Handlers:
    def __init__(self, registry: Registry, accounts: Accounts, logs: LogReader, proxy: Proxy) -> None:
        self._registry, self._store, self._logs, self._proxy = registry, registry.store, logs, proxy
        self._accounts = accounts
        self._watching = Watching(registry)

    def close(self) -> None:
        """End all streams, so that the server can stop."""
        self._watching.close()
        self._logs.close()

    async def handle(self, request: web.Request, path: ApiPath, user: User) -> web.StreamResponse:
        if path.subresource == "log":
            return await self._logs.serve(request, path.namespace or "", path.name)
        if path.subresource == "proxy":
            return await self._proxy.serve(request, path)
        if path.subresource == "eviction":
            return await evict(self._registry, request, path)
        if path.subresource == "token":
            return await self._token(request, path)
        method = request.method
        if not path.name:
            if method == "GET":
                return await self._list_or_watch(request, path)
            if method == "POST":
                return await self._create(request, path, user)
            if method == "DELETE":
                return await self._delete_collection(request, path)
            raise errors.method_not_allowed()
        if path.subresource == "scale" and method in ("GET", "PUT", "PATCH"):
            return await (get_scale if method == "GET" else put_scale)(self._registry, request, path)
        if method == "GET":
            item = self._registry.get(path.resource, path.namespace or "", path.name)
            return raw_response(render_item(request, path.resource, item))
        if method == "PUT":
            return await self._update(request, path)
        if method == "PATCH":
            return await self._patch(request, path)
        if method == "DELETE" and not path.subresource:
            return await self._delete(request, path)
        raise errors.method_not_allowed()

    async def _token(self, request: web.Request, path: ApiPath) -> web.Response:
        if request.method != "POST":
            raise errors.method_not_allowed()
        wish = await read_object(request)
        return json_response(self._accounts.token_request(path.namespace or "", path.name, wish), 201)

    async def _list_or_watch(self, request: web.Request, path: ApiPath) -> web.StreamResponse:
        query = request.query
        labels = parse_labels(query.get("labelSelector", ""))
        fields = parse_fields(query.get("fieldSelector", ""), path.resource.bucket)
        if query.get("watch", "").lower() in ("true", "1"):
            return await self._watching.serve(request, path, labels, fields)
        return self._list(request, path, labels, fields)

    def _list(self, request: web.Request, path: ApiPath, labels: LabelSelector, fields: FieldSelector) -> web.Response:
        limit = number(request.query, "limit") or 0
        after, revision = self._continued(request.query.get("continue", ""))
        name = fields.exact("metadata.name")
        if name is not None and path.namespace is not None:
            found = self._registry.find(path.resource, path.namespace, name)
            items = [found] if found else []
        else:
            try:
                items = self._store.items_at(revision, path.resource.bucket, path.namespace, labels)
            except ApiError as error:
                raise expired(_CONTINUE_EXPIRED) from error
        matching = items
        if after is not None or fields.terms or name is not None:
            matching = [
                item
                for item in items
                if (after is None or item.key > after)
                and labels.matches(labels_of(item.obj))
                and fields.matches(item.obj)
            ]
        page = matching[:limit] if limit else matching
        rest = len(matching) - len(page)
        token = _continue_token(page[-1].key, revision) if rest else ""
        return raw_response(render_list(request, path.resource, page, revision, token, rest))

    def _continued(self, token: str) -> tuple[Key | None, int]:
        """Where a paged list goes on, and at which revision it began."""
        if not token:
            return None, self._store.revision
        try:
            revision, namespace, name = orjson.loads(base64.urlsafe_b64decode(token))
        except (binascii.Error, ValueError, TypeError):
            raise bad_request("continue key is not valid") from None
        return (str(namespace), str(name)), int(revision)

    async def _create(self, request: web.Request, path: ApiPath, user: User) -> web.Response:
        obj, options = await read_object(request), write_options(request)
        if not path.resource.stored:
            return json_response(review(self._registry, user, obj), 201)
        if path.resource.namespaced and path.namespace is None:
            raise bad_request("the namespace of the object is required")
        item = self._registry.create(
            path.resource, path.namespace or "", _as_stored(path.resource, obj), dry_run=options.dry_run
        )
        return raw_response(render_item(request, path.resource, item), 201)

    async def _update(self, request: web.Request, path: ApiPath) -> web.Response:
        obj, options = await read_object(request), write_options(request)
        item = replace_object(self._registry, path, options, _as_stored(path.resource, obj))
        return raw_response(render_item(request, path.resource, item))

    async def _patch(self, request: web.Request, path: ApiPath) -> web.Response:
        body, options = await read_body(request), write_options(request)
        item, created = patch_object(self._registry, path, options, request.content_type, body)
        return raw_response(render_item(request, path.resource, item), 201 if created else 200)

    async def _delete(self, request: web.Request, path: ApiPath) -> web.Response:
        options = await self._delete_options(request)
        dry_run = options.get("dryRun") == ["All"]
        item, gone = self._registry.delete(path.resource, path.namespace or "", path.name, options, dry_run=dry_run)
        if gone and path.resource.bucket not in _RETURNED_WHEN_DELETED:
            return json_response(_deleted(path.resource, item))
        return raw_response(render_item(request, path.resource, item))

    async def _delete_collection(self, request: web.Request, path: ApiPath) -> web.Response:
        if path.resource.namespaced and path.namespace is None:
            raise errors.method_not_allowed()
        options = await self._delete_options(request)
        labels = parse_labels(request.query.get("labelSelector", ""))
        fields = parse_fields(request.query.get("fieldSelector", ""), path.resource.bucket)
        items = [
            item for item in self._store.items(path.resource.bucket, path.namespace, labels) if fields.matches(item.obj)
        ]
        for item in items:
            try:
                self._registry.delete(path.resource, *item.key, options, dry_run=options.get("dryRun") == ["All"])
            except ApiError as error:
                if error.code != 404:
                    raise
        return raw_response(render_list(request, path.resource, items, self._store.revision))

    async def _delete_options(self, request: web.Request) -> Obj:
        """DeleteOptions from the body, completed by the query."""
        body = await read_body(request)
        options: Obj = dict(body) if isinstance(body, dict) else {}
        query = request.query
        grace = number(query, "gracePeriodSeconds")
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if query.get("propagationPolicy"):
            options["propagationPolicy"] = query["propagationPolicy"]
        if query.get("orphanDependents"):
            options["orphanDependents"] = query["orphanDependents"].lower() == "true"
        if write_options(request).dry_run:
            options["dryRun"] = ["All"]
        return options


def _continue_token(key: Key, revision: int) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([revision, *key])).decode()


def _deleted(resource: Resource, item: Item) -> Obj:
    details = {**resource.details(name_of(item.obj)), "uid": item.obj["metadata"]["uid"]}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _as_stored(resource: Resource, obj: Obj) -> Obj:
    """events.k8s.io events are stored in the field names of core/v1."""
    if resource.bucket != "events" or not resource.group:
        return obj
    renamed = {
        "regarding": "involvedObject",
        "note": "message",
        "deprecatedSource": "source",
        "deprecatedCount": "count",
        "deprecatedFirstTimestamp": "firstTimestamp",
        "deprecatedLastTimestamp": "lastTimestamp",
        "reportingController": "reportingComponent",
    }
    return {renamed.get(key, key): value for key, value in obj.items() if key not in ("kind", "apiVersion")}
