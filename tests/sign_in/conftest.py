"""An identity provider within the process: it answers the requests that the portal makes, and signs what a test wants signed."""

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from django.test import Client
from pytest_django import Settings

from platform_portal import oidc

ISSUER = "https://id.example.com/realms/main"
CALLBACK = "/accounts/oidc/corp/login/callback/"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwk(key: Any = KEY, kid: str = "k1", **more: Any) -> dict[str, Any]:
    return json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())) | {"kid": kid, "use": "sig"} | more


def signed(claims: dict[str, Any], key: Any = KEY, kid: str | None = "k1", algorithm: str = "RS256") -> str:
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid} if kid else None)


def good_claims(**more: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": ISSUER, "aud": "ml", "sub": "1", "iat": now, "exp": now + 300} | more


@dataclass
class Idp:
    """``claims`` go into the ID token, ``userinfo`` beside it; ``down`` makes it unreachable."""

    claims: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] | None = None
    config: dict[str, Any] = field(default_factory=dict)
    id_token: str = ""
    down: bool = False
    asked: list[str] = field(default_factory=list)
    challenge: str = ""

    def person(self, name: str, *groups: str, **more: Any) -> None:
        self.claims = {
            "sub": f"{name}-1",
            "preferred_username": name,
            "email": f"{name}@example.com",
            "email_verified": True,
            "groups": list(groups),
        } | more

    def sign_in(self, client: Client, next_url: str = "") -> Any:
        """The browser's way: the button, the provider's page, and back; the answer to the last step."""
        return client.get(CALLBACK, {"code": "c0de", "state": self.begin(client, next_url)})

    def begin(self, client: Client, next_url: str = "") -> str:
        """The button; the state that the browser takes to the provider."""
        begun = client.post("/accounts/oidc/corp/login/", {"next": next_url} if next_url else {})
        assert begun.status_code == 200, begun.content
        query = parse_qs(urlsplit(begun.context["url"]).query)
        self.challenge = query["code_challenge"][0]
        return query["state"][0]

    def answer(self, method: str, url: str, **kwargs: Any) -> Any:
        import requests

        self.asked.append(url)
        if self.down:
            raise requests.ConnectionError("nobody there")
        answer = requests.Response()
        answer.status_code = 200
        answer.headers["content-type"] = "application/json"
        answer._content = json.dumps(self._body(url, kwargs.get("data") or {})).encode()
        return answer

    def _body(self, url: str, data: dict[str, str]) -> Any:
        if url.endswith(oidc.DISCOVERY):
            return {
                "issuer": ISSUER,
                "authorization_endpoint": f"{ISSUER}/authorize",
                "token_endpoint": f"{ISSUER}/token",
                "userinfo_endpoint": f"{ISSUER}/userinfo",
                "jwks_uri": f"{ISSUER}/jwks",
            } | self.config
        if url.endswith("/jwks"):
            return {"keys": [jwk()]}
        if url.endswith("/userinfo"):
            return self.userinfo if self.userinfo is not None else {"sub": self.claims["sub"]}
        digest = hashlib.sha256(data["code_verifier"].encode()).digest()
        assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == self.challenge, "PKCE"
        return {
            "access_token": "at",
            "token_type": "Bearer",
            "id_token": self.id_token or signed(good_claims(**self.claims)),
        }


@pytest.fixture
def idp(db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Idp]:
    import requests

    found = Idp()
    configure(settings)
    monkeypatch.setattr(
        requests.Session, "request", lambda session, method, url, **more: found.answer(method, url, **more)
    )
    found.person("grace", "ml")
    yield found


def configure(settings: Settings, **more: Any) -> None:
    entry = {"id": "corp", "name": "Example Corp", "issuer": ISSUER, "client_id": "ml", "client_secret": "s"} | more
    settings.OIDC, problems = oidc.read(json.dumps([entry]))
    assert not problems
