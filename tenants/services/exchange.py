"""Writes: a token or a trusted issuer's JWT exchanged for a short-lived JWT of the platform's own."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import jwt
from django.conf import settings
from django.utils import timezone

from platform_portal.errors import forbidden, invalid
from tenants import audit
from tenants.context import TenantContext
from tenants.models import SCOPES
from tenants.selectors.jwts import AUDIENCE, JwtContext
from tenants.selectors.signing_keys import ALGORITHM
from tenants.services.signing_keys import signing_key_current

DEFAULT_SECONDS, MIN_SECONDS, MAX_SECONDS = 900, 1, 3600


@dataclass(frozen=True)
class Exchanged:
    access_token: str
    scopes: list[str]
    issued_at: datetime
    expires_at: datetime


def token_exchange(
    *, ctx: TenantContext, scopes: Iterable[str] | None = None, expires_in: int = DEFAULT_SECONDS
) -> Exchanged:
    """A JWT with the scopes asked for, at most those of ``ctx``, that ends when the token does if that is sooner.

    Whatever ends the token or the rule behind ``ctx`` ends the JWT at once. A JWT of the platform's own is not exchanged
    again: it would never end.
    """
    if isinstance(ctx, JwtContext) and not ctx.is_foreign:
        raise forbidden(
            "This is a JWT of the platform already; exchange the token that it was made from.", "not_a_token"
        )
    wanted = _checked(ctx, scopes, expires_in)
    now = timezone.now().replace(microsecond=0)
    expires_at = now + timedelta(seconds=expires_in)
    if ctx.token is not None and ctx.token.expires_at is not None:
        expires_at = min(expires_at, ctx.token.expires_at.astimezone(UTC).replace(microsecond=0))
    kid, key = signing_key_current()
    claims = {
        "iss": settings.PLATFORM_URL,
        "aud": AUDIENCE,
        "sub": _subject(ctx),
        "tenant": ctx.tenant.slug,
        "role": str(ctx.role),
        "scopes": wanted,
        "iat": now,
        "nbf": now,
        "exp": expires_at,
        "jti": str(uuid4()),
    } | _behind(ctx)
    text = jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": kid})
    audit.record(ctx, "token.exchange", target=claims["sub"], target_id=claims["jti"], after=_told(ctx, claims))
    return Exchanged(text, wanted, now, expires_at)


def _checked(ctx: TenantContext, scopes: Iterable[str] | None, expires_in: int) -> list[str]:
    errors: dict[str, list[str]] = {}
    if not isinstance(expires_in, int) or isinstance(expires_in, bool) or not MIN_SECONDS <= expires_in <= MAX_SECONDS:
        errors["expires_in"] = [f"must be a whole number of seconds from {MIN_SECONDS} to {MAX_SECONDS}"]
    asked = ctx.scopes if scopes is None else frozenset(scopes)
    if not asked or not asked <= frozenset(SCOPES):
        errors["scopes"] = [f"choose from {', '.join(SCOPES)}"]
    if errors:
        raise invalid(errors)
    if excess := [scope for scope in SCOPES if scope in asked - ctx.scopes and scope != "read"]:
        has = ", ".join(scope for scope in SCOPES if scope in ctx.scopes)
        raise forbidden(f"The token does not have {', '.join(excess)}; it has {has}.", "insufficient_scope")
    return [scope for scope in SCOPES if scope == "read" or scope in asked]


def _subject(ctx: TenantContext) -> str:
    if ctx.user is not None:
        return f"user:{ctx.user.get_username()}"
    if ctx.service_account is not None:
        return f"service-account:{ctx.tenant.slug}/{ctx.service_account.name}"
    return f"token:{ctx.token.pk if ctx.token else ''}"


def _behind(ctx: TenantContext) -> dict[str, str]:
    """What is asked at each use whether it still holds: the token, or the issuer's rule."""
    if ctx.token is not None:
        return {"tid": str(ctx.token.pk), "kind": ctx.token.kind}
    if isinstance(ctx, JwtContext) and ctx.rule is not None:
        return {"rid": str(ctx.rule.pk)}
    raise forbidden("Only a token or a trusted issuer's JWT can be exchanged.", "not_a_token")


def _told(ctx: TenantContext, claims: dict[str, Any]) -> dict[str, Any]:
    told = {"scopes": claims["scopes"], "expires_at": claims["exp"]}
    if isinstance(ctx, JwtContext) and ctx.rule is not None:
        return told | {"issuer": ctx.rule.issuer.name, "rule": ctx.rule.pk, "issuer_subject": ctx.foreign_subject}
    return told | {"token": ctx.token.name if ctx.token else ""}
