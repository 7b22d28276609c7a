"""A real OpenID Connect provider as a process of its own, behind a door that insists on PKCE.

The provider from PyPI ignores PKCE, so the door in front of it does what a careful provider would: no authorization without an
S256 challenge, no token without the verifier that belongs to it. Both run on loopback, on ports of their own.
"""

import base64
import hashlib
import http.client
import json
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.setup.running import Program


class IdentityProvider:
    """``issuer`` is its address; ``person`` adds or changes one, also while people are signed in."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._behind = probe.getsockname()[1]
        self._program = Program("-m", "oidc_provider_mock", "--port", str(self._behind))
        self.challenges: dict[str, str] = {}
        self.verified = 0
        self._door = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._door.serve_forever, daemon=True).start()
        self.issuer = f"http://127.0.0.1:{self._door.server_port}"
        self._wait()

    def person(self, sub: str, **claims: Any) -> None:
        body = json.dumps(claims).encode()
        status, _, answer = self.forward("PUT", f"/users/{sub}", {"Content-Type": "application/json"}, body)
        assert status == 204, answer

    def close(self) -> None:
        self._door.shutdown()
        self._door.server_close()
        self._program.kill()

    def forward(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._behind, timeout=20)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                self.forward("GET", "/.well-known/openid-configuration", {}, b"")
                return
            except OSError:
                assert time.monotonic() < deadline, self._program.output_so_far()
                time.sleep(0.1)


def _handler(provider: IdentityProvider) -> type[BaseHTTPRequestHandler]:
    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._pass()

        def do_POST(self) -> None:
            self._pass()

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet: what goes wrong is in the answers."""

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            url = urlsplit(self.path)
            asked = {name: values[0] for name, values in parse_qs(url.query).items()}
            if url.path == "/oauth2/authorize" and (
                asked.get("code_challenge_method") != "S256" or not asked.get("code_challenge")
            ):
                return self._answer(400, [], b"PKCE is required")
            if url.path == "/oauth2/token" and not self._proven(body):
                return self._answer(400, [("Content-Type", "application/json")], b'{"error": "invalid_grant"}')
            if url.path == "/favicon.ico":
                return self._answer(204, [], b"")
            # The host stays: the issuer that the provider names is made from it.
            status, headers, answer = provider.forward(self.command, self.path, dict(self.headers), body)
            headers = [
                (name, self._back(value, asked) if name.lower() == "location" else value) for name, value in headers
            ]
            # Its pages load a style sheet from the internet, which is not there.
            self._answer(status, headers, re.sub(rb"<link[^>]*>", b"", answer))

        def _back(self, location: str, asked: dict[str, str]) -> str:
            """Where the browser is sent; a refusal lacks the state that the standard asks for."""
            query = parse_qs(urlsplit(location).query)
            for code in query.get("code", []):
                provider.challenges[code] = asked["code_challenge"]
            return f"{location}&{urlencode({'state': asked['state']})}" if "error" in query else location

        def _proven(self, body: bytes) -> bool:
            form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            good = base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == provider.challenges.get(
                form.get("code", "")
            )
            provider.verified += good
            return good

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Door
