"""The usage that submissions are decided by is the sum over the jobs, whoever changes them and however; and its repair."""

import threading
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import cleanup, usage
from jobs.models import TrainingJob
from jobs.queue import admit_waiting
from jobs.services import job_cancel, job_submit
from platform_portal.errors import DomainError
from tenants.models import QuotaUsage, Tenant
from tests.jobs.fake_cluster import FakeCluster
from tests.jobs.rounds import submit
from tests.jobs.seen import NOW
from tests.personas import Team, team


@pytest.fixture(autouse=True)
def quiet(cluster: FakeCluster) -> None:
    """Nobody is woken."""


def row(tenant: Tenant) -> dict[str, Any]:
    found = QuotaUsage.objects.values("cpu", "memory_gb", "gpus", "gpu_types", "pods", "jobs", "waiting").get(
        tenant=tenant
    )
    return dict(found)


EMPTY = {"cpu": 0, "memory_gb": 0, "gpus": 0, "gpu_types": {}, "pods": 0, "jobs": 0, "waiting": 0}


def test_a_job_is_counted_from_its_submission_to_its_end(ours: Team, theirs: Team) -> None:
    job = submit(ours, compute="gpu-4x-v100")
    held = {
        "cpu": 32,
        "memory_gb": 192,
        "gpus": 4,
        "gpu_types": {"nvidia-tesla-v100": 4},
        "pods": 1,
        "jobs": 1,
        "waiting": 0,
    }
    assert row(ours.tenant) == held and row(theirs.tenant) == EMPTY
    TrainingJob.objects.update(status="running", reason="Running", metrics={"loss": 1.0})
    assert row(ours.tenant) == held
    TrainingJob.objects.filter(pk=job.pk).update(status="succeeded")
    assert row(ours.tenant) == EMPTY


def test_what_waits_holds_nothing(ours: Team) -> None:
    TrainingJob.objects.filter(pk=submit(ours).pk).update(admitted_at=None)
    assert row(ours.tenant) == EMPTY | {"waiting": 1}
    TrainingJob.objects.all().delete()
    assert row(ours.tenant) == EMPTY


def test_one_statement_over_many_teams_counts_for_each(ours: Team, theirs: Team) -> None:
    for one in (ours, theirs):
        for name in "ab":
            submit(one, name, compute="gpu-1x-t4")
    TrainingJob.objects.filter(name="a").update(gpu_type="nvidia-a100")
    assert row(ours.tenant)["gpu_types"] == row(theirs.tenant)["gpu_types"] == {"nvidia-a100": 1, "nvidia-tesla-t4": 1}
    TrainingJob.objects.filter(name="b").delete()
    assert row(ours.tenant) == row(theirs.tenant) == EMPTY | {
        "cpu": 4, "memory_gb": 16, "gpus": 1, "gpu_types": {"nvidia-a100": 1}, "pods": 1, "jobs": 1
    }  # fmt: skip


def test_a_change_that_was_taken_back_counts_for_nothing(ours: Team) -> None:
    before = row(ours.tenant)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        submit(ours)
        raise ZeroDivisionError
    assert row(ours.tenant) == before


def test_what_does_not_change_the_sum_does_not_touch_the_row(ours: Team) -> None:
    """The reconciler writes to jobs all the time: it must not wait for submissions, nor they for it."""
    submit(ours)

    def version() -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT ctid, xmin FROM tenants_quotausage WHERE tenant_id = %s", [ours.tenant.pk])
            return cursor.fetchone()

    before = version()
    TrainingJob.objects.update(status="running", next_check_at=None, version=7)
    assert version() == before


def test_a_team_goes_with_its_jobs(ours: Team, theirs: Team) -> None:
    submit(ours)
    submit(theirs)
    ours.tenant.delete()
    assert list(QuotaUsage.objects.values_list("tenant__slug", flat=True)) == ["theirs"]


@pytest.mark.django_db(transaction=True)
def test_writers_over_the_same_teams_do_not_block_each_other_for_good(ours: Team, theirs: Team) -> None:
    for one in (ours, theirs):
        for number in range(10):
            submit(one, f"job-{number}", compute={"cpu_cores": 1, "memory_gb": 1})
    trouble: list[Exception] = []

    def work(half: str) -> None:
        try:
            for status in ("succeeded", "running") * 20:
                TrainingJob.objects.filter(name__regex=f"[{half}]$").order_by().update(status=status)
        except Exception as error:
            trouble.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(half,)) for half in ("0-4", "5-9")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trouble == [] and usage.usage_drift() == []


SIZES = st.sampled_from(
    [{"cpu_cores": 1, "memory_gb": 1}, {"cpu_cores": 96, "memory_gb": 1}, "gpu-1x-t4", "gpu-4x-v100", "gpu-1x-a100"]
)
BULK = (
    "UPDATE jobs_trainingjob SET status = 'failed' WHERE gpu_count > 0",
    "UPDATE jobs_trainingjob SET status = 'running' WHERE admitted_at IS NOT NULL",
    "UPDATE jobs_trainingjob SET admitted_at = NULL WHERE status = 'pending'",
    "UPDATE jobs_trainingjob SET cpu_cores = cpu_cores + 1, gpu_type = 'nvidia-a100' WHERE gpu_count = 1",
    "UPDATE jobs_trainingjob SET tenant_id = (SELECT max(id) FROM tenants_tenant), name = left(id::text, 8)",
)
JOB = st.integers(0, 30)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(0, 1), SIZES, st.booleans()),
        st.tuples(st.just("cancel"), JOB),
        st.tuples(st.just("end"), JOB, st.sampled_from(["succeeded", "failed", "running"])),
        st.tuples(st.just("delete"), JOB),
        st.tuples(st.just("admit")),
        st.tuples(st.just("bulk"), st.sampled_from(BULK)),
        st.tuples(st.just("quota"), st.sampled_from([1, 40, 400])),
    ),
    max_size=25,
)


def test_the_sum_is_right_after_any_sequence_of_changes(db: None) -> None:
    @settings(max_examples=60)
    @given(STEPS)
    def always(steps: list[tuple[Any, ...]]) -> None:
        with transaction.atomic():
            teams = [team("ours"), team("theirs")]
            for number, step in enumerate(steps):
                apply(teams, number, *step)
                assert usage.usage_drift() == [], step
            transaction.set_rollback(True)

    always()


def apply(teams: list[Team], number: int, what: str, *told: Any) -> None:
    if what == "submit":
        which, compute, queue = told
        payload = {"name": f"job-{number}", "compute": compute, "queue": queue}
        try:
            job_submit(ctx=teams[which].context("lead"), payload=payload)
        except DomainError as error:
            assert error.code == "quota_exceeded"
    elif what == "admit":
        admit_waiting(NOW)
    elif what == "quota":
        Tenant.objects.update(quota_cpu=told[0])
    elif what == "bulk":
        with connection.cursor() as cursor:
            cursor.execute(told[0])
    else:
        jobs = list(TrainingJob.objects.order_by("created_at", "id"))
        if not jobs:
            return
        job = jobs[told[0] % len(jobs)]
        if what == "end":
            TrainingJob.objects.filter(pk=job.pk).update(status=told[1])
        elif what == "delete":
            job.delete()
        elif job.status in ("pending", "running"):
            owner = next(one for one in teams if one.tenant.pk == job.tenant_id)
            job_cancel(ctx=owner.context("lead"), job_id=job.pk)


# ---- drift


def test_a_wrong_row_is_said_and_put_right(ours: Team, theirs: Team) -> None:
    submit(ours, compute="gpu-1x-t4")
    true = row(ours.tenant)
    QuotaUsage.objects.filter(tenant=ours.tenant).update(cpu=99, gpu_types={"x": 1}, waiting=-1)
    said = StringIO()
    with pytest.raises(CommandError, match="--repair puts it right"):
        call_command("quota_check", stdout=said)
    assert (
        "ours: cpu is 99, should be 4, waiting is -1, should be 0" in said.getvalue()
        and "theirs" not in said.getvalue()
    )
    call_command("quota_check", "--repair", stdout=(said := StringIO()))
    assert "Put right: 1." in said.getvalue() and row(ours.tenant) == true
    call_command("quota_check", stdout=(said := StringIO()))
    assert said.getvalue() == "Every team's usage is the sum over its jobs.\n"
    assert usage.usage_repair(tenant_id=ours.tenant.pk) is None and usage.usage_repair(tenant_id=-1) is None


def test_the_periodic_tidying_puts_it_right_too(ours: Team, caplog: pytest.LogCaptureFixture) -> None:
    QuotaUsage.objects.filter(tenant=ours.tenant).update(jobs=3)
    cleanup.run()
    assert row(ours.tenant) == EMPTY and "ours: jobs is 3, should be 0" in caplog.text


# ---- the tenant's version


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({"quota_cpu": 7}, True), ({"grants": [{"until": "2027-01-01T00:00:00+00:00", "cpu": 8}]}, True),
        ({"is_active": False}, True), ({"quota_gpu_types": {"a": 1}}, True), ({"quota_gpus_per_job": 1}, True),
        ({"applied_digest": "x"}, False), ({"quota_cpu": 100}, False),
    ],
)  # fmt: skip
def test_a_change_of_what_decides_is_a_new_version_also_when_nobody_counts_it(
    ours: Team, change: dict[str, Any], counts: bool
) -> None:
    Tenant.objects.filter(pk=ours.tenant.pk).update(**change)
    tenant = Tenant.objects.get(pk=ours.tenant.pk)
    assert tenant.version == tenant.usage.tenant_version == (ours.tenant.version + 1 if counts else ours.tenant.version)


def test_a_saved_tenant_s_version_is_in_its_usage(ours: Team) -> None:
    ours.tenant.quota_cpu = 8
    ours.tenant.save()
    assert ours.tenant.version == 1 == QuotaUsage.objects.get(tenant=ours.tenant).tenant_version
