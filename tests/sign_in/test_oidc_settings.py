"""OIDC_PROVIDERS: what is read, and what is said of the rest."""

import json
from pathlib import Path
from typing import Any

import pytest

from platform_portal import oidc

GOOD = {"id": "corp", "name": "Corp", "issuer": "https://id.example.com/realms/main", "client_id": "ml"}


def read(*entries: Any) -> tuple[tuple[oidc.Provider, ...], tuple[oidc.Problem, ...]]:
    return oidc.read(json.dumps(entries))


def test_nothing_is_no_provider() -> None:
    assert oidc.read("") == oidc.read(" \n") == oidc.read("[]") == ((), ())


def test_what_is_left_out_has_its_default() -> None:
    (found,), problems = read(GOOD)
    assert problems == ()
    assert found == oidc.Provider("corp", "Corp", "https://id.example.com/realms/main", "ml")
    assert (found.groups_claim, found.scopes, found.auto_create, found.trust_email) == (
        "groups",
        ("openid", "profile", "email"),
        True,
        False,
    )


def test_everything_may_be_said(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    more = {
        "client_secret_file": str(secret),
        "groups_claim": "realm_access.roles",
        "scopes": ["email", "groups"],
        "allowed_domains": ["Example.com"],
        "auto_create": False,
        "trust_email": True,
    }
    (found,), problems = read(GOOD | more)
    assert problems == ()
    assert found.client_secret == "s3cret"
    assert found.scopes == ("openid", "email", "groups"), "without openid it would be no sign-in"
    assert found.allowed_domains == ("example.com",)
    assert (found.auto_create, found.trust_email, found.groups_claim) == (False, True, "realm_access.roles")


def test_allauth_is_told_to_use_pkce() -> None:
    app = oidc.app(read(GOOD)[0][0])
    assert app["settings"]["oauth_pkce_enabled"] is True
    assert app["settings"]["server_url"] == "https://id.example.com/realms/main/.well-known/openid-configuration"


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("corp", "is not an object"),
        (GOOD | {"secret": "x"}, "unknown keys: secret"),
        (GOOD | {"id": 7}, "id is not a text"),
        (GOOD | {"id": "Corp/1"}, "cannot stand in an address"),
        (GOOD | {"id": "a" * 41}, "cannot stand in an address"),
        ({"id": "corp", "client_id": "ml"}, "issuer is missing"),
        ({"id": "corp", "issuer": "https://id.example.com"}, "client_id is missing"),
        (GOOD | {"name": "x" * 41}, "longer than 40"),
        (GOOD | {"issuer": "id.example.com"}, "is no address"),
        (GOOD | {"issuer": "https://[::1"}, "is no address"),
        (GOOD | {"issuer": "ftp://id.example.com"}, "is no address"),
        (GOOD | {"issuer": "https://id.example.com?x=1"}, "more than an issuer"),
        (GOOD | {"issuer": "https://id.example.com/.well-known/openid-configuration"}, "more than an issuer"),
        (GOOD | {"issuer": "https://me:pw@id.example.com"}, "holds a user name or password"),
        (GOOD | {"auto_create": "yes"}, "auto_create is not true or false"),
        (GOOD | {"scopes": "openid"}, "scopes is not an array"),
        (GOOD | {"allowed_domains": [""]}, "allowed_domains is not an array"),
        (GOOD | {"allowed_domains": ["@example.com"]}, "is no domain"),
        (GOOD | {"allowed_domains": ["*.example.com"]}, "is no domain"),
        (GOOD | {"client_secret": "a", "client_secret_file": "b"}, "both client_secret and client_secret_file"),
        (GOOD | {"client_secret_file": "/does/not/exist"}, "client_secret_file cannot be read"),
    ],
)
def test_what_is_wrong_is_said_with_a_remedy(entry: Any, says: str) -> None:
    providers, ((sentence, remedy), *more) = read(entry)
    assert providers == () and not more
    assert sentence.startswith("OIDC_PROVIDERS, entry 1: ") and says in sentence
    assert remedy
    assert "pw" not in sentence + remedy


@pytest.mark.parametrize("text", ["{", "{}", '"corp"'])
def test_what_is_no_array_is_said(text: str) -> None:
    assert oidc.read(text)[1][0][0].startswith("OIDC_PROVIDERS is no")


def test_an_id_is_used_once_and_good_ones_stay() -> None:
    providers, problems = read(GOOD, GOOD | {"name": "Other"}, GOOD | {"id": "lab"})
    assert [one.id for one in providers] == ["corp", "lab"]
    assert "used twice" in problems[0][0] and "entry 2" in problems[0][0]
