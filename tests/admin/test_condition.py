"""What an administrator is told about the platform: what is wrong, and what to do about it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.admin.forms import Admin
from tests.personas import team

NOW = datetime(2026, 5, 4, 3, 0, tzinfo=UTC)


def facts(**changes: Any) -> Any:
    from platform_portal.condition import Facts

    well = Facts(
        now=NOW,
        contacts={"default": (NOW - timedelta(seconds=9), "")},
        jobs_overdue=0,
        logs_overdue=0,
        mail_overdue=0,
        tenants_failing=0,
        tenants_drifted=0,
        deleting_since=None,
        requests_pending=0,
        oldest_request=None,
    )
    return replace(well, **changes)


def test_nothing_is_wrong_with_a_platform_that_works() -> None:
    from platform_portal.condition import judged

    assert {one.level for one in judged(facts())} == {"ok"}


@pytest.mark.parametrize(
    ("changes", "level", "says", "remedy"),
    [
        ({"contacts": {}}, "bad", "No reconciler has ever", "manage.py reconcile"),
        ({"contacts": {"default": (NOW - timedelta(minutes=2), "")}}, "warn", "2\xa0minutes ago", "Restart it"),
        ({"contacts": {"default": (NOW - timedelta(hours=2), "")}}, "bad", "2\xa0hours ago", "Restart it"),
        ({"contacts": {"default": (None, "")}}, "bad", "Never had it in view", "Restart it"),
        ({"contacts": {"default": (NOW, "connection refused")}}, "bad", "connection refused", "kubectl get --raw"),
        ({"contacts": {"default": (NOW, ""), "namespaces": (None, "")}}, "bad", "Never", "Restart it"),
        ({"jobs_overdue": 3}, "warn", "3 live jobs", "manage.py reconcile"),
        ({"logs_overdue": 1}, "warn", "1 logs", "Celery"),
        ({"mail_overdue": 1}, "warn", "1 notifications", "EMAIL_URL"),
        ({"tenants_failing": 2}, "bad", "2 teams could not", "rbac.yaml"),
        ({"tenants_drifted": 1}, "warn", "1 team had objects changed by hand", "namespace.drift-corrected"),
        ({"deleting_since": NOW - timedelta(hours=1)}, "warn", "under way for 1\xa0hour", "finalizer"),
        (
            {"requests_pending": 1, "oldest_request": NOW - timedelta(days=3)},
            "warn",
            "1 request awaiting",
            "grant, or decline",
        ),
        ({"migrations_missing": 2}, "bad", "2 migrations", "manage.py migrate"),
    ],
)
def test_what_is_wrong_stands_first_with_what_to_do(
    changes: dict[str, Any], level: str, says: str, remedy: str
) -> None:
    from platform_portal.condition import judged

    first = judged(facts(**changes))[0]
    assert (first.level, says in first.seen, remedy in first.remedy) == (level, True, True), first


@pytest.mark.parametrize(
    "changes",
    [
        {"deleting_since": NOW - timedelta(minutes=1)},
        {"requests_pending": 1, "oldest_request": NOW - timedelta(hours=1)},
    ],
)
def test_what_is_under_way_is_no_alarm(changes: dict[str, Any]) -> None:
    from platform_portal.condition import judged

    assert {one.level for one in judged(facts(**changes))} == {"ok"}


def test_the_overview_and_the_health_page_read_the_rows(admin: Admin) -> None:
    from tenants.models import ClusterContact, QuotaUsage, Tenant
    from tenants.services import quota_request_create

    ours, theirs = team("ours"), team("theirs")
    ClusterContact.objects.create(name="default", error="certificate expired")
    QuotaUsage.objects.filter(tenant=ours.tenant).update(cpu=95, jobs=4, waiting=7)
    Tenant.objects.filter(pk=theirs.tenant.pk).update(apply_error="forbidden by admission policy")
    quota_request_create(ctx=ours.ctx, wanted={"cpu": 200}, reason="A large model")
    overview, health = admin.text(""), admin.text("health/")
    assert "CPU 95 / 100" in overview and "forbidden by admission policy" in overview and "A large model" in overview
    assert "<strong>4</strong>" in overview and "<strong>7</strong>" in overview
    for text in (overview, health):
        assert "certificate expired" in text and "1 team could not be applied" in text


def test_a_grant_keeps_a_team_off_the_list_of_those_near_a_limit(admin: Admin) -> None:
    from platform_portal.condition import overview
    from tenants.models import QuotaUsage, Tenant

    ours = team("ours")
    QuotaUsage.objects.filter(tenant=ours.tenant).update(cpu=95)
    assert [one.percent for one in overview(NOW)["pressed"]] == [95]
    grant = {"until": (NOW + timedelta(days=1)).isoformat(), "cpu": 400}
    Tenant.objects.filter(pk=ours.tenant.pk).update(grants=[grant])
    assert overview(NOW)["pressed"] == []
