"""A job's page: each tab, its live parts, and when they stop."""

import re
import time
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobs import metrics, presenters
from jobs.models import JobEvent, TrainingJob
from tenants.models import ClusterContact, Tenant
from tests.pages.conftest import MakeJob
from tests.pages.test_job_list import poll_url
from tests.personas import Team


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"reason": "Unschedulable"}, ["Not now", "No machine has room"]),
        ({"reason": "QuotaExceeded"}, ["Not now", "quota is in use"]),
        ({"reason": "ImagePullFailed"}, ["Never", "Waiting will not help", "Check the image"]),
        ({"reason": "Queued"}, ["handed to the cluster in a moment"]),
        (
            {"status": "failed", "reason": "OutOfMemory", "exit_code": 137},
            ["Run it again with more memory", "exit code 137"],
        ),
        ({"status": "failed", "reason": "UserCodeError", "error_message": "boom"}, ["What went wrong", "boom"]),
        ({"status": "running", "reason": "SomethingNew"}, ["Something new."]),
        ({"status": "cancelled", "reason": "CancelledByUser", "cancelled_by": "ada"}, ["by ada"]),
    ],
)
def test_the_overview_says_why_and_what_to_do(ours: Team, make_job: MakeJob, fields: dict, expected: list[str]) -> None:
    job = make_job(**fields)
    page = text_of(ours.client("viewer").get(f"/t/ours/jobs/{job.pk}").content.decode())
    for sentence in expected:
        assert sentence in page


def test_the_page_says_when_the_job_was_last_seen(ours: Team, make_job: MakeJob) -> None:
    now = timezone.now()
    client = ours.client("viewer")
    job = make_job()
    assert "not seen yet" in client.get(f"/t/ours/jobs/{job.pk}").content.decode()
    TrainingJob.objects.update(status="running", cluster_uid="u", observed_at=now - timedelta(minutes=9))
    assert "Last seen" in client.get(f"/t/ours/jobs/{job.pk}").content.decode()
    assert "9 min ago" in client.get(f"/t/ours/jobs/{job.pk}").content.decode()
    assert "has not been seen for a while" in client.get(f"/t/ours/jobs/{job.pk}").content.decode()
    ClusterContact.objects.create(seen_at=now)
    page = client.get(f"/t/ours/jobs/{job.pk}").content.decode()
    assert "just now" in page and "has not been seen" not in page


@pytest.mark.parametrize("tab", ["", "/logs", "/metrics", "/timeline", "/files", "/spec"])
def test_a_tab_follows_the_job_to_its_end_and_stops(ours: Team, make_job: MakeJob, tab: str) -> None:
    job = make_job()
    client, address = ours.client("viewer"), f"/t/ours/jobs/{job.pk}{tab}"
    url = poll_url(client.get(address).content.decode())
    assert client.get(url).status_code == 204
    TrainingJob.objects.update(status="running", reason="Running", started_at=timezone.now(), cluster_uid="u")
    answer = client.get(url)
    page = answer.content.decode()
    assert answer.status_code == 200 and 'id="job-head" hx-swap-oob' in page and "pill-running" in page
    assert "<title>alpha · Running" in page
    assert 'id="announce" hx-swap-oob="innerHTML">alpha: Running. The program is running.' in page
    ended = timezone.now()
    TrainingJob.objects.update(status="succeeded", reason="Completed", completed_at=ended, observed_at=ended)
    answer = client.get(poll_url(page))
    assert answer.status_code == 200 and "pill-succeeded" in answer.content.decode()
    TrainingJob.objects.update(completed_at=ended - timedelta(minutes=1))
    answer = client.get(poll_url(answer.content.decode()))
    assert answer.status_code == 286
    assert poll_url(answer.content.decode()) == ""
    assert poll_url(client.get(address).content.decode()) == ""


def test_a_poll_that_has_news_does_not_send_what_is_the_same(ours: Team, make_job: MakeJob) -> None:
    job = make_job(status="running", started_at=timezone.now(), cluster_uid="u", metrics={"loss": 1.0})
    client = ours.client("viewer")
    url = poll_url(client.get(f"/t/ours/jobs/{job.pk}").content.decode())
    TrainingJob.objects.update(metrics={"loss": 0.5})
    page = client.get(url).content.decode()
    assert 'id="tab-body" hx-swap-oob' in page and "0.5" in page
    assert 'id="job-head"' not in page


@pytest.mark.parametrize("tab", ["", "/metrics", "/timeline", "/spec", "/logs"])
def test_a_tab_costs_a_handful_of_queries(ours: Team, make_job: MakeJob, tab: str) -> None:
    job = make_job(status="running", cluster_uid="u")
    JobEvent.objects.bulk_create(JobEvent(job=job, key=f"k{number}", reason="Pulled") for number in range(200))
    points = [{"step": step, "values": {f"m{n}": 1 for n in range(20)}} for step in range(50)]
    metrics.metrics_record(job=job, points=metrics.parse({"points": points}))
    client = ours.client("viewer")
    with CaptureQueriesContext(connection) as captured:
        assert client.get(f"/t/ours/jobs/{job.pk}{tab}").status_code == 200
    assert len(captured) <= 11


def test_metrics_are_curves_with_their_numbers_as_a_table(ours: Team, make_job: MakeJob) -> None:
    job = make_job()
    values = [("loss", 0.5), ("loss", "NaN"), ("loss", 0.25)]
    points = [{"step": step, "values": {name: value}} for step, (name, value) in enumerate(values)]
    metrics.metrics_record(job=job, points=metrics.parse({"points": points}))
    page = ours.client("viewer").get(f"/t/ours/jobs/{job.pk}/metrics").content.decode()
    assert 'aria-label="loss: 3 points, last 0.25, lowest 0.25, highest 0.5"' in page
    assert "<tr><td>0</td><td>0.5</td></tr><tr><td>1</td><td>NaN</td></tr>" in page
    assert "1 not a number" in page


def test_curves_that_are_slow_to_read_are_not_read_at_every_question(
    ours: Team, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, reads = make_job(status="running", metrics={"loss": 1.0}), []

    def slow(job: TrainingJob, *, most: int) -> dict[str, list[tuple[int, float]]]:
        reads.append(most)
        time.sleep(0.11)
        return {"loss": [(1, 1.0), (2, 0.5)]}

    monkeypatch.setattr("jobs.metrics.series", slow)
    client = ours.client("viewer")
    for tab in ("/metrics", "/metrics", "", ""):
        assert "loss" in client.get(f"/t/ours/jobs/{job.pk}{tab}").content.decode()
    assert reads == [400, 80]


def test_two_hundred_metrics_are_shown_in_two_steps(ours: Team, make_job: MakeJob) -> None:
    job = make_job()
    values = {f"metric-{number:03}": number for number in range(200)}
    metrics.metrics_record(job=job, points=metrics.parse({"step": 1, "values": values}))
    client = ours.client("viewer")
    page = client.get(f"/t/ours/jobs/{job.pk}/metrics").content.decode()
    assert page.count("<figure") == 24 and "Show 176 more" in page
    assert client.get(f"/t/ours/jobs/{job.pk}/metrics?all=1").content.decode().count("<figure") == 200


def test_the_timeline_tells_what_the_platform_and_kubernetes_said(ours: Team, make_job: MakeJob) -> None:
    job = make_job()
    at = timezone.now() + timedelta(seconds=5)
    JobEvent.objects.create(
        job=job,
        key="k",
        source="kubernetes",
        reason="FailedScheduling",
        message="0/3 nodes",
        count=4,
        level="warning",
        at=at,
    )
    page = text_of(ours.client("viewer").get(f"/t/ours/jobs/{job.pk}/timeline").content.decode())
    assert "submitted by ours-member" in page
    assert "0/3 nodes 4 times" in page and "FailedScheduling Kubernetes" in page
    assert page.index("submitted by") < page.index("0/3 nodes")


def test_files_are_listed_and_downloaded_and_nothing_else(ours: Team, make_job: MakeJob, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "mödel 1.bin").write_bytes(b"\x00\x01")
    (tmp_path / "secret").write_text("no")
    Tenant.objects.update(artifact_root=tmp_path.as_uri())
    job = make_job(output_path=folder.as_uri() + "/")
    client, address = ours.client("viewer"), f"/t/ours/jobs/{job.pk}/files"
    page = client.get(address).content.decode()
    link = re.search(r'href="([^"]+)" download', page.split("<tbody>")[1])
    assert link is not None and "2 bytes" in page
    answer = client.get(link[1])
    assert b"".join(answer.streaming_content) == b"\x00\x01"  # type: ignore[attr-defined]
    assert answer["Content-Disposition"].startswith("attachment") and answer["X-Content-Type-Options"] == "nosniff"
    for bad in ("none", "../secret", "..%2fsecret", "deep/../../secret"):
        assert client.get(f"{address}/{bad}").status_code == 404


def test_a_storage_that_does_not_answer_is_said_on_the_page(ours: Team, make_job: MakeJob, monkeypatch) -> None:
    from platform_portal.errors import DomainError

    def broken(job: TrainingJob) -> None:
        raise DomainError("storage_unavailable", "The storage cannot be used.", http_status=503)

    monkeypatch.setattr("jobs.outputs.files", broken)
    answer = ours.client("viewer").get(f"/t/ours/jobs/{make_job().pk}/files")
    assert answer.status_code == 200 and "The storage cannot be used." in answer.content.decode()


def test_the_spec_shows_the_request_the_spec_and_a_manifest_without_secrets(ours: Team, make_job: MakeJob) -> None:
    from jobs import tokens

    job = make_job(spec={"entrypoint": "python a.py && echo 'x'"})
    page = ours.client("viewer").get(f"/t/ours/jobs/{job.pk}/spec").content.decode()
    blocks = [block.replace("&#x27;", "'").replace("&quot;", '"').replace("&amp;", "&").replace("&gt;", ">").replace("&lt;", "<")
              for block in re.findall(r"<code>(.*?)</code></pre>", page, re.DOTALL)]  # fmt: skip
    assert "$ML_PLATFORM_TOKEN" in blocks[0] and '"compute": "cpu-2x"' in blocks[0]
    manifest = yaml.safe_load(blocks[2])
    assert manifest["kind"] == "Job" and manifest["metadata"]["namespace"] == "ml-ours"
    assert tokens.make(job.pk) not in page


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (172800, "2 d 0 h"),
        (-5, "0 s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert presenters.duration_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "just now"), (4, "just now"), (5, "5 s ago"), (61, "1 min ago"), (7200, "2 h ago"), (172800, "2 d ago")],
)
def test_ages(seconds: float, text: str) -> None:
    assert presenters.ago_text(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (3.0, "3"),
        (0.123456, "0.1235"),
        (None, "NaN"),
        (float("nan"), "NaN"),
        (float("inf"), "∞"),
        (1e9, "1e+09"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert presenters.number_text(value) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (5 * 10**13, "50 TB")]
)
def test_sizes(count: int, text: str) -> None:
    assert presenters.size_text(count) == text
