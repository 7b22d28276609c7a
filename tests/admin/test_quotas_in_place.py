"""Quotas edited in the list: what is written, what is written down, and two administrators at once."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tests.admin.forms import Admin
from tests.personas import Team, team

LIST = "tenants/tenant/"


@pytest.fixture
def ours(db: None) -> Team:
    return team("ours")


@pytest.fixture
def theirs(db: None) -> Team:
    return team("theirs")


def limits(one: Team) -> dict[str, Any]:
    from tenants.models import Tenant

    return dict(Tenant.objects.values("quota_cpu", "quota_memory_gib", "quota_gpus", "is_active").get(pk=one.tenant.pk))


def row(values: dict[str, Any], one: Team) -> str:
    """The prefix of the team's row in the list's form."""
    return next(
        name.removesuffix("-id") for name in values if name.endswith("-id") and values[name] == [str(one.tenant.pk)]
    )


def lines(action: str) -> list[Any]:
    from tenants.models import AuditEntry

    return list(AuditEntry.objects.filter(action=action))


def test_a_limit_is_changed_where_it_stands_and_the_log_says_from_what_to_what(
    admin: Admin, ours: Team, theirs: Team
) -> None:
    values = admin.opened(LIST)
    ours_row = row(values, ours)
    answer = admin.save(LIST, values, **{f"{ours_row}-quota_cpu": "120", "_save": "Save"})
    assert answer.status_code == 302, answer.content.decode()
    assert limits(ours)["quota_cpu"] == 120 and limits(theirs)["quota_cpu"] == 100
    (line,) = lines("tenant.change")
    assert (line.before, line.after) == ({"quota_cpu": 100}, {"quota_cpu": 120})
    assert (line.actor, line.tenant_slug, line.via) == ("root", "ours", "admin")


def test_what_is_in_use_stands_beside_the_limit(admin: Admin, ours: Team) -> None:
    from tenants.models import QuotaUsage

    QuotaUsage.objects.filter(tenant=ours.tenant).update(cpu=37, gpus=12, waiting=5)
    text = re.sub(r"\s+", " ", admin.text(LIST))
    assert '<span class="used fine">37 /</span>' in text and 'aria-label="37 of 100 in use"' in text
    assert '<span class="used over">12 /</span>' in text


def test_a_grant_until_a_date_is_shown_above_what_is_written(admin: Admin, ours: Team) -> None:
    from tenants.models import Tenant

    until = (timezone.now() + timedelta(days=3)).isoformat()
    Tenant.objects.filter(pk=ours.tenant.pk).update(grants=[{"until": until, "request": 1, "cpu": 250}])
    assert "250 with grants" in admin.text(LIST)


def test_a_limit_that_is_none_is_an_error_in_its_row_and_nothing_is_written(admin: Admin, ours: Team) -> None:
    values = admin.opened(LIST)
    answer = admin.save(LIST, values, **{f"{row(values, ours)}-quota_cpu": "-1", "_save": "Save"})
    assert answer.status_code == 200 and "greater than or equal to 0" in answer.content.decode()
    assert limits(ours)["quota_cpu"] == 100 and not lines("tenant.change")


def test_two_who_change_the_same_limit_do_not_overwrite_each_other_silently(admin: Admin, ours: Team) -> None:
    mine, yours = admin.opened(LIST), admin.opened(LIST)
    field = f"{row(mine, ours)}-quota_cpu"
    assert admin.save(LIST, mine, **{field: "150", "_save": "Save"}).status_code == 302
    refused = admin.save(LIST, yours, **{field: "80", "_save": "Save"})
    assert refused.status_code == 200
    assert "Somebody else has changed this meanwhile: it is 150 now" in refused.content.decode()
    assert limits(ours)["quota_cpu"] == 150
    # Who has read that and saves again has decided.
    from tests.admin.forms import Form

    again = Form(refused.content.decode()).values
    assert again[field] == ["80"]
    assert admin.save(LIST, dict(again), _save="Save").status_code == 302
    assert limits(ours)["quota_cpu"] == 80


def test_two_who_change_different_limits_of_a_team_keep_both(admin: Admin, ours: Team) -> None:
    mine, yours = admin.opened(LIST), admin.opened(LIST)
    prefix = row(mine, ours)
    assert admin.save(LIST, mine, **{f"{prefix}-quota_cpu": "150", "_save": "Save"}).status_code == 302
    assert admin.save(LIST, yours, **{f"{prefix}-quota_gpus": "4", "_save": "Save"}).status_code == 302
    assert (limits(ours)["quota_cpu"], limits(ours)["quota_gpus"]) == (150, 4)


def test_a_form_without_what_it_was_opened_with_is_refused(admin: Admin, ours: Team) -> None:
    values = admin.opened(LIST)
    field = f"{row(values, ours)}-quota_cpu"
    values.pop(f"initial-{field}")
    answer = admin.save(LIST, values, **{field: "120", "_save": "Save"})
    assert answer.status_code == 200 and "open it again" in answer.content.decode()
    assert limits(ours)["quota_cpu"] == 100


def test_the_page_of_a_team_guards_and_merges_in_the_same_way(admin: Admin, ours: Team) -> None:
    path = f"tenants/tenant/{ours.tenant.pk}/change/"
    mine, yours, third = (admin.opened(path) for _ in range(3))
    assert admin.save(path, mine, quota_gpu_types='{"nvidia-a100": 4}', name="Ours!").status_code == 302
    assert admin.save(path, yours, quota_pods="70").status_code == 302
    refused = admin.save(path, third, name="Mine")
    assert refused.status_code == 200 and "it is Ours! now" in refused.content.decode()
    ours.tenant.refresh_from_db()
    assert (ours.tenant.name, ours.tenant.quota_pods, ours.tenant.quota_gpu_types) == ("Ours!", 70, {"nvidia-a100": 4})
    assert [(line.before, line.after) for line in reversed(lines("tenant.change"))] == [
        ({"name": "Ours", "quota_gpu_types": {}}, {"name": "Ours!", "quota_gpu_types": {"nvidia-a100": 4}}),
        ({"quota_pods": 100}, {"quota_pods": 70}),
    ]


def test_what_the_service_refuses_is_said_beside_the_field(admin: Admin, ours: Team) -> None:
    path = f"tenants/tenant/{ours.tenant.pk}/change/"
    answer = admin.save(path, artifact_root="ftp://somewhere")
    assert answer.status_code == 200 and "must be a place such as" in answer.content.decode()
    answer = admin.save(path, labels='{"tenant": "x"}')
    assert answer.status_code == 200 and "tenant is set by the platform" in answer.content.decode()
    assert not lines("tenant.change")


def test_a_team_is_made_by_the_service_with_its_line_in_the_log(admin: Admin, ours: Team) -> None:
    answer = admin.save("tenants/tenant/add/", slug="new-team", name="New", cost_center="cc-1", quota_cpu="50")
    assert answer.status_code == 302, answer.content.decode()
    (line,) = [one for one in lines("tenant.create") if one.tenant_slug == "new-team"]
    assert line.actor == "root" and line.after["quota_cpu"] == 50
    again = admin.save("tenants/tenant/add/", slug="new-team", name="New", cost_center="cc-1")
    assert again.status_code == 200 and "already exists" in again.content.decode()
