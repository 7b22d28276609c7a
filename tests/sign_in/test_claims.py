"""What is believed of an identity provider's claims."""

from typing import Any

import pytest

from platform_portal.oidc import Provider
from tenants.accounts import claims

CORP = Provider("corp", "Corp", "https://id.example.com", "ml")


@pytest.mark.parametrize(
    ("claim", "path", "expected"),
    [
        ({"groups": ["a", "b"]}, "groups", {"a", "b"}),
        ({"groups": "a"}, "groups", {"a"}),
        ({"groups": []}, "groups", set()),
        ({}, "groups", None),
        ({"groups": None}, "groups", None),
        ({"realm_access": {"roles": ["a"]}}, "realm_access.roles", {"a"}),
        ({"realm_access": ["a"]}, "realm_access.roles", None),
        ({"https://example.com/groups": ["a"]}, "https://example.com/groups", {"a"}),
        ({"groups": ["a", 1, None, "", {"b": 1}]}, "groups", {"a"}),
        ({"groups": {"a": True}}, "groups", set()),
        ({"groups": 7}, "groups", set()),
    ],
)
def test_groups_may_stand_in_several_ways(claim: dict[str, Any], path: str, expected: set[str] | None) -> None:
    assert claims.groups_of(claim, path) == expected


@pytest.mark.parametrize(
    ("claim", "trust", "expected"),
    [
        ({"email": "a@example.com", "email_verified": True}, False, "a@example.com"),
        ({"email": "a@example.com", "email_verified": "true"}, False, "a@example.com"),
        ({"email": "a@example.com", "email_verified": "false"}, False, ""),
        ({"email": "a@example.com", "email_verified": False}, False, ""),
        ({"email": "a@example.com", "email_verified": 1.5}, False, ""),
        ({"email": "a@example.com"}, False, ""),
        ({"email": "a@example.com"}, True, "a@example.com"),
        ({"email": "a@b@example.com", "email_verified": True}, False, ""),
        ({"email": ["a@example.com"], "email_verified": True}, False, ""),
        ({"email_verified": True}, True, ""),
    ],
)
def test_an_address_counts_when_it_is_verified(claim: dict[str, Any], trust: bool, expected: str) -> None:
    provider = Provider("corp", "Corp", "https://id.example.com", "ml", trust_email=trust)
    assert claims.person(claim, {}, provider).email == expected


def test_the_signed_token_goes_before_userinfo_and_userinfo_fills_the_gaps() -> None:
    found = claims.person(
        {"preferred_username": "ada", "groups": ["signed"]},
        {"preferred_username": "eve", "groups": ["unsigned"], "given_name": "Ada", "family_name": "L"},
        CORP,
    )
    assert (found.username, found.groups, found.first_name, found.last_name) == (
        "ada",
        frozenset({"signed"}),
        "Ada",
        "L",
    )


def test_groups_that_userinfo_alone_has_are_taken_from_there() -> None:
    assert claims.person({}, {"groups": ["a"]}, CORP).groups == {"a"}
    assert claims.person({"groups": []}, {"groups": ["a"]}, CORP).groups == set()


@pytest.mark.parametrize(
    ("preferred", "email", "expected"),
    [
        ("Ada", "", "ada"),
        ("ada@example.com", "", "ada@example.com"),
        ("CORP\\ada", "", "corp-ada"),
        ("", "ada@example.com", "ada"),
        ("  ", "", "user"),
        ("a" * 400, "", "a" * 142),
        ("<script>", "", "script"),
    ],
)
def test_a_username_is_made_of_what_there_is(preferred: str, email: str, expected: str) -> None:
    assert claims.username_of(preferred, email) == expected


@pytest.mark.parametrize(
    ("email", "domains", "allowed"),
    [
        ("a@example.com", ("example.com",), True),
        ("a@EXAMPLE.com", ("example.com",), True),
        ("a@sub.example.com", ("example.com",), False),
        ("a@notexample.com", ("example.com",), False),
        ("a@example.com.evil.org", ("example.com",), False),
        ("", ("example.com",), False),
        ("", (), True),
        ("a@anywhere.org", (), True),
    ],
)
def test_a_domain_is_that_domain_and_no_other(email: str, domains: tuple[str, ...], allowed: bool) -> None:
    assert claims.domain_allowed(email, domains) is allowed
