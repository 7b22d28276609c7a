"""Reads ``OIDC_PROVIDERS``: the OpenID Connect providers by which people may sign in.

Pure. ``read`` never raises: what it cannot use it leaves out and tells in ``problems``, each with its remedy, so that a system
check can stop the start with everything that is wrong at once.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")
SCOPES = ("openid", "profile", "email")
DISCOVERY = "/.well-known/openid-configuration"
TEXTS = ("id", "name", "issuer", "client_id", "client_secret", "client_secret_file", "groups_claim")
LISTS = ("scopes", "allowed_domains")
FLAGS = ("auto_create", "trust_email")
NAME_MAX = 40
SHAPE = '[{"id": "corp", "name": "Corporate account", "issuer": "https://id.example.com", "client_id": "ml-platform"}]'
Problem = tuple[str, str]


@dataclass(frozen=True)
class Provider:
    """``trust_email``: the provider owns its addresses, so that they count as verified although it does not say so."""

    id: str
    name: str
    issuer: str
    client_id: str
    client_secret: str = ""
    groups_claim: str = "groups"
    scopes: tuple[str, ...] = SCOPES
    allowed_domains: tuple[str, ...] = ()
    auto_create: bool = True
    trust_email: bool = False


def read(text: str) -> tuple[tuple[Provider, ...], tuple[Problem, ...]]:
    """The providers that ``text`` (a JSON array) names, and (sentence, remedy) for each thing that is wrong with it."""
    if not text.strip():
        return (), ()
    try:
        entries = json.loads(text)
    except ValueError as exc:
        return (), ((f"OIDC_PROVIDERS is not JSON: {exc}", f"Write a JSON array: {SHAPE}"),)
    if not isinstance(entries, list):
        return (), (("OIDC_PROVIDERS is not an array.", f"Write a JSON array: {SHAPE}"),)
    providers: list[Provider] = []
    problems: list[Problem] = []
    for number, entry in enumerate(entries, 1):
        found, wrong = _one(entry, number)
        if found is not None and found.id in {other.id for other in providers}:
            wrong = [_problem(number, f'the id "{found.id}" is used twice', "Give each provider its own id.")]
            found = None
        providers += [found] if found else []
        problems += wrong
    return tuple(providers), tuple(problems)


def app(provider: Provider) -> dict[str, Any]:
    """The entry in django-allauth's ``APPS`` that stands for the provider."""
    return {
        "provider_id": provider.id,
        "name": provider.name,
        "client_id": provider.client_id,
        "secret": provider.client_secret,
        "settings": {
            "server_url": provider.issuer.rstrip("/") + DISCOVERY,
            "oauth_pkce_enabled": True,
            "scope": list(provider.scopes),
        },
    }


def _one(entry: Any, number: int) -> tuple[Provider | None, list[Problem]]:
    if not isinstance(entry, dict):
        return None, [_problem(number, "it is not an object", f"Write {SHAPE}")]
    problems = [_problem(number, what, remedy) for what, remedy in _wrong(entry)]
    secret = entry.get("client_secret", "")
    if not problems and (path := entry.get("client_secret_file")):
        try:
            secret = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as exc:
            problems.append(
                _problem(number, f"client_secret_file cannot be read: {exc}", "Name a file that the portal may read.")
            )
    if problems:
        return None, problems
    known = {key: value for key, value in entry.items() if key in FLAGS or key in ("id", "issuer", "client_id")}
    return Provider(
        **known,
        name=entry.get("name") or entry["id"],
        client_secret=secret,
        groups_claim=entry.get("groups_claim", "groups"),
        scopes=tuple(dict.fromkeys(["openid", *entry.get("scopes", SCOPES)])),
        allowed_domains=tuple(domain.lower() for domain in entry.get("allowed_domains", ())),
    ), []


def _wrong(entry: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with the values themselves, and the remedy of each."""
    found: list[Problem] = []
    if unknown := sorted(entry.keys() - {*TEXTS, *LISTS, *FLAGS}):
        found.append(
            (f"it has unknown keys: {', '.join(unknown)}", f"Known are {', '.join((*TEXTS, *LISTS, *FLAGS))}.")
        )
    found += [(f"{key} is not a text", "Put it in quotation marks.") for key in TEXTS if not _is(entry, key, str)]
    found += [(f"{key} is not true or false", "Write true or false.") for key in FLAGS if not _is(entry, key, bool)]
    found += [
        (f"{key} is not an array of texts", f'Write "{key}": ["…"].')
        for key in LISTS
        if not _is(entry, key, list) or not all(isinstance(word, str) and word for word in entry.get(key, ()))
    ]
    if found:
        return found
    found += [
        (f"{key} is missing", f"Add it, as in {SHAPE}") for key in ("id", "issuer", "client_id") if not entry.get(key)
    ]
    if entry.get("id") and not ID.fullmatch(entry["id"]):
        found.append((f'the id "{entry["id"]}" cannot stand in an address', "Use lower-case letters, digits and '-'."))
    if len(entry.get("name", "")) > NAME_MAX:
        found.append((f"the name is longer than {NAME_MAX} characters", "It is the text of a button: shorten it."))
    if entry.get("issuer"):
        found += _wrong_issuer(entry["issuer"])
    if entry.get("client_secret") and entry.get("client_secret_file"):
        found.append(("both client_secret and client_secret_file are given", "Keep one of them."))
    found += [
        (f'"{domain}" in allowed_domains is no domain', 'Write what stands behind the @, such as "example.com".')
        for domain in entry.get("allowed_domains", ())
        if not DOMAIN.fullmatch(domain.lower())
    ]
    return found


def _wrong_issuer(issuer: str) -> list[Problem]:
    remedy = "Use the provider's issuer, such as https://id.example.com/realms/main"
    try:
        parts = urlsplit(issuer)
    except ValueError:
        return [(f"the issuer {issuer!r} is no address", remedy)]
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return [(f"the issuer {issuer!r} is no address", remedy)]
    if parts.username:
        return [("the issuer holds a user name or password", remedy)]
    if parts.query or parts.fragment or issuer.rstrip("/").endswith(DISCOVERY):
        return [(f"the issuer {issuer!r} is more than an issuer", f"{remedy}; the portal adds {DISCOVERY} itself.")]
    return []


def _is(entry: Mapping[str, Any], key: str, kind: type) -> bool:
    return key not in entry or isinstance(entry[key], kind)


def _problem(number: int, what: str, remedy: str) -> Problem:
    return f"OIDC_PROVIDERS, entry {number}: {what}.", remedy
