"""Jobs that go well: from creation to Complete, in number, indexed, suspended, cleaned up."""

from __future__ import annotations

import pytest

from .api import Object, Space, condition, holds
from .objects import SLEEP, job


def _pods(space: Space, name: str = "a") -> list[Object]:
    return space.list("pods", labelSelector=f"batch.kubernetes.io/job-name={name}")


def test_a_job_runs_its_pod_and_completes(space: Space) -> None:
    space.create(job("a", "echo trained"))
    done = space.wait("jobs", "a", holds("Complete"), "complete")
    status = done["status"]
    assert status["succeeded"] == 1
    assert status.get("failed", 0) == 0
    assert status.get("active", 0) == 0
    assert status["startTime"] <= status["completionTime"]
    assert condition(done, "SuccessCriteriaMet")["reason"] == "CompletionsReached"
    assert condition(done, "Complete")["reason"] == "CompletionsReached"
    assert condition(done, "Complete")["lastTransitionTime"] >= status["startTime"]
    (only,) = _pods(space)
    assert only["status"]["phase"] == "Succeeded"
    assert space.log(only["metadata"]["name"]) == "trained\n"


def test_the_pods_of_a_job_are_named_labelled_and_owned(space: Space) -> None:
    made = space.create(job("a", SLEEP))
    (only,) = space.wait_list("pods", bool, "of the job", labelSelector="job-name=a")
    metadata = only["metadata"]
    assert metadata["name"].startswith("a-")
    assert metadata["generateName"] == "a-"
    assert metadata["labels"]["app"] == "a"
    assert metadata["labels"]["batch.kubernetes.io/controller-uid"] == made["metadata"]["uid"]
    (owner,) = metadata["ownerReferences"]
    assert (owner["apiVersion"], owner["kind"], owner["name"]) == ("batch/v1", "Job", "a")
    assert owner["uid"] == made["metadata"]["uid"]
    assert owner["controller"] is True
    assert owner["blockOwnerDeletion"] is True


def test_a_running_job_counts_its_active_and_ready_pods(space: Space) -> None:
    space.create(job("a", SLEEP))
    running = space.wait("jobs", "a", lambda obj: obj["status"].get("ready") == 1, "ready")
    assert running["status"]["active"] == 1
    assert running["status"]["startTime"]
    assert not running["status"].get("conditions")
    assert "completionTime" not in running["status"]


def test_a_job_tells_its_story_in_events(space: Space) -> None:
    made = space.create(job("a", "true"))
    (only,) = space.wait_list("pods", bool, "of the job", labelSelector="job-name=a")
    created = space.wait_event(made, "SuccessfulCreate")
    assert created["message"] == f"Created pod: {only['metadata']['name']}"
    assert space.wait_event(made, "Completed")["message"] == "Job completed"


COUNTS = [(1, 2), (2, 3), (3, 3)]


@pytest.mark.parametrize(("parallelism", "completions"), COUNTS)
def test_a_job_runs_as_often_as_asked_and_never_more_at_once(space: Space, parallelism: int, completions: int) -> None:
    path = space.path("jobs")
    version = space.cluster.get(path)["metadata"]["resourceVersion"]
    space.create(job("a", "true", {"parallelism": parallelism, "completions": completions}))
    most = 0
    with space.cluster.watch(path, resourceVersion=version) as watch:
        for event in watch:
            most = max(most, event["object"]["status"].get("active", 0))
            if holds("Complete")(event["object"]):
                break
    assert event["object"]["status"]["succeeded"] == completions
    assert most <= parallelism
    assert len(_pods(space)) == completions


def test_an_indexed_job_gives_each_pod_its_number(space: Space) -> None:
    spec = {"completionMode": "Indexed", "completions": 3, "parallelism": 3}
    space.create(job("a", "echo index $JOB_COMPLETION_INDEX", spec))
    done = space.wait("jobs", "a", holds("Complete"), "complete")
    assert done["status"]["succeeded"] == 3
    assert done["status"]["completedIndexes"] == "0-2"
    pods = {each["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]: each for each in _pods(space)}
    assert set(pods) == {"0", "1", "2"}
    for index, each in pods.items():
        metadata = each["metadata"]
        assert metadata["labels"]["batch.kubernetes.io/job-completion-index"] == index
        assert metadata["name"].startswith(f"a-{index}-")
        assert each["spec"]["hostname"] == f"a-{index}"
        assert space.log(metadata["name"]) == f"index {index}\n"


def test_the_environment_can_refer_to_the_completion_index(space: Space) -> None:
    env = [
        {
            "name": "RANK",
            "valueFrom": {
                "fieldRef": {"fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}
            },
        },
        {"name": "NODE_RANK", "value": "$(RANK)"},
    ]
    spec = {"completionMode": "Indexed", "completions": 1, "parallelism": 1}
    space.create(job("a", 'echo "$RANK $NODE_RANK"', spec, env=env))
    space.wait("jobs", "a", holds("Complete"), "complete")
    assert space.log(_pods(space)[0]["metadata"]["name"]) == "0 0\n"


def test_a_suspended_job_starts_no_pod_until_it_is_resumed(space: Space) -> None:
    made = space.create(job("a", "true", {"suspend": True}))
    waiting = space.wait("jobs", "a", holds("Suspended"), "suspended")
    assert condition(waiting, "Suspended")["reason"] == "JobSuspended"
    assert "startTime" not in waiting["status"]
    assert _pods(space) == []
    space.wait_event(made, "Suspended")
    space.patch("jobs", "a", {"spec": {"suspend": False}})
    done = space.wait("jobs", "a", holds("Complete"), "complete")
    assert condition(done, "Suspended")["status"] == "False"
    assert condition(done, "Suspended")["reason"] == "JobResumed"


def test_suspending_a_running_job_ends_its_pods_without_a_failure(space: Space) -> None:
    space.create(job("a", SLEEP))
    space.wait("jobs", "a", lambda obj: obj["status"].get("ready") == 1, "running")
    space.patch("jobs", "a", {"spec": {"suspend": True}})
    suspended = space.wait("jobs", "a", holds("Suspended"), "suspended")
    space.wait_list("pods", lambda pods: not pods, "gone", labelSelector="job-name=a")
    settled = space.wait("jobs", "a", lambda obj: obj["status"].get("active", 0) == 0, "inactive")
    assert settled["status"].get("failed", 0) == 0
    assert not condition(settled, "Failed")
    assert suspended["metadata"]["generation"] == 2


def test_a_failed_pod_is_replaced_only_once_it_has_ended(space: Space) -> None:
    script = 'trap "sleep 1; exit 1" TERM; sleep 600 & echo on; wait'
    spec = {"podReplacementPolicy": "Failed", "backoffLimit": 6}
    space.create(job("a", script, spec, {"terminationGracePeriodSeconds": 30}))
    (only,) = space.wait_list("pods", bool, "of the job", labelSelector="job-name=a")
    space.wait_log(only["metadata"]["name"], "on")
    space.delete("pods", only["metadata"]["name"])
    ending = space.wait("jobs", "a", lambda obj: obj["status"].get("terminating") == 1, "terminating")
    assert ending["status"].get("active", 0) == 0
    assert space.names("pods", labelSelector="job-name=a") == [only["metadata"]["name"]]
    space.wait("jobs", "a", lambda obj: obj["status"].get("failed") == 1, "counted")


def test_a_job_past_its_time_to_live_is_deleted_with_its_pods(space: Space) -> None:
    space.create(job("a", "true", {"ttlSecondsAfterFinished": 1}))
    space.wait_gone("jobs", "a")
    space.wait_list("pods", lambda pods: not pods, "gone", labelSelector="job-name=a")


def test_a_finished_job_stays_without_a_time_to_live(space: Space) -> None:
    space.create(job("short", "true", {"ttlSecondsAfterFinished": 0}))
    space.create(job("long", "true", {"ttlSecondsAfterFinished": 86400}))
    space.wait("jobs", "long", holds("Complete"), "complete")
    space.wait_gone("jobs", "short")
    assert holds("Complete")(space.get("jobs", "long"))


IMMUTABLE: list[tuple[str, Object]] = [
    ("the template", {"template": {"spec": {"priority": 5, "terminationGracePeriodSeconds": 7}}}),
    ("the completions", {"completions": 5}),
    ("the selector", {"selector": {"matchLabels": {"x": "y"}}}),
    ("the completion mode", {"completionMode": "Indexed"}),
]


@pytest.mark.parametrize("change", [row[1] for row in IMMUTABLE], ids=[row[0] for row in IMMUTABLE])
def test_what_a_running_job_is_cannot_be_changed(space: Space, change: Object) -> None:
    space.create(job("a", SLEEP))
    space.wait("jobs", "a", lambda obj: obj["status"].get("active") == 1, "active")
    path = space.path("jobs", "a")
    status = space.cluster.refused(
        422, "Invalid", "PATCH", path, {"spec": change}, content_type="application/merge-patch+json"
    )
    assert "field is immutable" in status["message"]


def test_how_a_running_job_ends_can_be_changed(space: Space) -> None:
    space.create(job("a", SLEEP))
    changed = space.patch("jobs", "a", {"spec": {"activeDeadlineSeconds": 3600, "ttlSecondsAfterFinished": 5}})
    assert changed["spec"]["activeDeadlineSeconds"] == 3600


def test_more_parallelism_starts_more_pods(space: Space) -> None:
    space.create(job("a", SLEEP, {"parallelism": 1, "completions": 3}))
    space.wait("jobs", "a", lambda obj: obj["status"].get("active") == 1, "one active")
    space.patch("jobs", "a", {"spec": {"parallelism": 2}})
    space.wait("jobs", "a", lambda obj: obj["status"].get("active") == 2, "two active")


def test_jobs_of_all_teams_are_found_by_the_platforms_label(space: Space, other_space: Space) -> None:
    for each in (space, other_space):
        body = job("a", "true", {"suspend": True})
        body["metadata"]["labels"] = {"ml-platform/job-id": f"{space.name}-x"}
        each.create(body)
    found = space.cluster.list("/apis/batch/v1/jobs", labelSelector=f"ml-platform/job-id={space.name}-x")
    assert {each["metadata"]["namespace"] for each in found} == {space.name, other_space.name}
