"""Who belongs to a team: who may change it, what is written down, who is told, and that a team keeps a lead."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from platform_portal.errors import DomainError
from tenants.models import ApiToken, AuditEntry, Membership, Notification, Role
from tenants.services import (
    member_add,
    member_put,
    member_remove,
    member_set,
    member_unset,
    token_create,
)
from tests.personas import Team, team


@pytest.fixture
def ours(db: None) -> Team:
    return team("ours")


@pytest.fixture
def newcomer(db: None) -> Any:
    return get_user_model().objects.create_user("nina", email="Nina@Example.com", password="x")


def role_of(ours: Team, name: str) -> str | None:
    return Membership.objects.filter(tenant=ours.tenant, user__username=name).values_list("role", flat=True).first()


@pytest.mark.parametrize("who", ["nina", " nina ", "nina@example.com", "NINA@EXAMPLE.COM"])
def test_a_lead_adds_somebody_by_name_or_address(ours: Team, newcomer: Any, who: str) -> None:
    member_add(ctx=ours.context("lead"), who=who, role="viewer")
    assert role_of(ours, "nina") == "viewer"
    line = AuditEntry.objects.get(action="member.add", target="nina")
    assert (line.actor, line.tenant_slug, line.after) == ("ours-lead", "ours", {"role": "viewer"})
    told = Notification.objects.get(user=newcomer)
    assert told.message == "You are in the team Ours now, as viewer." and told.url == "/t/ours/"


@pytest.mark.parametrize(
    ("who", "role", "field", "says"),
    [
        ("nobody", "member", "who", "there is no account nobody"),
        ("nobody@example.com", "member", "who", "Accounts are not made by signing up"),
        ("", "member", "who", "give a user name"),
        ("a\x00", "member", "who", "give a user name"),
        ("sleeper", "member", "who", "not active"),
        ("twin@example.com", "member", "who", "several accounts"),
        ("nina", "king", "role", "must be one of"),
    ],
)
def test_who_cannot_be_added_is_said_with_the_reason(
    ours: Team, newcomer: Any, who: str, role: str, field: str, says: str
) -> None:
    people = get_user_model().objects
    people.create_user("sleeper", password="x", is_active=False)
    for name in ("twin-a", "twin-b"):
        people.create_user(name, email="twin@example.com", password="x")
    with pytest.raises(DomainError) as refused:
        member_add(ctx=ours.context("lead"), who=who, role=role)
    assert says in refused.value.fields[field][0]


def test_adding_a_member_again_is_a_conflict_and_leaves_the_role(ours: Team) -> None:
    with pytest.raises(DomainError) as refused:
        member_add(ctx=ours.context("lead"), who="ours-member", role="lead")
    assert refused.value.code == "already_member" and role_of(ours, "ours-member") == "member"


def test_put_adds_changes_and_repeats_without_a_second_line(ours: Team, newcomer: Any) -> None:
    ctx = ours.context("lead")
    for role in ("viewer", "member", "member"):
        member_put(ctx=ctx, username="nina", role=role)
    lines = AuditEntry.objects.filter(target="nina").order_by("pk").values_list("action", "before", "after")
    assert list(lines) == [
        ("member.add", None, {"role": "viewer"}),
        ("member.change", {"role": "viewer"}, {"role": "member"}),
    ]
    messages = Notification.objects.filter(user=newcomer).order_by("pk").values_list("message", flat=True)
    assert list(messages)[1] == "Your role in Ours is member now; it was viewer."


def test_nobody_is_told_what_they_do_themselves_or_what_the_platform_sets_up(ours: Team) -> None:
    member_put(ctx=ours.context("lead"), username="ours-viewer", role="lead")
    Notification.objects.all().delete()
    member_put(ctx=ours.context("lead"), username="ours-lead", role="member")
    member_set(tenant=ours.tenant, user=ours.people["member"], role=Role.VIEWER)
    assert not Notification.objects.exists()


@pytest.mark.parametrize("role", ["viewer", "member"])
def test_only_leads_manage_members(ours: Team, newcomer: Any, role: str) -> None:
    ctx = ours.context(role)
    for act in (
        lambda: member_add(ctx=ctx, who="nina", role="member"),
        lambda: member_put(ctx=ctx, username=f"ours-{role}", role="lead"),
        lambda: member_remove(ctx=ctx, username="ours-lead"),
    ):
        with pytest.raises(DomainError) as refused:
            act()
        assert refused.value.http_status == 403


def test_a_token_without_the_admin_scope_manages_nobody(ours: Team) -> None:
    ctx = replace(ours.context("lead"), scopes=frozenset({"read", "submit", "deploy"}))
    with pytest.raises(DomainError) as refused:
        member_put(ctx=ctx, username="ours-member", role="viewer")
    assert refused.value.code == "insufficient_scope"


def test_the_last_lead_stays_until_there_is_another(ours: Team) -> None:
    ctx = ours.context("lead")
    for act in (
        lambda: member_put(ctx=ctx, username="ours-lead", role="member"),
        lambda: member_remove(ctx=ctx, username="ours-lead"),
    ):
        with pytest.raises(DomainError) as refused:
            act()
        assert refused.value.http_status == 409 and refused.value.code == "last_lead"
    member_put(ctx=ctx, username="ours-member", role="lead")
    member_put(ctx=ctx, username="ours-lead", role="member")
    assert role_of(ours, "ours-lead") == "member"


def test_a_lead_whose_account_is_switched_off_does_not_count_as_another(ours: Team) -> None:
    sleeper = get_user_model().objects.create_user("sleeper", password="x", is_active=False)
    member_set(tenant=ours.tenant, user=sleeper, role=Role.LEAD)
    with pytest.raises(DomainError) as refused:
        member_remove(ctx=ours.context("lead"), username="ours-lead")
    assert refused.value.code == "last_lead"


def test_a_platform_admin_may_take_the_last_lead(ours: Team) -> None:
    root = get_user_model().objects.create_superuser("root", password="x")
    member_remove(ctx=replace(ours.context("lead"), user=root), username="ours-lead")
    assert role_of(ours, "ours-lead") is None


def test_somebody_who_is_no_lead_any_more_acts_no_longer(ours: Team) -> None:
    stale = ours.context("lead")
    member_set(tenant=ours.tenant, user=ours.people["member"], role=Role.LEAD)
    member_set(tenant=ours.tenant, user=ours.people["lead"], role=Role.MEMBER)
    with pytest.raises(DomainError) as refused:
        member_put(ctx=stale, username="ours-viewer", role="lead")
    assert refused.value.http_status == 403


def test_what_a_group_gave_is_not_changed_by_hand(ours: Team) -> None:
    member_set(tenant=ours.tenant, user=ours.people["viewer"], role=Role.VIEWER, source="corp")
    for act in (
        lambda: member_put(ctx=ours.context("lead"), username="ours-viewer", role="member"),
        lambda: member_remove(ctx=ours.context("lead"), username="ours-viewer"),
    ):
        with pytest.raises(DomainError) as refused:
            act()
        assert refused.value.code == "managed_by_groups" and "corp" in refused.value.message
    member_put(ctx=ours.context("lead"), username="ours-viewer", role="viewer")


def test_removing_somebody_ends_their_tokens_for_the_team_and_no_others(ours: Team) -> None:
    token_create(ctx=ours.context("member"), name="laptop", kind="personal")
    member_remove(ctx=ours.context("lead"), username="ours-member")
    assert ApiToken.objects.get(name="laptop").revoked_at is not None
    assert ApiToken.objects.get(name="ci").revoked_at is None
    line = AuditEntry.objects.get(action="member.remove")
    assert line.before == {"role": "member", "tokens": ["laptop"]} and line.after is None
    assert "not in the team Ours any more" in Notification.objects.get(user=ours.people["member"]).message


def test_unset_takes_away_what_set_gave_and_says_whether_there_was_something(ours: Team) -> None:
    assert member_unset(tenant=ours.tenant, user=ours.people["viewer"])
    assert not member_unset(tenant=ours.tenant, user=ours.people["viewer"])
    assert AuditEntry.objects.get(action="member.remove").actor == "platform"


def test_an_unknown_person_is_a_404(ours: Team) -> None:
    theirs = team("theirs")
    for act in (
        lambda: member_put(ctx=ours.context("lead"), username="nobody", role="member"),
        lambda: member_remove(ctx=ours.context("lead"), username="nobody"),
        lambda: member_remove(ctx=ours.context("lead"), username=theirs.people["lead"].username),
    ):
        with pytest.raises(DomainError) as refused:
            act()
        assert refused.value.http_status == 404


@pytest.mark.django_db(transaction=True)
def test_of_two_leads_who_demote_each_other_at_once_one_stays(transactional_db: None) -> None:
    ours = team("ours")
    member_set(tenant=ours.tenant, user=ours.people["member"], role=Role.LEAD)
    first = ours.context("lead")
    second = replace(first, user=ours.people["member"])

    def demote(pair: tuple[Any, str]) -> str:
        ctx, other = pair
        try:
            member_put(ctx=ctx, username=other, role="viewer")
            return "done"
        except DomainError as error:
            return str(error.http_status)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(demote, [(first, "ours-member"), (second, "ours-lead")]))
    assert sorted(outcomes) == ["403", "done"]
    assert Membership.objects.filter(tenant=ours.tenant, role=Role.LEAD).count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_leads_who_leave_at_once_one_stays(transactional_db: None) -> None:
    ours = team("ours")
    member_set(tenant=ours.tenant, user=ours.people["member"], role=Role.LEAD)

    def leave(role: str) -> str:
        try:
            member_remove(ctx=replace(ours.context("lead"), user=ours.people[role]), username=f"ours-{role}")
            return "done"
        except DomainError as error:
            return error.code
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(leave, ["lead", "member"])) == ["done", "last_lead"]
