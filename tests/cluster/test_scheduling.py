"""Why a pod does not start: what the scheduler says, and that it tries again when something changes."""

from __future__ import annotations

import re

import pytest

from .api import Object, Space, condition
from .objects import SLEEP, pod

IMPOSSIBLE: list[tuple[str, Object, Object, str]] = [
    (
        "a GPU that no node has",
        {},
        {"resources": {"limits": {"nvidia.com/gpu": "1"}}},
        r"\d+ Insufficient nvidia\.com/gpu",
    ),
    ("more processors than any node has", {}, {"resources": {"requests": {"cpu": "90000"}}}, r"\d+ Insufficient cpu"),
    ("more memory than any node has", {}, {"resources": {"requests": {"memory": "900Ti"}}}, r"\d+ Insufficient memory"),
    (
        "a label that no node has",
        {"nodeSelector": {"ml-platform/none": "such"}},
        {},
        r"\d+ node\(s\) didn't match Pod's node affinity/selector",
    ),
]


@pytest.mark.parametrize(("spec", "fields", "why"), [row[1:] for row in IMPOSSIBLE], ids=[row[0] for row in IMPOSSIBLE])
def test_an_unschedulable_pod_says_why(space: Space, spec: Object, fields: Object, why: str) -> None:
    made = space.create(pod("a", "true", spec, **fields))
    waiting = space.wait("pods", "a", lambda obj: bool(condition(obj, "PodScheduled")), "tried")
    scheduled = condition(waiting, "PodScheduled")
    assert (scheduled["status"], scheduled["reason"]) == ("False", "Unschedulable")
    assert re.match(r"0/\d+ nodes are available: ", scheduled["message"])
    assert re.search(why, scheduled["message"])
    assert waiting["status"]["phase"] == "Pending"
    assert "nodeName" not in waiting["spec"]
    event = space.wait_event(made, "FailedScheduling")
    assert event["type"] == "Warning"
    assert re.search(why, event["message"])


def test_every_missing_resource_is_named(space: Space) -> None:
    space.create(pod("a", "true", resources={"requests": {"cpu": "90000", "memory": "900Ti"}}))
    waiting = space.wait("pods", "a", lambda obj: bool(condition(obj, "PodScheduled")), "tried")
    assert re.search(r"\d+ Insufficient cpu, \d+ Insufficient memory", condition(waiting, "PodScheduled")["message"])


def test_an_unschedulable_pod_can_be_deleted_at_once(space: Space) -> None:
    space.create(pod("a", "true", {"terminationGracePeriodSeconds": 600, "nodeSelector": {"ml-platform/none": "such"}}))
    space.wait("pods", "a", lambda obj: bool(condition(obj, "PodScheduled")), "tried")
    space.delete("pods", "a")
    space.wait_gone("pods", "a")


def test_a_waiting_pod_starts_once_another_makes_room(space: Space) -> None:
    node = space.cluster.list("/api/v1/nodes")[0]
    # More than half of the node each, so that two never fit together; other tests ask for little.
    half = int(_bytes(node["status"]["allocatable"]["memory"]) * 0.52)
    resources = {"requests": {"cpu": "10m", "memory": str(half)}}
    names = {"nodeSelector": {"kubernetes.io/hostname": node["metadata"]["labels"]["kubernetes.io/hostname"]}}
    space.create(pod("first", SLEEP, names, resources=resources))
    space.running("first")
    space.create(pod("second", "true", names, resources=resources))
    waiting = space.wait("pods", "second", lambda obj: bool(condition(obj, "PodScheduled")), "tried")
    assert condition(waiting, "PodScheduled")["reason"] == "Unschedulable"
    assert "Insufficient memory" in condition(waiting, "PodScheduled")["message"]
    space.delete("pods", "first")
    ended = space.ended("second")
    assert condition(ended, "PodScheduled")["status"] == "True"


def test_a_scheduled_pod_has_its_event(space: Space) -> None:
    made = space.create(pod("a", "true"))
    event = space.wait_event(made, "Scheduled")
    assert event["type"] == "Normal"
    assert event["message"].startswith(f"Successfully assigned {space.name}/a to ")


def _bytes(quantity: str) -> int:
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    if quantity[-2:] in units:
        return int(quantity[:-2]) * units[quantity[-2:]]
    return int(quantity)
