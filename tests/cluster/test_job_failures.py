"""Jobs that go wrong: what counts as a failure, what is tried again, and what the Job says at the end."""

from __future__ import annotations

import pytest

from .api import Object, Space, condition, container_status, holds, terminated
from .objects import SLEEP, job, python


def _pods(space: Space, name: str = "a") -> list[Object]:
    return space.list("pods", labelSelector=f"batch.kubernetes.io/job-name={name}")


def _failed(space: Space, body: Object) -> Object:
    space.create(body)
    return space.wait("jobs", body["metadata"]["name"], holds("Failed"), "failed")


def _rule(action: str, **match: object) -> Object:
    return {"podFailurePolicy": {"rules": [{"action": action, **match}]}}


def test_a_job_without_retries_fails_with_its_pod(space: Space) -> None:
    failed = _failed(space, job("a", "exit 3"))
    assert failed["status"]["failed"] == 1
    assert failed["status"].get("succeeded", 0) == 0
    assert "completionTime" not in failed["status"]
    end = condition(failed, "Failed")
    assert end["reason"] == "BackoffLimitExceeded"
    assert end["message"] == "Job has reached the specified backoff limit"
    assert condition(failed, "FailureTarget")["status"] == "True"
    assert not condition(failed, "Complete")
    (only,) = _pods(space)
    assert terminated(only)["exitCode"] == 3
    assert space.wait_event(failed, "BackoffLimitExceeded")["type"] == "Warning"


def test_a_failed_pod_is_tried_again_up_to_the_limit(space: Space) -> None:
    failed = _failed(space, job("a", "echo tried; exit 1", {"backoffLimit": 1}))
    assert failed["status"]["failed"] == 2
    assert condition(failed, "Failed")["reason"] == "BackoffLimitExceeded"
    pods = _pods(space)
    assert len(pods) == 2
    # The second try waits for the first's back-off.
    starts = sorted(each["metadata"]["creationTimestamp"] for each in pods)
    assert starts[0] < starts[1]
    assert [space.log(each["metadata"]["name"]) for each in pods] == ["tried\n", "tried\n"]


def test_an_exit_code_of_the_policy_fails_the_job_at_once(space: Space) -> None:
    policy = _rule("FailJob", onExitCodes={"containerName": "main", "operator": "In", "values": [42]})
    failed = _failed(space, job("a", "exit 42", {"backoffLimit": 6, **policy}))
    end = condition(failed, "Failed")
    assert end["reason"] == "PodFailurePolicy"
    assert "failed with exit code 42 matching FailJob rule at index 0" in end["message"]
    assert condition(failed, "FailureTarget")["reason"] == "PodFailurePolicy"
    assert len(_pods(space)) == 1


def test_an_exit_code_outside_the_policy_counts(space: Space) -> None:
    policy = _rule("FailJob", onExitCodes={"operator": "In", "values": [42]})
    failed = _failed(space, job("a", "exit 7", policy))
    assert condition(failed, "Failed")["reason"] == "BackoffLimitExceeded"


def test_not_in_fails_the_job_for_every_other_code(space: Space) -> None:
    policy = _rule("FailJob", onExitCodes={"operator": "NotIn", "values": [1, 2]})
    failed = _failed(space, job("a", "exit 9", {"backoffLimit": 6, **policy}))
    assert condition(failed, "Failed")["reason"] == "PodFailurePolicy"


def test_the_first_matching_rule_decides(space: Space) -> None:
    rules = [
        {"action": "Count", "onExitCodes": {"operator": "In", "values": [42]}},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
    ]
    failed = _failed(space, job("a", "exit 42", {"podFailurePolicy": {"rules": rules}}))
    assert condition(failed, "Failed")["reason"] == "BackoffLimitExceeded"


def test_a_disrupted_pod_is_replaced_without_counting(space: Space) -> None:
    policy = _rule("Ignore", onPodConditions=[{"type": "DisruptionTarget", "status": "True"}])
    space.create(job("a", SLEEP, policy))
    (first,) = space.wait_list(
        "pods",
        lambda pods: len(pods) == 1 and pods[0]["status"]["phase"] == "Running",
        "running",
        labelSelector="job-name=a",
    )
    name = first["metadata"]["name"]
    path = space.path("pods")
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": space.name}}
    with space.cluster.watch(path, fieldSelector=f"metadata.name={name}") as watch:
        space.cluster.create(space.path("pods", name, "eviction"), body)
        for event in watch:
            last = event["object"]
            if event["type"] == "DELETED" or last["status"]["phase"] == "Failed":
                break
    target = condition(last, "DisruptionTarget")
    assert (target["status"], target["reason"]) == ("True", "EvictionByEvictionAPI")
    assert last["status"]["phase"] == "Failed"
    space.wait_list(
        "pods",
        lambda pods: [each["status"]["phase"] for each in pods if each["metadata"]["name"] != name] == ["Running"],
        "replaced",
        labelSelector="job-name=a",
    )
    obj = space.get("jobs", "a")
    assert obj["status"].get("failed", 0) == 0
    assert not holds("Failed")(obj)


def test_a_condition_of_the_policy_can_be_set_through_the_status(space: Space) -> None:
    policy = _rule("FailJob", onPodConditions=[{"type": "example.com/Bad", "status": "True"}])
    space.create(job("a", "sleep 1; exit 1", {"backoffLimit": 6, **policy}))
    (only,) = space.wait_list("pods", bool, "of the job", labelSelector="job-name=a")
    name = only["metadata"]["name"]
    patch = {"status": {"conditions": [{"type": "example.com/Bad", "status": "True"}]}}
    space.cluster.patch(space.path("pods", name, "status"), patch, "application/strategic-merge-patch+json")
    failed = space.wait("jobs", "a", holds("Failed"), "failed")
    assert condition(failed, "Failed")["reason"] == "PodFailurePolicy"


def test_a_job_past_its_deadline_is_ended(space: Space) -> None:
    failed = _failed(space, job("a", SLEEP, {"activeDeadlineSeconds": 2, "backoffLimit": 6}))
    end = condition(failed, "Failed")
    assert end["reason"] == "DeadlineExceeded"
    assert end["message"] == "Job was active longer than specified deadline"
    assert failed["status"].get("active", 0) == 0
    space.wait_list(
        "pods",
        lambda pods: all(each["status"]["phase"] in ("Failed", "Succeeded") for each in pods),
        "ended",
        labelSelector="job-name=a",
    )


def test_a_job_whose_pod_is_deleted_by_hand_counts_a_failure(space: Space) -> None:
    space.create(job("a", SLEEP))
    (only,) = space.wait_list(
        "pods",
        lambda pods: len(pods) == 1 and pods[0]["status"]["phase"] == "Running",
        "running",
        labelSelector="job-name=a",
    )
    space.delete("pods", only["metadata"]["name"])
    failed = space.wait("jobs", "a", holds("Failed"), "failed")
    assert failed["status"]["failed"] == 1
    assert condition(failed, "Failed")["reason"] == "BackoffLimitExceeded"


def test_out_of_memory_is_seen_in_the_pod_of_a_failed_job(space: Space) -> None:
    code = "import time; kept = b'x' * (512 << 20); time.sleep(60)"
    _failed(space, job("a", python(code), resources={"requests": {"cpu": "10m"}, "limits": {"memory": "64Mi"}}))
    (only,) = _pods(space)
    assert (terminated(only)["reason"], terminated(only)["exitCode"]) == ("OOMKilled", 137)


def test_a_job_restarts_its_container_in_place_if_told_to(space: Space) -> None:
    script = "if [ -f /scratch/tried ]; then exit 0; fi; touch /scratch/tried; exit 1"
    body = job(
        "a",
        script,
        {"backoffLimit": 3},
        {"restartPolicy": "OnFailure", "volumes": [{"name": "work", "emptyDir": {}}]},
        volumeMounts=[{"name": "work", "mountPath": "/scratch"}],
    )
    space.create(body)
    done = space.wait("jobs", "a", holds("Complete"), "complete")
    assert done["status"]["succeeded"] == 1
    (only,) = _pods(space)
    assert container_status(only)["restartCount"] == 1


def test_a_job_that_cannot_pull_its_image_waits(space: Space) -> None:
    space.create(job("a", "true", image="localcluster.invalid/nothing:1"))
    space.wait_list(
        "pods",
        lambda pods: (
            [container_status(each).get("state", {}).get("waiting", {}).get("reason") for each in pods]
            in (["ErrImagePull"], ["ImagePullBackOff"])
        ),
        "waiting for the image",
        labelSelector="job-name=a",
    )
    obj = space.get("jobs", "a")
    assert obj["status"]["active"] == 1
    assert obj["status"].get("ready", 0) == 0
    assert not obj["status"].get("conditions")


REFUSED_PODS: list[tuple[str, Object, Object, str]] = [
    (
        "quota",
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "q"},
            "spec": {"hard": {"requests.cpu": "5m"}},
        },
        {},
        "exceeded quota: q, requested: requests.cpu=10m, used: requests.cpu=0, limited: requests.cpu=5m",
    ),
    (
        "limit range",
        {
            "apiVersion": "v1",
            "kind": "LimitRange",
            "metadata": {"name": "l"},
            "spec": {"limits": [{"type": "Container", "max": {"memory": "16Mi"}}]},
        },
        {"resources": {"limits": {"memory": "32Mi"}}},
        "maximum memory usage per Container is 16Mi, but limit is 32Mi",
    ),
]


@pytest.mark.parametrize(
    ("rule", "fields", "message"), [row[1:] for row in REFUSED_PODS], ids=[row[0] for row in REFUSED_PODS]
)
def test_a_job_whose_pods_are_refused_says_so_in_its_events(
    space: Space, rule: Object, fields: Object, message: str
) -> None:
    space.create(rule)
    if rule["kind"] == "ResourceQuota":
        space.wait("resourcequotas", "q", lambda obj: "used" in obj.get("status", {}), "counted")
    made = space.create(job("a", "true", **fields))
    event = space.wait_event(made, "FailedCreate")
    assert event["type"] == "Warning"
    assert message in event["message"]
    assert _pods(space) == []
    assert not holds("Failed")(space.get("jobs", "a"))
