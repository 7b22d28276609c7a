"""Deletion: finalizers, owners, the three propagation policies, grace for pods, eviction."""

from __future__ import annotations

import uuid

import pytest

from .api import Object, Space, holds
from .objects import SLEEP, config_map, job, pod, python

BACKGROUND = {"propagationPolicy": "Background"}
FOREGROUND = {"propagationPolicy": "Foreground"}
ORPHAN = {"propagationPolicy": "Orphan"}


def test_a_plain_object_is_gone_when_the_call_returns(space: Space) -> None:
    made = space.create(config_map("a"))
    answer = space.delete("configmaps", "a")
    assert (answer["kind"], answer["status"]) == ("Status", "Success")
    assert answer["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    space.cluster.refused(404, "NotFound", "GET", space.path("configmaps", "a"))


def test_a_finalizer_holds_the_object_until_it_is_removed(space: Space) -> None:
    space.create(config_map("a", finalizers=["example.com/hold"]))
    answer = space.delete("configmaps", "a")
    assert answer["metadata"]["deletionTimestamp"]
    again = space.delete("configmaps", "a")
    assert again["metadata"]["deletionTimestamp"] == answer["metadata"]["deletionTimestamp"]
    space.patch("configmaps", "a", {"metadata": {"finalizers": None}})
    space.cluster.refused(404, "NotFound", "GET", space.path("configmaps", "a"))


def test_a_deletion_with_anothers_uid_is_a_conflict(space: Space) -> None:
    made = space.create(config_map("a"))
    path = space.path("configmaps", "a")
    wrong = {"preconditions": {"uid": str(uuid.uuid4())}}
    status = space.cluster.refused(409, "Conflict", "DELETE", path, wrong)
    assert "UID" in status["message"]
    space.delete("configmaps", "a", {"preconditions": {"uid": made["metadata"]["uid"]}})
    space.cluster.refused(404, "NotFound", "GET", path)


def test_what_is_owned_goes_after_its_owner(space: Space) -> None:
    owner = space.create(config_map("owner"))
    space.create(config_map("owned", ownerReferences=[_reference(owner)]))
    space.create(config_map("free"))
    space.delete("configmaps", "owner", BACKGROUND)
    space.wait_gone("configmaps", "owned")
    assert space.get("configmaps", "free")


def test_what_is_owned_by_two_stays_until_both_are_gone(space: Space) -> None:
    owners = [space.create(config_map(name)) for name in ("first", "second")]
    space.create(config_map("owned", ownerReferences=[_reference(owner) for owner in owners]))
    space.delete("configmaps", "first", BACKGROUND)
    kept = space.wait(
        "configmaps", "owned", lambda obj: len(obj["metadata"]["ownerReferences"]) == 1, "left with one owner"
    )
    assert kept["metadata"]["ownerReferences"][0]["name"] == "second"
    space.delete("configmaps", "second", BACKGROUND)
    space.wait_gone("configmaps", "owned")


def test_background_deletion_of_a_job_ends_its_pods_afterwards(space: Space) -> None:
    space.create(job("a", SLEEP))
    name = _pod_of(space, "a")
    space.running(name)
    space.delete("jobs", "a", BACKGROUND)
    space.wait_gone("jobs", "a")
    space.wait_gone("pods", name)


def test_foreground_deletion_keeps_the_job_until_its_pods_are_gone(space: Space) -> None:
    stubborn = 'trap "" TERM; echo on; i=0; while [ $i -lt 600 ]; do sleep 1; i=$((i+1)); done'
    space.create(job("a", stubborn, pod={"terminationGracePeriodSeconds": 2}))
    name = _pod_of(space, "a")
    space.wait_log(name, "on")
    answer = space.delete("jobs", "a", FOREGROUND)
    assert answer["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert answer["metadata"]["deletionTimestamp"]
    space.wait("pods", name, lambda obj: "deletionTimestamp" in obj["metadata"], "terminating")
    assert space.get("jobs", "a")["metadata"]["deletionTimestamp"]
    space.wait_gone("jobs", "a")
    space.cluster.refused(404, "NotFound", "GET", space.path("pods", name))


def test_a_finished_job_is_deleted_in_the_foreground_with_its_pods(space: Space) -> None:
    made = space.create(job("a", "true"))
    space.wait("jobs", "a", holds("Complete"), "complete")
    space.delete("jobs", "a", {**FOREGROUND, "preconditions": {"uid": made["metadata"]["uid"]}})
    space.wait_gone("jobs", "a")
    assert space.names("pods", labelSelector="job-name=a") == []


WAITING: list[tuple[str, Object, Object]] = [
    ("its image", {}, {"image": "localcluster.invalid/nothing:1"}),
    ("a node", {"nodeSelector": {"ml-platform/none": "such"}}, {}),
    ("a secret", {}, {"envFrom": [{"secretRef": {"name": "none"}}]}),
]


@pytest.mark.parametrize(("spec", "fields"), [row[1:] for row in WAITING], ids=[row[0] for row in WAITING])
def test_a_job_whose_pod_waits_is_deleted_at_once(space: Space, spec: Object, fields: Object) -> None:
    space.create(job("a", "true", pod={"terminationGracePeriodSeconds": 600, **spec}, **fields))
    _pod_of(space, "a")
    space.delete("jobs", "a", FOREGROUND)
    space.wait_gone("jobs", "a")
    assert space.names("pods", labelSelector="job-name=a") == []


def test_the_name_of_a_job_that_is_going_is_still_taken(space: Space) -> None:
    body = job("a", "true", {"suspend": True})
    body["metadata"]["finalizers"] = ["example.com/hold"]
    space.create(body)
    space.delete("jobs", "a", BACKGROUND)
    space.cluster.refused(409, "AlreadyExists", "POST", space.path("jobs"), job("a", "true"))
    space.patch("jobs", "a", {"metadata": {"finalizers": None}})
    space.wait_gone("jobs", "a")


def test_orphaned_pods_outlive_their_job(space: Space) -> None:
    space.create(job("a", SLEEP))
    name = _pod_of(space, "a")
    space.running(name)
    space.delete("jobs", "a", ORPHAN)
    space.wait_gone("jobs", "a")
    left = space.wait("pods", name, lambda obj: not obj["metadata"].get("ownerReferences"), "without owner")
    assert left["status"]["phase"] == "Running"
    assert "deletionTimestamp" not in left["metadata"]
    space.delete("pods", name, {"gracePeriodSeconds": 0})


def test_a_job_deleted_without_a_policy_leaves_its_pods(space: Space) -> None:
    space.create(job("a", SLEEP))
    name = _pod_of(space, "a")
    space.running(name)
    space.delete("jobs", "a")
    space.wait_gone("jobs", "a")
    left = space.wait("pods", name, lambda obj: not obj["metadata"].get("ownerReferences"), "without owner")
    assert "deletionTimestamp" not in left["metadata"]
    space.delete("pods", name, {"gracePeriodSeconds": 0})


def test_a_deleted_pod_is_told_to_stop_and_its_last_words_are_heard(space: Space) -> None:
    script = 'trap "echo last words; exit 0" TERM; sleep 600 & echo ready; wait'
    space.create(pod("a", script, {"terminationGracePeriodSeconds": 60}))
    space.wait_log("a", "ready")
    with space.cluster.stream(space.path("pods", "a", "log"), follow=True, headers={"Accept": "*/*"}) as response:
        answer = space.delete("pods", "a")
        assert answer["metadata"]["deletionGracePeriodSeconds"] == 60
        assert answer["metadata"]["deletionTimestamp"]
        assert "last words" in response.read().decode()
    space.wait_gone("pods", "a")


def test_a_pod_that_will_not_stop_is_killed_after_its_grace(space: Space) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(600)"
    )
    space.create(pod("a", python(code), {"terminationGracePeriodSeconds": 600}))
    space.wait_log("a", "on")
    answer = space.delete("pods", "a", {"gracePeriodSeconds": 1})
    assert answer["metadata"]["deletionGracePeriodSeconds"] == 1
    space.wait_gone("pods", "a")


def test_a_pod_deleted_with_no_grace_is_gone_at_once(space: Space) -> None:
    space.create(pod("a", SLEEP, {"terminationGracePeriodSeconds": 600}))
    space.running("a")
    space.delete("pods", "a", {"gracePeriodSeconds": 0})
    space.cluster.refused(404, "NotFound", "GET", space.path("pods", "a"))


def test_a_finished_pod_is_gone_soon_after_its_deletion(space: Space) -> None:
    space.run(pod("a", "true", {"terminationGracePeriodSeconds": 600}))
    space.delete("pods", "a")
    space.wait_gone("pods", "a")


def test_a_pod_stop_hook_runs_before_the_signal(space: Space) -> None:
    body = pod(
        "a",
        'trap "cat /scratch/mark; exit 0" TERM; sleep 600 & echo ready; wait',
        {"terminationGracePeriodSeconds": 60, "volumes": [{"name": "work", "emptyDir": {}}]},
        volumeMounts=[{"name": "work", "mountPath": "/scratch"}],
        lifecycle={"preStop": {"exec": {"command": ["sh", "-c", "echo hook ran > /scratch/mark"]}}},
    )
    space.create(body)
    space.wait_log("a", "ready")
    with space.cluster.stream(space.path("pods", "a", "log"), follow=True, headers={"Accept": "*/*"}) as response:
        space.delete("pods", "a")
        assert "hook ran" in response.read().decode()


def test_an_evicted_pod_ends(space: Space) -> None:
    space.create(pod("a", SLEEP))
    space.running("a")
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a", "namespace": space.name}}
    answer = space.cluster.create(space.path("pods", "a", "eviction"), body)
    assert answer["status"] == "Success"
    space.wait_gone("pods", "a")


def _reference(owner: Object) -> Object:
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
    }


def _pod_of(space: Space, job_name: str) -> str:
    pods = space.wait_list("pods", bool, f"of job {job_name}", labelSelector=f"job-name={job_name}")
    name: str = pods[0]["metadata"]["name"]
    return name
