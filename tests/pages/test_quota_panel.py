"""What the submit form says of the team's quota before anything is submitted, and what becomes of a submission over quota."""

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobs.models import TrainingJob
from tenants.models import InstanceType
from tests.pages.conftest import MakeJob
from tests.personas import Team

NEW, ASK = "/t/ours/jobs/new", "/t/ours/jobs/new/quota"
IMAGE = {"source_kind": "image", "name": "wish", "instance_type": "cpu-4x"}


def limit(team: Team, **quota: Any) -> None:
    for name, value in quota.items():
        setattr(team.tenant, f"quota_{name}", value)
    team.tenant.save()


def panel(page: str) -> tuple[str, str]:
    """(outcome, everything that the verdict says)."""
    found = re.search(r'<p class="verdict verdict-(\w+)">(.*?)</p>', page, re.DOTALL)
    assert found is not None, page
    return found[1], html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found[2]))).strip()


def lefts(page: str) -> dict[str, str]:
    return dict(re.findall(r'<dt class="clip">([^<]+)</dt><dd>(\d+)', page))


@pytest.fixture
def half_full(ours: Team, make_job: MakeJob) -> None:
    """Two of eight cores are in use, one A100 of two."""
    limit(ours, cpu=8, gpus=3, gpu_types={"nvidia-a100": 2}, gpus_per_job=4)
    gpu = {"type": "gpu", "cpu_cores": 1, "memory_gb": 1, "gpu_count": 1, "gpu_type": "nvidia-a100"}
    make_job("holder", spec={"compute": gpu})
    make_job("small", spec={"compute": "cpu-1x"})


CUSTOM = {"instance_type": "custom", "compute_type": "cpu", "cpu_cores": "1", "memory_gb": "1"}
A100 = CUSTOM | {"compute_type": "gpu", "gpu_type": "nvidia-a100"}


@pytest.mark.parametrize(
    ("typed", "outcome", "sentences"),
    [
        ({"instance_type": "cpu-4x"}, "now", ["Starts now"]),
        ({"instance_type": ""}, "now", ["Starts now"]),
        ({}, "now", ["Starts now"]),
        (
            {"instance_type": "cpu-8x"},
            "wait",
            ["Would wait, 1st in the queue", "quota of 8 CPU cores is reached: 2 in use, 8 asked for", "would be refused"],
        ),
        ({"instance_type": "cpu-8x", "queue": "on"}, "wait", ["Would wait, 1st", "waits in the queue and starts by itself"]),
        ({"instance_type": "cpu-16x"}, "never", ["Never fits", "asks for 16 CPU cores", "can never start"]),
        (A100 | {"gpu_count": "1"}, "now", ["Starts now"]),
        (A100 | {"gpu_count": "2"}, "wait", ["quota of 2 nvidia-a100 GPUs is reached"]),
        (A100 | {"gpu_count": "3"}, "never", ["asks for 3 nvidia-a100 GPUs"]),
        (A100 | {"gpu_count": "5"}, "never", ["Never fits"]),
        (CUSTOM | {"cpu_cores": "many"}, "unknown", ["Not known yet", "CPU cores must be a whole number from 1 to 96."]),
        (CUSTOM | {"cpu_cores": "97", "memory_gb": "0"}, "unknown", ["CPU cores must", "Memory (GB) must"]),
        ({"instance_type": "cpu-99x"}, "unknown", ["Machine names no instance type that this team may use"]),
        ({"instance_type": "\x00"}, "unknown", ["Machine names no instance type"]),
        ({"priority": "1"}, "unknown", ["Priority above 0 is for leads of the team"]),
        ({"priority": "high"}, "unknown", ["Priority must be a whole number from -10 to 10."]),
        ({"priority": "-3"}, "now", ["Starts now"]),
    ],
)  # fmt: skip
def test_the_panel_says_now_wait_or_never_in_the_verdicts_words(
    ours: Team, half_full: None, typed: dict[str, str], outcome: str, sentences: list[str]
) -> None:
    client = ours.client("member")
    found, text = panel(client.post(ASK, typed).content.decode())
    assert found == outcome
    for sentence in sentences:
        assert sentence in text
    assert outcome != "now" or text == "Starts now The team's quota has room for it."
    # Without a script the same stands in the page that comes back, and nothing has been submitted.
    count = TrainingJob.objects.count()
    answer = client.post(NEW, IMAGE | {"instance_type": ""} | typed | {"check": "1"})
    assert (answer.status_code, panel(answer.content.decode())) == (200, (outcome, text))
    assert TrainingJob.objects.count() == count


def test_the_panel_is_right_before_anything_has_been_changed(ours: Team, half_full: None) -> None:
    client = ours.client("member")
    page = client.get(NEW).content.decode()
    assert panel(page)[0] == "now"
    assert lefts(page) == {"CPU": "6", "Memory": "195", "GPUs": "2", "Running jobs": "98"}
    limit(ours, cpu=5)
    assert panel(client.get(NEW).content.decode())[0] == "wait"
    limit(ours, cpu=3)
    assert panel(client.get(NEW).content.decode())[0] == "never"


def test_run_again_with_changes_opens_with_the_verdict_of_that_machine(ours: Team, half_full: None) -> None:
    job = TrainingJob.objects.get(name="holder")
    page = ours.client("member").get(f"/t/ours/jobs/{job.pk}/edit").content.decode()
    assert panel(page)[0] == "now"
    assert lefts(page)["nvidia-a100"] == "1"


@pytest.mark.parametrize(("typed", "label", "left"), [(A100, "nvidia-a100", "1"), (CUSTOM, "GPUs", "2")])
def test_gpus_are_one_number_so_that_the_panel_keeps_its_shape(
    ours: Team, half_full: None, typed: dict[str, str], label: str, left: str
) -> None:
    found = lefts(ours.client("member").post(ASK, typed).content.decode())
    assert len(found) == 4 and found[label] == left


def test_only_what_has_changed_is_sent_and_nothing_when_nothing_has(ours: Team, half_full: None) -> None:
    client = ours.client("member")
    page = client.get(NEW).content.decode()
    shown = re.search(r'id="quota-shown" value="([^"]+)"', page)
    assert shown is not None
    answer = client.post(ASK, IMAGE | {"shown": shown[1]})
    assert (answer.status_code, answer.content) == (204, b"")
    changed = client.post(ASK, IMAGE | {"shown": shown[1], "instance_type": "cpu-8x"}).content.decode()
    assert 'id="quota-verdict" hx-swap-oob="innerHTML"' in changed and 'id="quota-left" hx-swap-oob' in changed
    knows = re.search(r'id="quota-shown" value="([^"]+)" hx-swap-oob="true"', changed)
    assert knows is not None
    ticked = client.post(ASK, IMAGE | {"shown": knows[1], "instance_type": "cpu-8x", "queue": "on"}).content.decode()
    assert 'id="quota-verdict"' in ticked and 'id="quota-left"' not in ticked


@pytest.mark.parametrize("role", ["member", "lead"])
def test_the_place_in_the_queue_follows_the_priority(ours: Team, make_job: MakeJob, role: str) -> None:
    limit(ours, cpu=2)
    make_job("holder")
    for number in range(2):
        make_job(f"waiting-{number}", spec={"compute": "cpu-1x", "queue": True})
    client, wish = ours.client(role), {"instance_type": "cpu-1x", "queue": "on"}
    assert "Would wait, 3rd in the queue" in panel(client.post(ASK, wish).content.decode())[1]
    assert "Would wait, 3rd in the queue" in panel(client.post(ASK, wish | {"priority": "-1"}).content.decode())[1]
    first = panel(client.post(ASK, wish | {"priority": "1"}).content.decode())
    assert ("1st in the queue" in first[1]) is (role == "lead")


def test_who_fits_but_comes_later_is_told_who_waits_before(ours: Team, make_job: MakeJob) -> None:
    limit(ours, cpu=3)
    make_job("holder")
    make_job("first", spec={"compute": "cpu-2x", "queue": True})
    outcome, text = panel(ours.client("member").post(ASK, {"instance_type": "cpu-1x"}).content.decode())
    assert outcome == "wait"
    assert "Would wait, 2nd in the queue" in text and "1 job waits in the team's queue before it" in text


def test_a_submission_over_quota_offers_the_queue_and_loses_nothing(ours: Team, half_full: None) -> None:
    typed = IMAGE | {"instance_type": "cpu-8x", "hyperparameters": "lr=0.5", "priority": "-2", "key": "k"}
    client = ours.client("member")
    answer = client.post(NEW, typed)
    page = html.unescape(answer.content.decode())
    assert answer.status_code == 429
    summary = page[page.index('id="summary"') :][:800]
    assert "The team's quota of 8 CPU cores is reached" in summary and 'href="#id_queue"' in summary
    assert '"queue": true' not in summary, "that is for scripts"
    assert "lr=0.5" in page and 'value="-2"' in page and 'value="cpu-8x" selected' in page
    assert not TrainingJob.objects.filter(name="wish").exists()
    assert client.post(NEW, typed | {"queue": "on"}).status_code == 302
    job = TrainingJob.objects.get(name="wish")
    assert job.waits and (job.queue, job.priority) == (True, -2)


@pytest.mark.parametrize("queue", [{}, {"queue": "on"}])
def test_what_can_never_fit_is_refused_without_the_offer_to_wait(
    ours: Team, half_full: None, queue: dict[str, str]
) -> None:
    answer = ours.client("member").post(NEW, IMAGE | {"instance_type": "cpu-16x"} | queue)
    page = answer.content.decode()
    assert answer.status_code == 429
    assert "can never start" in page and 'href="#id_queue"' not in page


def test_only_a_lead_goes_before_others(ours: Team) -> None:
    refused = ours.client("member").post(NEW, IMAGE | {"priority": "1"})
    page = refused.content.decode()
    assert refused.status_code == 403
    assert 'id="id_priority_error">Priority above 0 is for leads of the team; use 0 or less.' in page
    assert '<details class="box more" open>' in page
    assert ours.client("lead").post(NEW, IMAGE | {"priority": "1"}).status_code == 302
    assert TrainingJob.objects.get().priority == 1


def test_machines_are_those_of_the_team_with_their_price(ours: Team, theirs: Team) -> None:
    InstanceType.objects.filter(name="cpu-2x").update(price_per_hour="0.1250")
    InstanceType.objects.filter(name="cpu-8x").update(is_active=False)
    InstanceType.objects.get(name="cpu-16x").tenants.add(theirs.tenant)
    InstanceType.objects.get(name="cpu-1x").tenants.add(ours.tenant, theirs.tenant)
    client = ours.client("member")
    page = client.get(NEW).content.decode()
    offered = re.findall(
        r'<option value="([^"]+)"[^>]*>([^<]+)', page.split('id="id_instance_type"')[1].split("</select>")[0]
    )
    names = [name for name, _ in offered]
    assert names[:3] == ["cpu-1x", "cpu-2x", "cpu-4x"] and names[-1] == "custom"
    assert "cpu-8x" not in names and "cpu-16x" not in names
    labels = dict(offered)
    assert labels["cpu-2x"] == "cpu-2x — 2 cores, 8 GB · 0.125 EUR per hour"
    assert "0.125 EUR /h per hour" in panel(client.post(ASK, {"instance_type": "cpu-2x"}).content.decode())[1]
    assert "EUR" not in panel(client.post(ASK, {"instance_type": "cpu-1x"}).content.decode())[1]
    assert labels["cpu-1x"] == "cpu-1x — 1 core, 4 GB"
    for name in ("cpu-8x", "cpu-16x"):
        answer = client.post(NEW, IMAGE | {"instance_type": name})
        assert answer.status_code == 400
        assert "Machine names no instance type that this team may use" in answer.content.decode()
    assert not TrainingJob.objects.exists()


def test_a_machine_that_is_not_offered_any_more_comes_back_as_its_sizes(ours: Team, make_job: MakeJob) -> None:
    job = make_job(spec={"compute": "gpu-1x-t4"})
    InstanceType.objects.filter(name="gpu-1x-t4").update(is_active=False)
    page = ours.client("member").get(f"/t/ours/jobs/{job.pk}/edit").content.decode()
    assert 'value="custom" selected' in page and 'value="gpu" selected' in page
    assert 'name="gpu_type" value="nvidia-tesla-t4"' in page and 'name="gpu_count" value="1"' in page


def test_a_team_without_machines_chooses_sizes(ours: Team) -> None:
    InstanceType.objects.update(is_active=False)
    page = ours.client("member").get(NEW).content.decode()
    assert 'value="custom" selected' in page
    assert panel(page)[0] == "now"


@pytest.mark.parametrize("role", ["viewer"])
def test_who_may_not_submit_asks_nothing(ours: Team, role: str) -> None:
    assert ours.client(role).post(ASK, IMAGE).status_code == 403


@pytest.mark.parametrize(("url", "most"), [(NEW, 10), (ASK, 8)])
def test_form_and_panel_cost_the_same_however_much_runs_and_waits(
    ours: Team, make_job: MakeJob, url: str, most: int
) -> None:
    client = ours.client("member")

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            answer = client.get(url) if url == NEW else client.post(url, {"instance_type": "cpu-1x"})
        assert answer.status_code == 200
        return len(captured)

    limit(ours, cpu=4)
    InstanceType.objects.update(price_per_hour=1)
    for number in range(3):
        make_job(f"job-{number}", spec={"queue": True})
    few = queries()
    for number in range(3, 40):
        make_job(f"job-{number}", spec={"queue": True})
    InstanceType.objects.bulk_create(
        InstanceType(name=f"more-{number}", cpu_cores=1, memory_gb=1, price_per_hour=1) for number in range(50)
    )
    assert TrainingJob.objects.filter(admitted_at=None).count() == 38
    assert queries() == few
    assert few <= most


def test_the_request_as_curl_has_queue_and_priority_only_where_they_say_something(ours: Team) -> None:
    client = ours.client("member")
    page = client.post(f"{NEW}/preview", IMAGE).content.decode()
    assert "queue" not in page and "priority" not in page
    page = html.unescape(client.post(f"{NEW}/preview", IMAGE | {"queue": "on", "priority": "-2"}).content.decode())
    assert '"queue": true' in page and '"priority": -2' in page


def test_what_is_granted_until_a_date_counts(ours: Team, half_full: None) -> None:
    until = (timezone.now() + timedelta(days=1)).isoformat()
    ours.tenant.grants = [{"until": until, "cpu": 100}]
    ours.tenant.save()
    page = ours.client("member").post(ASK, {"instance_type": "cpu-16x"}).content.decode()
    assert panel(page)[0] == "now" and lefts(page)["CPU"] == "98"
