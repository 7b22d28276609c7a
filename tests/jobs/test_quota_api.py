"""Contract 1, 429 and the queue over the API: the body, the headers, the preview, the quota and the machines on offer."""

from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from jobs.models import TrainingJob
from jobs.queue import admit_waiting
from tenants.models import AuditEntry, IdempotencyRecord, InstanceType, Tenant
from tests.jobs.fake_cluster import FakeCluster
from tests.jobs.rounds import fresh
from tests.jobs.seen import NOW
from tests.personas import Team

URL = "/v1/jobs/training"
SMALL = {"cpu_cores": 1, "memory_gb": 1}


@pytest.fixture(autouse=True)
def quiet(cluster: FakeCluster) -> None:
    """Nobody is woken."""


def submit(team: Team, name: str, cpu: int = 1, **fields: Any) -> Any:
    body = {"name": name, "compute": SMALL | {"cpu_cores": cpu}} | fields
    return team.api.post(URL, body, format="json")


def holds(team: Team, cpu: int) -> None:
    Tenant.objects.filter(pk=team.tenant.pk).update(quota_cpu=cpu)


def test_over_quota_is_a_429_that_says_what_would_free_it(ours: Team) -> None:
    holds(ours, 10)
    assert submit(ours, "a", 8).status_code == 201
    answer = submit(ours, "b", 4)
    assert (answer.status_code, answer["Retry-After"]) == (429, "30")
    assert answer.json() == {
        "detail": "The team's quota of 10 CPU cores is reached: 8 in use, 4 asked for. It fits once 2 CPU cores are free; that"
        ' takes a job of the team to end or to be cancelled. Send "queue": true to let it wait for its turn.',
        "code": "quota_exceeded",
        "exceeded": [{"resource": "cpu", "limit": 10, "used": 8, "requested": 4}],
        "fits": "later",
        "waiting": 0,
    }
    assert TrainingJob.objects.count() == 1


def test_what_never_fits_is_told_apart_and_does_not_wait(ours: Team) -> None:
    for queue in (False, True):
        answer = submit(ours, "a", 1, compute={"memory_gb": 300}, queue=queue)
        assert (answer.status_code, answer["Retry-After"]) == (429, "3600")
        body = answer.json()
        assert (body["fits"], body["exceeded"][0]["resource"]) == ("never", "memory_gb") and "never start" in body[
            "detail"
        ]


def test_a_job_waits_with_its_place_and_leaves_when_it_is_its_turn(ours: Team) -> None:
    holds(ours, 1)
    first = submit(ours, "first").json()
    assert (first["queue"], first["priority"], first["queue_position"], first["price_per_hour"]) == (
        False,
        0,
        None,
        None,
    )
    answers = [submit(ours, name, queue=True, priority=priority) for name, priority in (("b", 0), ("c", 3))]
    assert [answer.status_code for answer in answers] == [201, 201]
    jobs = [answer.json() for answer in answers]
    assert [(job["status"], job["reason"], job["queue"]) for job in jobs] == [("pending", "QueuedForQuota", True)] * 2
    assert [job["queue_position"] for job in jobs] == [1, 1] and jobs[1]["priority"] == 3
    assert "queue" not in jobs[0]["spec"] and "priority" not in jobs[0]["spec"]
    listed = {job["spec"]["name"]: job["queue_position"] for job in ours.api.get(URL).json()}
    assert listed == {"first": None, "c": 1, "b": 2}
    assert ours.api.delete(f"{URL}/{first['id']}").status_code == 204
    admit_waiting(NOW)
    assert ours.api.get(f"{URL}/{jobs[1]['id']}").json()["queue_position"] is None
    assert ours.api.get(f"{URL}/{jobs[0]['id']}").json()["queue_position"] == 1
    events = ours.api.get(f"{URL}/{jobs[1]['id']}/events").json()
    assert [event["reason"] for event in events] == ["QueuedForQuota", "Admitted"]
    assert ours.api.delete(f"{URL}/{jobs[0]['id']}").status_code == 204
    assert ours.api.get(f"{URL}/{jobs[0]['id']}").json()["status"] == "cancelled"


def test_a_refused_submission_keeps_no_key_and_may_be_repeated_under_it(ours: Team) -> None:
    holds(ours, 1)
    first = submit(ours, "a").json()
    body = {"name": "b", "compute": SMALL}
    assert ours.api.post(URL, body, format="json", HTTP_IDEMPOTENCY_KEY="k").status_code == 429
    assert not IdempotencyRecord.objects.exists()
    ours.api.delete(f"{URL}/{first['id']}")
    made = ours.api.post(URL, body, format="json", HTTP_IDEMPOTENCY_KEY="k")
    assert (
        made.status_code == 201
        and ours.api.post(URL, body, format="json", HTTP_IDEMPOTENCY_KEY="k").json() == made.json()
    )
    waiting = ours.api.post(URL, body | {"name": "c", "queue": True}, format="json", HTTP_IDEMPOTENCY_KEY="q")
    again = ours.api.post(URL, body | {"name": "c", "queue": True}, format="json", HTTP_IDEMPOTENCY_KEY="q")
    assert waiting.json() == again.json() and waiting.json()["queue_position"] == 1
    assert TrainingJob.objects.waiting().count() == 1


def test_what_was_done_is_in_the_audit_log_with_where_it_came_from(ours: Team) -> None:
    job = submit(ours, "a").json()
    ours.api.delete(f"{URL}/{job['id']}")
    ours.api.delete(f"{URL}/{job['id']}")
    entries = AuditEntry.objects.filter(action__startswith="job.").order_by("id")
    found = [(one.action, one.actor_kind, one.target, one.target_id, one.via, one.address) for one in entries]
    assert found == [(f"job.{verb}", "token", "a", job["id"], "api", "127.0.0.1") for verb in ("submit", "cancel")]
    assert {one.tenant_id for one in entries} == {ours.tenant.pk}


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        ({"queue": "yes", "priority": 11}, {"queue", "priority"}), ({"priority": 1.5, "nonsense": 1}, {"priority", "nonsense"}),
        ({"compute": "gpu-of-others"}, {"compute"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("url", [URL, f"{URL}/preview"])
def test_what_is_wrong_is_named(ours: Team, url: str, fields: dict[str, Any], paths: set[str]) -> None:
    answer = ours.api.post(url, {"name": "a"} | fields, format="json")
    assert answer.status_code == 400 and set(answer.json()["errors"]) == paths


# ---- before submitting


@pytest.mark.parametrize(
    ("cpu", "outcome", "exceeded", "position"),
    [
        (2, "now", [], None),
        (3, "wait", [{"resource": "cpu", "limit": 5, "used": 3, "requested": 3}], 1),
        (6, "never", [{"resource": "cpu", "limit": 5, "used": 3, "requested": 6}], None),
    ],
)
def test_a_preview_makes_nothing_and_says_what_would_be(
    ours: Team, cpu: int, outcome: str, exceeded: list[Any], position: int | None
) -> None:
    holds(ours, 5)
    submit(ours, "a", 3)
    answer = ours.api.post(f"{URL}/preview", {"name": "b", "compute": SMALL | {"cpu_cores": cpu}}, format="json")
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert (body["outcome"], body["exceeded"], body["queue_position_if_queued"]) == (outcome, exceeded, position)
    assert body["left"] == {"cpu": 2, "memory_gb": 199, "gpus": 10, "jobs": 99, "pods": 99} and body["detail"]
    assert TrainingJob.objects.count() == 1 and AuditEntry.objects.filter(action="job.submit").count() == 1


def test_a_preview_names_what_a_submission_would_be_refused_for(ours: Team) -> None:
    submit(ours, "a")
    answer = ours.api.post(f"{URL}/preview", {"name": "a"}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "name_taken")
    answer = ours.api.post(f"{URL}/preview", {"name": "b", "tenant_id": "theirs"}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (403, "tenant_mismatch")


def test_the_quota_says_limits_use_and_what_is_left(
    ours: Team, theirs: Team, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    Tenant.objects.filter(pk=ours.tenant.pk).update(quota_gpu_types={"nvidia-tesla-t4": 2}, quota_jobs=1)
    submit(ours, "a", compute="gpu-1x-t4")
    submit(ours, "b", queue=True)
    submit(theirs, "c")
    # Whose token it is, and the row of usage; a token's last use is noted from time to time.
    with django_assert_max_num_queries(3):
        body = ours.api.get("/v1/quota").json()
    assert body == {
        "limits": {
            "cpu": 100, "memory_gb": 200, "gpus": 10, "jobs": 1, "pods": 100, "pvcs": 50, "gpus_per_job": 8,
            "gpus:nvidia-tesla-t4": 2,
        },
        "used": {"cpu": 4, "memory_gb": 16, "gpus": 1, "jobs": 1, "pods": 1, "gpus:nvidia-tesla-t4": 1},
        "left": {"cpu": 96, "memory_gb": 184, "gpus": 9, "jobs": 0, "pods": 99, "gpus:nvidia-tesla-t4": 1},
        "waiting": 1,
    }  # fmt: skip


# ---- machines


def test_a_team_sees_and_uses_the_machines_that_it_may(ours: Team, theirs: Team) -> None:
    InstanceType.objects.exclude(name__in=["cpu-1x", "gpu-1x-t4"]).delete()
    InstanceType.objects.filter(name="cpu-1x").update(is_active=False)
    only = InstanceType.objects.create(
        name="fast", cpu_cores=2, memory_gb=4, price_per_hour="1.2500", order=1, description="For one team",
        node_selector={"pool": "fast"}, tolerations=[{"key": "fast", "operator": "Exists"}],
    )  # fmt: skip
    only.tenants.set([ours.tenant])
    listed = ours.api.get("/v1/instance-types").json()
    assert [one["name"] for one in listed] == ["fast", "gpu-1x-t4"]
    assert listed[0] == {
        "name": "fast", "description": "For one team", "cpu_cores": 2, "memory_gb": 4, "gpu_count": 0, "gpu_type": None,
        "price_per_hour": 1.25,
        "currency": "EUR",
    }  # fmt: skip
    assert [one["name"] for one in theirs.api.get("/v1/instance-types").json()] == ["gpu-1x-t4"]
    refused = submit(theirs, "a", compute="fast").json()["errors"]["compute"]
    assert refused == ["names no instance type that this team may use; there are gpu-1x-t4"]
    assert submit(ours, "b", compute="cpu-1x").status_code == 400, "it is offered no longer"
    job = submit(ours, "a", compute="fast").json()
    assert (job["price_per_hour"], job["spec"]["compute"]) == (1.25, {"type": "cpu", "cpu_cores": 2, "memory_gb": 4})
    only.delete()
    row = TrainingJob.objects.get(name="a")
    assert row.placement == {"node_selector": {"pool": "fast"}, "tolerations": [{"key": "fast", "operator": "Exists"}]}
    assert (row.instance_type, str(row.price_per_hour), fresh(row).cpu_cores) == ("fast", "1.2500", 2)


def test_the_manifest_goes_where_the_machine_s_type_says(ours: Team) -> None:
    from jobs.selectors import job_get, manifest_of

    taint = {"key": "fast", "operator": "Exists", "effect": "NoSchedule"}
    InstanceType.objects.filter(name="cpu-1x").update(node_selector={"pool": "fast"}, tolerations=[taint])
    job = submit(ours, "a", compute="cpu-1x").json()
    InstanceType.objects.filter(name="cpu-1x").update(node_selector={}, tolerations=[])
    pod = manifest_of(job_get(ours.ctx, job["id"]))["spec"]["template"]["spec"]
    assert (pod["nodeSelector"], pod["tolerations"]) == ({"pool": "fast"}, [taint])
