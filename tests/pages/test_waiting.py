"""A job that waits for quota: its place and what it waits for on every page, and what it costs to show that."""

import html
import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from jobs import presenters
from jobs.models import TrainingJob
from tenants.models import CostCenter, InstanceType
from tests.pages.conftest import MakeJob
from tests.pages.test_job_list import poll_url
from tests.pages.test_quota_panel import limit
from tests.personas import Team

QUEUED = {"compute": "cpu-1x", "queue": True}


def read(answer: Any) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode())))


@pytest.fixture
def queue(ours: Team, make_job: MakeJob) -> list[TrainingJob]:
    """One job holds all of the two cores, three wait; the last of them was given priority by a lead."""
    limit(ours, cpu=2)
    make_job("holder")
    waiting = [make_job(f"waiting-{number}", spec=QUEUED) for number in (1, 2)]
    return [make_job("urgent", role="lead", spec=QUEUED | {"priority": 3}), *waiting]


@pytest.mark.parametrize(
    ("place", "sentences"),
    [
        (0, ["Waiting for quota, 1st in the queue.", "quota of 2 CPU cores is reached: 2 in use, 1 asked for"]),
        (1, ["Waiting for quota, 2nd in the queue.", "1 job waits in the team's queue before it; it starts after that one."]),
        (2, ["Waiting for quota, 3rd in the queue.", "2 jobs wait in the team's queue before it; it starts after them."]),
    ],
)  # fmt: skip
def test_the_job_page_says_which_place_and_what_for(
    ours: Team, queue: list[TrainingJob], place: int, sentences: list[str]
) -> None:
    job, client = queue[place], ours.client("viewer")
    page = read(client.get(f"/t/ours/jobs/{job.pk}"))
    for sentence in ["Not now", *sentences]:
        assert sentence in page
    assert f"{job.name}: Pending. {sentences[0]}" in page, "for those who hear the page"


def test_the_list_and_the_dashboard_say_the_place(ours: Team, queue: list[TrainingJob]) -> None:
    client = ours.client("viewer")
    rows = re.findall(r"(urgent|waiting-\d|holder) Pending (.*?\.) ours-", read(client.get("/t/ours/jobs")))
    assert dict(rows) == {
        "urgent": "Not now Waiting for quota, 1st in the queue.",
        "waiting-1": "Not now Waiting for quota, 2nd in the queue.",
        "waiting-2": "Not now Waiting for quota, 3rd in the queue.",
        "holder": "Accepted; it will be handed to the cluster in a moment.",
    }
    page = read(client.get("/t/ours/"))
    box = page.split("Waiting for quota")[1].split("Recent jobs")[0]
    assert re.findall(r"(urgent|waiting-\d) (\dst|\dnd|\drd)", box) == [
        ("urgent", "1st"), ("waiting-1", "2nd"), ("waiting-2", "3rd")
    ]  # fmt: skip
    assert "priority 3" in box
    assert "3rd in the queue" in page.split("Recent jobs")[1]


def test_the_dashboard_shows_five_of_the_queue_and_the_way_to_all(ours: Team, make_job: MakeJob) -> None:
    limit(ours, cpu=2)
    client = ours.client("viewer")
    make_job("holder")
    assert "Waiting for quota" not in read(client.get("/t/ours/"))
    for number in range(7):
        make_job(f"w-{number}", spec=QUEUED)
    page = client.get("/t/ours/").content.decode()
    assert page.split('class="jobs-short queue"')[1].split("</ol>")[0].count("<li>") == 5
    assert 'href="/t/ours/jobs?status=pending">All 7 that wait</a>' in page
    assert 'href="/t/ours/usage"' in page


def test_a_job_that_the_quota_can_never_hold_has_no_turn(ours: Team, queue: list[TrainingJob]) -> None:
    TrainingJob.objects.filter(pk=queue[0].pk).update(reason="ExceedsQuota")
    limit(ours, cpu=0)
    client = ours.client("viewer")
    page = read(client.get(f"/t/ours/jobs/{queue[0].pk}"))
    assert "Never" in page and "more than the team's quota now holds in all" in page and "in the queue." not in page
    page = read(client.get("/t/ours/"))
    assert "urgent no turn" in page and "waiting-1 1st" in page


def test_the_page_follows_from_the_queue_to_running(ours: Team, queue: list[TrainingJob]) -> None:
    client, job = ours.client("viewer"), queue[1]
    url = poll_url(client.get(f"/t/ours/jobs/{job.pk}").content.decode())
    assert client.get(url).status_code == 204
    TrainingJob.objects.filter(pk=queue[0].pk).update(status="cancelled", completed_at=timezone.now())
    moved = client.get(url)
    assert "Waiting for quota, 1st in the queue." in read(moved)
    now = timezone.now()
    TrainingJob.objects.filter(pk=job.pk).update(admitted_at=now, status="running", reason="Running", started_at=now)
    running = client.get(poll_url(moved.content.decode()))
    assert "The program is running." in read(running) and "Waiting for quota" not in read(running)


@pytest.mark.parametrize(("url", "most"), [("/t/ours/jobs", 9), ("/t/ours/", 14), ("/t/ours/jobs?status=pending", 9)])
def test_a_long_queue_costs_no_more_queries_than_a_short_one(
    ours: Team, make_job: MakeJob, url: str, most: int
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(url).status_code == 200
        return len(captured)

    client = ours.client("viewer")
    limit(ours, cpu=2)
    make_job("holder")
    without = queries()
    make_job("first", spec=QUEUED)
    few = queries()
    for number in range(30):
        make_job(f"w-{number}", spec=QUEUED)
    assert queries() == few
    # The places are one query more, and on the dashboard the queue itself another.
    assert few - without == (2 if url == "/t/ours/" else 1)
    assert few <= most


def test_run_again_keeps_queue_and_priority(ours: Team, queue: list[TrainingJob]) -> None:
    lead, address = ours.client("lead"), f"/t/ours/jobs/{queue[0].pk}"
    TrainingJob.objects.filter(pk=queue[0].pk).update(status="cancelled", completed_at=timezone.now())
    page = lead.get(f"{address}/edit").content.decode()
    assert re.search(r'<input type="checkbox" name="queue"[^>]* checked', page)
    assert re.search(r'name="priority" value="3"', page)
    assert lead.post(f"{address}/rerun").status_code == 302
    again = TrainingJob.objects.get(name="urgent-2")
    assert (again.queue, again.priority, again.waits) == (True, 3, True)


def test_a_member_repeats_a_leads_job_without_its_priority_and_is_told_so(ours: Team, queue: list[TrainingJob]) -> None:
    member, address = ours.client("member"), f"/t/ours/jobs/{queue[0].pk}"
    told = "Without its priority 3: only a lead may put a job before others."
    answer = member.get(f"{address}/edit")
    assert told in read(answer) and re.search(r'name="priority" (?!value)', answer.content.decode())
    assert told in read(member.post(f"{address}/rerun", follow=True))
    again = TrainingJob.objects.get(name="urgent-2")
    assert (again.queue, again.priority, again.waits) == (True, 0, True)
    assert "Without its priority" not in read(ours.client("lead").post(f"{address}/rerun", follow=True))


def test_running_again_over_quota_leads_to_the_form_that_offers_the_queue(ours: Team, make_job: MakeJob) -> None:
    limit(ours, cpu=2)
    job = make_job(status="failed", completed_at=timezone.now())
    make_job("holder")
    page = read(ours.client("member").post(f"/t/ours/jobs/{job.pk}/rerun", follow=True))
    assert "alpha could not be run again: The team's quota of 2 CPU cores is reached" in page
    assert '"queue": true' not in page
    assert "Would wait, 1st in the queue" in page and "Wait in the team's queue if the quota is full" in page


def test_the_spec_shows_queue_and_priority(ours: Team, queue: list[TrainingJob]) -> None:
    page = read(ours.client("viewer").get(f"/t/ours/jobs/{queue[0].pk}/spec"))
    call, rest = page.split("With every default filled in.")
    assert '"queue": true' in call and '"priority": 3' in call
    assert '"queue": true' in rest and '"priority": 3' in rest


def test_the_job_page_estimates_the_cost_where_there_is_a_price(
    ours: Team, make_job: MakeJob, settings: Settings
) -> None:
    client, now = ours.client("viewer"), timezone.now()
    free = make_job("free")
    InstanceType.objects.filter(name="cpu-2x").update(price_per_hour="0.5")
    CostCenter.objects.update(currency="CHF")
    settings.PRICE_CURRENCY = "USD"
    priced = make_job("priced")
    assert "Estimated cost" not in read(client.get(f"/t/ours/jobs/{free.pk}"))
    assert "Estimated cost 0.50 USD per hour Tries" in read(client.get(f"/t/ours/jobs/{priced.pk}"))
    hours = {"started_at": now - timedelta(hours=3), "completed_at": now}
    TrainingJob.objects.filter(pk=priced.pk).update(status="succeeded", **hours)
    # What it was when it was submitted counts.
    InstanceType.objects.update(price_per_hour="9")
    assert "0.50 USD per hour 1.50 USD in all" in read(client.get(f"/t/ours/jobs/{priced.pk}"))


@pytest.mark.parametrize(
    ("price", "text"),
    [
        ("0", ""), ("0.0000", ""), ("0.2", "0.20 EUR"), ("0.125", "0.125 EUR"), ("12", "12.00 EUR"),
        ("1200.5000", "1,200.50 EUR"), ("0.0001", "0.0001 EUR"),
    ],
)  # fmt: skip
def test_prices(price: str, text: str) -> None:
    assert presenters.price_text(Decimal(price)) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (13, "13th"), (21, "21st"), (112, "112th")],
)  # fmt: skip
def test_places(number: int, text: str) -> None:
    assert presenters.ordinal_text(number) == text
