"""Reads of the keys that sign the platform's JWTs."""

import time
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any

import jwt
from django.db.models import Q
from django.utils import timezone

from tenants.models import SigningKey

ALGORITHM = "ES256"
# How long a process goes by what it read: a key that is retired at once is refused everywhere after this.
REMEMBERED_SECONDS = 20.0


@dataclass(frozen=True)
class PublicKey:
    key: Any
    retires_at: datetime | None


def signing_keys() -> list[SigningKey]:
    """Those that still verify, newest first: the first signs."""
    return list(SigningKey.objects.filter(_verifies(timezone.now())).order_by("-created_at", "kid"))


def key_set() -> dict[str, list[dict[str, Any]]]:
    """The public halves, as a JSON Web Key Set."""
    return {"keys": [key.public_jwk for key in signing_keys()]}


def public_key(kid: str) -> Any | None:
    """The key that verifies what was signed under ``kid``; ``None`` for one that is unknown or retired."""
    now = time.monotonic()
    with _lock:
        found = _remembered.get(kid)
    if found is None or found[0] < now:
        row = SigningKey.objects.filter(pk=kid).first()
        if row is None:
            return None
        key = jwt.PyJWK(row.public_jwk, algorithm=ALGORITHM).key
        found = (now + REMEMBERED_SECONDS, PublicKey(key, row.retires_at))
        with _lock:
            _remembered[kid] = found
    retires_at = found[1].retires_at
    return found[1].key if retires_at is None or retires_at > timezone.now() else None


def forget_keys() -> None:
    """What this process remembers; for who has just changed the keys."""
    with _lock:
        _remembered.clear()


def _verifies(now: datetime) -> Q:
    return Q(retires_at=None) | Q(retires_at__gt=now)


_lock = Lock()
_remembered: dict[str, tuple[float, PublicKey]] = {}
