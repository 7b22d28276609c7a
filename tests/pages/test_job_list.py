"""The list: filters, paging, polling, and what it costs however many jobs there are."""

import gzip
import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobs.models import Status, TrainingJob
from tests.pages.conftest import MakeJob
from tests.personas import Team

LIST = "/t/ours/jobs"


def names(answer) -> list[str]:
    return re.findall(r'id="n-[^"]+">([^<]+)</a>', answer.content.decode())


def poll_url(page: str) -> str:
    """What the page asks with, or nothing when it does not ask again."""
    found = re.search(r'id="poll" hidden hx-get="([^"]+)"', page)
    return found[1].replace("&amp;", "&") if found else ""


def test_two_kinds_of_empty(ours: Team, make_job: MakeJob) -> None:
    client = ours.client("member")
    page = client.get(LIST).content.decode()
    assert "No jobs yet" in page and "Submit the first job" in page
    assert "may look, but not submit" in ours.client("viewer").get(LIST).content.decode()
    make_job()
    page = client.get(LIST + "?name=zzz").content.decode()
    assert "No job matches" in page and "Clear the filter" in page


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["failed-1", "cancelled-1", "succeeded-1", "running-1", "pending-1"]),
        ("status=live", ["running-1", "pending-1"]),
        ("status=failed", ["failed-1"]),
        ("status=nonsense", ["failed-1", "cancelled-1", "succeeded-1", "running-1", "pending-1"]),
        ("name=NING", ["running-1"]),
        ("owner=ours-lead", ["failed-1"]),
        ("owner=ours-lead&status=running", []),
        ("name=%00", ["failed-1", "cancelled-1", "succeeded-1", "running-1", "pending-1"]),
        ("status=&owner=&name=", ["failed-1", "cancelled-1", "succeeded-1", "running-1", "pending-1"]),
    ],
)
def test_filters(ours: Team, make_job: MakeJob, query: str, expected: list[str]) -> None:
    for status in ("pending", "running", "succeeded", "cancelled"):
        make_job(f"{status}-1", status=status)
    make_job("failed-1", role="lead", status="failed")
    assert names(ours.client("member").get(f"{LIST}?{query}")) == expected


def test_paging_goes_through_every_job_once_and_keeps_the_filter(ours: Team, make_job: MakeJob) -> None:
    many(ours, make_job, 120)
    client, url, seen = ours.client("member"), f"{LIST}?status=failed", []
    for _ in range(3):
        answer = client.get(url)
        seen += names(answer)
        older = re.search(r'id="older" href="([^"]+)"', answer.content.decode())
        if older is None:
            break
        assert "status=failed" in older[1]
        url = LIST + older[1].replace("&amp;", "&")
    assert len(seen) == 120 and len(set(seen)) == 120
    assert "Newest" in answer.content.decode()


def test_a_cursor_that_is_none_leads_to_the_beginning(ours: Team) -> None:
    assert ours.client("member").get(LIST + "?cursor=%21%21")["Location"] == LIST


@pytest.mark.parametrize("url", [LIST, LIST + "?status=failed&owner=ours-member&name=job", "/t/ours/"])
def test_the_number_of_queries_does_not_grow_with_the_jobs(ours: Team, make_job: MakeJob, url: str) -> None:
    client = ours.client("member")
    many(ours, make_job, 1)
    few = queries(client, url)
    many(ours, make_job, 150, first=10)
    assert queries(client, url) == few
    assert few <= 11


def test_the_list_leaves_specs_in_the_database(ours: Team, make_job: MakeJob) -> None:
    make_job(spec={"hyperparameters": {"big": "x" * 50_000}})
    with CaptureQueriesContext(
        connection,
    ) as captured:
        page = ours.client("member").get(LIST)
    assert b"xxxxx" not in page.content
    listing = [query["sql"] for query in captured if '"jobs_trainingjob"."name"' in query["sql"]]
    assert listing and not any('"jobs_trainingjob"."spec",' in sql for sql in listing)


def test_fifty_jobs_are_a_small_page(ours: Team, make_job: MakeJob) -> None:
    many(ours, make_job, 60)
    page = ours.client("member").get(LIST).content
    assert len(names(ours.client("member").get(LIST))) == 50
    assert len(gzip.compress(page, 6)) < 12_000


def test_sizes_of_custom_machines_are_shown_without_the_spec(ours: Team, make_job: MakeJob) -> None:
    make_job(
        spec={"compute": {"type": "gpu", "gpu_count": 2, "gpu_type": "nvidia-a100", "cpu_cores": 6, "memory_gb": 40}}
    )
    assert "6 CPU · 40 GB · 2 × a100" in ours.client("member").get(LIST).content.decode()


def test_nothing_new_is_an_empty_answer(ours: Team, make_job: MakeJob) -> None:
    make_job(status="running", started_at=timezone.now() - timedelta(seconds=5))
    client = ours.client("member")
    url = poll_url(client.get(LIST).content.decode())
    answer = client.get(url)
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_change_is_sent_alone_and_the_next_question_knows_it(ours: Team, make_job: MakeJob) -> None:
    job = make_job()
    client = ours.client("member")
    url = poll_url(client.get(LIST).content.decode())
    TrainingJob.objects.filter(pk=job.pk).update(status="running", reason="Running", started_at=timezone.now())
    answer = client.get(url)
    page = answer.content.decode()
    assert answer.status_code == 200
    assert 'id="jobs-table" hx-swap-oob' in page and "Running" in page
    assert 'id="seen"' not in page and "<html" not in page
    assert client.get(poll_url(page)).status_code == 204


def test_polling_stops_when_nothing_on_the_page_lives(ours: Team, make_job: MakeJob) -> None:
    job = make_job(status="running")
    client = ours.client("member")
    url = poll_url(client.get(LIST).content.decode())
    TrainingJob.objects.filter(pk=job.pk).update(status="succeeded", reason="Completed", completed_at=timezone.now())
    answer = client.get(url)
    assert answer.status_code == 286
    assert "Succeeded" in answer.content.decode()
    assert poll_url(answer.content.decode()) == ""
    assert poll_url(client.get(LIST).content.decode()) == ""


def test_polling_keeps_the_filter_and_never_shows_in_links(ours: Team, make_job: MakeJob) -> None:
    many(ours, make_job, 55, status="running")
    client = ours.client("member")
    page = client.get(LIST + "?status=running").content.decode()
    url = poll_url(page)
    assert "status=running" in url
    TrainingJob.objects.update(reason="Cancelling")
    changed = client.get(url).content.decode()
    older = re.search(r'id="older" href="([^"]+)"', changed)
    assert older is not None
    assert "status=running" in older[1] and "poll" not in older[1]


def test_a_poll_costs_no_more_queries_than_the_page(ours: Team, make_job: MakeJob) -> None:
    many(ours, make_job, 30, status="running")
    client = ours.client("member")
    url = poll_url(client.get(LIST).content.decode())
    assert queries(client, url) <= queries(client, LIST) - 1


def test_cancelling_in_the_row_asks_first(ours: Team, make_job: MakeJob) -> None:
    job = make_job(status="running", kubernetes_job_name="x")
    client = ours.client("member")
    asked = client.post(f"{LIST}/{job.pk}/cancel", {"next": LIST})
    assert "Cancel alpha?" in asked.content.decode()
    assert TrainingJob.objects.get().cancel_requested_at is None
    done = client.post(f"{LIST}/{job.pk}/cancel", {"next": LIST, "confirmed": "1"}, follow=True)
    assert "was asked to end" in done.content.decode()
    job.refresh_from_db()
    assert (job.reason, job.cancelled_by) == ("Cancelling", "ours-member")


def test_cancelling_what_has_ended_says_so(ours: Team, make_job: MakeJob) -> None:
    job = make_job(status="succeeded", reason="Completed", completed_at=timezone.now())
    done = ours.client("member").post(f"{LIST}/{job.pk}/cancel", {"confirmed": "1"}, follow=True)
    assert "already succeeded" in done.content.decode()


def test_bulk_cancel_takes_what_lives_and_is_the_persons_own(ours: Team, theirs: Team, make_job: MakeJob) -> None:
    from jobs import services

    mine, leads, ended = make_job("mine"), make_job("leads", role="lead"), make_job("ended", status="failed")
    foreign = services.job_submit(ctx=theirs.ctx, payload={"name": "foreign"})
    chosen = [str(job.pk) for job in (mine, leads, ended, foreign)] + ["nonsense"]
    client = ours.client("member")
    asked = client.post(f"{LIST}/cancel", {"job": chosen}).content.decode()
    assert "Cancel mine?" in asked and "leads" not in asked
    done = client.post(f"{LIST}/cancel", {"job": chosen, "confirmed": "1"}, follow=True)
    assert "1 job asked to end" in done.content.decode()
    assert set(TrainingJob.objects.filter(cancel_requested_at__isnull=False)) == {mine}


def test_bulk_cancel_of_nothing_and_of_others(ours: Team, make_job: MakeJob) -> None:
    client = ours.client("member")
    assert "None of the selected" in client.post(f"{LIST}/cancel", follow=True).content.decode()
    job = make_job(role="lead")
    assert client.post(f"{LIST}/cancel", {"job": [str(job.pk)]}).status_code == 403


def test_running_again_makes_one_job_however_often_it_is_clicked(ours: Team, make_job: MakeJob) -> None:
    job = make_job(status="failed", spec={"hyperparameters": {"lr": 0.1}, "entrypoint": "true"})
    client = ours.client("member")
    first = client.post(f"{LIST}/{job.pk}/rerun", {"key": "k1"})
    again = client.post(f"{LIST}/{job.pk}/rerun", {"key": "k1"})
    other = client.post(f"{LIST}/{job.pk}/rerun", {"key": "k2"})
    assert first["Location"] == again["Location"] != other["Location"]
    assert sorted(TrainingJob.objects.values_list("name", flat=True)) == ["alpha", "alpha-2", "alpha-3"]
    copy = TrainingJob.objects.get(name="alpha-2")
    assert (copy.spec["hyperparameters"], copy.instance_type) == ({"lr": 0.1}, "cpu-2x")


def test_the_dashboard_counts_and_measures_what_lives(ours: Team, make_job: MakeJob) -> None:
    make_job("a", status="running", started_at=timezone.now())
    make_job("b")
    make_job("c", status="failed", reason="OutOfMemory", completed_at=timezone.now())
    page = ours.client("viewer").get("/t/ours/").content.decode()
    tiles = re.findall(r'tile-label">([^<]+)</span>\s*<span class="tile-value">(\d+)', page)
    assert tiles == [
        ("Running", "1"),
        ("Pending", "1"),
        ("CPU", "4"),
        ("Memory", "16"),
        ("GPUs", "0"),
        ("Jobs at once", "2"),
    ]
    assert "Run it again with more memory." in page


def many(ours: Team, make_job: MakeJob, count: int, *, first: int = 0, status: str = Status.FAILED) -> None:
    """Jobs in bulk, like one that was submitted."""
    like = make_job(f"like-{first}", status=status)
    now = timezone.now()
    rows = []
    for number in range(first, first + count - 1):
        values = {field.attname: getattr(like, field.attname) for field in TrainingJob._meta.concrete_fields}
        del values["id"]
        rows.append(
            TrainingJob(**values | {"name": f"job-{number}", "created_at": now - timedelta(seconds=number // 2)})
        )
    TrainingJob.objects.bulk_create(rows)


def queries(client, url: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(url).status_code in (200, 204)
    return len(captured)
