"""Who may do what for whom: roles, tokens, and the laptop's demo people that no production has."""

import io
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.sites import site
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.http import Http404, HttpResponse
from django.test import RequestFactory
from django.utils import timezone
from pytest_django import Settings

from platform_portal.errors import DomainError
from tenants.accounts.adapters import AccountAdapter
from tenants.context import TenantContext
from tenants.context_processors import tenancy
from tenants.demo import DEMO_TENANTS, DEMO_TOKENS, DEMO_USERS
from tenants.models import ApiToken, Membership, Role, Tenant
from tenants.pages import tenant_page
from tenants.selectors import context_for_token, context_for_user, tenants_of
from tenants.services import member_set, tenant_create, token_create
from tests.personas import Team, api_client

# ---- teams


@pytest.mark.parametrize("slug", ["Not-OK", "a" * 41, "", "a_b", "-a"])
def test_a_slug_that_names_no_namespace_makes_no_team(db: None, slug: str) -> None:
    with pytest.raises(DomainError) as refused:
        tenant_create(slug=slug, name="x")
    assert list(refused.value.fields) == ["slug"]
    assert not Tenant.objects.exists()


@pytest.mark.parametrize(
    "fields", [{"cost_center": "Not OK"}, {"quota_cpu": -1}, {"pod_security": "privileged"}, {"name": ""}]
)
def test_other_bad_fields_make_no_team_either(db: None, fields: dict[str, Any]) -> None:
    with pytest.raises(DomainError) as refused:
        tenant_create(**({"slug": "a", "name": "x"} | fields))
    assert list(refused.value.fields) == list(fields)


def test_a_slug_is_taken_once(ours: Team) -> None:
    with pytest.raises(DomainError) as refused:
        tenant_create(slug="ours", name="again")
    assert refused.value.code == "slug_taken"


def test_a_person_has_one_role_in_a_team(ours: Team) -> None:
    member_set(tenant=ours.tenant, user=ours.people["member"], role=Role.LEAD)
    assert Membership.objects.get(user=ours.people["member"]).role == "lead"
    with pytest.raises(IntegrityError), transaction.atomic():
        Membership.objects.create(tenant=ours.tenant, user=ours.people["member"])
    assert str(Membership.objects.get(user=ours.people["viewer"])) == "ours-viewer in ours as viewer"


# ---- contexts


@pytest.mark.parametrize(
    ("role", "submits", "manages_own", "manages_others"),
    [("viewer", False, False, False), ("member", True, True, False), ("lead", True, True, True)],
)
def test_what_a_role_may(ours: Team, role: str, submits: bool, manages_own: bool, manages_others: bool) -> None:
    ctx = ours.context(role)
    person = ours.people[role]
    assert (ctx.can_submit, ctx.can_manage(person.pk), ctx.can_manage(person.pk + 1)) == (
        submits,
        manages_own,
        manages_others,
    )
    assert ctx.can_manage(None) is (role == "lead") and ctx.actor == f"ours-{role}"
    assert [ctx.can(least) for least in Role] == [True, role != "viewer", role == "lead"]


def test_a_closed_team_reads_only(ours: Team) -> None:
    ours.tenant.is_active = False
    assert not ours.context("lead").can_submit and ours.context("lead").can_manage(1)


def test_what_is_not_allowed_says_who_may(ours: Team) -> None:
    ours.context("viewer").require(True, "look")
    with pytest.raises(DomainError) as refused:
        ours.context("viewer").require(False, "submit jobs")
    assert refused.value.http_status == 403
    assert (
        refused.value.message == "Your role in ours (viewer) does not allow you to submit jobs. Ask a lead of the team."
    )


def test_a_script_acts_by_its_token_s_name(ours: Team) -> None:
    ctx = context_for_token(ours.token)
    assert ctx is not None and (ctx.tenant, ctx.role, ctx.user, ctx.actor) == (ours.tenant, "lead", None, "token ci")
    assert not TenantContext(tenant=ours.tenant, role="member").can_manage(None)
    assert TenantContext(tenant=ours.tenant, role="member").actor == "platform"


def test_a_token_is_kept_as_its_digest_only(ours: Team) -> None:
    token, secret = token_create(tenant=ours.tenant, name="x", created_by=ours.people["lead"])
    assert secret.startswith("mlp_") and len(secret) > 40 and secret not in str(token.__dict__)
    assert token_create(tenant=ours.tenant, name="x")[1] != secret and str(token) == "x of ours"


@pytest.mark.parametrize(
    ("changes", "good"),
    [
        ({}, True),
        ({"expires_at": timedelta(minutes=1)}, True),
        ({"expires_at": timedelta(minutes=-1)}, False),
        ({"revoked_at": timedelta(minutes=-1)}, False),
    ],
)
def test_a_token_is_good_until_it_expires_or_is_revoked(ours: Team, changes: dict[str, timedelta], good: bool) -> None:
    ApiToken.objects.update(**{name: timezone.now() + shift for name, shift in changes.items()})
    assert (context_for_token(ours.token) is not None) is good
    assert (ours.api.get("/v1/jobs/training").status_code == 200) is good


def test_the_token_of_a_closed_team_reads_and_submits_nothing(ours: Team) -> None:
    Tenant.objects.update(is_active=False)
    assert ours.api.get("/v1/jobs/training").status_code == 200
    refused = ours.api.post("/v1/jobs/training", {"name": "x"}, format="json")
    assert (refused.status_code, refused.json()["code"]) == (403, "tenant_inactive")


@pytest.mark.parametrize("token", ["", "x", "mlp_", "\ud800", "\x00", "ü" * 500])
def test_no_other_text_is_a_token(ours: Team, token: str) -> None:
    assert context_for_token(token) is None


@pytest.mark.parametrize("header", ["bearer {}", "BEARER  {}", "Bearer {} "])
def test_the_scheme_is_spelled_as_one_likes(ours: Team, header: str) -> None:
    client = api_client("")
    client.credentials(HTTP_AUTHORIZATION=header.format(ours.token))
    assert client.get("/v1/jobs/training").status_code == 200


def test_a_person_s_context_is_their_membership(ours: Team, theirs: Team) -> None:
    member = ours.people["member"]
    ctx = context_for_user(member, "ours")
    assert ctx is not None and (ctx.tenant, ctx.role, ctx.user) == (ours.tenant, "member", member)
    assert context_for_user(member, "theirs") is None and context_for_user(member, "none") is None
    assert tenants_of(member) == [ours.tenant]
    admin = get_user_model().objects.create_superuser("root", password="x")
    everywhere = context_for_user(admin, "theirs")
    assert everywhere is not None and everywhere.role == "lead" and context_for_user(admin, "none") is None
    assert tenants_of(admin) == [ours.tenant, theirs.tenant]


def test_a_page_gets_its_team_or_looks_like_none(ours: Team, theirs: Team) -> None:
    seen: list[TenantContext] = []

    @tenant_page
    def page(request: Any, ctx: TenantContext) -> HttpResponse:
        seen.append(ctx)
        return HttpResponse("x")

    request: Any = RequestFactory().get("/t/ours/")
    request.user = ours.people["viewer"]
    answer = page(request, "ours")
    assert answer.status_code == 200 and seen[0].tenant == ours.tenant == request.ctx.tenant
    assert "no-store" in answer["Cache-Control"]
    with pytest.raises(Http404):
        page(request, "theirs")
    request.user = AnonymousUser()
    assert page(request, "ours").status_code == 302


def test_the_frame_of_a_page_knows_its_person_s_teams(ours: Team) -> None:
    request: Any = RequestFactory().get("/")
    assert tenancy(request) == {"my_teams": [], "ctx": None, "unread": 0}
    request.user = ours.people["lead"]
    assert [(team.tenant, team.role) for team in tenancy(request)["my_teams"]] == [(ours.tenant, "lead")]


def test_nobody_signs_up(db: None) -> None:
    assert not AccountAdapter().is_open_for_signup(RequestFactory().get("/"))


def test_the_first_page_leads_to_the_first_team_or_says_how_to_get_one(ours: Team) -> None:
    assert ours.client("member").get("/")["Location"] == "/t/ours/"
    Membership.objects.all().delete()
    assert ours.client("member").get("/").status_code == 200


# ---- commands and admin


def test_the_demo_people_can_be_made_again_and_again(db: None) -> None:
    for _ in range(2):
        call_command("demo", stdout=io.StringIO())
    ada = get_user_model().objects.get(username="ada")
    ada.set_password("changed by its person")
    ada.save()
    call_command("demo", stdout=io.StringIO())
    ada.refresh_from_db()
    assert ada.check_password("changed by its person")
    assert set(Tenant.objects.values_list("slug", flat=True)) == set(DEMO_TENANTS)
    assert get_user_model().objects.count() == len(DEMO_USERS) and ApiToken.objects.filter(is_demo=True).count() == 2
    for token in DEMO_TOKENS:
        assert api_client(token).get("/v1/jobs/training").status_code == 200
    assert get_user_model().objects.filter(is_superuser=True).count() == 1


def test_production_has_no_demo_people(db: None, settings: Settings) -> None:
    settings.LAPTOP = False
    with pytest.raises(CommandError, match="only on the laptop"):
        call_command("demo")
    assert not get_user_model().objects.exists() and not ApiToken.objects.exists()


def test_a_token_s_secret_is_printed_once(ours: Team) -> None:
    out = io.StringIO()
    call_command("token", "ours", "for CI", stdout=out)
    assert api_client(out.getvalue().strip()).get("/v1/jobs/training").status_code == 200
    with pytest.raises(CommandError, match="no team 'none'"):
        call_command("token", "none", "x")


def test_a_team_s_slug_stays_and_tokens_are_not_made_by_hand(ours: Team) -> None:
    tenants, tokens = site._registry[Tenant], site._registry[ApiToken]
    request = RequestFactory().get("/")
    assert "slug" in tenants.get_readonly_fields(request, ours.tenant)
    assert "slug" not in tenants.get_readonly_fields(request)
    assert not tokens.has_add_permission(request)
