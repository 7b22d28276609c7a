"""Who sends a request: the administrator by the one token of the folder, or a ServiceAccount by a token made for it.

A ServiceAccount's token is a signed claim and stored nowhere: it is good until its time is over or its account is deleted, and
it survives a restart of the server, as in Kubernetes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from datetime import timedelta

import orjson

from localcluster.errors import ApiError, FieldError, bad_request, invalid_kind
from localcluster.objects import Obj, name_of, namespace_of, timestamp
from localcluster.registry import Registry
from localcluster.resources import SERVICE_ACCOUNTS

ISSUER = "https://kubernetes.default.svc.cluster.local"
_HOUR, _SHORTEST = 3600, 600
_HEADER = {"alg": "HS256", "typ": "JWT"}


@dataclass(frozen=True)
class User:
    name: str
    groups: frozenset[str]

    @property
    def is_admin(self) -> bool:
        return "system:masters" in self.groups


NOBODY = User("system:anonymous", frozenset({"system:unauthenticated"}))
ADMIN = User("admin", frozenset({"system:masters", "system:authenticated"}))


class Accounts:
    def __init__(self, registry: Registry, admin_token: str) -> None:
        self._registry, self._admin_token = registry, admin_token.encode()
        self._key = hashlib.sha256(b"service accounts" + self._admin_token).digest()

    def user_of(self, authorization: str) -> User:
        """Whose the `Authorization` header is; a 401 for nobody's."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer":
            if hmac.compare_digest(token.strip().encode(), self._admin_token):
                return ADMIN
            user = self._service_account(token.strip())
            if user is not None:
                return user
        raise ApiError(401, "Unauthorized", "Unauthorized")

    def token_request(self, namespace: str, name: str, request: Obj) -> Obj:
        """The TokenRequest with a new token of the account in its status."""
        if request.get("kind", "TokenRequest") != "TokenRequest":
            raise bad_request("the body must be a TokenRequest")
        account = self._registry.get(SERVICE_ACCOUNTS, namespace, name).obj
        spec = {"audiences": [ISSUER], "expirationSeconds": _HOUR} | (request.get("spec") or {})
        seconds = spec["expirationSeconds"]
        if not isinstance(seconds, int) or seconds < _SHORTEST:
            why = "may not specify a duration less than 10 minutes"
            problem = FieldError.invalid("spec.expirationSeconds", seconds, why)
            raise invalid_kind("TokenRequest", "authentication.k8s.io", "", [problem])
        now = self._registry.clock.now()
        ends = now + timedelta(seconds=seconds)
        claims = {
            "iss": ISSUER,
            "aud": spec["audiences"],
            "sub": f"system:serviceaccount:{namespace}:{name}",
            "iat": int(now.timestamp()),
            "exp": int(ends.timestamp()),
            "kubernetes.io": {
                "namespace": namespace,
                "serviceaccount": {"name": name, "uid": account["metadata"]["uid"]},
            },
        }
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {
                "name": name_of(account),
                "namespace": namespace_of(account),
                "creationTimestamp": timestamp(now),
            },
            "spec": spec,
            "status": {"token": self._signed(claims), "expirationTimestamp": timestamp(ends)},
        }

    def _service_account(self, token: str) -> User | None:
        claims = self._verified(token)
        if claims is None or claims["exp"] <= self._registry.clock.now().timestamp():
            return None
        about = claims["kubernetes.io"]
        namespace, account = about["namespace"], about["serviceaccount"]
        found = self._registry.find(SERVICE_ACCOUNTS, namespace, account["name"])
        if found is None or found.obj["metadata"]["uid"] != account["uid"]:
            return None
        everywhere = {"system:authenticated", "system:serviceaccounts", f"system:serviceaccounts:{namespace}"}
        return User(claims["sub"], frozenset(everywhere))

    def _signed(self, claims: Obj) -> str:
        body = f"{_encoded(orjson.dumps(_HEADER))}.{_encoded(orjson.dumps(claims))}"
        return f"{body}.{_encoded(self._signature(body))}"

    def _verified(self, token: str) -> Obj | None:
        body, _, signature = token.rpartition(".")
        try:
            if not hmac.compare_digest(_decoded(signature), self._signature(body)):
                return None
            claims: Obj = orjson.loads(_decoded(body.partition(".")[2]))
        except (ValueError, binascii.Error):
            return None
        return claims

    def _signature(self, body: str) -> bytes:
        return hmac.new(self._key, body.encode(), hashlib.sha256).digest()


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
