"""A team asks for more quota, a platform admin decides: what is written, who is told, and what cannot happen twice."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.utils import timezone

from platform_portal.errors import DomainError
from tenants.models import AuditEntry, Notification, QuotaRequest, Tenant
from tenants.quotas import limits_of
from tenants.services import quota_request_create, quota_request_decide, quota_request_withdraw
from tests.personas import Team, team

WANTED = {"cpu": 200, "gpus": 16}


@pytest.fixture
def ours(db: None) -> Team:
    return team("ours")


@pytest.fixture
def root(db: None) -> Any:
    return get_user_model().objects.create_superuser("root", password="x")


def ask(ours: Team, wanted: Any = None, reason: Any = "A large model", role: str = "member") -> QuotaRequest:
    return quota_request_create(ctx=ours.context(role), wanted=WANTED if wanted is None else wanted, reason=reason)


def fields_of(refused: pytest.ExceptionInfo[DomainError]) -> set[str]:
    return set(refused.value.fields)


def test_asking_writes_the_request_an_audit_line_and_tells_every_platform_admin(ours: Team, root: Any) -> None:
    get_user_model().objects.create_superuser("gone", password="x", is_active=False)
    request = ask(ours)
    assert request.status == "pending" and request.requested_by == ours.people["member"]
    assert request.wanted == WANTED and request.current == {"cpu": 100, "gpus": 10}
    line = AuditEntry.objects.get(action="quota.request")
    assert line.actor == "ours-member" and line.tenant_slug == "ours"
    assert line.after == WANTED | {"reason": "A large model"} and line.before == {"cpu": 100, "gpus": 10}
    told = Notification.objects.get()
    assert told.user == root
    assert told.message == "ours-member asks for 200 CPU cores and 16 GPUs for Ours: A large model"
    assert told.url == f"/admin/tenants/quotarequest/{request.pk}/change/"


@pytest.mark.parametrize(
    ("wanted", "reason", "fields"),
    [
        ({}, "why", {"wanted"}),
        ([], "why", {"wanted"}),
        ("cpu", "why", {"wanted"}),
        ({"cpu": 100}, "why", {"wanted.cpu"}),
        ({"cpu": 99, "gpus": 11}, "why", {"wanted.cpu"}),
        ({"cpu": True}, "why", {"wanted.cpu"}),
        ({"cpu": 200.5}, "why", {"wanted.cpu"}),
        ({"cpu": "200"}, "why", {"wanted.cpu"}),
        ({"cpu": 10**12}, "why", {"wanted.cpu"}),
        ({"cpu": None, "disks": 3}, "why", {"wanted.cpu", "wanted.disks"}),
        ({"gpus:nvidia-a100": 4}, "why", {"wanted.gpus:nvidia-a100"}),
        ({"cpu": 200}, "", {"reason"}),
        ({"cpu": 200}, " \n ", {"reason"}),
        ({"cpu": 200}, None, {"reason"}),
        ({"cpu": 200}, "x" * 2001, {"reason"}),
        ({"cpu": 200}, "a\x00b", {"reason"}),
        ({"cpu": 1}, "", {"wanted.cpu", "reason"}),
    ],
)
def test_a_wish_that_is_none_is_refused_with_every_bad_field(
    ours: Team, wanted: Any, reason: Any, fields: set[str]
) -> None:
    with pytest.raises(DomainError) as refused:
        ask(ours, wanted, reason)
    assert refused.value.http_status == 400 and fields_of(refused) == fields
    assert not QuotaRequest.objects.exists()


def test_a_limit_of_one_gpu_type_can_be_asked_for_where_there_is_one(ours: Team) -> None:
    Tenant.objects.filter(pk=ours.tenant.pk).update(quota_gpu_types={"nvidia-a100": 2})
    assert ask(ours, {"gpus:nvidia-a100": 4}).current == {"gpus:nvidia-a100": 2}


def test_viewers_do_not_ask_and_a_read_only_token_does_not_either(ours: Team) -> None:
    from dataclasses import replace

    for ctx in (ours.context("viewer"), replace(ours.context("lead"), scopes=frozenset({"read"}))):
        with pytest.raises(DomainError) as refused:
            quota_request_create(ctx=ctx, wanted=WANTED, reason="why")
        assert refused.value.http_status == 403


def test_a_team_that_is_not_active_does_not_ask(ours: Team) -> None:
    Tenant.objects.filter(pk=ours.tenant.pk).update(is_active=False)
    with pytest.raises(DomainError) as refused:
        ask(ours)
    assert refused.value.code == "tenant_inactive"


def test_one_request_for_the_same_resources_and_five_in_all_may_be_pending(ours: Team, root: Any) -> None:
    first = ask(ours, {"cpu": 200})
    with pytest.raises(DomainError) as refused:
        ask(ours, {"cpu": 300}, role="lead")
    assert refused.value.http_status == 409 and refused.value.code == "already_requested"
    for resource in ("gpus", "jobs", "pods", "pvcs"):
        ask(ours, {resource: 1000})
    with pytest.raises(DomainError) as refused:
        ask(ours, {"memory_gb": 1000})
    assert refused.value.code == "too_many_requests_pending"
    quota_request_decide(by=root, request_id=first.pk, granted=None, note="no")
    ask(ours, {"cpu": 300})


def test_a_grant_without_a_date_raises_the_quota_for_good_and_tells_who_asked(ours: Team, root: Any) -> None:
    request = ask(ours)
    before = ours.tenant.version
    decided = quota_request_decide(by=root, request_id=request.pk, granted={"cpu": 150, "gpus": 16}, note="Not all.")
    tenant = Tenant.objects.get(pk=ours.tenant.pk)
    assert (tenant.quota_cpu, tenant.quota_gpus, tenant.grants) == (150, 16, [])
    assert tenant.version > before
    assert decided.status == "granted" and decided.decided_by == root and decided.decided_at is not None
    line = AuditEntry.objects.get(action="quota.grant")
    assert line.actor == "root" and line.tenant_slug == "ours" and line.target_id == str(request.pk)
    assert line.before == {"cpu": 100, "gpus": 10} and line.after == {"cpu": 150, "gpus": 16, "note": "Not all."}
    told = Notification.objects.get(user=ours.people["member"])
    assert told.message == "Ours now has 150 CPU cores and 16 GPUs. Not all." and told.url == "/t/ours/usage"


def test_a_grant_until_a_date_counts_to_the_end_of_that_day_and_leaves_the_quota(ours: Team, root: Any) -> None:
    today = timezone.now().date()
    until = today + timedelta(days=3)
    quota_request_decide(by=root, request_id=ask(ours).pk, granted={"cpu": 200}, until=until)
    tenant = Tenant.objects.get(pk=ours.tenant.pk)
    assert tenant.quota_cpu == 100
    end = datetime(until.year, until.month, until.day, tzinfo=UTC) + timedelta(days=1)
    assert limits_of(tenant, end - timedelta(seconds=1)).cpu == 200
    assert limits_of(tenant, end).cpu == 100
    assert f"until the end of {until:%Y-%m-%d} (UTC)" in Notification.objects.get(user=ours.people["member"]).message


def test_a_grant_of_a_gpu_type_changes_that_type_only(ours: Team, root: Any) -> None:
    Tenant.objects.filter(pk=ours.tenant.pk).update(quota_gpu_types={"nvidia-a100": 2, "t4": 1})
    request = ask(ours, {"gpus:nvidia-a100": 4})
    quota_request_decide(by=root, request_id=request.pk, granted={"gpus:nvidia-a100": 3})
    assert Tenant.objects.get(pk=ours.tenant.pk).quota_gpu_types == {"nvidia-a100": 3, "t4": 1}


def test_what_was_granted_until_a_date_may_be_asked_for_for_good(ours: Team, root: Any) -> None:
    until = timezone.now().date() + timedelta(days=1)
    quota_request_decide(by=root, request_id=ask(ours, {"cpu": 200}).pk, granted={"cpu": 200}, until=until)
    again = ask(ours, {"cpu": 200})
    quota_request_decide(by=root, request_id=again.pk, granted={"cpu": 200})
    tenant = Tenant.objects.get(pk=ours.tenant.pk)
    assert tenant.quota_cpu == 200 and len(tenant.grants) == 1


def test_declining_takes_a_note_and_changes_no_quota(ours: Team, root: Any) -> None:
    request = ask(ours)
    with pytest.raises(DomainError) as refused:
        quota_request_decide(by=root, request_id=request.pk, granted=None)
    assert fields_of(refused) == {"note"}
    quota_request_decide(by=root, request_id=request.pk, granted=None, note="The cluster is full until May.")
    tenant = Tenant.objects.get(pk=ours.tenant.pk)
    assert (tenant.quota_cpu, tenant.version) == (100, ours.tenant.version)
    told = Notification.objects.get(user=ours.people["member"])
    assert told.message == "Ours does not get 200 CPU cores and 16 GPUs: The cluster is full until May."
    assert AuditEntry.objects.get(action="quota.decline").after == {"note": "The cluster is full until May."}


@pytest.mark.parametrize(
    ("granted", "days", "fields"),
    [
        ({}, None, {"granted"}),
        ({"cpu": 201}, None, {"granted.cpu"}),
        ({"cpu": 100}, None, {"granted.cpu"}),
        ({"cpu": 0}, None, {"granted.cpu"}),
        ({"cpu": True}, None, {"granted.cpu"}),
        ({"pods": 200}, None, {"granted.pods"}),
        ({"cpu": 200}, -1, {"until"}),
        ({"cpu": 200}, 4000, {"until"}),
    ],
)
def test_a_decision_that_cannot_be_is_refused(
    ours: Team, root: Any, granted: Any, days: int | None, fields: set[str]
) -> None:
    until: date | None = timezone.now().date() + timedelta(days=days) if days is not None else None
    request = ask(ours)
    with pytest.raises(DomainError) as refused:
        quota_request_decide(by=root, request_id=request.pk, granted=granted, until=until)
    assert fields_of(refused) == fields
    request.refresh_from_db()
    assert request.status == "pending"


def test_only_a_platform_admin_decides(ours: Team) -> None:
    with pytest.raises(DomainError) as refused:
        quota_request_decide(by=ours.people["lead"], request_id=ask(ours).pk, granted=WANTED)
    assert refused.value.http_status == 403


def test_deciding_twice_is_a_conflict_that_says_who_has_decided(ours: Team, root: Any) -> None:
    request = ask(ours)
    quota_request_decide(by=root, request_id=request.pk, granted=WANTED)
    with pytest.raises(DomainError) as refused:
        quota_request_decide(by=root, request_id=request.pk, granted=None, note="no")
    assert refused.value.http_status == 409 and refused.value.code == "already_decided"
    assert "granted already by root on" in refused.value.message
    with pytest.raises(DomainError) as refused:
        quota_request_withdraw(ctx=ours.context("member"), request_id=request.pk)
    assert refused.value.code == "already_decided"


def test_who_asked_and_leads_withdraw_and_doing_so_again_changes_nothing(ours: Team, root: Any) -> None:
    mine = ask(ours, role="lead")
    with pytest.raises(DomainError) as refused:
        quota_request_withdraw(ctx=ours.context("member"), request_id=mine.pk)
    assert refused.value.http_status == 403
    other = ask(ours, {"pods": 200})
    for _ in range(2):
        assert quota_request_withdraw(ctx=ours.context("member"), request_id=other.pk).status == "withdrawn"
    assert AuditEntry.objects.filter(action="quota.withdraw").count() == 1
    quota_request_withdraw(ctx=ours.context("lead"), request_id=mine.pk)
    with pytest.raises(DomainError) as refused:
        quota_request_decide(by=root, request_id=mine.pk, granted=WANTED)
    assert refused.value.code == "already_decided"


def test_another_teams_request_is_none(ours: Team) -> None:
    theirs = team("theirs")
    with pytest.raises(DomainError) as refused:
        quota_request_withdraw(ctx=ours.context("lead"), request_id=ask(theirs).pk)
    assert refused.value.http_status == 404


@pytest.mark.django_db(transaction=True)
def test_of_two_admins_who_decide_at_once_one_decides(transactional_db: None) -> None:
    ours = team("ours")
    admins = [get_user_model().objects.create_superuser(name, password="x") for name in ("one", "two")]
    request = ask(ours)

    def decide(number: int) -> str:
        try:
            granted = {"cpu": 150 + number}
            quota_request_decide(by=admins[number], request_id=request.pk, granted=granted)
            return "decided"
        except DomainError as error:
            return error.code
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(decide, range(2)))
    assert sorted(outcomes) == ["already_decided", "decided"]
    won = outcomes.index("decided")
    assert Tenant.objects.get(pk=ours.tenant.pk).quota_cpu == 150 + won
    assert AuditEntry.objects.filter(action="quota.grant").count() == 1
    assert Notification.objects.filter(user=ours.people["member"]).count() == 1
