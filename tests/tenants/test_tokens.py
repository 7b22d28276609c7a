"""Tokens of teams, people and service accounts: who may make, see and end which, and as whom each acts."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from platform_portal import origin
from platform_portal.errors import DomainError
from tenants.context import TenantContext
from tenants.models import SCOPES, ApiToken, AuditEntry, Membership, Role, ServiceAccount, Tenant
from tenants.selectors import context_for_token, token_digest, tokens_of
from tenants.services import (
    member_set,
    service_account_create,
    service_account_delete,
    service_account_update,
    token_create,
    token_revoke,
    token_used,
)
from tests.personas import Team, api_client

ALL = list(SCOPES)


def acting(ours: Team, who: str) -> TenantContext:
    """A session of somebody in the team, or what one of its tokens acts as."""
    if who in Role.values:
        return ours.context(who)
    if who == "root":
        return TenantContext(ours.tenant, Role.LEAD, user=get_user_model().objects.create_superuser("root"))
    kind, _, scopes = who.partition(":")
    by = ours.context(kind if kind != "team" else "lead")
    secret = token_create(ctx=by, name=who, kind="team" if kind == "team" else "personal", scopes=scopes.split("+"))[1]
    ctx = context_for_token(secret)
    assert ctx is not None
    return ctx


def refusal(work: Any) -> tuple[int, str]:
    with pytest.raises(DomainError) as refused:
        work()
    return refused.value.http_status, refused.value.code


# ---- who may make what

# (who, kind) → the scopes that are given by default, or why not.
NO_ROLE, NO_SCOPE = (403, "permission_denied"), (403, "insufficient_scope")
MAKING: list[tuple[str, str, Any]] = [
    ("viewer", "team", NO_ROLE),
    ("member", "team", NO_ROLE),
    ("lead", "team", ALL),
    ("root", "team", ALL),
    ("viewer", "personal", ["read"]),
    ("member", "personal", ["read", "submit", "deploy"]),
    ("lead", "personal", ALL),
    ("root", "personal", ALL),
    ("member", "service", NO_ROLE),
    ("lead", "service", ["read", "submit", "deploy"]),
    # With a token: only one for administration, and no more than it has itself.
    ("lead:read+submit", "team", NO_SCOPE),
    ("lead:admin", "team", ["read", "admin"]),
    ("lead:admin+submit", "service", ["read", "submit"]),
    ("lead:admin", "personal", ["read", "admin"]),
    ("member:read+submit", "personal", NO_SCOPE),
    ("team:read+submit+deploy", "team", NO_SCOPE),
    ("team:admin+deploy", "team", ["read", "deploy", "admin"]),
    ("team:read+submit+deploy+admin", "personal", NO_ROLE),
]


@pytest.mark.parametrize(("who", "kind", "expected"), MAKING, ids=lambda value: value if isinstance(value, str) else "")
def test_who_makes_which_token_with_which_scopes(ours: Team, who: str, kind: str, expected: Any) -> None:
    ctx = acting(ours, who)
    service_account_create(ctx=ours.context("lead"), name="ci")
    wish: dict[str, Any] = {"name": "x", "kind": kind, "service_account": "ci" if kind == "service" else None}
    if isinstance(expected, tuple):
        assert refusal(lambda: token_create(ctx=ctx, **wish)) == expected
        return
    token, secret = token_create(ctx=ctx, **wish)
    assert token.scopes == expected
    got = context_for_token(secret)
    assert got is not None and got.scopes == set(expected) and got.tenant == ours.tenant
    assert (got.user == ctx.user) is (kind == "personal") or ctx.user is None
    # Whatever it may give by default is also the most that may be asked for.
    for scope in set(SCOPES) - set(expected):
        assert refusal(lambda scope=scope: token_create(ctx=ctx, **wish, scopes=[scope])) == NO_SCOPE


def test_read_is_implied_and_scopes_stand_in_order(ours: Team) -> None:
    assert token_create(ctx=ours.context("lead"), name="x", scopes={"deploy", "submit"})[0].scopes == [
        "read",
        "submit",
        "deploy",
    ]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"kind": "root"}, "kind"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["read", "all"]}, "scopes"),
        ({"expires_in_days": 0}, "expires_in_days"),
        ({"expires_in_days": -1}, "expires_in_days"),
        ({"expires_in_days": 366}, "expires_in_days"),
        ({"expires_in_days": None}, "expires_in_days"),
        ({"expires_in_days": True}, "expires_in_days"),
        ({"kind": "service"}, "service_account"),
        ({"kind": "service", "service_account": "none"}, "service_account"),
        ({"kind": "service", "service_account": "theirs"}, "service_account"),
        ({"kind": "service", "service_account": "off"}, "service_account"),
        ({"kind": "team", "service_account": "ci"}, "service_account"),
    ],
)
def test_a_bad_wish_names_its_field_and_makes_nothing(
    ours: Team, theirs: Team, changes: dict[str, Any], field: str
) -> None:
    lead = ours.context("lead")
    service_account_create(ctx=lead, name="ci")
    service_account_create(ctx=lead, name="off")
    service_account_update(ctx=lead, name="off", is_active=False)
    service_account_create(ctx=theirs.context("lead"), name="theirs")
    before = ApiToken.objects.count()
    with pytest.raises(DomainError) as refused:
        token_create(ctx=lead, **{"name": "x", **changes})
    assert refused.value.http_status == 400 and list(refused.value.fields) == [field]
    assert ApiToken.objects.count() == before


def test_all_bad_fields_are_named_at_once(ours: Team) -> None:
    with pytest.raises(DomainError) as refused:
        token_create(ctx=ours.context("lead"), name="", kind="x", scopes=["y"], expires_in_days=0)
    assert set(refused.value.fields) == {"name", "kind", "scopes", "expires_in_days"}


@pytest.mark.parametrize(("most", "given", "days"), [(365, {}, 90), (30, {}, 30), (365, {"expires_in_days": 365}, 365)])
def test_a_token_ends(ours: Team, settings: Settings, most: int, given: dict[str, Any], days: int) -> None:
    settings.TOKEN_MAX_DAYS = most
    token, _ = token_create(ctx=ours.context("lead"), name="x", **given)
    assert token.expires_at is not None
    assert abs(token.expires_at - timezone.now() - timedelta(days=days)) < timedelta(minutes=1)


def test_what_the_platform_makes_itself_has_every_scope_and_no_end(ours: Team) -> None:
    token, _ = token_create(tenant=ours.tenant, name="x", created_by=ours.people["lead"])
    assert (token.kind, token.scopes, token.expires_at, token.created_by) == ("team", ALL, None, ours.people["lead"])
    with pytest.raises(TypeError):
        token_create(name="x")


def test_a_secret_tells_its_kind_and_is_kept_nowhere(ours: Team) -> None:
    lead = ours.context("lead")
    service_account_create(ctx=lead, name="ci")
    for kind, begins in (("team", "mlp_"), ("personal", "mlpu_"), ("service", "mlps_")):
        account = "ci" if kind == "service" else None
        token, secret = token_create(ctx=lead, name=kind, kind=kind, service_account=account)
        assert secret.startswith(begins) and len(secret) > 45 and secret.startswith(token.prefix)
        assert (token.kind, token.digest) == (kind, token_digest(secret)) and len(token.prefix) == 10
        rows = ApiToken.objects.filter(pk=token.pk).values(), AuditEntry.objects.values()
        assert secret not in str([list(found) for found in rows])


# ---- as whom a token acts


def test_a_personal_token_acts_as_its_person_with_the_role_of_the_moment(ours: Team) -> None:
    member = ours.people["member"]
    _, secret = token_create(ctx=ours.context("member"), name="x", kind="personal")

    def role() -> str | None:
        ctx = context_for_token(secret)
        return ctx.role if ctx else None

    ctx = context_for_token(secret)
    assert ctx is not None and (ctx.user, ctx.actor, ctx.actor_kind) == (member, "ours-member", "user")
    assert ctx.can_submit and ctx.can_manage(member.pk) and not ctx.can_manage(member.pk + 1)
    member_set(tenant=ours.tenant, user=member, role=Role.VIEWER)
    assert role() == "viewer"
    assert api_client(secret).post("/v1/jobs/training", {"name": "a"}, format="json").status_code == 403
    member_set(tenant=ours.tenant, user=member, role=Role.LEAD)
    ctx = context_for_token(secret)
    # Promoted, but the token was not made for administration.
    assert ctx is not None and ctx.role == "lead" and not ctx.can(Role.LEAD)
    Membership.objects.filter(user=member).delete()
    assert role() is None and api_client(secret).get("/v1/jobs/training").status_code == 401
    member_set(tenant=ours.tenant, user=member, role=Role.MEMBER)
    assert role() == "member"
    get_user_model().objects.filter(pk=member.pk).update(is_active=False)
    assert role() is None and api_client(secret).get("/v1/jobs/training").status_code == 401


@pytest.mark.parametrize(("scopes", "admin"), [(["read", "submit"], False), (["admin"], True)])
def test_an_administrator_s_token_administers_only_if_made_for_it(ours: Team, scopes: list[str], admin: bool) -> None:
    root = acting(ours, "root")
    ctx = context_for_token(token_create(ctx=root, name="x", kind="personal", scopes=scopes)[1])
    assert ctx is not None and (ctx.role, ctx.is_platform_admin, ctx.can(Role.LEAD)) == ("lead", admin, admin)


def test_a_service_account_s_token_acts_as_it(ours: Team) -> None:
    lead = ours.context("lead")
    service_account_create(ctx=lead, name="ci", role="member")
    _, secret = token_create(ctx=lead, name="x", kind="service", service_account="ci", scopes=["submit"])
    ctx = context_for_token(secret)
    assert ctx is not None and (ctx.actor, ctx.actor_kind, ctx.role) == (
        "service account ci",
        "service-account",
        "member",
    )
    made = api_client(secret).post("/v1/jobs/training", {"name": "a"}, format="json")
    assert made.status_code == 201
    assert api_client(secret).delete(f"/v1/jobs/training/{made.json()['id']}").status_code == 204
    service_account_update(ctx=lead, name="ci", is_active=False)
    assert context_for_token(secret) is None and api_client(secret).get("/v1/jobs/training").status_code == 401
    service_account_update(ctx=lead, name="ci", is_active=True, role="viewer")
    assert api_client(secret).get("/v1/jobs/training").status_code == 200
    assert api_client(secret).post("/v1/jobs/training", {"name": "b"}, format="json").status_code == 403


@pytest.mark.parametrize(
    ("scopes", "read", "submit"),
    [(["read"], 200, 403), (["deploy"], 200, 403), (["submit"], 200, 201), (ALL, 200, 201)],
)
def test_scopes_narrow_what_a_team_s_token_does(ours: Team, scopes: list[str], read: int, submit: int) -> None:
    client = api_client(token_create(ctx=ours.context("lead"), name="x", scopes=scopes)[1])
    assert client.get("/v1/jobs/training").status_code == read
    answer = client.post("/v1/jobs/training", {"name": "a"}, format="json")
    assert answer.status_code == submit
    if submit == 403:
        assert answer.json()["code"] == "insufficient_scope"
        assert f"scopes: {', '.join(sorted({*scopes, 'read'}))}" in answer.json()["detail"]


@pytest.mark.parametrize("kind", ["team", "personal", "service"])
def test_a_context_is_one_query_and_has_what_a_request_needs(
    ours: Team, kind: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    Tenant.objects.update(labels={"a": "b"}, quota_gpu_types={"nvidia-a100": 4})
    lead = ours.context("lead")
    service_account_create(ctx=lead, name="ci")
    account = "ci" if kind == "service" else None
    token, secret = token_create(ctx=lead, name="x", kind=kind, service_account=account)
    with django_assert_num_queries(1):
        ctx = context_for_token(secret)
        assert ctx is not None and ctx.actor and ctx.actor_kind and ctx.tenant.accepts_work
        assert (ctx.tenant.labels, ctx.tenant.quota_gpu_types, ctx.tenant.grants) == (
            {"a": "b"},
            {"nvidia-a100": 4},
            [],
        )
        assert ctx.token is not None and (ctx.token.holder, ctx.token.state) == (token.holder, "active")
    row = ApiToken.objects.get(pk=token.pk)
    assert {field.attname: getattr(ctx.token, field.attname) for field in ApiToken._meta.concrete_fields} == {
        field.attname: getattr(row, field.attname) for field in ApiToken._meta.concrete_fields
    }


def test_a_token_whose_text_tells_another_kind_is_what_its_row_says(ours: Team) -> None:
    secret = "mlps_made-by-hand"
    ApiToken.objects.create(tenant=ours.tenant, name="x", user=ours.people["member"], digest=token_digest(secret))
    ctx = context_for_token(secret)
    assert ctx is not None and (ctx.user, ctx.role) == (ours.people["member"], "member")


# ---- who sees and ends what


def test_leads_see_all_others_their_own_and_a_token_itself(ours: Team, theirs: Team) -> None:
    lead, member, viewer = (ours.context(role) for role in ("lead", "member", "viewer"))
    service_account_create(ctx=lead, name="ci")
    token_create(ctx=member, name="m", kind="personal")
    token_create(ctx=lead, name="l", kind="personal")
    token_create(ctx=lead, name="s1", kind="service", service_account="ci")
    _, service = token_create(ctx=lead, name="s2", kind="service", service_account="ci")
    _, team = token_create(ctx=lead, name="t", scopes=["read"])

    def names(ctx: TenantContext | None) -> list[str]:
        assert ctx is not None
        return [token.name for token in tokens_of(ctx)]

    assert names(lead) == ["t", "s2", "s1", "l", "m", "ci"]
    assert (names(member), names(viewer)) == (["m"], [])
    assert names(context_for_token(service)) == ["s2", "s1"] and names(context_for_token(team)) == ["t"]
    assert names(theirs.context("lead")) == ["ci"]


def test_ended_tokens_are_listed_for_a_while_and_last(ours: Team) -> None:
    lead = ours.context("lead")
    for name in ("old", "revoked", "expired", "live"):
        token_create(ctx=lead, name=name)
    now = timezone.now()
    ApiToken.objects.filter(name="old").update(revoked_at=now - timedelta(days=31))
    ApiToken.objects.filter(name="revoked").update(revoked_at=now - timedelta(days=29))
    ApiToken.objects.filter(name="expired").update(expires_at=now - timedelta(days=1))
    assert [(token.name, token.state) for token in tokens_of(lead)] == [
        ("live", "active"),
        ("expired", "expired"),
        ("ci", "active"),
        ("revoked", "revoked"),
    ]


def test_the_list_is_one_query(ours: Team, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    lead = ours.context("lead")
    service_account_create(ctx=lead, name="ci")
    for number in range(5):
        token_create(ctx=lead, name=f"p{number}", kind="personal")
        token_create(ctx=lead, name=f"s{number}", kind="service", service_account="ci")
    with django_assert_num_queries(1):
        assert len([(token.holder, token.kind, token.state, token.created_by) for token in tokens_of(lead)]) == 11


# (who revokes, whose) → allowed
REVOKING = [
    ("viewer", "member", False),
    ("member", "member", True),
    ("member", "lead", False),
    ("member", "team", False),
    ("lead", "member", True),
    ("lead", "team", True),
    ("root", "member", True),
    ("member:submit", "member", False),
    ("team:read", "team", False),
    ("team:admin", "team", True),
]


@pytest.mark.parametrize(("who", "whose", "allowed"), REVOKING)
def test_who_revokes_what(ours: Team, who: str, whose: str, allowed: bool) -> None:
    by = ours.context("lead" if whose == "team" else whose)
    token, secret = token_create(ctx=by, name="x", kind="team" if whose == "team" else "personal")
    ctx = acting(ours, who)
    if not allowed:
        assert refusal(lambda: token_revoke(ctx=ctx, token_id=token.pk))[0] == 403
        assert context_for_token(secret) is not None
        return
    token_revoke(ctx=ctx, token_id=token.pk)
    assert context_for_token(secret) is None and api_client(secret).get("/v1/jobs/training").status_code == 401


def test_whoever_finds_a_token_can_end_it(ours: Team) -> None:
    token, secret = token_create(ctx=ours.context("lead"), name="x", scopes=["read"])
    ctx = context_for_token(secret)
    assert ctx is not None
    token_revoke(ctx=ctx, token_id=token.pk)
    assert context_for_token(secret) is None


def test_revoking_again_changes_nothing_and_another_team_s_token_is_none(ours: Team, theirs: Team) -> None:
    token, _ = token_create(ctx=ours.context("lead"), name="x")
    first = token_revoke(ctx=ours.context("lead"), token_id=token.pk).revoked_at
    assert token_revoke(ctx=ours.context("lead"), token_id=token.pk).revoked_at == first
    assert AuditEntry.objects.filter(action="token.revoke").count() == 1
    for token_id in (token.pk, 0, 10**30):
        assert refusal(lambda i=token_id: token_revoke(ctx=theirs.context("lead"), token_id=i)) == (404, "not_found")


# ---- what is written down


def test_making_and_ending_are_in_the_audit_log(ours: Team) -> None:
    lead = ours.context("lead")
    with origin.working("api", "192.0.2.7"):
        token, _ = token_create(ctx=lead, name="deploy bot", scopes=["deploy"])
        token_revoke(ctx=lead, token_id=token.pk)
    end, made = AuditEntry.objects.filter(target="deploy bot")
    assert (made.action, made.actor, made.via, made.address) == ("token.create", "ours-lead", "api", "192.0.2.7")
    assert made.after is not None
    assert (made.after["kind"], made.after["for"], made.after["scopes"]) == ("team", "ours", ["read", "deploy"])
    assert (end.action, end.target_id, end.tenant_slug) == ("token.revoke", str(token.pk), "ours")
    assert AuditEntry.objects.get(target="ci").actor_kind == "platform"


def test_the_last_use_is_written_at_most_once_a_minute(ours: Team) -> None:
    client = ours.api

    def updates(address: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            client.get("/v1/jobs/training", REMOTE_ADDR=address)
        return sum("last_used_at = " in query["sql"] for query in queries)

    assert [updates("192.0.2.1"), updates("192.0.2.2")] == [1, 0]
    token = ApiToken.objects.get()
    assert token.last_used_from == "192.0.2.1" and token.last_used_at is not None
    ApiToken.objects.update(last_used_at=token.last_used_at - timedelta(seconds=61))
    assert updates("192.0.2.3") == 1 and ApiToken.objects.get().last_used_from == "192.0.2.3"


def test_of_two_that_use_it_at_once_one_writes(ours: Team) -> None:
    seen = ApiToken.objects.get()
    for address in ("192.0.2.1", "192.0.2.2"):
        token_used(token=seen, address=address)
    assert ApiToken.objects.get().last_used_from == "192.0.2.1"


# ---- service accounts


def test_service_accounts_are_for_leads(ours: Team) -> None:
    for role in ("viewer", "member"):
        ctx = ours.context(role)
        for work in (
            lambda ctx=ctx: service_account_create(ctx=ctx, name="x"),
            lambda ctx=ctx: service_account_update(ctx=ctx, name="x", role="lead"),
            lambda ctx=ctx: service_account_delete(ctx=ctx, name="x"),
        ):
            assert refusal(work) == NO_ROLE
    assert not ServiceAccount.objects.exists()


@pytest.mark.parametrize(
    ("fields", "bad"),
    [
        ({"name": "CI"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 41}, "name"),
        ({"name": "a\x00"}, "name"),
        ({"role": "root"}, "role"),
        ({"description": "x" * 201}, "description"),
        ({"description": "\ud800"}, "description"),
    ],
)
def test_a_bad_service_account_names_its_field(ours: Team, fields: dict[str, str], bad: str) -> None:
    with pytest.raises(DomainError) as refused:
        service_account_create(ctx=ours.context("lead"), **{"name": "ci", **fields})
    assert list(refused.value.fields) == [bad]


def test_a_service_account_s_life_is_written_down(ours: Team, theirs: Team) -> None:
    lead = ours.context("lead")
    service_account_create(ctx=lead, name="ci", description="builds")
    assert refusal(lambda: service_account_create(ctx=lead, name="ci")) == (409, "name_taken")
    service_account_create(ctx=theirs.context("lead"), name="ci")
    service_account_update(ctx=lead, name="ci", role="viewer", description="builds")
    service_account_update(ctx=lead, name="ci", role="viewer")
    _, secret = token_create(ctx=lead, name="x", kind="service", service_account="ci")
    service_account_delete(ctx=lead, name="ci")
    assert context_for_token(secret) is None
    assert refusal(lambda: service_account_delete(ctx=lead, name="ci")) == (404, "not_found")
    assert refusal(lambda: service_account_update(ctx=lead, name="ci", role="lead")) == (404, "not_found")
    lines = AuditEntry.objects.filter(action__startswith="service-account", tenant_slug="ours").order_by("at")
    assert [(line.action, line.before, line.after) for line in lines] == [
        ("service-account.create", None, {"name": "ci", "role": "member", "description": "builds"}),
        ("service-account.change", {"role": "member"}, {"role": "viewer"}),
        ("service-account.delete", {"role": "viewer", "tokens": ["x"], "rules": 0}, None),
    ]
