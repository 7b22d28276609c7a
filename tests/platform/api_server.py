"""A scriptable API server: each request takes the next answer of the script of its kind (``list``, ``watch`` or the method)."""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kubernetes.client

from platform_portal.kube.client import Client
from platform_portal.kube.cluster import Cluster

Answer = Callable[["Handler"], None]


class ApiServer(ThreadingHTTPServer):
    """``script[kind]`` are the answers to come; the last one is given again and again. ``asked`` is what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: dict[str, list[Answer]] = defaultdict(list)
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self.ending = threading.Event()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def __enter__(self) -> "ApiServer":
        return self

    def __exit__(self, *args: object) -> None:
        self.ending.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, *args: object) -> None:
        """A client that goes away in the middle of an answer is part of the tests."""

    def client(self, timeout: float = 2.0) -> Client:
        configuration = kubernetes.client.Configuration()
        configuration.host = f"http://127.0.0.1:{self.server_port}"
        configuration.api_key = {"authorization": "Bearer secret"}
        return Client(configuration, timeout=timeout, connections=4)

    def cluster(self, timeout: float = 2.0) -> Cluster:
        return Cluster(self.client(timeout))

    def kinds(self) -> list[str]:
        return [kind for kind, *_ in self.asked]


class Handler(BaseHTTPRequestHandler):
    server: ApiServer
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        named = "resourceVersion" in query or "limit" in query
        kind = ("watch" if query.get("watch") else "list") if self.command == "GET" and named else self.command
        self.server.asked.append((kind, parts.path, query, body))
        script = self.server.script[kind]
        (script.pop(0) if len(script) > 1 else script[0])(self)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def log_message(self, *args: object) -> None:
        """Quiet."""

    def begin(self, status: int = 200, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if length is None:
            self.close_connection = True
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()


def reply(document: Any, status: int = 200) -> Answer:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()

    def give(handler: Handler) -> None:
        handler.begin(status, len(data))
        handler.wfile.write(data)

    return give


def refuse(status: int, reason: str = "", message: str = "no", **details: Any) -> Answer:
    document = {"kind": "Status", "status": "Failure", "code": status, "reason": reason, "message": message}
    return reply(document | ({"details": details} if details else {}), status)


def cut(data: bytes = b'{"kind": ', promised: int = 1000, status: int = 200) -> Answer:
    """Promises more than it sends, then closes the connection."""

    def give(handler: Handler) -> None:
        handler.begin(status, promised)
        handler.wfile.write(data)
        handler.close_connection = True

    return give


def silent(handler: Handler) -> None:
    """Accepts the request and says nothing."""
    handler.server.ending.wait(30)
    handler.close_connection = True


def stream(*lines: bytes | float, hold: bool = True) -> Answer:
    """Sends lines as they are (a number is a pause in seconds), then holds the connection open, or ends it."""

    def give(handler: Handler) -> None:
        handler.begin()
        for line in lines:
            if isinstance(line, float):
                time.sleep(line)
                continue
            handler.wfile.write(line)
            handler.wfile.flush()
        if hold:
            handler.server.ending.wait(30)

    return give


def pod(uid: str, version: int = 1, **labels: str) -> dict[str, Any]:
    meta = {"uid": uid, "name": uid, "namespace": "ml-a", "resourceVersion": str(version), "labels": labels}
    return {"kind": "Pod", "metadata": meta}


def listed(*items: Any, version: str = "10", more: str = "") -> Answer:
    return reply({"kind": "List", "metadata": {"resourceVersion": version, "continue": more}, "items": list(items)})


def event(kind: str, obj: Any) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


def bookmark(version: int) -> bytes:
    return event("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": str(version)}})
