"""Groups give roles: what is decided, and what becomes of it in the database."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model

from tenants.models import AuditEntry, GrantedAdmin, Membership, RoleRule
from tenants.role_rules import Changes, Held, Rule, decide
from tenants.services.sign_in import roles_apply
from tests.personas import Team, team

A, B = 1, 2


@pytest.mark.parametrize(
    ("groups", "rules", "held", "expected"),
    [
        pytest.param({"g"}, [Rule("corp", "g", A, "member")], {}, Changes(add={A: "member"}), id="a group gives"),
        pytest.param(
            {"g"}, [Rule("*", "g", A, "member")], {}, Changes(add={A: "member"}), id="a rule for all providers"
        ),
        pytest.param({"g"}, [Rule("lab", "g", A, "member")], {}, Changes(), id="a rule of another provider"),
        pytest.param({"G"}, [Rule("corp", "g", A, "member")], {}, Changes(), id="another group"),
        pytest.param(
            {"g", "h"},
            [Rule("corp", "g", A, "lead"), Rule("corp", "h", A, "viewer")],
            {},
            Changes(add={A: "lead"}),
            id="the highest role holds",
        ),
        pytest.param(
            {"g", "h"},
            [Rule("corp", "h", A, "viewer"), Rule("corp", "g", A, "member"), Rule("corp", "g", B, "viewer")],
            {},
            Changes(add={A: "member", B: "viewer"}),
            id="whatever the order, in each team",
        ),
        pytest.param(
            {"g"},
            [Rule("corp", "g", A, "viewer")],
            {A: Held("lead", "oidc:corp")},
            Changes(change={A: "viewer"}),
            id="a role goes down as well",
        ),
        pytest.param(set(), [], {A: Held("lead", "oidc:corp")}, Changes(remove=frozenset({A})), id="a group is gone"),
        pytest.param(set(), [], {A: Held("lead", "")}, Changes(), id="what a person gave stays"),
        pytest.param(set(), [], {A: Held("lead", "oidc:lab")}, Changes(), id="what another provider gave stays"),
        pytest.param(
            {"g"},
            [Rule("corp", "g", A, "lead")],
            {A: Held("viewer", "")},
            Changes(),
            id="what a person gave is not raised",
        ),
        pytest.param(
            {"g"}, [Rule("corp", "g", A, "lead")], {A: Held("lead", "oidc:corp")}, Changes(), id="nothing to do"
        ),
        pytest.param(
            {"g"}, [Rule("corp", "g", platform_admin=True)], {}, Changes(platform_admin=True), id="platform admin"
        ),
    ],
)
def test_what_groups_change(groups: set[str], rules: list[Rule], held: dict[int, Held], expected: Changes) -> None:
    assert decide("corp", frozenset(groups), rules, held) == expected


@pytest.fixture
def ours(db: None) -> Team:
    return team("ours")


@pytest.fixture
def person(db: None) -> Any:
    return get_user_model().objects.create_user("grace")


def apply(person: Any, *groups: str, provider: str = "corp") -> None:
    roles_apply(user=person, provider=provider, groups=frozenset(groups))


def rule(group: str, **gives: Any) -> None:
    RoleRule.objects.create(**{"provider": "corp", "group": group} | gives)


def held_by(person: Any) -> list[tuple[str, str, str]]:
    return list(Membership.objects.filter(user=person).values_list("tenant__slug", "role", "source"))


def test_a_membership_comes_changes_and_goes_with_a_line_each(ours: Team, person: Any) -> None:
    rule("ml", tenant=ours.tenant, role="member")
    rule("leads", tenant=ours.tenant, role="lead")
    apply(person, "ml")
    assert held_by(person) == [("ours", "member", "oidc:corp")]
    apply(person, "ml", "leads")
    assert held_by(person) == [("ours", "lead", "oidc:corp")]
    apply(person)
    assert held_by(person) == []
    lines = AuditEntry.objects.filter(tenant_id=ours.tenant.pk, target="grace").order_by("id")
    assert [(one.action, one.actor, one.before, one.after) for one in lines] == [
        ("member.add", "oidc:corp", None, {"role": "member", "source": "oidc:corp"}),
        ("member.change", "oidc:corp", {"role": "member"}, {"role": "lead", "source": "oidc:corp"}),
        ("member.remove", "oidc:corp", {"role": "lead"}, None),
    ]


def test_the_same_groups_again_write_nothing(ours: Team, person: Any) -> None:
    rule("ml", tenant=ours.tenant, role="member")
    apply(person, "ml")
    before = AuditEntry.objects.count()
    apply(person, "ml")
    assert AuditEntry.objects.count() == before


def test_an_inactive_rule_and_a_team_that_is_being_deleted_give_nothing(ours: Team, person: Any) -> None:
    from django.utils import timezone

    rule("ml", tenant=ours.tenant, role="member", is_active=False)
    apply(person, "ml")
    assert held_by(person) == []
    RoleRule.objects.update(is_active=True)
    type(ours.tenant).objects.update(deleting_at=timezone.now())
    apply(person, "ml")
    assert held_by(person) == []


def test_an_admin_by_a_group_is_one_as_long_as_a_provider_says_so(person: Any) -> None:
    rule("root", platform_admin=True, provider="*")
    apply(person, "root")
    apply(person, "root", provider="lab")
    person.refresh_from_db()
    assert person.is_superuser and person.is_staff
    apply(person)
    person.refresh_from_db()
    assert person.is_superuser, "the other provider still says so"
    apply(person, provider="lab")
    person.refresh_from_db()
    assert not person.is_superuser and not person.is_staff
    actions = AuditEntry.objects.filter(target="grace").exclude(action="session.end").values_list("action", flat=True)
    assert sorted(actions) == ["admin.grant", "admin.revoke"]


def test_an_admin_made_by_hand_is_never_unmade_by_a_provider(person: Any) -> None:
    rule("root", platform_admin=True)
    person.is_superuser = person.is_staff = True
    person.save()
    apply(person, "root")
    assert not GrantedAdmin.objects.exists()
    apply(person)
    person.refresh_from_db()
    assert person.is_superuser


def test_nothing_is_half_applied(ours: Team, person: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tenants.services import sign_in

    rule("ml", tenant=ours.tenant, role="member")
    monkeypatch.setattr(sign_in, "_administration", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        apply(person, "ml")
    assert held_by(person) == []
