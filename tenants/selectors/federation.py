"""JWTs of trusted issuers: verified with the issuer's keys, then matched against its rules.

A rule matches when each of its patterns matches its claim: the whole text of a claim, ``*`` for any text; of a claim that is a
list, one element. The first rule by order holds. A rule without patterns would let in everybody whom the issuer knows, so it
matches nothing.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

import jwt

from platform_portal import safejson
from platform_portal.errors import DomainError, forbidden
from tenants import issuers
from tenants.models import IssuerRule, TrustedIssuer

LEEWAY_SECONDS = 30
# By type of key: what a key set does not pin down, and nothing that is not a public-key signature.
BY_TYPE = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA",),
}
UNREADABLE = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)
SHOWN = 100


@dataclass(frozen=True)
class Verified:
    rule: IssuerRule
    expires_at: datetime
    claims: dict[str, Any]


def verify(token: str, kid: str, algorithm: Any, claimed: Any) -> Verified:
    """The rule that lets the JWT in. 401 for a bad JWT, 403 if no rule matches, 503 if the issuer cannot be asked."""
    issuer = TrustedIssuer.objects.filter(issuer=claimed, is_active=True).first() if _is_text(claimed) else None
    if issuer is None:
        raise refused(f"The JWT's issuer (iss {_shown(claimed)}) is none that the platform trusts.")
    key = issuers.key_of(issuer, kid)
    if key is None:
        raise refused(f"The issuer {issuer.name} has no key {_shown(kid or None)} (kid).")
    if algorithm not in _algorithms(key):
        raise refused(f"The JWT's algorithm (alg {_shown(algorithm)}) is not one for the issuer's key.")
    try:
        claims = jwt.decode(
            token,
            key=jwt.PyJWK(key, algorithm=algorithm).key,
            algorithms=[algorithm],
            audience=issuer.audience,
            issuer=issuer.issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["iss", "aud", "iat", "exp"]},
        )
        expires_at = datetime.fromtimestamp(claims["exp"], UTC)
    except UNREADABLE as exc:
        raise refused(sentence(exc, issuer.audience)) from exc
    rules = list(_live().filter(issuer=issuer).order_by("order", "pk"))
    for rule in rules:
        if not mismatches(rule.claims, claims):
            return Verified(rule, expires_at, claims)
    raise forbidden(_no_rule(issuer, rules, claims), "no_rule_matches")


def live_rule(rule_id: int) -> IssuerRule | None:
    """The rule with its account and team, while all of them and the issuer are active."""
    return _live().filter(pk=rule_id).first()


def mismatches(patterns: Any, claims: dict[str, Any]) -> list[str]:
    """The names of the claims that their patterns do not match; of no patterns at all the empty name."""
    if not isinstance(patterns, dict) or not patterns:
        return [""]
    return [name for name, pattern in sorted(patterns.items()) if not _matches(pattern, claims.get(name))]


def refused(message: str) -> DomainError:
    return DomainError(
        "invalid_token",
        message,
        http_status=401,
        headers={"WWW-Authenticate": 'Bearer realm="ml-platform", error="invalid_token"'},
    )


def sentence(problem: Exception, audience: str = "ml-platform") -> str:
    """What is wrong with a JWT, by its claim."""
    match problem:
        case jwt.ExpiredSignatureError():
            return "The JWT has expired (exp)."
        case jwt.ImmatureSignatureError():
            return "The JWT is not valid yet (nbf, iat)."
        case jwt.MissingRequiredClaimError():
            return f"The JWT has no {problem.claim}."
        case jwt.InvalidAudienceError():
            return f"The JWT is meant for somebody else: its aud must contain {audience}."
        case jwt.InvalidAlgorithmError():
            return "The JWT's algorithm (alg) is not the key's."
        case jwt.InvalidSignatureError():
            return "The JWT's signature is not the issuer's."
    return "The JWT is not valid."


def _live() -> Any:
    rules = IssuerRule.objects.select_related("issuer", "service_account__tenant")
    return rules.filter(is_active=True, issuer__is_active=True, service_account__is_active=True)


def _algorithms(key: issuers.Jwk) -> tuple[str, ...]:
    possible = BY_TYPE.get(str(key.get("kty")), ())
    pinned = key.get("alg")
    return tuple(name for name in possible if pinned is None or name == pinned)


def _texts(value: Any) -> list[str]:
    """The claim as texts to match: itself, or of a list its elements; of objects nothing."""
    found = []
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, bool):
            found.append(str(one).lower())
        elif isinstance(one, str | int):
            found.append(str(one))
    return found


def _matches(pattern: Any, claim: Any) -> bool:
    return isinstance(pattern, str) and any(fnmatchcase(text, pattern) for text in _texts(claim))


def _no_rule(issuer: TrustedIssuer, rules: list[IssuerRule], claims: dict[str, Any]) -> str:
    """Names the claims, and never the patterns: whoever has an account with the issuer can read this."""
    if not rules:
        return f"The issuer {issuer.name} is trusted, but no rule of it gives anybody access."
    closest = min((mismatches(rule.claims, claims) for rule in rules), key=len)
    why = " and ".join(f"its claim {name} is {_shown(claims.get(name))}" for name in closest if name)
    return f"No rule of the issuer {issuer.name} matches this JWT{f': {why}' if why else ''}."


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and safejson.text_problem(value) is None


def _shown(value: Any) -> str:
    if value is None:
        return "missing"
    text = value if isinstance(value, str) else str(value)
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
