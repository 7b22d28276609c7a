"""An OpenID Connect issuer on loopback: a discovery document and a key set over real HTTP, with faults on demand."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

DISCOVERY = "/.well-known/openid-configuration"
RSA_KEYS = [rsa.generate_private_key(65537, 2048) for _ in range(2)]


class Issuer:
    """Runs until ``stop``. ``fault`` is called with the path and may answer (status, headers, body) itself."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fault: Any = None
        self.keys: dict[str, Any] = {"k1": RSA_KEYS[0]}
        self.extra: dict[str, dict[str, Any]] = {}
        self.document: dict[str, Any] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(urlsplit(self.path).path)
                status, headers, body = outer.answer(self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    for piece in [body] if isinstance(body, bytes) else body:
                        self.wfile.write(piece)
                except OSError:
                    pass

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> tuple[int, dict[str, str], Any]:
        if self.fault is not None and (found := self.fault(path)) is not None:
            return found
        if path == DISCOVERY:
            document = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"} | self.document
            return 200, {"Content-Type": "application/json"}, json.dumps(document).encode()
        if path == "/keys":
            return 200, {"Content-Type": "application/json"}, json.dumps({"keys": self.jwks()}).encode()
        return 404, {}, b"not here"

    def jwks(self) -> list[dict[str, Any]]:
        return [_jwk(key) | {"kid": kid} | self.extra.get(kid, {}) for kid, key in self.keys.items()]

    def token(self, *, kid: str = "k1", algorithm: str = "RS256", key: Any = None, **claims: Any) -> str:
        """A JWT of this issuer; a claim of ``None`` is left out."""
        now = int(time.time())
        whole = {
            "iss": self.url,
            "aud": "ml-platform",
            "sub": "repo:org/app:ref",
            "iat": now,
            "exp": now + 300,
        } | claims
        whole = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(whole, key or self.keys[kid], algorithm=algorithm, headers={"kid": kid})


def _jwk(key: Any) -> dict[str, Any]:
    public: Any = key.public_key()
    if isinstance(key, rsa.RSAPrivateKey):
        return dict(jwt.algorithms.RSAAlgorithm.to_jwk(public, as_dict=True))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return dict(jwt.algorithms.ECAlgorithm.to_jwk(public, as_dict=True))
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    return dict(jwt.algorithms.OKPAlgorithm.to_jwk(public, as_dict=True))
