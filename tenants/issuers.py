"""The key sets of trusted issuers: found by discovery or by the address in the row, fetched within limits, remembered.

Only https outside the laptop, no redirect followed, at most ``MAX_BYTES`` and ``FETCH_SECONDS`` an answer. A key id that is not
known has the set fetched again, at most once in ``REFETCH_SECONDS``, so that a stranger's JWTs cannot make the portal hammer an
issuer. While an issuer does not answer, keys are believed for ``STALE_SECONDS`` and then no longer.
"""

import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from platform_portal.errors import DomainError
from tenants.models import TrustedIssuer

log = logging.getLogger(__name__)

MAX_BYTES = 256 * 1024
FETCH_SECONDS = 5.0
FRESH_SECONDS = 600.0
STALE_SECONDS = 3600.0
REFETCH_SECONDS = 60.0
# How long a request waits for the answer that another one has asked for.
WAIT_SECONDS = 2.0
# After a failure nobody asks again for this long: requests must not queue up behind an issuer that hangs.
PAUSE_SECONDS = 10.0
DISCOVERY = "/.well-known/openid-configuration"
Jwk = dict[str, Any]


class Unreachable(Exception):
    """The issuer gave no usable answer."""


def key_of(issuer: TrustedIssuer, kid: str, now: Callable[[], float] = time.monotonic) -> Jwk | None:
    """The issuer's public key of this id; ``None`` if it has none, a 503 if it cannot be asked.

    Without an id it is the issuer's only key, as OpenID Connect has it, or none.
    """
    keys = _kept(issuer)
    if keys.due(kid, now()):
        # One asks for all; who can go by what is known does not wait for it.
        needed = keys.find(kid) is None or keys.stale(now())
        if keys.lock.acquire(timeout=WAIT_SECONDS if needed else 0):
            try:
                if keys.due(kid, now()):
                    _renew(issuer, keys, now)
            finally:
                keys.lock.release()
        elif needed:
            raise _unavailable(issuer, "it is being asked and has not answered yet")
    if keys.stale(now()):
        raise _unavailable(issuer, keys.problem)
    return keys.find(kid)


def forget() -> None:
    """All that this process remembers."""
    with _all_lock:
        _all.clear()


@dataclass
class _Keys:
    lock: Lock = field(default_factory=Lock)
    by_id: dict[str, Jwk] = field(default_factory=dict)
    fetched_at: float = float("-inf")
    failed_at: float = float("-inf")
    problem: str = ""

    def due(self, kid: str, moment: float) -> bool:
        if moment - self.failed_at < PAUSE_SECONDS:
            return False
        age = moment - self.fetched_at
        return age > FRESH_SECONDS or (self.find(kid) is None and age >= REFETCH_SECONDS)

    def find(self, kid: str) -> Jwk | None:
        if not kid and len(self.by_id) == 1:
            return next(iter(self.by_id.values()))
        return self.by_id.get(kid) if kid else None

    def stale(self, moment: float) -> bool:
        return moment - self.fetched_at > STALE_SECONDS


_all: dict[tuple[str, str], _Keys] = {}
_all_lock = Lock()


def _kept(issuer: TrustedIssuer) -> _Keys:
    with _all_lock:
        return _all.setdefault((issuer.issuer, issuer.jwks_url), _Keys())


def _renew(issuer: TrustedIssuer, keys: _Keys, now: Callable[[], float]) -> None:
    try:
        keys.by_id = _fetch_keys(issuer)
    except Unreachable as problem:
        keys.failed_at, keys.problem = now(), str(problem)
        log.warning("the keys of the issuer %s cannot be had: %s", issuer.name, problem)
    else:
        keys.fetched_at, keys.problem = now(), ""


def _fetch_keys(issuer: TrustedIssuer) -> dict[str, Jwk]:
    deadline = time.monotonic() + FETCH_SECONDS
    found = _get_json(issuer.jwks_url or _discover(issuer, deadline), deadline).get("keys")
    if not isinstance(found, list):
        raise Unreachable("its key set has no keys")
    usable = [key for key in found if isinstance(key, dict) and isinstance(key.get("kid", ""), str)]
    # Never a shared secret: a key set is public.
    return {key.get("kid", ""): key for key in usable if key.get("kty") != "oct" and key.get("use", "sig") == "sig"}


def _discover(issuer: TrustedIssuer, deadline: float) -> str:
    document = _get_json(issuer.issuer.rstrip("/") + DISCOVERY, deadline)
    if document.get("issuer") != issuer.issuer:
        raise Unreachable(f"its discovery document is of another issuer ({str(document.get('issuer'))[:200]!r})")
    address = document.get("jwks_uri")
    if not isinstance(address, str):
        raise Unreachable("its discovery document names no jwks_uri")
    return address


def _get_json(url: str, deadline: float) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (settings.LAPTOP and parts.scheme == "http"):
        raise Unreachable(f"{url} is not https")
    request = urllib.request.Request(url, headers={"Accept": "application/json", "User-Agent": "ml-platform"})
    try:
        with _opener.open(request, timeout=max(0.1, deadline - time.monotonic())) as answer:
            body = _read(answer, deadline)
    except urllib.error.HTTPError as exc:
        raise Unreachable(f"{url} answers {exc.code}") from exc
    except (OSError, HTTPException, ValueError) as exc:
        raise Unreachable(f"{url}: {exc}") from exc
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise Unreachable(f"{url} answers no JSON") from exc
    if not isinstance(found, dict):
        raise Unreachable(f"{url} answers no JSON object")
    return found


def _read(answer: Any, deadline: float) -> bytes:
    """All of it, unless it is too long or comes too slowly: a socket's time limit is that of one piece."""
    body = b""
    while piece := answer.read1(64 * 1024):
        body += piece
        if len(body) > MAX_BYTES:
            raise Unreachable(f"{answer.url} answers more than {MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            raise Unreachable(f"{answer.url} takes longer than {FETCH_SECONDS:.0f} seconds")
    return body


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Declined: the answer becomes the HTTPError that it is."""


_opener = urllib.request.build_opener(_NoRedirect)


def _unavailable(issuer: TrustedIssuer, problem: str) -> DomainError:
    log.warning("a JWT of the issuer %s cannot be verified: %s", issuer.name, problem)
    return DomainError(
        "issuer_unavailable",
        f"The keys of the issuer {issuer.name} ({issuer.issuer}) cannot be had at the moment, so its JWTs cannot be "
        "verified. Try again shortly, or use a token of the platform.",
        http_status=503,
        headers={"Retry-After": str(int(PAUSE_SECONDS))},
    )
