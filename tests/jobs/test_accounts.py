"""What is counted of ended jobs, what Prometheus is told, and the tokens that training processes carry."""

import threading
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core import signing
from django.db import connection
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import DjangoAssertNumQueries, Settings

from jobs import tokens
from jobs.durations import BOUNDS, durations_add, histogram
from jobs.models import JobDuration, TrainingJob
from tests.jobs.fake_cluster import FakeCluster
from tests.jobs.rounds import submit
from tests.personas import Team, api_client


def test_a_duration_falls_into_the_first_bound_that_holds_it(ours: Team) -> None:
    for seconds in (0.0, 1.0, 1.1, 5.0, 10**9):
        durations_add([(ours.tenant.pk, "succeeded", seconds)])
    ((slug, status, cumulative, total),) = histogram()
    assert (slug, status) == ("ours", "succeeded") and total == pytest.approx(7.1 + 10**9)
    assert cumulative == [2, 4, *[4] * (len(BOUNDS) - 2), 5] and len(cumulative) == len(BOUNDS) + 1


def test_durations_of_teams_and_ends_are_apart_and_add_up(ours: Team, theirs: Team) -> None:
    durations_add([(ours.tenant.pk, "succeeded", 2), (ours.tenant.pk, "failed", 3), (theirs.tenant.pk, "succeeded", 4)])
    durations_add([(ours.tenant.pk, "succeeded", 20), (ours.tenant.pk, "succeeded", 200)])
    durations_add([])
    assert [(slug, status, counts[-1], total) for slug, status, counts, total in histogram()] == [
        ("ours", "failed", 1, 3.0), ("ours", "succeeded", 3, 222.0), ("theirs", "succeeded", 1, 4.0),
    ]  # fmt: skip
    assert str(JobDuration.objects.order_by("pk").first()).endswith(("succeeded", "failed"))


@pytest.mark.django_db(transaction=True)
def test_many_processes_lose_no_count(ours: Team, theirs: Team) -> None:
    def work() -> None:
        try:
            for _ in range(20):
                pairs = [(team.tenant.pk, status, 2.0) for team in (ours, theirs) for status in ("failed", "succeeded")]
                durations_add(pairs)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {counts[-1] for _, _, counts, _ in histogram()} == {80}


def scraped() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    answer = api_client("").get("/metrics")
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.content.decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_prometheus_is_told_what_the_contract_names_and_no_more(ours: Team, theirs: Team, cluster: FakeCluster) -> None:
    for number in range(3):
        submit(ours, f"job-{number}")
    TrainingJob.objects.filter(name="job-0").update(status="running")
    TrainingJob.objects.filter(name="job-1").update(status="failed", completed_at=timezone.now())
    durations_add([(ours.tenant.pk, "failed", 30.0)])
    found = scraped()
    team = ("tenant", "ours")
    assert found["ml_platform_jobs_created_total", (team,)] == 3
    assert found["ml_platform_jobs_created_total", (("tenant", "theirs"),)] == 0
    assert found["ml_platform_active_jobs", (("status", "pending"), team)] == 1
    assert found["ml_platform_active_jobs", (("status", "running"), team)] == 1
    assert found["ml_platform_active_jobs", (("status", "running"), ("tenant", "theirs"))] == 0
    ended = (("status", "failed"), team)
    assert found["ml_platform_job_duration_seconds_count", ended] == 1
    assert found["ml_platform_job_duration_seconds_sum", ended] == 30
    assert found["ml_platform_job_duration_seconds_bucket", (("le", "15.0"), *ended)] == 0
    assert found["ml_platform_job_duration_seconds_bucket", (("le", "60.0"), *ended)] == 1
    assert {name for _, labels in found for name, _ in labels} == {"tenant", "status", "le"}
    families = ("ml_platform_jobs_created_", "ml_platform_active_jobs", "ml_platform_job_duration_seconds_")
    assert all(name.startswith(families) for name, _ in found)


def test_a_scrape_takes_a_constant_number_of_queries(
    ours: Team, cluster: FakeCluster, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(10):
        submit(ours, f"job-{number}")
    with django_assert_num_queries(3):
        scraped()


def test_a_submission_that_was_refused_is_not_counted(ours: Team, cluster: FakeCluster) -> None:
    submit(ours)
    assert ours.api.post("/v1/jobs/training", {"name": "a"}, format="json").status_code == 409
    assert scraped()["ml_platform_jobs_created_total", (("tenant", "ours"),)] == 1


# ---- tokens


@given(st.uuids())
def test_a_token_names_its_job(job_id: UUID) -> None:
    assert tokens.job_id_of(tokens.make(job_id)) == job_id


def test_no_other_text_is_a_token() -> None:
    token = tokens.make(uuid4())
    other = tokens.make(uuid4())
    mixed = f"{tokens.PREFIX}{token.split('.')[1]}.{other.split('.')[2]}"
    for text in (
        "",
        "x",
        tokens.PREFIX,
        token[:-1],
        token + "x",
        token.upper(),
        token.removeprefix(tokens.PREFIX),
        mixed,
        "mlpjob..",
        "ü",
    ):
        assert tokens.job_id_of(text) is None, text


@given(st.text())
def test_no_text_makes_it_raise(text: str) -> None:
    assert tokens.job_id_of(text) is None and tokens.job_id_of(tokens.PREFIX + text) is None


def test_a_token_is_signed_for_its_purpose_and_outlives_a_change_of_the_key(settings: Settings) -> None:
    job_id = uuid4()
    token = tokens.make(job_id)
    assert tokens.job_id_of(tokens.PREFIX + signing.Signer(sep=".").sign(job_id.hex)) is None
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another key " * 5
    assert tokens.job_id_of(token) == job_id
    settings.SECRET_KEY_FALLBACKS = []
    assert tokens.job_id_of(token) is None


def test_a_token_ends_an_hour_after_its_job(ours: Team, cluster: FakeCluster) -> None:
    job = submit(ours)
    trainer, url = api_client(tokens.make(job.pk)), f"/v1/jobs/training/{job.pk}/metrics"

    def report() -> Any:
        return trainer.post(url, {"step": 1, "values": {"a": 1}}, format="json").status_code

    assert report() == 202
    TrainingJob.objects.update(status="succeeded", completed_at=timezone.now() - timedelta(minutes=59))
    assert report() == 202
    TrainingJob.objects.update(completed_at=timezone.now() - timedelta(minutes=61))
    assert report() == 401
    job.delete()
    assert report() == 401
