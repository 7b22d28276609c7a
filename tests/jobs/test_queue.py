"""Over quota: refused, or waiting in the team's queue, which goes strictly by priority and age."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from jobs import queue, quota, selectors, services, usage
from jobs.models import JobEvent, TrainingJob
from jobs.queue import admit_waiting, tenant_admit
from jobs.reconciler import Reconciler
from jobs.services import job_cancel, job_submit
from platform_portal.errors import DomainError
from tenants import quotas
from tenants.models import AuditEntry, QuotaUsage, Tenant
from tenants.quotas import Outcome
from tests.jobs.fake_cluster import FakeCluster
from tests.jobs.rounds import fresh, rounds, told
from tests.personas import Team, team
from tests.setup.running import ROOT, until


@pytest.fixture(autouse=True)
def quiet(cluster: FakeCluster) -> None:
    """Nobody is woken."""


def submit(ours: Team, name: str, cpu: int = 1, **fields: Any) -> TrainingJob:
    payload = {"name": name, "queue": True, "compute": {"cpu_cores": cpu, "memory_gb": 1}} | fields
    return job_submit(ctx=ours.context("lead"), payload=payload)


def holds(ours: Team, cpu: int) -> None:
    Tenant.objects.filter(pk=ours.tenant.pk).update(quota_cpu=cpu)


def end(*jobs: TrainingJob) -> None:
    TrainingJob.objects.filter(pk__in=[job.pk for job in jobs]).update(status="succeeded")


def queued() -> list[str]:
    return list(TrainingJob.objects.waiting().values_list("name", flat=True))


def let_go() -> list[str]:
    before = queued()
    admit_waiting(timezone.now())
    return [name for name in before if name not in queued()]


def refused(call: Any, **arguments: Any) -> DomainError:
    with pytest.raises(DomainError) as error:
        call(**arguments)
    return error.value


# ---- refused


def test_what_does_not_fit_now_is_refused_with_what_is_in_its_way(ours: Team) -> None:
    holds(ours, 10)
    submit(ours, "a", 8)
    error = refused(submit, ours=ours, name="b", cpu=4, queue=False)
    assert (error.http_status, error.code, error.headers["Retry-After"]) == (429, "quota_exceeded", "30")
    assert error.extra == {
        "exceeded": [{"resource": "cpu", "limit": 10, "used": 8, "requested": 4}], "fits": "later", "waiting": 0
    }  # fmt: skip
    assert "quota of 10 CPU cores is reached" in error.message and '"queue": true' in error.message
    assert TrainingJob.objects.count() == 1 and AuditEntry.objects.filter(action="job.submit").count() == 1


@pytest.mark.parametrize("queue", [True, False])
def test_what_can_never_fit_is_refused_also_when_it_would_wait(ours: Team, queue: bool) -> None:
    error = refused(submit, ours=ours, name="b", compute={"type": "gpu", "gpu_count": 8, "memory_gb": 201}, queue=queue)
    assert (error.http_status, error.extra["fits"], error.headers["Retry-After"]) == (429, "never", "3600")
    assert "holds 200 in all: it can never start" in error.message and "queue" not in error.message
    Tenant.objects.update(quota_gpus_per_job=2, quota_gpu_types={"nvidia-a100": 1})
    compute = {"type": "gpu", "gpu_count": 3, "gpu_type": "nvidia-a100"}
    error = refused(submit, ours=ours, name="b", compute=compute, queue=queue)
    assert [one["resource"] for one in error.extra["exceeded"]] == ["gpus:nvidia-a100", "gpus_per_job"]


def test_a_team_that_was_closed_meanwhile_is_noticed_under_the_lock(ours: Team) -> None:
    ctx = ours.context("lead")
    Tenant.objects.update(is_active=False)
    error = refused(job_submit, ctx=ctx, payload={"name": "a"})
    assert (error.http_status, error.code) == (403, "tenant_inactive") and not TrainingJob.objects.exists()


def test_a_team_that_is_gone_is_a_404(ours: Team) -> None:
    ctx = ours.context("lead")
    Tenant.objects.filter(pk=ours.tenant.pk).delete()
    assert refused(job_submit, ctx=ctx, payload={"name": "a"}).http_status == 404


def test_a_taken_name_is_said_also_where_the_quota_is_decided_slowly(ours: Team) -> None:
    submit(ours, "a")
    holds(ours, 5)
    assert refused(submit, ours=ours, name="a").code == "name_taken"
    holds(ours, 1)
    assert refused(submit, ours=ours, name="a").code == "name_taken", "and not put into the queue"


# ---- waiting


def test_what_waits_says_so_and_holds_nothing(ours: Team) -> None:
    holds(ours, 4)
    submit(ours, "a", 3)
    job = submit(ours, "b", 2)
    row = fresh(job)
    assert (row.status, row.reason, row.admitted_at, row.next_check_at) == ("pending", "QueuedForQuota", None, None)
    assert (job.queue_position, row.waits, told(job)) == (1, True, ["QueuedForQuota"])
    used = QuotaUsage.objects.get()
    assert (used.cpu, used.jobs, used.waiting) == (3, 1, 1)
    assert AuditEntry.objects.get(target="b").after == {
        "compute": {"type": "cpu", "cpu_cores": 2, "memory_gb": 1}, "priority": 0, "waits": True
    }  # fmt: skip


def test_nobody_overtakes_a_job_of_the_same_or_a_higher_priority(ours: Team) -> None:
    holds(ours, 4)
    submit(ours, "a", 3)
    assert submit(ours, "big", 4).waits
    assert submit(ours, "small", 1).waits, "it would fit, and has to wait its turn"
    error = refused(submit, ours=ours, name="impatient", queue=False)
    assert (error.extra["exceeded"], error.extra["waiting"], error.extra["fits"]) == ([], 2, "later")
    assert "2 jobs wait in the team's queue before it" in error.message
    assert submit(ours, "low", 1, priority=-1).waits
    assert not submit(ours, "urgent", 1, priority=5).waits
    assert [submit(ours, "higher", 1, priority=1).queue_position, *queued()] == [1, "higher", "big", "small", "low"]


def test_the_queue_goes_by_priority_then_by_age(ours: Team) -> None:
    holds(ours, 1)
    first = submit(ours, "first")
    for name, priority in (("b", 0), ("a", 0), ("late-high", 2), ("low", -3), ("high", 2)):
        submit(ours, name, priority=priority)
    went = []
    running = first
    for _ in range(5):
        end(running)
        (name,) = let_go()
        went.append(name)
        running = TrainingJob.objects.get(name=name)
    assert went == ["late-high", "high", "b", "a", "low"] and let_go() == []


def test_a_large_job_is_not_starved_by_small_ones(ours: Team) -> None:
    """Small jobs keep coming and ending; strictly in turn, the large one starts once those before it have ended."""
    holds(ours, 4)
    running = [submit(ours, f"s{number}") for number in range(4)]
    large = submit(ours, "large", 4)
    for number in range(4, 40):
        submit(ours, f"s{number}")
    for job in running:
        assert fresh(large).waits
        end(job)
        went = let_go()
        assert went in ([], ["large"]), "no small one goes before it, though there is room for three"
    assert not fresh(large).waits
    end(large)
    assert let_go() == ["s4", "s5", "s6", "s7"]


def test_what_the_lowered_quota_can_never_hold_stands_in_nobody_s_way(ours: Team) -> None:
    holds(ours, 8)
    first = submit(ours, "first", 8)
    huge, small = submit(ours, "huge", 8), submit(ours, "small", 2)
    holds(ours, 4)
    end(first)
    assert let_go() == ["small"]
    assert (fresh(huge).reason, fresh(huge).waits, small.queue_position) == ("ExceedsQuota", True, 2)
    assert not submit(ours, "next", 2).waits, "nor in a new one's"
    assert selectors.job_get(ours.ctx, huge.pk).queue_position is None
    other = submit(ours, "other", 2)
    assert other.queue_position == 1 == selectors.job_get(ours.ctx, other.pk).queue_position
    holds(ours, 16)
    assert let_go() == ["huge", "other"]
    assert fresh(huge).reason == "Queued"


def test_a_limit_of_one_type_holds_up_who_asks_for_that_type(ours: Team) -> None:
    Tenant.objects.update(quota_gpu_types={"nvidia-a100": 1})
    gpu = {"type": "gpu", "cpu_cores": 1, "memory_gb": 1, "gpu_type": "nvidia-a100"}
    first = submit(ours, "first", compute=gpu)
    second = submit(ours, "second", compute=gpu)
    assert second.waits
    end(first)
    assert let_go() == ["second"]
    Tenant.objects.update(quota_gpu_types={"nvidia-a100": 0})
    third = submit(ours, "third", compute=gpu | {"gpu_type": "nvidia-t4"})
    assert not third.waits
    assert refused(submit, ours=ours, name="fourth", compute=gpu).extra["fits"] == "never"


def test_a_quota_that_is_raised_lets_the_next_go(ours: Team) -> None:
    holds(ours, 1)
    submit(ours, "a")
    for name in "bcd":
        submit(ours, name)
    holds(ours, 3)
    assert let_go() == ["b", "c"]
    grant = {"until": (timezone.now() + timedelta(days=1)).isoformat(), "cpu": 4}
    Tenant.objects.update(grants=[grant])
    assert let_go() == ["d"]


def test_a_team_that_is_closed_starts_nothing(ours: Team) -> None:
    holds(ours, 1)
    first, _ = submit(ours, "a"), submit(ours, "b")
    end(first)
    Tenant.objects.update(is_active=False)
    assert let_go() == []
    Tenant.objects.update(is_active=True)
    assert let_go() == ["b"]


def test_a_job_that_leaves_the_queue_goes_on_as_any_other(ours: Team) -> None:
    holds(ours, 1)
    first, job = submit(ours, "a"), submit(ours, "b")
    end(first)
    assert admit_waiting(timezone.now()) == [job.pk]
    row = fresh(job)
    assert (row.reason, row.version, row.waits) == ("Queued", 1, False) and row.next_check_at is not None
    assert told(job) == ["QueuedForQuota", "Admitted"]


def test_more_than_a_batch_goes_in_one_sweep(ours: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "BATCH", 3)
    holds(ours, 0)
    Tenant.objects.update(quota_cpu=1)
    first = submit(ours, "first")
    for number in range(8):
        submit(ours, f"job-{number}")
    end(first)
    holds(ours, 100)
    assert len(let_go()) == 8


@pytest.mark.parametrize("role", ["member", "lead"])
def test_who_may_cancel_a_waiting_job_ends_it_at_once(ours: Team, role: str) -> None:
    holds(ours, 1)
    submit(ours, "a")
    job = job_submit(ctx=ours.ctx, payload={"name": "b", "queue": True, "compute": {"cpu_cores": 1, "memory_gb": 1}})
    assert job_cancel(ctx=ours.context(role), job_id=job.pk).status == "cancelled"
    assert queued() == [] and QuotaUsage.objects.get().waiting == 0
    assert AuditEntry.objects.filter(action="job.cancel", target="b").count() == 1
    holds(ours, 2)
    assert let_go() == []


# ---- priority


@pytest.mark.parametrize(
    ("role", "priority", "allowed"),
    [("member", 0, True), ("member", -10, True), ("member", 1, False), ("lead", 10, True), ("viewer", -1, False)],
)
def test_only_leads_put_a_job_before_others(ours: Team, role: str, priority: int, allowed: bool) -> None:
    payload = {"name": "a", "priority": priority}
    if allowed:
        assert job_submit(ctx=ours.context(role), payload=payload).priority == priority
        return
    error = refused(job_submit, ctx=ours.context(role), payload=payload)
    assert error.http_status == 403 and (role == "viewer" or list(error.fields) == ["priority"])


# ---- with the reconciler


@pytest.mark.django_db(transaction=True)
def test_nothing_is_made_for_a_job_that_waits_and_its_turn_comes_with_an_end(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler
) -> None:
    holds(ours, 1)
    first, second = submit(ours, "a"), submit(ours, "b")
    reconciler._started_in_view = False
    rounds(reconciler)
    assert cluster.verbs().count("create") == 1 and fresh(second).reason == "QueuedForQuota"
    reconciler.mark(str(second.pk))
    rounds(reconciler)
    assert cluster.verbs().count("create") == 1, "also when somebody looks at it"
    job = cluster.job()
    cluster.end(job, cluster.add_pod(job), ago=10)
    rounds(reconciler, 2)
    assert fresh(first).status == "succeeded"
    rounds(reconciler, 2)
    row = fresh(second)
    assert (row.reason, row.waits) == ("Submitted", False) and usage.usage_drift() == []


@pytest.mark.django_db(transaction=True)
def test_an_end_asks_for_the_next_at_once(ours: Team, cluster: FakeCluster, reconciler: Reconciler) -> None:
    holds(ours, 1)
    submit(ours, "a")
    second = submit(ours, "b")
    rounds(reconciler)
    job = cluster.job()
    cluster.end(job, cluster.add_pod(job), ago=10)
    for informer in reconciler.view.informers:
        informer._relist()
    for _ in range(3):
        # No time passes: the sweep's own time has not come.
        reconciler.step()
    assert not fresh(second).waits


def test_trouble_in_one_team_keeps_no_other_waiting(
    ours: Team, theirs: Team, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for one in (ours, theirs):
        holds(one, 1)
        first = submit(one, "first")
        submit(one, "second")
        end(first)
    original = quotas.limits_of

    def limits_of(tenant: Tenant, now: Any) -> Any:
        if tenant.slug == "ours":
            raise ValueError("a grant that cannot be read")
        return original(tenant, now)

    monkeypatch.setattr(queue, "limits_of", limits_of)
    admit_waiting(timezone.now())
    assert list(TrainingJob.objects.waiting().values_list("tenant__slug", flat=True)) == ["ours"]
    assert "could not be worked on" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_a_head_that_somebody_has_locked_is_waited_for(ours: Team) -> None:
    """It may be a cancel under way, which holds the row and waits for the usage: nobody goes before it, nobody blocks."""
    import psycopg

    holds(ours, 1)
    first = submit(ours, "first")
    head, _ = submit(ours, "head"), submit(ours, "next")
    end(first)
    holds(ours, 5)
    params = connection.get_connection_params()
    params = {key: value for key, value in params.items() if key not in ("cursor_factory", "context")}
    with psycopg.connect(**params) as other:
        other.execute("SELECT id FROM jobs_trainingjob WHERE id = %s FOR UPDATE", [head.pk])
        assert let_go() == []
    assert let_go() == ["head", "next"]


@pytest.mark.django_db(transaction=True)
def test_a_team_whose_lock_is_held_for_long_is_left_for_the_next_round(
    ours: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    monkeypatch.setattr(queue, "LOCK_TIMEOUT", "50ms")
    holds(ours, 1)
    first, _ = submit(ours, "first"), submit(ours, "second")
    end(first)
    params = connection.get_connection_params()
    params = {key: value for key, value in params.items() if key not in ("cursor_factory", "context")}
    with psycopg.connect(**params) as other:
        other.execute("SELECT tenant_id FROM tenants_quotausage FOR UPDATE")
        assert let_go() == []
    assert let_go() == ["second"]


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_an_admission_that_is_killed_before_its_commit_has_not_happened_and_is_repeated(ours: Team) -> None:
    holds(ours, 1)
    first = submit(ours, "first")
    jobs = [submit(ours, f"job-{number}") for number in range(3)]
    end(first)
    holds(ours, 3)
    program = (
        "import sys; from tests.jobs.race import _set_up; _set_up(sys.argv[1])\n"
        "from django.db import transaction; from django.utils import timezone; from jobs.queue import tenant_admit\n"
        "import time\n"
        "with transaction.atomic():\n"
        "    print('let go', len(tenant_admit(tenant_id=int(sys.argv[2]), now=timezone.now())), flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(connection.settings_dict["NAME"]), str(ours.tenant.pk)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "let go 3\n"
    assert len(queued()) == 3, "nobody sees what is not committed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: len(let_go()) == 3, 30, "the database to notice, and the next round")
    assert usage.usage_drift() == [] and QuotaUsage.objects.get().jobs == 3
    assert JobEvent.objects.filter(key="admitted", job__in=jobs).count() == 3


# ---- properties


SUBMISSION = st.tuples(st.just("submit"), st.integers(1, 6), st.integers(-2, 2), st.booleans())
STEP = st.one_of(
    SUBMISSION,
    SUBMISSION,
    st.tuples(st.just("end"), st.integers(0, 20)),
    st.tuples(st.just("quota"), st.integers(1, 8)),
)


def test_whatever_happens_the_quota_holds_and_the_turn_is_kept(db: None) -> None:
    @settings(max_examples=60)
    @given(st.lists(STEP, max_size=25))
    def always(steps: list[tuple[Any, ...]]) -> None:
        with transaction.atomic():
            ours = team("ours")
            limit = 6
            holds(ours, limit)
            for number, (what, *told_) in enumerate(steps):
                before, used = set(queued()), QuotaUsage.objects.get().cpu
                if what == "quota":
                    limit = told_[0]
                    holds(ours, limit)
                elif what == "end":
                    held = list(
                        TrainingJob.objects.filter(status="pending", admitted_at__isnull=False).order_by("name")
                    )
                    end(*held[told_[0] % len(held) :][:1] if held else [])
                    used = QuotaUsage.objects.get().cpu
                else:
                    try_one(ours, number, limit, *told_)
                gone = [one for one in ranked() if one[0] in before] if what != "submit" else None
                admit_waiting(timezone.now())
                check(limit, used, gone)
            transaction.set_rollback(True)

    always()


def try_one(ours: Team, number: int, limit: int, cpu: int, priority: int, wait: bool) -> None:
    used = QuotaUsage.objects.get().cpu
    ahead = [one for one in ranked() if one[2] >= priority and one[1] <= limit]
    try:
        job = submit(ours, f"job-{number}", cpu, priority=priority, queue=wait)
    except DomainError as error:
        assert error.extra["fits"] == ("never" if cpu > limit else "later")
        assert cpu > limit or (not wait and (used + cpu > limit or ahead))
        return
    assert cpu <= limit and (job.waits or (used + cpu <= limit and not ahead))
    assert not job.waits or (wait and job.queue_position == len(ahead) + 1)


def ranked() -> list[tuple[str, int, int]]:
    return list(TrainingJob.objects.waiting().values_list("name", "cpu_cores", "priority"))


def check(limit: int, used: int, before: list[tuple[str, int, int]] | None) -> None:
    """Nothing is over what was held or may be; nobody who could start is left, and whoever went was first in turn."""
    now = QuotaUsage.objects.get().cpu
    assert now <= max(limit, used) and usage.usage_drift() == []
    left = [one for one in ranked() if one[1] <= limit]
    assert not left or now + left[0][1] > limit
    if before is not None:
        able = [name for name, cpu, _ in before if cpu <= limit]
        went = [name for name in able if name not in {one[0] for one in left}]
        assert went == able[: len(went)]


# ---- reading


def test_places_in_the_queue_cost_one_query_and_only_when_somebody_waits(
    ours: Team, theirs: Team, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    submit(ours, "a", 4)
    with django_assert_num_queries(1):
        selectors.jobs_newest(ours.ctx, selectors.JobFilter(), limit=50)
    for one in (ours, theirs):
        holds(one, 4)
        for number in range(12):
            submit(one, f"w{number:02}", 4)
    with django_assert_num_queries(2):
        page, _ = selectors.jobs_newest(ours.ctx, selectors.JobFilter(), limit=50)
    assert {job.name: job.queue_position for job in page} == {"a": None} | {f"w{n:02}": n + 1 for n in range(12)}
    with django_assert_num_queries(2):
        assert selectors.job_for_page(ours.ctx, page[0].pk).queue_position == 12
    assert [job.queue_position for job in selectors.jobs_live_of(ours.ctx, [page[0].pk])] == [12]


def test_the_place_of_a_few_is_counted_among_all_and_only_theirs_are_fetched(ours: Team, theirs: Team) -> None:
    for one in (ours, theirs):
        holds(one, 4)
        for number in range(12):
            submit(one, f"w{number:02}", 4, priority=1 if number == 11 else 0)
    rows = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        rows.append(context["cursor"].rowcount)
        return result

    with connection.execute_wrapper(note):
        page, more = selectors.jobs_newest(ours.ctx, selectors.JobFilter(), limit=3)
    assert more and {job.name: job.queue_position for job in page} == {"w11": 1, "w10": 11, "w09": 10}
    assert rows == [4, 3]


@pytest.mark.parametrize(("cpu", "outcome", "position"), [(2, "now", None), (3, "wait", 1), (9, "never", None)])
def test_a_preview_says_what_a_submission_would_meet(
    ours: Team, cpu: int, outcome: str, position: int | None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    holds(ours, 5)
    submit(ours, "a", 3)
    ours.tenant.refresh_from_db()
    compute = {"type": "cpu", "cpu_cores": cpu, "memory_gb": 1}
    with django_assert_num_queries(1):
        found = quota.quota_preview(ours.ctx, compute)
    assert (found.verdict.outcome.value, found.position_if_queued) == (outcome, position)
    assert (found.limits.cpu, found.held.cpu, found.waiting) == (5, 3, 0)
    with django_assert_num_queries(2):
        found = services.submit_preview(ctx=ours.ctx, payload={"name": "b", "compute": compute})
    assert found.verdict.outcome.value == outcome and TrainingJob.objects.count() == 1


def test_a_waiting_job_is_told_why_as_things_stand(ours: Team) -> None:
    holds(ours, 5)
    first = submit(ours, "a", 5)
    job = submit(ours, "b", 2)
    ours.tenant.refresh_from_db()
    verdict = quota.waiting_verdict(selectors.job_get(ours.ctx, job.pk), ours.ctx)
    assert verdict is not None and "quota of 5 CPU cores is reached" in verdict.sentence
    end(first)
    verdict = quota.waiting_verdict(selectors.job_get(ours.ctx, job.pk), ours.ctx)
    assert verdict is not None and verdict.outcome is Outcome.NOW
    assert quota.waiting_verdict(fresh(first), ours.ctx) is None


# ---- what a submission costs


def test_a_submission_that_fits_is_one_statement(ours: Team, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(1):
        job_submit(ctx=ours.ctx, payload={"name": "a"})
    with django_assert_num_queries(2):
        job_submit(ctx=ours.ctx, payload={"name": "b", "compute": "cpu-1x"})


@pytest.mark.django_db(transaction=True)
def test_it_is_on_disk_before_it_is_answered_and_the_team_s_lock_is_not_held_for_that(
    ours: Team, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = on")
    with django_assert_num_queries(2) as asked:
        job_submit(ctx=ours.ctx, payload={"name": "a"})
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('synchronous_commit'), xmin::text FROM jobs_trainingjob")
        setting, _ = cursor.fetchone()
        cursor.execute("RESET synchronous_commit")
    assert setting == "on", "only the one statement did not wait"
    # The last argument: without waiting for the disk.
    assert asked[0]["sql"].endswith(", true)") and "pg_logical_emit_message" in asked[1]["sql"]
    with django_assert_num_queries(4), transaction.atomic():
        # BEGIN and COMMIT are counted, and the commit is the one that waits.
        job_submit(ctx=ours.ctx, payload={"name": "b"})
        assert TrainingJob.objects.filter(name="b").exists()


def test_one_that_is_refused_or_waits_takes_a_bounded_number(
    ours: Team, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    holds(ours, 1)
    for number in range(6):
        submit(ours, f"job-{number}")
    ours.tenant.refresh_from_db()
    # The quick try, the lock, the tenant, the count of those before it, the insert; the rest are savepoints of this test.
    with django_assert_num_queries(7):
        refused(submit, ours=ours, name="x", queue=False)
    with django_assert_num_queries(7):
        submit(ours, "y")


def test_admission_looks_at_no_more_than_a_batch(ours: Team, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    holds(ours, 1)
    submit(ours, "first")
    for number in range(12):
        submit(ours, f"job-{number}")
    # The lock's time limit, the lock, the tenant, two looks at what can and cannot fit, the head, its lock; savepoints.
    with django_assert_num_queries(9):
        assert tenant_admit(tenant_id=ours.tenant.pk, now=timezone.now()) == []
