"""``/v1/tenants/{slug}/tokens`` and ``/service-accounts``: secrets once, one's own team only, good answers to bad bodies."""

from datetime import datetime
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from pytest_django import DjangoAssertNumQueries

from tenants.context import TenantContext
from tenants.models import ApiToken, AuditEntry, IdempotencyRecord, Role, ServiceAccount
from tenants.selectors import context_for_token
from tenants.services import token_create
from tests.personas import Team, api_client

TOKENS, ACCOUNTS = "/v1/tenants/ours/tokens", "/v1/tenants/ours/service-accounts"


def post(client: Any, path: str, body: Any, **headers: Any) -> Any:
    return client.post(path, body, format="json", **headers)


def test_a_token_is_made_listed_used_and_revoked(ours: Team) -> None:
    made = post(ours.api, TOKENS, {"name": "nightly", "scopes": ["submit"], "expires_in_days": 7})
    body = made.json()
    assert made.status_code == 201 and made["Cache-Control"] == "no-store"
    assert made["Location"] == f"{TOKENS}/{body['id']}"
    secret = body.pop("secret")
    assert (body["name"], body["kind"], body["for"], body["scopes"]) == ("nightly", "team", "ours", ["read", "submit"])
    assert secret.startswith(body["prefix"]) and body["state"] == "active" and body["last_used_at"] is None
    client = api_client(secret)
    assert client.get("/v1/auth/whoami").json()["actor"] == "token nightly"
    listed = ours.api.get(TOKENS).json()
    assert listed[0] == body | {key: listed[0][key] for key in ("last_used_at", "last_used_from")}
    assert listed[0]["last_used_from"] == "127.0.0.1" and datetime.fromisoformat(listed[0]["last_used_at"])
    assert secret not in ours.api.get(TOKENS).content.decode()
    for _ in range(2):
        assert ours.api.delete(made["Location"]).status_code == 204
    assert client.get("/v1/auth/whoami").status_code == 401
    assert ours.api.get(TOKENS).json()[-1]["state"] == "revoked"


def test_a_repeated_request_makes_nothing_new_and_repeats_no_secret(ours: Team) -> None:
    first, again = (post(ours.api, TOKENS, {"name": "x"}, HTTP_IDEMPOTENCY_KEY="k").json() for _ in range(2))
    assert again == first | {"secret": None} and ApiToken.objects.filter(name="x").count() == 1
    record = IdempotencyRecord.objects.get()
    assert first["secret"] not in str(record.__dict__) and "secret" not in str(record.body)
    other = post(ours.api, TOKENS, {"name": "y"}, HTTP_IDEMPOTENCY_KEY="k")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")


def test_another_actor_s_key_does_not_show_what_was_made(ours: Team) -> None:
    _, lead = token_create(ctx=ours.context("lead"), name="lead", kind="personal")
    wish = {"name": "x", "kind": "team"}
    assert post(ours.api, TOKENS, wish, HTTP_IDEMPOTENCY_KEY="k").status_code == 201
    assert post(api_client(lead), TOKENS, wish, HTTP_IDEMPOTENCY_KEY="k").status_code == 409


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["name"]),
        ([], [""]),
        ({"name": 1}, ["name"]),
        ({"name": None}, ["name"]),
        ({"name": "x", "scopes": "read"}, ["scopes"]),
        ({"name": "x", "scopes": [1]}, ["scopes"]),
        ({"name": "x", "scopes": ["all"], "expires_in_days": 0}, ["expires_in_days", "scopes"]),
        ({"name": "x", "expires_in_days": 10**30}, ["expires_in_days"]),
        ({"name": "x", "expires_in_days": "90"}, ["expires_in_days"]),
        ({"name": "x", "expires_in_days": True}, ["expires_in_days"]),
        ({"name": "x", "user": "root", "is_demo": True}, ["is_demo", "user"]),
        ({"name": "x", "kind": "service"}, ["service_account"]),
        ({"name": "x", "kind": "service", "service_account": "a\x00b"}, ["service_account"]),
        ({"name": "\x00", "kind": "a\x00b", "scopes": ["\x00"]}, ["kind", "name", "scopes"]),
    ],
)
def test_a_bad_body_names_its_fields(ours: Team, body: Any, fields: list[str]) -> None:
    answer = post(ours.api, TOKENS, body)
    assert answer.status_code == 400 and sorted(answer.json()["errors"]) == fields
    assert ApiToken.objects.count() == 1


def test_null_is_a_field_that_is_not_there(ours: Team) -> None:
    body = {"name": "x", "scopes": None, "expires_in_days": None, "service_account": None}
    answer = post(ours.api, TOKENS, body)
    assert answer.status_code == 201 and answer.json()["expires_at"] is not None


@pytest.mark.parametrize("path", [TOKENS, ACCOUNTS, f"{TOKENS}/1", f"{ACCOUNTS}/ci"])
def test_another_team_s_address_is_a_403_and_so_is_no_team_s(ours: Team, theirs: Team, path: str) -> None:
    method = "delete" if path.endswith(("/1", "/ci")) else "get"
    for slug in ("ours", "none"):
        answer = getattr(theirs.api, method)(path.replace("/ours/", f"/{slug}/"))
        assert (answer.status_code, answer.json()["code"]) == (403, "tenant_mismatch")


def test_a_platform_admin_s_token_reaches_every_team(ours: Team, theirs: Team) -> None:
    root = get_user_model().objects.create_superuser("root")
    ctx = TenantContext(theirs.tenant, Role.LEAD, user=root)
    _, admin = token_create(ctx=ctx, name="x", kind="personal", scopes=["admin"])
    _, reads = token_create(ctx=ctx, name="x", kind="personal", scopes=["read"])
    made = post(api_client(admin), TOKENS, {"name": "by root"})
    assert made.status_code == 201 and made.json()["scopes"] == ["read", "admin"]
    got = context_for_token(made.json()["secret"])
    assert got is not None and got.tenant == ours.tenant
    line = AuditEntry.objects.get(target="by root")
    assert (line.actor, line.tenant_slug) == ("root", "ours")
    assert api_client(reads).get(TOKENS).status_code == 403
    assert api_client(admin).get(TOKENS.replace("ours", "none")).status_code == 403


def test_a_service_account_s_life(ours: Team) -> None:
    made = post(ours.api, ACCOUNTS, {"name": "ci", "description": "builds"})
    body = made.json()
    assert made.status_code == 201 and made["Location"] == f"{ACCOUNTS}/ci"
    assert (body["role"], body["is_active"], body["created_by"]) == ("member", True, None)
    assert ours.api.get(ACCOUNTS).json() == [body] and ours.api.get(f"{ACCOUNTS}/ci").json() == body
    token = post(ours.api, TOKENS, {"name": "x", "kind": "service", "service_account": "ci"}).json()
    assert (token["for"], token["kind"]) == ("ci", "service")
    client = api_client(token["secret"])
    assert client.get("/v1/auth/whoami").json()["actor"] == "service account ci"
    changed = ours.api.patch(f"{ACCOUNTS}/ci", {"is_active": False, "role": "viewer"}, format="json")
    assert changed.json() == body | {"is_active": False, "role": "viewer"}
    assert client.get("/v1/auth/whoami").status_code == 401
    assert post(ours.api, ACCOUNTS, {"name": "ci"}).status_code == 409
    assert ours.api.delete(f"{ACCOUNTS}/ci").status_code == 204
    assert [ours.api.delete(f"{ACCOUNTS}/ci").status_code, ours.api.get(f"{ACCOUNTS}/ci").status_code] == [404, 404]
    assert ours.api.patch(f"{ACCOUNTS}/ci", {}, format="json").status_code == 404


def test_the_same_key_makes_one_account(ours: Team) -> None:
    answers = [post(ours.api, ACCOUNTS, {"name": "ci"}, HTTP_IDEMPOTENCY_KEY="k") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201] and answers[0].json() == answers[1].json()
    assert ServiceAccount.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"role": "root"}, ["role"]),
        ({"role": 1, "is_active": "yes"}, ["is_active", "role"]),
        ({"description": "x" * 201}, ["description"]),
        ({"name": "other"}, ["name"]),
        ([], [""]),
    ],
)
def test_a_bad_change_names_its_fields(ours: Team, body: Any, fields: list[str]) -> None:
    post(ours.api, ACCOUNTS, {"name": "ci"})
    answer = ours.api.patch(f"{ACCOUNTS}/ci", body, format="json")
    assert answer.status_code == 400 and sorted(answer.json()["errors"]) == fields


def test_a_list_takes_a_constant_number_of_queries(
    ours: Team, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    ours.api.get(TOKENS)
    for number in range(10):
        post(ours.api, ACCOUNTS, {"name": f"ci-{number}"})
        post(ours.api, TOKENS, {"name": "x", "kind": "service", "service_account": f"ci-{number}"})
    for path, length in ((TOKENS, 11), (ACCOUNTS, 10)):
        with django_assert_num_queries(2):
            assert len(ours.api.get(path).json()) == length
