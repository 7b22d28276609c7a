"""The connection to a cluster: configuration, credentials, time limits and a pool, through the official client.

Objects go through as plain dicts: the client's generated models cost several times the CPU of the JSON itself, and the
platform's manifests are dicts already. What is used of the official client is what is hard to get right: kubeconfig,
in-cluster tokens that rotate, exec plugins, TLS.
"""

import logging
import os
import socket
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import urlencode

import kubernetes.client
import kubernetes.config
import orjson
import urllib3
from django.conf import settings

from platform_portal.kube.errors import Unavailable, from_response

log = logging.getLogger(__name__)


class Client:
    """Sends requests to one API server; safe to share between threads.

    Raises ``kube.errors``: ``Unavailable`` when there is no answer within ``timeout`` seconds, the others by HTTP status.
    """

    def __init__(self, configuration: kubernetes.client.Configuration, *, timeout: float, connections: int) -> None:
        configuration.connection_pool_maxsize = connections
        configuration.retries = False
        self.timeout = timeout
        self._api = kubernetes.client.ApiClient(configuration)
        self._pool: urllib3.PoolManager = self._api.rest_client.pool_manager
        self._host = configuration.host.rstrip("/")

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int | bool] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """The decoded answer of a request that ends."""
        response = self._send(method, path, query, body, content_type, timeout or self.timeout, stream=False)
        data = response.data
        if response.status >= 400:
            raise from_response(response.status, data)
        try:
            return orjson.loads(data) if data else {}
        except ValueError as exc:
            # Something between us and the API server answers in its place.
            raise Unavailable(response.status, "BadAnswer", "the cluster's answer is not JSON") from exc

    def stream(
        self, path: str, *, query: Mapping[str, str | int | bool] | None = None, idle_timeout: float
    ) -> urllib3.BaseHTTPResponse:
        """An open answer (watch, log); the caller closes it. Reading raises after ``idle_timeout`` seconds of silence.

        It must begin within the usual time limit: an API server answers at once, whatever it has to tell.
        """
        response = self._send("GET", path, query, None, "application/json", self.timeout, stream=True)
        if response.status >= 400:
            try:
                raise from_response(response.status, response.read(65536))
            except (urllib3.exceptions.HTTPError, OSError) as exc:
                raise from_response(response.status, b"") from exc
            finally:
                response.close()
        if sock := socket_of(response):
            sock.settimeout(idle_timeout)
        return response

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int | bool] | None,
        body: Any,
        content_type: str,
        timeout: float,
        *,
        stream: bool,
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": "application/json", "User-Agent": "ml-platform"}
        self._api.update_params_for_auth(headers, [], ["BearerToken"])
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = orjson.dumps(body)
        url = f"{self._host}{path}"
        if query:
            pairs = {key: str(value).lower() if isinstance(value, bool) else value for key, value in query.items()}
            url += "?" + urlencode(pairs)
        try:
            return self._pool.request(
                method,
                url,
                body=data,
                headers=headers,
                timeout=urllib3.Timeout(connect=min(self.timeout, timeout), read=timeout),
                preload_content=not stream,
                retries=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            raise Unavailable(0, "Unreachable", f"the cluster does not answer: {exc}") from exc


def socket_of(response: urllib3.BaseHTTPResponse) -> socket.socket | None:
    """The socket under an open answer, which neither urllib3 nor http.client has a name for."""
    connection: Any = getattr(response, "connection", None)
    sock = getattr(connection, "sock", None)
    # An answer that ends with its connection has taken the socket over from it.
    raw = getattr(getattr(getattr(response, "_fp", None), "fp", None), "raw", None)
    found: socket.socket | None = sock or getattr(raw, "_sock", None)
    return found


def configured() -> bool:
    """Whether this process has been told where a cluster is."""
    return bool(settings.KUBECONFIG) or "KUBERNETES_SERVICE_HOST" in os.environ


def load(kubeconfig: str = "", *, timeout: float | None = None, connections: int | None = None) -> Client:
    """A client for ``kubeconfig``, or for the cluster this process runs in when it is empty."""
    configuration = kubernetes.client.Configuration()
    try:
        if kubeconfig:
            kubernetes.config.load_kube_config(kubeconfig, client_configuration=configuration)
        else:
            kubernetes.config.load_incluster_config(client_configuration=configuration)
    except Exception as exc:
        # A file that is half written or none at all makes the loader raise almost anything.
        raise Unavailable(0, "NotConfigured", f"the cluster's configuration cannot be read: {exc}") from exc
    return Client(
        configuration,
        timeout=timeout or settings.KUBE_TIMEOUT_SECONDS,
        connections=connections or settings.KUBE_CONNECTIONS,
    )


@cache
def default() -> Client:
    """The client for the cluster that settings name; made once per process, and not before it can be."""
    return load(settings.KUBECONFIG)
