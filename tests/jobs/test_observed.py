"""Views of Jobs, Pods and Events as Kubernetes really writes them: small, equal when nothing of interest has changed."""

from datetime import UTC, datetime
from typing import Any

import pytest

from jobs.observed import MAX_MESSAGE, NEVER, event_view, job_view, moment, pod_view, text

ID = "3f2c8a8e-0d7c-4f2b-9f0e-6d8a4d3b2c11"
AT = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
STAMP = "2026-05-04T12:00:00Z"


def meta(**changes: Any) -> dict[str, Any]:
    labels = {"ml-platform/job-id": ID, "managed-by": "ml-platform"}
    base = {"uid": "u-1", "name": "a-3f2c8a8e", "namespace": "ml-ours", "labels": labels, "creationTimestamp": STAMP}
    return base | changes


def job(*conditions: dict[str, str], status: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "metadata": meta(**changes),
        "spec": {"suspend": False},
        "status": {"conditions": list(conditions), "startTime": STAMP} | (status or {}),
    }


def condition(kind: str, status: str = "True", **more: str) -> dict[str, str]:
    return {"type": kind, "status": status, "lastTransitionTime": STAMP} | more


def test_a_job_that_has_only_just_been_made() -> None:
    view = job_view({"metadata": meta(), "spec": {}})
    assert view is not None and (view.uid, view.name, view.namespace, view.job_id) == (
        "u-1",
        "a-3f2c8a8e",
        "ml-ours",
        ID,
    )
    assert not view.finished and not view.deleting and not view.suspended and view.started_at is None


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (job(), {"started_at": AT, "finished": False}),
        (job(condition("Suspended")) | {"spec": {"suspend": True}}, {"suspended": True}),
        (job(deletionTimestamp=STAMP), {"deleting": True}),
        (
            job(condition("SuccessCriteriaMet"), condition("Complete"), status={"completionTime": STAMP}),
            {"complete": True, "finished": True, "finished_at": AT, "failed": ""},
        ),
        (job(condition("SuccessCriteriaMet")), {"finished": False}),
        (job(condition("FailureTarget", reason="PodFailurePolicy")), {"finished": False, "failed": ""}),
        (
            job(condition("Failed", reason="BackoffLimitExceeded", message="Job has reached")),
            {"failed": "BackoffLimitExceeded", "message": "Job has reached", "finished_at": AT, "finished": True},
        ),
        (job(condition("Failed")), {"failed": "Failed", "finished": True}),
        (job(condition("Failed", "False")), {"failed": "", "finished": False}),
        (job(status={"conditions": None}), {"finished": False}),
    ],
)
def test_a_job(obj: dict[str, Any], expected: dict[str, Any]) -> None:
    view = job_view(obj)
    assert {name: getattr(view, name) for name in expected} == expected


@pytest.mark.parametrize(
    "labels", [None, {}, {"ml-platform/job-id": ""}, {"ml-platform/job-id": "x"}, {"ml-platform/job-id": ID.upper()}]
)
def test_what_carries_no_job_s_id_is_of_no_interest(labels: Any) -> None:
    assert job_view({"metadata": meta(labels=labels)}) is None
    assert pod_view({"metadata": meta(labels=labels)}) is None


def test_a_heartbeat_is_no_change() -> None:
    before, after = (
        job(),
        job(status={"active": 1, "ready": 1, "uncountedTerminatedPods": {}}, resourceVersion="99", generation=7),
    )
    assert job_view(before) == job_view(after)


def pod(*containers: dict[str, Any], init: list[dict[str, Any]] | None = None, **status: Any) -> dict[str, Any]:
    conditions = status.pop("conditions", [condition("PodScheduled")])
    base = {"phase": "Pending", "containerStatuses": list(containers), "conditions": conditions}
    base |= {"initContainerStatuses": init} if init else {}
    return {"metadata": meta(), "spec": {"nodeName": "node-1"}, "status": base | status}


def container(state: dict[str, Any], name: str = "training") -> dict[str, Any]:
    return {"name": name, "state": state}


RUNNING = {"running": {"startedAt": STAMP}}


def ended(code: int, reason: str = "Error", **more: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "startedAt": STAMP, "finishedAt": STAMP} | more}


def waiting(reason: str, message: str | None = None) -> dict[str, Any]:
    return {"waiting": {"reason": reason} | ({"message": message} if message else {})}


PODS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "nobody has looked at it",
        {"metadata": meta(), "spec": {}},
        {"phase": "Pending", "node": "", "step": "training", "ended": False},
    ),
    (
        "no machine",
        pod(conditions=[condition("PodScheduled", "False", reason="Unschedulable", message="0/1 nodes are available")]),
        {"unschedulable": "0/1 nodes are available"},
    ),
    (
        "no machine, without a word",
        pod(conditions=[condition("PodScheduled", "False", reason="Unschedulable")]),
        {"unschedulable": "No node fits."},
    ),
    (
        "held by a gate",
        pod(conditions=[condition("PodScheduled", "False", reason="SchedulingGated")]),
        {"unschedulable": ""},
    ),
    ("scheduled", pod(), {"node": "node-1", "unschedulable": "", "created_at": AT}),
    (
        "the image cannot be pulled",
        pod(container(waiting("ImagePullBackOff", "Back-off pulling image"))),
        {"waiting": "ImagePullBackOff", "message": "Back-off pulling image", "step": "training"},
    ),
    (
        "the code is being fetched",
        pod(container(waiting("PodInitializing")), init=[container(RUNNING, "fetch-source")]),
        {"step": "fetch-source", "waiting": "", "started_at": None},
    ),
    (
        "the code was fetched",
        pod(container(RUNNING), init=[container(ended(0, "Completed"), "fetch-source")], phase="Running"),
        {"step": "training", "started_at": AT, "exit_code": None},
    ),
    (
        "the code could not be fetched",
        pod(
            container(waiting("PodInitializing")),
            init=[container(ended(1, message="no such repo"), "clone-repository")],
            phase="Failed",
        ),
        {"step": "clone-repository", "exit_code": 1, "message": "no such repo", "ended": True, "started_at": None},
    ),
    (
        "it runs",
        pod(container(RUNNING), phase="Running"),
        {"started_at": AT, "finished_at": None, "terminated": "", "ended": False},
    ),
    (
        "it succeeded",
        pod(container(ended(0, "Completed")), phase="Succeeded"),
        {"exit_code": 0, "terminated": "Completed", "started_at": AT, "finished_at": AT, "ended": True},
    ),
    (
        "it ran out of memory",
        pod(container(ended(137, "OOMKilled")), phase="Failed"),
        {"exit_code": 137, "terminated": "OOMKilled", "signal": None},
    ),
    (
        "it never began: the runtime says 1970",
        pod(
            container(ended(128, "StartError", startedAt="1970-01-01T00:00:00Z", message="no such file")),
            phase="Failed",
        ),
        {"started_at": None, "finished_at": AT, "terminated": "StartError", "message": "no such file"},
    ),
    (
        "its node was lost",
        pod(
            container(ended(137, "ContainerStatusUnknown", startedAt=None, finishedAt=None)),
            phase="Failed",
            reason="NodeLost",
        ),
        {"reason": "NodeLost", "started_at": None, "finished_at": None},
    ),
    (
        "it was preempted",
        pod(
            phase="Failed",
            message="Preempted",
            conditions=[condition("DisruptionTarget", reason="PreemptionByScheduler")],
        ),
        {"disruption": "PreemptionByScheduler", "message": "Preempted"},
    ),
    (
        "a disruption that was called off",
        pod(conditions=[condition("DisruptionTarget", "False", reason="x")]),
        {"disruption": ""},
    ),
    (
        "a sidecar is not the program",
        pod(container(ended(1), "istio-proxy"), container(RUNNING)),
        {"exit_code": None, "started_at": AT},
    ),
    ("killed by a signal", pod(container(ended(9, signal=9)), phase="Failed"), {"signal": 9}),
]


@pytest.mark.parametrize(("obj", "expected"), [pytest.param(*case[1:], id=case[0]) for case in PODS])
def test_a_pod(obj: dict[str, Any], expected: dict[str, Any]) -> None:
    view = pod_view(obj)
    assert {name: getattr(view, name) for name in expected} == expected


def event(**changes: Any) -> dict[str, Any]:
    about = {"kind": "Pod", "namespace": "ml-ours", "name": "a-x", "uid": "u-2"}
    base = {"metadata": {"uid": "e-1", "creationTimestamp": STAMP}, "involvedObject": about, "type": "Warning"}
    return base | {"reason": "FailedScheduling", "message": "0/1 nodes", "lastTimestamp": STAMP, "count": 3} | changes


def test_an_event() -> None:
    view = event_view(event())
    assert view is not None
    assert (view.uid, view.namespace, view.kind, view.object_name, view.object_uid) == (
        "e-1",
        "ml-ours",
        "Pod",
        "a-x",
        "u-2",
    )
    assert (view.type, view.reason, view.message, view.at, view.count) == (
        "Warning",
        "FailedScheduling",
        "0/1 nodes",
        AT,
        3,
    )


@pytest.mark.parametrize(
    ("changes", "at", "count"),
    [
        (
            {"series": {"count": 7, "lastObservedTime": "2026-05-04T12:00:05.123456Z"}},
            AT.replace(second=5, microsecond=123456),
            7,
        ),
        ({"lastTimestamp": None, "eventTime": "2026-05-04T12:00:01Z", "count": None}, AT.replace(second=1), 1),
        ({"lastTimestamp": None}, AT, 3),
        ({"lastTimestamp": None, "metadata": {"uid": "e-1"}}, NEVER, 3),
    ],
)
def test_when_and_how_often_an_event_was(changes: dict[str, Any], at: datetime, count: int) -> None:
    view = event_view(event(**changes))
    assert view is not None and (view.at, view.count) == (at, count)


def test_an_event_without_words_is_still_one() -> None:
    view = event_view(event(type=None, reason=None, message=None))
    assert view is not None and (view.type, view.reason, view.message) == ("Normal", "Event", "")
    view = event_view(event(reason="R" * 200))
    assert view is not None and len(view.reason) == 100


@pytest.mark.parametrize(
    "about",
    [None, {}, {"kind": "Pod", "namespace": "kube-system"}, {"kind": "Node", "namespace": "ml-ours"}, {"kind": "Pod"}],
)
def test_events_of_other_things_are_of_no_interest(about: Any) -> None:
    assert event_view(event(involvedObject=about)) is None


def test_a_message_is_kept_by_its_end_and_without_nul() -> None:
    assert text("a\x00b") == "a�b" and text(None) == "" and text(5) == "5"
    assert text("x" * 5000 + "the end")[-7:] == "the end" and len(text("x" * 5000)) == MAX_MESSAGE


def test_a_time_is_in_utc_or_none() -> None:
    assert (
        moment(STAMP) == AT and moment(None) is None and moment("") is None and moment("1970-01-01T00:00:00Z") is None
    )
    assert moment("2026-05-04T14:00:00+02:00") == AT
