"""A proxy before a cluster's API server, plain HTTP towards the client, that does to requests what its ``fault`` says.

Passes requests on over TLS with the credentials that the client sent. A fault is a function of the request's handler; ``forward``
is the one of a cluster that is well. Whoever sets another fault also ends the open connections, so that what comes next
begins under it.
"""

import base64
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from http.server import ThreadingHTTPServer
from itertools import cycle
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import yaml

from tests.platform import api_server

Fault = Callable[["Handler"], None]
HOP_BY_HOP = {"connection", "host", "content-length", "transfer-encoding", "keep-alive"}
UPSTREAM_SECONDS = 300


def forward(handler: "Handler") -> None:
    """As if the proxy was not there."""
    handler.relay(handler.upstream())


class Slow:
    """Does what it is asked, and says so only after ``seconds``, by when the client has given up."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.answered_late: Counter[str] = Counter()

    def __call__(self, handler: "Handler") -> None:
        answer = handler.upstream()
        handler.proxy.changed.wait(self._seconds)
        self.answered_late[handler.command] += 1
        handler.relay(answer)


class AtRandom:
    """Answers a part of all reads and of all writes with errors; which, the seed decides. ``given`` counts them by kind.

    The kinds take turns. ``500-done`` is the worst: the API server has done what was asked and then fails to say so.
    """

    READS = ("410", "429", "500")
    WRITES = ("409", "500-done", "429", "500")

    def __init__(self, seed: int, part: float) -> None:
        self._part, self._lock = part, threading.Lock()
        self._reads, self._writes = (Random(seed), cycle(self.READS)), (Random(seed), cycle(self.WRITES))
        self.given: Counter[str] = Counter()

    def __call__(self, handler: "Handler") -> None:
        with self._lock:
            dice, kinds = self._reads if handler.command == "GET" else self._writes
            chosen = next(kinds) if dice.random() < self._part else ""
            self.given[chosen] += 1
        if chosen == "500-done":
            handler.upstream().read()
        if not chosen:
            forward(handler)
        elif chosen == "409":
            api_server.refuse(409, "Conflict", "the object has been modified")(handler)
        elif chosen == "410":
            api_server.refuse(410, "Expired", "the resource version is too old")(handler)
        elif chosen == "429":
            api_server.refuse(429, "TooManyRequests", "slow down", retryAfterSeconds=1)(handler)
        else:
            api_server.refuse(500, "InternalError", "etcdserver: leader changed")(handler)


class CutWatches:
    """Ends every watch in the middle of a line, after none, one or two whole ones; ``cuts`` counts them."""

    def __init__(self, seed: int) -> None:
        self._random, self._lock = Random(seed), threading.Lock()
        self.cuts = 0

    def __call__(self, handler: "Handler") -> None:
        if "watch=true" not in handler.path:
            return forward(handler)
        with self._lock:
            whole = self._random.randrange(3)
        if handler.relay(handler.upstream(), whole_lines=whole):
            with self._lock:
                self.cuts += 1


class Proxy:
    """Listens on one port of loopback; ``down`` and ``up`` may be repeated. ``asked`` counts requests that came in."""

    def __init__(self, kubeconfig: Path) -> None:
        document = yaml.safe_load(kubeconfig.read_text())
        [entry] = document["clusters"]
        self.target = urlsplit(entry["cluster"]["server"])
        self.tls = ssl.create_default_context(
            cadata=base64.b64decode(entry["cluster"]["certificate-authority-data"]).decode()
        )
        self.changed = threading.Event()
        self.asked = 0
        self._document, self._port = document, 0
        self._fault: Fault = forward
        self._server: _Server | None = None

    def __enter__(self) -> "Proxy":
        self.up()
        return self

    def __exit__(self, *error: object) -> None:
        self.down()

    @property
    def fault(self) -> Fault:
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        self._fault = fault
        # Who still waits under the old fault goes on at once.
        changed, self.changed = self.changed, threading.Event()
        changed.set()
        if self._server is not None:
            self._server.end_connections()

    def up(self) -> None:
        if self._server is None:
            self._server = _Server(self, self._port)
            self._port = self._server.server_port

    def down(self) -> None:
        """From here on connections are refused, and those that were open are closed."""
        if self._server is not None:
            self._server.end()
            self._server = None

    def write_kubeconfig(self, path: Path) -> Path:
        """The cluster's kubeconfig, with the proxy in the cluster's place."""
        [entry] = self._document["clusters"]
        found = self._document | {
            "clusters": [{"name": entry["name"], "cluster": {"server": f"http://127.0.0.1:{self._port}"}}]
        }
        path.write_text(yaml.safe_dump(found))
        return path


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, proxy: Proxy, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.proxy = proxy
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def end(self) -> None:
        self.shutdown()
        self.server_close()
        self.end_connections()

    def end_connections(self) -> None:
        with self._lock:
            for connection in self._open:
                _shut(connection)

    def keep(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)

    def drop(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def handle_error(self, *args: object) -> None:
        """A connection that ends in the middle of an answer is what this is for."""


class Handler(api_server.Handler):
    """One connection of the client, and one to the API server beside it."""

    server: _Server  # type: ignore[assignment]
    body: bytes

    def setup(self) -> None:
        super().setup()
        self.proxy = self.server.proxy
        self._upstream = HTTPSConnection(
            self.proxy.target.hostname or "", self.proxy.target.port, timeout=UPSTREAM_SECONDS, context=self.proxy.tls
        )
        self.server.keep(self.connection)

    def finish(self) -> None:
        self.server.drop(self.connection)
        self._upstream.close()
        super().finish()

    def answer(self) -> None:
        self.proxy.asked += 1
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self.proxy.fault(self)
        except (OSError, HTTPException):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def upstream(self) -> HTTPResponse:
        """Asks the API server what the client asked."""
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        self._upstream.request(self.command, self.path, self.body or None, headers)
        return self._upstream.getresponse()

    def relay(self, answer: HTTPResponse, whole_lines: int | None = None) -> bool:
        """Gives the answer to the client as it comes; cuts it in the line behind ``whole_lines``, and returns whether it did."""
        if answer.length is not None:
            data = answer.read()
            self.begin(answer.status, len(data))
            self.wfile.write(data)
            return False
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.getheader("Content-Type") or "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        seen = 0
        while data := answer.read1(65536):
            lines = data.split(b"\n")
            if whole_lines is not None and seen + len(lines) - 1 > whole_lines:
                wanted = whole_lines - seen
                rest = lines[wanted]
                self._chunk(b"".join(line + b"\n" for line in lines[:wanted]) + rest[: len(rest) // 2])
                _shut(self.connection)
                return True
            seen += len(lines) - 1
            self._chunk(data)
        self.wfile.write(b"0\r\n\r\n")
        return False

    def _chunk(self, data: bytes) -> None:
        if data:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
