"""Writes: the keys that sign the platform's JWTs, made when they are first needed and replaced by age.

Whoever finds no key that is young enough makes one. An advisory lock of the transaction lets one of many do it; if that process
dies, its transaction and the lock are gone, and the next one makes the key.
"""

import json
import logging
import secrets
from datetime import timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from platform_portal.errors import conflict, not_found
from tenants import audit, sealing
from tenants.models import SigningKey
from tenants.selectors.signing_keys import ALGORITHM, forget_keys, signing_keys

log = logging.getLogger(__name__)

# What a replaced key still verifies: every JWT that it signed has ended by then, and every copy of the key set is renewed.
OVERLAP = timedelta(hours=2)
# How long a retired key's row is kept to be looked at.
KEPT = timedelta(days=90)
LOCK = 0x6D6C_6A77


def signing_key_current() -> tuple[str, Any]:
    """(key id, private key) to sign with now."""
    found = _usable()
    return found if found is not None else _replace(only_if_due=True, by=audit.PLATFORM)


def signing_key_rotate(*, by: audit.Actor = audit.PLATFORM) -> str:
    """Makes a new key that signs from now on; those before verify a while longer. Returns its id."""
    return _replace(only_if_due=False, by=by)[0]


def signing_key_retire(*, kid: str, by: audit.Actor = audit.PLATFORM) -> None:
    """Ends a key at once, and every JWT it signed: for one that may have become known."""
    now = timezone.now()
    with transaction.atomic():
        key = SigningKey.objects.select_for_update().filter(pk=kid).first()
        if key is None:
            raise not_found("signing key")
        if key.retires_at is not None and key.retires_at <= now:
            raise conflict("retired", f"The key {kid} is retired already.")
        SigningKey.objects.filter(pk=kid).update(retires_at=now)
        audit.record(by, "signing-key.retire", target=kid, target_id=kid, after={"retires_at": now})
    forget_keys()


def _usable() -> tuple[str, Any] | None:
    """The newest key that has not been replaced, if it is young enough and opens."""
    oldest = timezone.now() - timedelta(days=settings.JWT_KEY_DAYS)
    row = SigningKey.objects.filter(retires_at=None, created_at__gt=oldest).order_by("-created_at", "kid").first()
    if row is None:
        return None
    try:
        return row.kid, serialization.load_der_private_key(sealing.unseal(bytes(row.private_key), row.kid), None)
    except sealing.SealBroken:
        log.warning("the signing key %s was sealed under an earlier SECRET_KEY and is replaced", row.kid)
        return None


def _replace(*, only_if_due: bool, by: audit.Actor) -> tuple[str, Any]:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        if only_if_due and (found := _usable()) is not None:
            return found
        now = timezone.now()
        kid, key = secrets.token_urlsafe(12), ec.generate_private_key(ec.SECP256R1())
        replaced = [old.kid for old in signing_keys() if old.retires_at is None]
        SigningKey.objects.filter(Q(kid__in=replaced)).update(retires_at=now + OVERLAP)
        SigningKey.objects.filter(retires_at__lt=now - KEPT).delete()
        SigningKey.objects.create(
            kid=kid, public_jwk=_public_jwk(kid, key), private_key=_sealed(kid, key), created_at=now
        )
        audit.record(by, "signing-key.create", target=kid, target_id=kid, after={"replaces": replaced})
    forget_keys()
    return kid, key


def _sealed(kid: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return sealing.seal(der, kid)


def _public_jwk(kid: str, key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    public = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())
    return json.loads(public) | {"kid": kid, "alg": ALGORITHM, "use": "sig"}
