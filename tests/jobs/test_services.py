"""Writes and reads of jobs: one transaction each, scoped to the team, and the losing side of every race."""

import threading
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from jobs import logs, outputs, selectors, services, tasks, tokens
from jobs.models import JobEvent, JobLog, JobLogChunk, MetricPoint, SubmissionTally, TrainingJob
from jobs.selectors import JobFilter, jobs_newest
from jobs.services import job_cancel, job_submit, jobs_cancel
from platform_portal.errors import DomainError
from platform_portal.kube import cluster as kube_cluster
from tenants.models import ClusterContact, Tenant
from tenants.wishes import artifact_root
from tests.jobs.fake_cluster import FakeCluster
from tests.jobs.rounds import fresh, submit
from tests.personas import Team


def refused(call: Any, **arguments: Any) -> DomainError:
    with pytest.raises(DomainError) as error:
        call(**arguments)
    return error.value


@pytest.fixture(autouse=True)
def quiet(cluster: FakeCluster) -> None:
    """Nobody is woken."""


# ---- submitting


def test_a_job_is_its_submitter_s(ours: Team) -> None:
    job = job_submit(ctx=ours.context("member"), payload={"name": "a", "compute": "gpu-1x-t4"})
    row = fresh(job)
    assert (row.owner, row.submitted_by, row.instance_type) == (ours.people["member"], "ours-member", "gpu-1x-t4")
    assert row.spec["compute"]["gpu_type"] == "nvidia-tesla-t4" and str(row) == "a"
    event = JobEvent.objects.get()
    assert (event.key, event.message, event.at) == ("submitted", "submitted by ours-member", row.created_at)
    assert row.next_check_at is not None and row.next_check_at <= timezone.now()


def test_outputs_go_to_the_team_s_root_unless_said_otherwise(ours: Team, settings: Settings) -> None:
    job = submit(ours)
    assert job.output_path == f"{settings.STORAGE_ROOT}/artifacts/ours/{job.pk}/" == job.spec["model_output_path"]
    Tenant.objects.update(artifact_root="s3://team/x/")
    ours.tenant.refresh_from_db()
    other = submit(ours, "b")
    assert other.output_path == f"s3://team/x/{other.pk}/"
    assert submit(ours, "c", model_output_path="s3://b/y").output_path == "s3://b/y"


@pytest.mark.parametrize("role", ["viewer"])
def test_a_viewer_may_not_submit(ours: Team, role: str) -> None:
    error = refused(job_submit, ctx=ours.context(role), payload={"name": "a"})
    assert error.http_status == 403 and "viewer" in error.message and not TrainingJob.objects.exists()


def test_nobody_submits_to_a_team_that_is_closed(ours: Team) -> None:
    ours.tenant.is_active = False
    assert refused(job_submit, ctx=ours.context("lead"), payload={"name": "a"}).http_status == 403


def test_another_s_tenant_is_refused_before_the_rest_is_looked_at(ours: Team) -> None:
    error = refused(job_submit, ctx=ours.ctx, payload={"name": "Not OK", "tenant_id": "theirs"})
    assert (error.http_status, error.code) == (403, "tenant_mismatch")
    error = refused(job_submit, ctx=ours.ctx, payload={"name": "a", "tenant_id": 5})
    assert error.http_status == 400


@pytest.mark.django_db(transaction=True)
def test_of_many_submissions_of_one_name_exactly_one_is_a_job(ours: Team) -> None:
    codes: list[str] = []

    def work() -> None:
        try:
            job_submit(ctx=ours.ctx, payload={"name": "same"})
            codes.append("made")
        except DomainError as error:
            codes.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == ["made", *["name_taken"] * 7]
    assert TrainingJob.objects.count() == JobEvent.objects.count() == 1


# ---- cancelling


@pytest.mark.parametrize(
    ("owner", "role", "allowed"),
    [
        ("member", "viewer", False),
        ("lead", "member", False),
        ("member", "member", True),
        ("member", "lead", True),
        ("lead", "lead", True),
    ],
)
def test_members_cancel_their_own_and_leads_all(ours: Team, owner: str, role: str, allowed: bool) -> None:
    job = job_submit(ctx=ours.context(owner), payload={"name": "a"})
    if allowed:
        assert job_cancel(ctx=ours.context(role), job_id=job.pk).status == "cancelled"
    else:
        assert refused(job_cancel, ctx=ours.context(role), job_id=job.pk).http_status == 403
        assert fresh(job).cancel_requested_at is None


def test_what_is_not_ours_is_not_there(ours: Team, theirs: Team) -> None:
    job = submit(theirs)
    for job_id in (job.pk, uuid4()):
        assert refused(job_cancel, ctx=ours.context("lead"), job_id=job_id).http_status == 404
    assert fresh(job).cancel_requested_at is None


@pytest.mark.parametrize(
    ("name", "leased", "status"), [("", False, "cancelled"), ("a-1", False, "pending"), ("", True, "pending")]
)
def test_only_what_nobody_touched_ends_at_once(ours: Team, name: str, leased: bool, status: str) -> None:
    job = submit(ours)
    until = timezone.now() if leased else None
    TrainingJob.objects.update(kubernetes_job_name=name, lease_until=until, next_check_at=None)
    row = job_cancel(ctx=ours.ctx, job_id=job.pk)
    assert row.status == status and fresh(job).version == job.version + 1
    row = fresh(job)
    assert (row.cancelled_by, row.next_check_at is None) == ("ours-member", status == "cancelled")
    assert row.reason == ("CancelledByUser" if status == "cancelled" else "Cancelling")


def test_repeating_a_cancel_changes_nothing(ours: Team) -> None:
    job = submit(ours)
    job_cancel(ctx=ours.ctx, job_id=job.pk)
    before = fresh(job)
    job_cancel(ctx=ours.context("lead"), job_id=job.pk)
    after = fresh(job)
    assert (after.version, after.cancelled_by) == (before.version, "ours-member")
    assert JobEvent.objects.filter(reason="CancelledByUser").count() == 1


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_what_has_ended_cannot_be_cancelled(ours: Team, status: str) -> None:
    job = submit(ours)
    TrainingJob.objects.update(status=status)
    error = refused(job_cancel, ctx=ours.ctx, job_id=job.pk)
    assert (error.http_status, error.code) == (409, "already_ended") and status in error.message


def test_many_are_cancelled_where_allowed_and_live(ours: Team, theirs: Team) -> None:
    mine, foreign, leads = (
        submit(ours, "a"),
        submit(theirs, "b"),
        job_submit(ctx=ours.context("lead"), payload={"name": "c"}),
    )
    ended, twice = submit(ours, "d"), submit(ours, "e")
    TrainingJob.objects.filter(pk=ended.pk).update(status="failed")
    TrainingJob.objects.filter(pk=twice.pk).update(cancel_requested_at=timezone.now())
    every = [mine.pk, foreign.pk, leads.pk, ended.pk, twice.pk, uuid4()]
    assert jobs_cancel(ctx=ours.context("member"), job_ids=every) == 1
    assert fresh(mine).status == "cancelled" and {fresh(job).status for job in (foreign, leads, twice)} == {"pending"}
    assert jobs_cancel(ctx=ours.context("lead"), job_ids=every) == 1


def test_one_that_ends_meanwhile_does_not_keep_the_others_from_being_cancelled(
    ours: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [submit(ours, name) for name in "abc"]
    original = services.job_cancel

    def cancel(**arguments: Any) -> TrainingJob:
        TrainingJob.objects.filter(name="b").update(status="succeeded")
        return original(**arguments)

    monkeypatch.setattr(services, "job_cancel", cancel)
    assert jobs_cancel(ctx=ours.ctx, job_ids=[job.pk for job in jobs]) == 2
    assert sorted(fresh(job).status for job in jobs) == ["cancelled", "cancelled", "succeeded"]


# ---- reading


def names(found: tuple[list[TrainingJob], bool]) -> tuple[list[str], bool]:
    return [job.name for job in found[0]], found[1]


def test_pages_meet_without_a_gap_also_at_equal_times(
    ours: Team, theirs: Team, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    at = timezone.now()
    for number in range(12):
        submit(ours, f"job-{number}")
        submit(theirs, f"job-{number}")
    TrainingJob.objects.filter(name__in=[f"job-{number}" for number in range(8)]).update(created_at=at)
    found: list[str] = []
    after, more = None, True
    while more:
        with django_assert_num_queries(1):
            page, more = jobs_newest(ours.ctx, JobFilter(), limit=5, after=after)
            found += [job.name for job in page if job.tenant == ours.tenant]
        after = (page[-1].created_at, page[-1].pk)
    assert len(found) == len(set(found)) == 12


def test_a_list_leaves_the_spec_in_the_database(ours: Team, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    submit(ours)
    with django_assert_num_queries(1):
        (job,), _ = jobs_newest(ours.ctx, JobFilter(), limit=5)
        assert "spec" in job.get_deferred_fields() and job.tenant.slug == "ours"


def test_narrowing(ours: Team) -> None:
    for name, status, role in (
        ("alpha", "running", "member"),
        ("beta", "failed", "lead"),
        ("alphabet", "pending", "lead"),
    ):
        job = job_submit(ctx=ours.context(role), payload={"name": name})
        TrainingJob.objects.filter(pk=job.pk).update(status=status)

    def found(**wanted: Any) -> list[str]:
        return names(jobs_newest(ours.ctx, JobFilter(**wanted), limit=9))[0]

    assert found() == ["alphabet", "beta", "alpha"]
    assert found(status="failed") == ["beta"] and found(live=True) == ["alphabet", "alpha"]
    assert found(owner="ours-lead") == ["alphabet", "beta"] and found(owner="ours") == []
    assert found(name="ALPHA") == ["alphabet", "alpha"] and found(name="%") == [] and found(name="_") == []
    assert found(name="alpha", live=True, owner="ours-member") == ["alpha"]
    assert selectors.owners(ours.ctx) == ["ours-lead", "ours-member"]
    assert selectors.status_counts(ours.ctx) == {"pending": 1, "running": 1}
    assert selectors.status_counts(ours.ctx, most=0) == {"pending": 0, "running": 0}
    live = [
        job.name for job in selectors.jobs_live_of(ours.ctx, list(TrainingJob.objects.values_list("pk", flat=True)))
    ]
    assert live == ["alphabet", "alpha"]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, JobFilter()), ({"status": "live"}, JobFilter(live=True)), ({"status": "failed"}, JobFilter(status="failed")),
        ({"name": " a\x00b ", "owner": "x" * 200}, JobFilter(name="ab", owner="x" * 150)),
        ({"status": "nonsense"}, JobFilter()),
    ],
)  # fmt: skip
def test_a_query_string_is_a_filter(query: dict[str, str], wanted: JobFilter) -> None:
    assert selectors.parse_filter(query, strict=False) == wanted
    assert wanted.active == bool(query and query.get("status") != "nonsense")


def test_what_the_team_s_live_jobs_ask_for(ours: Team, theirs: Team) -> None:
    submit(ours, "a", compute={"cpu_cores": 3, "memory_gb": 5})
    submit(ours, "b", compute="gpu-4x-v100")
    submit(theirs, "c", compute="gpu-1x-a100")
    job_cancel(ctx=ours.ctx, job_id=submit(ours, "d", compute={"cpu_cores": 1, "memory_gb": 1}).pk)
    assert selectors.compute_in_use(ours.ctx) == {"cpu_cores": 35, "memory_gb": 197, "gpu_count": 4}


@pytest.mark.parametrize(
    ("name", "free"),
    [
        ("a", "a-2"),
        ("a-1", "a-2"),
        ("a-9", "a-11"),
        ("a" * 50, "a" * 44 + "-2"),
        ("a-9999", "a-10000"),
        ("x-1-1", "x-1-2"),
        ("7", "7-2"),
    ],
)
def test_a_name_to_run_it_again_is_free_and_allowed(ours: Team, name: str, free: str) -> None:
    submit(ours, "a-10")
    assert selectors.free_name(ours.ctx, name) == free
    submit(ours, free)


def test_the_request_of_a_job_makes_the_same_job(ours: Team) -> None:
    payload = {
        "name": "a",
        "compute": "gpu-1x-t4",
        "env_vars": {"A": "1"},
        "hyperparameters": {"lr": 0.1},
        "code_repo": "https://h/x",
    }
    job = job_submit(ctx=ours.ctx, payload=payload)
    request = selectors.request_of(fresh(job))
    assert request == payload | {
        "tenant_id": "ours",
        "docker_image": "python:3.11-slim",
        "entrypoint": "python train.py",
    }
    again = job_submit(ctx=ours.ctx, payload=request | {"name": "b"})
    assert {**again.spec, "name": "a", "model_output_path": ""} == {**job.spec, "model_output_path": ""}
    kept = job_submit(ctx=ours.ctx, payload={"name": "c", "model_output_path": "s3://b/x"})
    assert selectors.request_of(fresh(kept))["model_output_path"] == "s3://b/x"


def test_people_see_the_manifest_without_the_token(ours: Team) -> None:
    job = submit(ours)
    shown = selectors.manifest_of(selectors.job_get(ours.ctx, job.pk))
    assert shown["metadata"]["name"] == f"a-{job.pk.hex[:8]}" and tokens.make(job.pk) not in str(shown)


def test_a_failure_of_one_cancel_is_not_swallowed(ours: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    job = submit(ours)

    def fail(**arguments: Any) -> None:
        raise DomainError("something_else", "x")

    monkeypatch.setattr(services, "job_cancel", fail)
    assert refused(jobs_cancel, ctx=ours.ctx, job_ids=[job.pk]).code == "something_else"


def test_rows_have_names_for_the_admin(ours: Team) -> None:
    job = submit(ours)
    ours_pk = ours.tenant.pk
    rows = [
        (JobLog(job=job), f"log of {job.pk}"),
        (JobLogChunk(job=job, offset=7), f"{job.pk}@7"),
        (MetricPoint(job=job, name="loss", step=3), "loss@3"),
        (SubmissionTally(tenant=ours.tenant, shard=5), f"{ours_pk}/5"),
        (ClusterContact(), "default"),
    ]
    assert [str(row) for row, _ in rows] == [name for _, name in rows]


def test_when_a_job_was_last_seen(ours: Team) -> None:
    now = timezone.now()
    job = submit(ours)
    assert selectors.last_seen(job) is None and selectors.cluster_seen_at() is None
    ClusterContact.objects.create(seen_at=now)
    assert selectors.last_seen(job) is None, "nothing of it stands in the cluster"
    job.cluster_uid, job.observed_at = "u", now - timedelta(minutes=1)
    assert selectors.last_seen(job) == now
    job.status = "succeeded"
    assert selectors.last_seen(job) == job.observed_at


def test_the_timeline_is_bounded_to_the_newest(ours: Team) -> None:
    job = submit(ours)
    JobEvent.objects.bulk_create(JobEvent(job=job, key=f"k{number}", reason=f"R{number}") for number in range(600))
    story = selectors.timeline(job)
    assert len(story) == 500 and story[-1].reason == "R599" and str(story[-1]) == "R599"


def test_a_page_s_job_is_the_team_s(ours: Team, theirs: Team) -> None:
    job = submit(theirs)
    assert refused(selectors.job_for_page, ctx=ours.ctx, job_id=job.pk).http_status == 404
    assert selectors.job_for_page(theirs.ctx, job.pk) == job
    assert job.namespace == "ml-theirs" and job.pod_selector == f"ml-platform/job-id={job.pk}"


# ---- outputs


@pytest.mark.parametrize(
    ("path", "local", "readable"),
    [
        ("s3://team/base/{id}/", False, True), ("s3://team/base", False, True), ("s3://team/baseed/x", False, False),
        ("s3://other/x", False, False), ("s3://team/base/../secret", False, False), ("file:///etc", False, False),
        ("file:///etc", True, False), ("s3://other/x", True, False), ("file:///a/../etc", True, False),
    ],
)  # fmt: skip
def test_the_portal_reads_below_the_team_s_root_only(
    ours: Team, settings: Settings, path: str, local: bool, readable: bool
) -> None:
    job = submit(ours)
    job.tenant.artifact_root, settings.CLUSTER_IS_LOCAL = "s3://team/base", local
    job.output_path = path.format(id=job.pk)
    assert outputs._readable(job) is readable
    if not readable:
        assert outputs.files(job) == outputs.Listing(
            [], note=f"The platform opens files only below the team's artifact root, {artifact_root(job.tenant)}."
        )
        assert refused(outputs.content, job=job, path="x").http_status == 404


def test_another_team_s_files_stay_theirs_on_the_laptop_too(ours: Team, theirs: Team, settings: Settings) -> None:
    settings.CLUSTER_IS_LOCAL = True
    secret = submit(theirs)
    job = submit(ours, name="curious", model_output_path=secret.output_path.replace("s3://", "file://"))
    assert job.output_path == secret.output_path and outputs.files(job).files == [] and outputs.files(job).note
    assert refused(outputs.content, job=job, path="model.bin").http_status == 404


def test_a_job_that_wrote_nothing_has_no_files(ours: Team) -> None:
    assert outputs.files(submit(ours)) == outputs.Listing([])


def test_the_worker_s_tasks_do_what_they_are_called(
    ours: Team, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube_cluster, "default", lambda: cluster)
    collected: list[Any] = []
    monkeypatch.setattr(logs, "collect", lambda job_id, target: collected.append(job_id))
    job = submit(ours)
    logs.schedule([job.pk], timezone.now())
    tasks.collect_log(str(job.pk))
    tasks.collect_due_logs()
    tasks.clean_up()
    assert collected == [job.pk, job.pk]
