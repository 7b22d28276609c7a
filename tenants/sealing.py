"""Secrets at rest: sealed with a key derived from ``SECRET_KEY``, so that a copy of the database alone opens nothing.

AES-256-GCM; ``about`` is bound in, so that one row's secret cannot be put into another's. What was sealed under one of
``SECRET_KEY_FALLBACKS`` opens as well.
"""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

NONCE_BYTES = 12


class SealBroken(Exception):
    """The secret was sealed under another key, or changed since."""


def seal(secret: bytes, about: str) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + _cipher(settings.SECRET_KEY).encrypt(nonce, secret, about.encode())


def unseal(sealed: bytes, about: str) -> bytes:
    """The secret again, or ``SealBroken``."""
    for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        try:
            return _cipher(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], about.encode())
        except (InvalidTag, ValueError):
            continue
    raise SealBroken(f"What is sealed for {about} opens under no SECRET_KEY that is set.")


def _cipher(secret_key: str) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt=None, info=b"ml-platform sealed secret v1").derive(secret_key.encode()))
