"""What is done with several teams at once: asked first where it could hurt, all or nothing, and written down."""

from typing import Any

import pytest

from tests.admin.forms import Admin, Form
from tests.personas import Team, team

LIST = "tenants/tenant/"


@pytest.fixture
def teams(db: None) -> list[Team]:
    return [team("ours"), team("theirs")]


def keys(teams: list[Team]) -> list[int]:
    return [one.tenant.pk for one in teams]


def now(teams: list[Team], field: str) -> list[Any]:
    for one in teams:
        one.tenant.refresh_from_db()
    return [getattr(one.tenant, field) for one in teams]


def lines(*actions: str) -> list[tuple[str, str]]:
    from tenants.models import AuditEntry

    found = AuditEntry.objects.filter(action__in=actions, via="admin", actor="root").order_by("id")
    return [(one.action, one.target) for one in found]


def test_teams_are_deactivated_and_activated(admin: Admin, teams: list[Team]) -> None:
    assert admin.act(LIST, "deactivate", keys(teams)).status_code == 302
    assert now(teams, "is_active") == [False, False]
    assert admin.act(LIST, "activate", keys(teams[:1])).status_code == 302
    assert now(teams, "is_active") == [True, False]
    assert lines("tenant.activate", "tenant.deactivate") == [
        ("tenant.deactivate", "ours"),
        ("tenant.deactivate", "theirs"),
        ("tenant.activate", "ours"),
    ]


def test_a_cost_center_is_chosen_on_a_page_and_set_for_all(admin: Admin, teams: list[Team]) -> None:
    from tenants.models import CostCenter

    CostCenter.objects.create(code="cc-2", name="Products")
    CostCenter.objects.create(code="cc-old", name="Closed", is_active=False)
    asked = admin.act(LIST, "set_cost_center", keys(teams))
    assert asked.status_code == 200 and "cc-2" in asked.content.decode() and "cc-old" not in asked.content.decode()
    assert now(teams, "cost_center_id") == ["cc-1", "cc-1"]
    sent = Form(asked.content.decode()).values | {"cost_center": ["cc-2"]}
    assert admin.post(LIST, sent).status_code == 302
    assert now(teams, "cost_center_id") == ["cc-2", "cc-2"] and len(lines("tenant.change")) == 2


@pytest.mark.parametrize(
    ("how", "amount", "limits"), [("multiply", "1.5", [150, 60]), ("multiply", "0", [0, 0]), ("set", "77", [77, 77])]
)
def test_a_quota_is_changed_only_as_it_was_previewed(
    admin: Admin, teams: list[Team], how: str, amount: str, limits: list[int]
) -> None:
    from tenants.services import tenant_update

    tenant_update(slug="theirs", quota_cpu=40)
    asked = admin.act(LIST, "change_quota", keys(teams))
    form = Form(asked.content.decode()).values
    choice = {"resource": ["quota_cpu"], "how": [how], "amount": [amount]}
    previewed = admin.post(LIST, form | choice)
    assert previewed.status_code == 200 and now(teams, "quota_cpu") == [100, 40]
    assert all(f"<td>{limit}</td>" in previewed.content.decode() for limit in limits)
    confirmed = Form(previewed.content.decode()).values
    # Something else than what was shown is shown first.
    other = admin.post(LIST, confirmed | {"amount": ["3"]})
    assert other.status_code == 200 and now(teams, "quota_cpu") == [100, 40]
    assert admin.post(LIST, confirmed).status_code == 302
    assert now(teams, "quota_cpu") == limits
    assert len(lines("tenant.change")) == 2


@pytest.mark.parametrize(
    ("how", "amount"), [("set", "1.5"), ("set", "-1"), ("multiply", ""), ("divide", "2"), ("set", "9999999")]
)
def test_an_amount_that_is_none_is_refused(admin: Admin, teams: list[Team], how: str, amount: str) -> None:
    form = Form(admin.act(LIST, "change_quota", keys(teams)).content.decode()).values
    answer = admin.post(LIST, form | {"resource": ["quota_cpu"], "how": [how], "amount": [amount]})
    assert answer.status_code == 200 and "errorlist" in answer.content.decode()
    assert now(teams, "quota_cpu") == [100, 100]


def test_teams_are_deleted_when_each_slug_is_typed(admin: Admin, teams: list[Team]) -> None:
    asked = admin.act(LIST, "delete_teams", keys(teams))
    assert asked.status_code == 200 and "cannot be taken back" in asked.content.decode()
    form = Form(asked.content.decode()).values
    typed = {f"slug-{one.tenant.pk}": [one.tenant.slug] for one in teams}
    wrong = admin.post(LIST, form | typed | {f"slug-{teams[1].tenant.pk}": ["Theirs"]})
    assert wrong.status_code == 200 and "letter by letter" in wrong.content.decode()
    assert now(teams, "deleting_at") == [None, None]
    assert admin.post(LIST, form | typed).status_code == 302
    assert None not in now(teams, "deleting_at") and now(teams, "deletion_requested_by") == ["root", "root"]
    assert lines("tenant.delete") == [("tenant.delete", "ours"), ("tenant.delete", "theirs")]


def test_the_plain_deletion_of_a_team_is_not_there(admin: Admin, teams: list[Team]) -> None:
    from tenants.models import Tenant

    assert admin.get(f"tenants/tenant/{teams[0].tenant.pk}/delete/").status_code == 403
    admin.act(LIST, "delete_selected", keys(teams), post="yes")
    assert Tenant.objects.count() == 2


def test_what_one_team_refuses_changes_no_team(admin: Admin, teams: list[Team]) -> None:
    from tenants.services import tenant_delete

    tenant_delete(slug="theirs", confirm="theirs")
    answer = admin.client.post(f"/admin/{LIST}", {"action": "deactivate", "_selected_action": keys(teams)}, follow=True)
    assert "Nothing was changed. The team theirs is being deleted" in answer.content.decode()
    assert now(teams, "is_active") == [True, True] and not lines("tenant.deactivate")
