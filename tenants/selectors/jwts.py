"""Which tenant a JWT stands for: one of the platform's own, or one of a trusted issuer's."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import jwt
from django.conf import settings

from platform_portal import safejson
from tenants.context import TenantContext
from tenants.models import IssuerRule
from tenants.selectors import federation
from tenants.selectors.contexts import context_for_token_id
from tenants.selectors.signing_keys import ALGORITHM, public_key

AUDIENCE = "ml-platform"
LEEWAY_SECONDS = 5
MAX_LENGTH = 8192
MAX_KID = 200
REQUIRED = ("iss", "aud", "sub", "iat", "nbf", "exp", "jti")
# Besides its own errors, what PyJWT lets through when numbers or nesting in a JWT are beyond reason.
UNREADABLE = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class JwtContext(TenantContext):
    """Acting by a JWT: until when, and by which rule if a trusted issuer signed it first."""

    expires_at: datetime | None = None
    rule: IssuerRule | None = None
    # Signed by the issuer itself, not by the platform in exchange.
    is_foreign: bool = False
    # The subject that the issuer names, for the audit log.
    foreign_subject: str = ""


def is_jwt(token: str) -> bool:
    """Whether the text has a JWT's shape: three parts, of which the first is a JSON object in base64."""
    return token.startswith("ey") and token.count(".") == 2


def context_for_jwt(token: str) -> JwtContext:
    """The context; a 401 that says what is wrong with the JWT, 403 if no rule lets it in, 503 if it cannot be verified."""
    if len(token) > MAX_LENGTH:
        raise federation.refused(f"The JWT is longer than {MAX_LENGTH} characters.")
    try:
        header = jwt.get_unverified_header(token)
        issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
    except UNREADABLE as exc:
        raise federation.refused("The JWT cannot be read.") from exc
    kid = header.get("kid", "")
    if not isinstance(kid, str) or len(kid) > MAX_KID or safejson.text_problem(kid):
        raise federation.refused("The JWT's header names no key (kid).")
    if issuer == settings.PLATFORM_URL:
        return _own(token, kid)
    found = federation.verify(token, kid, header.get("alg"), issuer)
    subject = str(found.claims.get("sub", ""))[:200]
    return replace(_of_rule(found.rule, found.expires_at), is_foreign=True, foreign_subject=subject)


def _own(token: str, kid: str) -> JwtContext:
    key = public_key(kid) if kid else None
    if key is None:
        raise federation.refused("The key that signed the JWT is unknown or retired. Exchange a token for a new one.")
    try:
        claims = jwt.decode(
            token,
            key=key,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=settings.PLATFORM_URL,
            leeway=LEEWAY_SECONDS,
            options={"require": list(REQUIRED)},
        )
        expires_at = datetime.fromtimestamp(claims["exp"], UTC)
    except UNREADABLE as exc:
        raise federation.refused(federation.sentence(exc)) from exc
    ctx = _still(claims, expires_at)
    if ctx is None or ctx.tenant.slug != claims.get("tenant"):
        raise federation.refused("What the JWT was given for has been revoked, has expired or is disabled.")
    scopes = ctx.scopes & frozenset(scope for scope in claims.get("scopes", ()) if isinstance(scope, str))
    return _narrowed(ctx, scopes, expires_at)


def _still(claims: dict[str, Any], expires_at: datetime) -> TenantContext | None:
    """The context of the token or the rule behind the JWT, as it is now; one query."""
    if "tid" in claims:
        return context_for_token_id(int(claims["tid"]), str(claims.get("kind")))
    rule = federation.live_rule(int(claims["rid"])) if "rid" in claims else None
    return _of_rule(rule, expires_at) if rule else None


def _of_rule(rule: IssuerRule, expires_at: datetime) -> JwtContext:
    account = rule.service_account
    return JwtContext(
        tenant=account.tenant,
        role=account.role,
        service_account=account,
        scopes=frozenset(rule.scopes) | {"read"},
        expires_at=expires_at,
        rule=rule,
    )


def _narrowed(ctx: TenantContext, scopes: frozenset[str], expires_at: datetime) -> JwtContext:
    return JwtContext(
        tenant=ctx.tenant,
        role=ctx.role,
        user=ctx.user,
        token=ctx.token,
        service_account=ctx.service_account,
        scopes=scopes | {"read"},
        expires_at=expires_at,
        rule=ctx.rule if isinstance(ctx, JwtContext) else None,
    )
