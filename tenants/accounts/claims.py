"""PURE: what an identity provider says of a person, made plain. Nothing here trusts the shape of a claim."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from platform_portal.oidc import Provider

USERNAME_MAX = 150
GROUPS_MAX = 5000
UNUSABLE = re.compile(r"[^\w.@+-]+")


@dataclass(frozen=True)
class Person:
    """``email`` is empty unless it is verified: an address that nobody has checked is nobody's."""

    username: str
    email: str
    groups: frozenset[str]
    first_name: str = ""
    last_name: str = ""


def person(id_token: Mapping[str, Any], userinfo: Mapping[str, Any], provider: Provider) -> Person:
    """Whom the claims describe. The ID token goes before userinfo: it is signed."""
    email = _email(id_token, provider) or _email(userinfo, provider)
    groups = groups_of(id_token, provider.groups_claim)
    if groups is None:
        groups = groups_of(userinfo, provider.groups_claim)

    def text(name: str) -> str:
        return next((value for claims in (id_token, userinfo) if isinstance(value := claims.get(name), str)), "")

    name = text("name").partition(" ")
    return Person(
        username=username_of(text("preferred_username"), email),
        email=email,
        groups=groups or frozenset(),
        first_name=(text("given_name") or name[0])[:150],
        last_name=(text("family_name") or name[2])[:150],
    )


def groups_of(claims: Mapping[str, Any], path: str) -> frozenset[str] | None:
    """The groups below ``path``, which may be nested (``realm_access.roles``); ``None`` when nothing stands there.

    A name that itself contains dots, such as a URL, is looked for whole first.
    """
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for step in path.split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
    if found is None:
        return None
    words = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    return frozenset(word for word in words[:GROUPS_MAX] if isinstance(word, str) and word)


def username_of(preferred: str, email: str) -> str:
    """A username to begin with: what the provider prefers, else the part of the address before the @."""
    for wish in (preferred, email.partition("@")[0]):
        if usable := UNUSABLE.sub("-", wish.strip()).strip("-.")[: USERNAME_MAX - 8]:
            return usable.lower()
    return "user"


def domain_allowed(email: str, domains: tuple[str, ...]) -> bool:
    """Whether a verified address lies in one of the domains themselves; a subdomain is another one."""
    return not domains or email.rpartition("@")[2].lower() in domains


def _email(claims: Mapping[str, Any], provider: Provider) -> str:
    email = claims.get("email")
    # Some providers write the flag as a text; "false" must not count as true.
    verified = provider.trust_email or claims.get("email_verified") in (True, "true")
    if not isinstance(email, str) or email.count("@") != 1 or not verified or len(email) > 254:
        return ""
    return email.strip()
