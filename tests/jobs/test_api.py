"""The contract's section 1: calls, answers and errors of the training-job API."""

import io
import uuid
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from pytest_django import DjangoAssertNumQueries

from jobs import tokens
from jobs.models import JobEvent, JobLog, JobLogChunk, TrainingJob
from tenants.models import IdempotencyRecord, Tenant
from tests.personas import Team, api_client

URL = "/v1/jobs/training"


def submit(team: Team, **fields: Any) -> Any:
    return team.api.post(URL, {"name": "my-model"} | fields, format="json")


def body_of(answer: Any) -> bytes:
    """The bytes of a streamed answer."""
    return b"".join(answer.streaming_content)


def test_a_submitted_job_has_the_contracts_fields_and_defaults(ours: Team) -> None:
    answer = submit(ours)
    assert answer.status_code == 201, answer.content
    job = answer.json()
    assert set(job) >= {
        "id", "spec", "status", "reason", "created_at", "started_at", "completed_at", "error_message",
        "kubernetes_job_name", "metrics", "attempts", "output_path", "cost", "url",
    }  # fmt: skip
    assert (job["status"], job["reason"], job["attempts"], job["metrics"]) == ("pending", "Queued", 0, {})
    assert job["created_at"].endswith("Z")
    assert job["spec"]["compute"] == {"type": "cpu", "cpu_cores": 4, "memory_gb": 16}
    assert job["spec"]["entrypoint"] == "python train.py"
    assert job["spec"]["tenant_id"] == "ours"
    assert job["output_path"].endswith(f"/artifacts/ours/{job['id']}/")
    assert job["url"].endswith(f"/t/ours/jobs/{job['id']}")
    assert answer["Location"] == f"{URL}/{job['id']}"


def test_every_bad_field_is_named_at_once_and_nothing_is_kept(ours: Team) -> None:
    answer = submit(
        ours,
        name="No_Label",
        compute={"type": "cpu", "gpu_count": 2, "cpu_cores": 0},
        data_path="ftp://x/y",
        nonsense=1,
    )
    assert answer.status_code == 400
    body = answer.json()
    assert body["code"] == "invalid"
    assert set(body["errors"]) == {"name", "compute.gpu_count", "compute.cpu_cores", "data_path", "nonsense"}
    assert TrainingJob.objects.count() == 0 and JobEvent.objects.count() == 0


@pytest.mark.parametrize(
    ("header", "status"), [("", 401), ("Bearer wrong", 401), ("Basic abc", 401), ("Bearer", 401), ("Bearer a b", 401)]
)
def test_without_a_good_token_it_is_a_401_with_a_challenge(db: None, header: str, status: int) -> None:
    client = api_client("")
    client.credentials(**({"HTTP_AUTHORIZATION": header} if header else {}))
    answer = client.get(URL)
    assert answer.status_code == status
    assert answer["WWW-Authenticate"].startswith("Bearer")
    assert set(answer.json()) == {"detail", "code"}


def test_another_tenants_id_in_the_request_is_a_403(ours: Team, theirs: Team) -> None:
    answer = submit(ours, tenant_id="theirs")
    assert answer.status_code == 403 and answer.json()["code"] == "tenant_mismatch"


def test_a_taken_name_is_a_409_and_free_in_another_team(ours: Team, theirs: Team) -> None:
    assert submit(ours).status_code == 201
    answer = submit(ours)
    assert answer.status_code == 409 and answer.json()["code"] == "name_taken"
    assert submit(theirs).status_code == 201


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"\xff", b'"x"', b'{"name": "a", "name": "b"}', b'{"name": NaN}', b"[" * 100_000, b'{"name": "\\ud800"}',
     b'{"name": "a\\u0000"}', b'{"name": "a", "hyperparameters": {"x": 1e999}}', b""],
)  # fmt: skip
def test_a_body_that_is_no_good_json_is_a_400(ours: Team, body: bytes) -> None:
    answer = ours.api.post(URL, body, content_type="application/json")
    assert answer.status_code == 400, answer.content
    assert answer.json()["detail"]


def test_a_large_body_is_a_413(ours: Team) -> None:
    answer = ours.api.post(URL, b'{"name": "' + b"a" * 2_000_000 + b'"}', content_type="application/json")
    assert answer.status_code == 413


def test_another_media_type_is_a_415(ours: Team) -> None:
    assert ours.api.post(URL, b"name=a", content_type="application/x-www-form-urlencoded").status_code == 415


def test_another_tenants_job_is_403_and_an_unknown_one_404(ours: Team, theirs: Team) -> None:
    job_id = submit(theirs).json()["id"]
    for part in ("", "/logs", "/events", "/files", "/files/x"):
        assert ours.api.get(f"{URL}/{job_id}{part}").status_code == 403, part
        assert ours.api.get(f"{URL}/{uuid.uuid4()}{part}").status_code == 404, part
    assert ours.api.delete(f"{URL}/{job_id}").status_code == 403
    assert ours.api.delete(f"{URL}/{uuid.uuid4()}").status_code == 404
    assert TrainingJob.objects.get(pk=job_id).cancel_requested_at is None


def test_an_error_of_the_log_is_json_and_says_so(ours: Team) -> None:
    job_id = submit(ours).json()["id"]
    assert ours.api.get(f"{URL}/{job_id}/logs")["Content-Type"].startswith("text/plain")
    for answer in (ours.api.get(f"{URL}/{uuid.uuid4()}/logs"), ours.api.get(f"{URL}/{job_id}/logs?tail=x")):
        assert answer["Content-Type"] == "application/json" and answer.json()["code"]


def test_cancelling_twice_is_204_and_an_untouched_job_ends_cancelled(ours: Team) -> None:
    job_id = submit(ours).json()["id"]
    assert ours.api.delete(f"{URL}/{job_id}").status_code == 204
    assert ours.api.delete(f"{URL}/{job_id}").status_code == 204
    job = ours.api.get(f"{URL}/{job_id}").json()
    assert (job["status"], job["reason"]) == ("cancelled", "CancelledByUser")


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_a_job_that_has_ended_cannot_be_cancelled(ours: Team, status: str) -> None:
    job_id = submit(ours).json()["id"]
    TrainingJob.objects.filter(pk=job_id).update(status=status)
    answer = ours.api.delete(f"{URL}/{job_id}")
    assert answer.status_code == 409 and answer.json()["code"] == "already_ended"


def test_the_list_is_newest_first_in_pages_by_link(ours: Team, theirs: Team) -> None:
    submit(theirs, name="not-ours")
    made = [submit(ours, name=f"job-{number}").json()["id"] for number in range(5)]
    found, url = [], f"{URL}?limit=2"
    while url:
        answer = ours.api.get(url)
        page = answer.json()
        assert len(page) <= 2
        found += [job["id"] for job in page]
        link = answer.headers.get("Link", "")
        assert not link or 'rel="next"' in link
        url = link.partition(">")[0].lstrip("<")
    assert found == made[::-1]


def test_the_list_takes_a_constant_number_of_queries(
    ours: Team, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    submit(ours, name="one")
    with django_assert_num_queries(2):
        ours.api.get(URL)
    for number in range(20):
        submit(ours, name=f"job-{number}", compute={"cpu_cores": 1, "memory_gb": 1})
    with django_assert_num_queries(2):
        assert len(ours.api.get(URL).json()) == 21


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "limit=-1", "cursor=abc", "cursor=!!", "status=unknown", "limit=٣"]
)
def test_a_bad_query_is_a_400_that_names_the_field(ours: Team, query: str) -> None:
    answer = ours.api.get(f"{URL}?{query}")
    assert answer.status_code == 400 and list(answer.json()["errors"]) == [query.split("=")[0]]


def test_the_list_is_narrowed_by_status(ours: Team) -> None:
    submit(ours, name="kept")
    job_id = submit(ours, name="dropped").json()["id"]
    ours.api.delete(f"{URL}/{job_id}")
    assert [job["spec"]["name"] for job in ours.api.get(f"{URL}?status=cancelled").json()] == ["dropped"]
    assert [job["spec"]["name"] for job in ours.api.get(f"{URL}?status=pending").json()] == ["kept"]
    assert ours.api.get(f"{URL}?status=succeeded").json() == []


def test_a_repeated_key_gives_the_first_answer_and_makes_nothing_new(ours: Team, theirs: Team) -> None:
    key: dict[str, Any] = {"HTTP_IDEMPOTENCY_KEY": "abc"}
    first = ours.api.post(URL, {"name": "once"}, format="json", **key)
    again = ours.api.post(URL, {"name": "once"}, format="json", **key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert TrainingJob.objects.count() == 1
    other = ours.api.post(URL, {"name": "twice"}, format="json", **key)
    assert other.status_code == 409 and other.json()["code"] == "idempotency_key_reused"
    assert theirs.api.post(URL, {"name": "once"}, format="json", **key).status_code == 201


def test_a_refused_request_does_not_use_up_its_key(ours: Team) -> None:
    key: dict[str, Any] = {"HTTP_IDEMPOTENCY_KEY": "abc"}
    assert ours.api.post(URL, {"name": "Not OK"}, format="json", **key).status_code == 400
    assert IdempotencyRecord.objects.count() == 0
    assert ours.api.post(URL, {"name": "ok"}, format="json", **key).status_code == 201


def test_an_upload_is_answered_with_its_digest_and_can_be_used_by_its_team_only(ours: Team, theirs: Team) -> None:
    file = SimpleUploadedFile("train.py", b"print('hello')\n")
    answer = ours.api.post("/v1/sources", {"file": file}, format="multipart")
    assert answer.status_code == 201, answer.content
    source = answer.json()
    assert source["size"] == 15 and len(source["sha256"]) == 64
    assert submit(ours, source=source["id"]).status_code == 201
    refused = submit(theirs, source=source["id"])
    assert refused.status_code == 400 and list(refused.json()["errors"]) == ["source"]


def test_an_upload_may_be_repeated_under_its_key_though_the_boundary_changes(ours: Team) -> None:
    def upload(content: bytes) -> Any:
        file = SimpleUploadedFile("train.py", content)
        return ours.api.post("/v1/sources", {"file": file}, format="multipart", HTTP_IDEMPOTENCY_KEY="k")

    first, again = upload(b"x = 1\n"), upload(b"x = 1\n")
    assert first.status_code == again.status_code == 201 and first.json() == again.json()
    assert upload(b"x = 2\n").status_code == 409


@pytest.mark.parametrize("data", [{}, {"file": ""}, {"other": "x"}])
def test_an_upload_without_a_file_is_a_400(ours: Team, data: dict[str, str]) -> None:
    assert ours.api.post("/v1/sources", data, format="multipart").status_code == 400


def test_the_source_is_handed_to_its_own_job_only(ours: Team) -> None:
    upload = ours.api.post("/v1/sources", {"file": SimpleUploadedFile("train.py", b"x = 1\n")}, format="multipart")
    job = submit(ours, source=upload.json()["id"]).json()
    other = submit(ours, name="other").json()
    token = tokens.make(uuid.UUID(job["id"]))
    mine = api_client(token).get(f"{URL}/{job['id']}/source")
    assert mine.status_code == 200 and body_of(mine) == b"x = 1\n"
    assert api_client(token).get(f"{URL}/{other['id']}/source").status_code == 403
    assert ours.api.get(f"{URL}/{job['id']}/source").status_code == 401
    assert api_client(token).get(f"{URL}/{job['id']}").status_code == 401
    assert api_client(token).get(URL).status_code == 401


def test_reported_metrics_are_in_the_job_and_a_step_sent_again_replaces_itself(ours: Team) -> None:
    job_id = submit(ours).json()["id"]
    trainer = api_client(tokens.make(uuid.UUID(job_id)))
    url = f"{URL}/{job_id}/metrics"
    assert trainer.post(url, {"step": 1, "values": {"loss": 0.5, "acc": 0.1}}, format="json").status_code == 202
    points = [{"step": step, "values": {"loss": 1 / step}} for step in range(2, 10)]
    assert trainer.post(url, {"points": points}, format="json").json() == {"accepted": 8}
    assert trainer.post(url, {"step": 9, "values": {"loss": 0.25}}, format="json").status_code == 202
    assert ours.api.get(f"{URL}/{job_id}").json()["metrics"] == {"loss": 0.25, "acc": 0.1}


def test_a_loss_that_explodes_is_kept_and_shown_as_null(ours: Team) -> None:
    job_id = submit(ours).json()["id"]
    trainer = api_client(tokens.make(uuid.UUID(job_id)))
    answer = trainer.post(f"{URL}/{job_id}/metrics", {"step": 1, "values": {"loss": "NaN"}}, format="json")
    assert answer.status_code == 202
    assert ours.api.get(f"{URL}/{job_id}").json()["metrics"] == {"loss": None}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"step": -1, "values": {"a": 1}}, "step"),
        ({"step": 1, "values": {"a": "x"}}, "values.a"),
        ({"step": 1, "values": {}}, "values"),
        ({"step": 1.5, "values": {"a": 1}}, "step"),
        ({"points": [{"step": 1, "values": {"a": True}}]}, "points.0.values.a"),
        ({"points": {}}, "points"),
        ({"step": 1, "values": {"a": 1}, "x": 1}, "x"),
    ],
)
def test_bad_metrics_are_a_400_that_names_the_field(ours: Team, body: Any, field: str) -> None:
    job_id = submit(ours).json()["id"]
    answer = api_client(tokens.make(uuid.UUID(job_id))).post(f"{URL}/{job_id}/metrics", body, format="json")
    assert answer.status_code == 400 and field in answer.json()["errors"]


def test_the_timeline_begins_with_the_submission(ours: Team) -> None:
    job_id = submit(ours).json()["id"]
    events = ours.api.get(f"{URL}/{job_id}/events").json()
    assert [(event["reason"], event["source"]) for event in events] == [("Queued", "platform")]


def test_what_a_job_wrote_is_listed_and_downloaded_and_nothing_else(ours: Team, tmp_path: Any) -> None:
    (tmp_path / "out" / "sub").mkdir(parents=True)
    (tmp_path / "out" / "model.bin").write_bytes(b"weights")
    (tmp_path / "out" / "sub" / "a.txt").write_text("a")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "out" / "link").symlink_to(tmp_path / "secret")
    Tenant.objects.update(artifact_root=f"file://{tmp_path}")
    job_id = submit(ours, model_output_path=f"file://{tmp_path}/out/").json()["id"]
    listed = ours.api.get(f"{URL}/{job_id}/files").json()
    assert [file["path"] for file in listed["files"]] == ["model.bin", "sub/a.txt"]
    got = ours.api.get(f"{URL}/{job_id}/files/model.bin")
    assert body_of(got) == b"weights"
    assert "attachment" in got["Content-Disposition"]
    for path in ("../secret", "link", "%2e%2e/secret", "sub/../../secret", "nothing", "sub"):
        assert ours.api.get(f"{URL}/{job_id}/files/{path}").status_code == 404, path


@pytest.mark.parametrize(
    "query", ["offset=5&tail=2", "offset=-1", "offset=x", "tail=0", "tail=10001", "tail=", "offset=" + "9" * 20]
)
def test_a_bad_place_in_a_log_is_a_400(ours: Team, query: str) -> None:
    job_id = submit(ours).json()["id"]
    answer = ours.api.get(f"{URL}/{job_id}/logs?{query}")
    assert answer.status_code == 400 and all(name in query for name in answer.json()["errors"])


def test_a_log_is_read_by_bytes_and_by_lines(ours: Team) -> None:
    job_id = submit(ours).json()["id"]
    JobLog.objects.create(job_id=job_id, size=12)
    JobLogChunk.objects.create(job_id=job_id, offset=0, data=b"one\ntwo\nthre")
    answers = {query: ours.api.get(f"{URL}/{job_id}/logs?{query}") for query in ("", "offset=4", "tail=1", "offset=99")}
    assert {query: (answer.content, answer["X-Log-Offset"]) for query, answer in answers.items()} == {
        "": (b"one\ntwo\nthre", "12"), "offset=4": (b"two\nthre", "12"), "tail=1": (b"thre", "12"), "offset=99": (b"", "99"),
    }  # fmt: skip
    assert answers[""]["Content-Type"] == "text/plain; charset=utf-8"


def test_a_job_without_an_upload_has_no_source_to_hand_out(ours: Team) -> None:
    job_id = submit(ours).json()["id"]
    answer = api_client(tokens.make(uuid.UUID(job_id))).get(f"{URL}/{job_id}/source")
    assert answer.status_code == 404 and answer.json()["detail"] == "This job has no uploaded source."


def test_health_needs_no_token(db: None) -> None:
    answer = api_client("").get("/v1/health")
    assert answer.status_code == 200 and answer.json() == {"status": "healthy", "service": "ml-platform-api"}


def test_ready_names_what_does_not_answer(db: None) -> None:
    answer = api_client("").get("/v1/ready")
    assert answer.status_code == 503 and answer.json()["problems"] == {"cluster": "does not answer"}


def test_the_metrics_endpoint_counts_jobs_by_tenant_and_status_only(ours: Team) -> None:
    submit(ours)
    text = api_client("").get("/metrics").content.decode()
    assert 'ml_platform_jobs_created_total{tenant="ours"} 1.0' in text
    assert 'ml_platform_active_jobs{status="pending",tenant="ours"} 1.0' in text
    assert "my-model" not in text


def test_the_log_of_a_job_that_never_ran_is_empty_and_complete_once_it_ended(ours: Team) -> None:
    job_id = submit(ours).json()["id"]
    answer = ours.api.get(f"{URL}/{job_id}/logs")
    assert (answer.content, answer["X-Log-Offset"], answer["X-Log-Complete"]) == (b"", "0", "false")
    ours.api.delete(f"{URL}/{job_id}")
    assert ours.api.get(f"{URL}/{job_id}/logs")["X-Log-Complete"] == "true"
    assert io.BytesIO(answer.content).read() == b""


def test_a_whole_number_of_any_size_is_a_hyperparameter(ours: Team) -> None:
    many = 10**30
    answer = ours.api.post("/v1/jobs/training", {"name": "a", "hyperparameters": {"seed": many}}, format="json")
    assert answer.status_code == 201 and answer.json()["spec"]["hyperparameters"]["seed"] == many
    assert TrainingJob.objects.get(name="a").spec["hyperparameters"] == {"seed": many}
