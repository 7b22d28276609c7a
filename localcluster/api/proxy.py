"""The proxy subresource of pods and services: the request goes to the pod's process as it is, the answer comes back."""

from __future__ import annotations

import json
import re

import aiohttp
from aiohttp import web
from yarl import URL

from localcluster.api.requests import ApiPath
from localcluster.errors import ApiError, bad_request
from localcluster.kubelet.pod import PORTS_ANNOTATION
from localcluster.objects import Obj, annotations_of, condition_is_true, is_deleting, name_of
from localcluster.registry import Registry
from localcluster.resources import PODS, SERVICES
from localcluster.selectors import from_object

_HOP_BY_HOP = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
    "upgrade", "host", "authorization", "content-length",
})  # fmt: skip
_NAME = re.compile(r"^(?:(https?):)?([^:]+)(?::([^:]*))?$")


class Proxy:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._session: aiohttp.ClientSession | None = None
        self._turn = 0

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def serve(self, request: web.Request, path: ApiPath) -> web.StreamResponse:
        if request.raw_path.partition("?")[0].endswith("/proxy"):
            location = request.raw_path.replace("/proxy", "/proxy/", 1)
            return web.Response(status=301, headers={"Location": location})
        match = _NAME.match(path.name)
        if match is None:
            raise bad_request(f"invalid {path.resource.singular} request {path.name!r}")
        scheme, name, port = match[1] or "http", match[2], match[3] or ""
        namespace = path.namespace or ""
        find = self._pod_port if path.resource is PODS else self._service_port
        target = f"{scheme}://127.0.0.1:{find(namespace, name, port)}/{self._tail(request)}"
        return await self._forward(request, target)

    def _tail(self, request: web.Request) -> str:
        """What follows `/proxy/` in the request, still encoded as the client sent it, with its query."""
        return request.raw_path.partition("/proxy")[2].removeprefix("/")

    def _pod_port(self, namespace: str, name: str, port: str) -> int:
        pod = self._registry.get(PODS, namespace, name).obj
        declared = [entry["containerPort"] for c in pod["spec"]["containers"] for entry in c.get("ports") or ()]
        wanted = port or (str(declared[0]) if declared else "80")
        return host_port(pod, _container_port(pod, wanted))

    def _service_port(self, namespace: str, name: str, port: str) -> int:
        service = self._registry.get(SERVICES, namespace, name).obj
        entry = _service_entry(service, port)
        pods = ready_pods(self._registry, service)
        if entry is None or not pods:
            message = f'no endpoints available for service "{name}"'
            raise ApiError(503, "ServiceUnavailable", message)
        self._turn += 1
        pod = pods[self._turn % len(pods)]
        return host_port(pod, _container_port(pod, str(entry.get("targetPort") or entry["port"])))

    async def _forward(self, request: web.Request, target: str) -> web.StreamResponse:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
            self._session = aiohttp.ClientSession(
                auto_decompress=False, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
            )
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP_BY_HOP}
        body = request.content if request.can_read_body else None
        if request.content_length is not None:
            headers["Content-Length"] = str(request.content_length)
        try:
            async with self._session.request(
                request.method, URL(target, encoded=True), headers=headers, data=body, allow_redirects=False, ssl=False
            ) as answer:
                return await self._copy(request, answer)
        except (aiohttp.ClientConnectorError, aiohttp.ServerDisconnectedError) as error:
            message = f"error trying to reach service: {error}"
            raise ApiError(503, "ServiceUnavailable", message) from None

    async def _copy(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, reason=answer.reason)
        for key, value in answer.headers.items():
            if key.lower() not in _HOP_BY_HOP:
                response.headers.add(key, value)
        if answer.content_length is not None:
            response.content_length = answer.content_length
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
        return response


def host_port(pod: Obj, declared: int) -> int:
    """The machine's port behind a declared one."""
    text = annotations_of(pod).get(PORTS_ANNOTATION)
    return int(json.loads(text).get(str(declared), declared)) if text else declared


def ready_pods(registry: Registry, service: Obj) -> list[Obj]:
    """The pods a service leads to now."""
    return [pod for pod in selected_pods(registry, service) if condition_is_true(pod, "Ready") and not is_deleting(pod)]


def selected_pods(registry: Registry, service: Obj) -> list[Obj]:
    selector = service["spec"].get("selector")
    if not selector:
        return []
    labels = from_object({"matchLabels": selector})
    items = registry.store.items(PODS.bucket, service["metadata"]["namespace"], labels)
    return [item.obj for item in items if item.obj["status"].get("phase") not in ("Succeeded", "Failed")]


def named_port(pod: Obj, wanted: str) -> int | None:
    """A port number, or the port of that name in one of the pod's containers."""
    if wanted.isdigit():
        return int(wanted)
    for container in pod["spec"]["containers"]:
        for entry in container.get("ports") or ():
            if entry.get("name") == wanted:
                return int(entry["containerPort"])
    return None


def _container_port(pod: Obj, wanted: str) -> int:
    port = named_port(pod, wanted)
    if port is None:
        raise ApiError(503, "ServiceUnavailable", f'pod "{name_of(pod)}" has no port "{wanted}"')
    return port


def _service_entry(service: Obj, port: str) -> Obj | None:
    ports = service["spec"].get("ports") or []
    if not port:
        return ports[0] if ports else None
    return next((entry for entry in ports if port in (str(entry["port"]), entry.get("name"))), None)
