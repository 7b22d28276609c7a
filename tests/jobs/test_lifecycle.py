"""``decide`` as a table: rows and observations on the left; action, changed fields and lines on the right."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from jobs import reasons
from jobs.lifecycle import (
    SETTLE,
    Action,
    Decision,
    Row,
    Seen,
    created,
    decide,
    explain_failure,
    merge,
    refused_by_cluster,
)
from jobs.observed import JobView, PodView
from tests.jobs.seen import (
    COMPLETE,
    EARLIER,
    FAILED,
    LONG_AGO,
    NOW,
    OVER_QUOTA,
    QUEUED,
    RUNNING,
    SUBMITTED,
    cancelled,
    ended_pod,
    job,
    pod,
    refusal,
    running_pod,
)


@dataclass
class Case:
    title: str
    row: Row
    seen: Seen
    action: Action | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    again: timedelta | None = None
    now: datetime = NOW


ADOPTED = {"cluster_uid": "job-1", "attempts": 1}
CASES = [
    # From nothing to a Job
    Case("a new row is created", QUEUED, Seen(), Action.CREATE),
    Case("a new row is created also when absence is confirmed", QUEUED, Seen(confirmed_absent=True), Action.CREATE),
    Case("a Job of an interrupted create is adopted", QUEUED, Seen(job()), fields=ADOPTED | {"reason": "Submitted"}),
    Case("a row whose Job is not in view yet asks the server", SUBMITTED, Seen(), Action.CHECK),
    Case("a running row out of view asks the server and stays", RUNNING, Seen(), Action.CHECK),
    Case("pods without their Job prove nothing", RUNNING, Seen(pods=(running_pod(),)), Action.CHECK),
    # Waiting
    Case("nothing is new", SUBMITTED, Seen(job())),
    Case("suspended", SUBMITTED, Seen(job(suspended=True), (pod(),)), fields={"reason": "Suspended"}),
    Case(
        "quota",
        SUBMITTED,
        Seen(job(), refused=refusal(OVER_QUOTA)),
        fields={"reason": "QuotaExceeded", "error_message": OVER_QUOTA},
    ),
    Case(
        "refused pod",
        SUBMITTED,
        Seen(job(), refused=refusal("violates PodSecurity")),
        fields={"reason": "PodRefused", "error_message": "violates PodSecurity"},
    ),
    Case(
        "a refusal that was got over is history",
        SUBMITTED,
        Seen(job(), (pod(created_at=NOW),), refusal(OVER_QUOTA, EARLIER)),
    ),
    Case(
        "a refusal that was got over is history, also when the pod has ended",
        RUNNING,
        Seen(job(), (ended_pod(0),), refusal(OVER_QUOTA, LONG_AGO)),
        fields={"reason": "Finishing"},
    ),
    Case(
        "the replacement of a pod is refused",
        RUNNING,
        Seen(job(), (ended_pod(1),), refusal(OVER_QUOTA)),
        fields={"reason": "QuotaExceeded", "error_message": OVER_QUOTA},
    ),
    Case(
        "no machine",
        SUBMITTED,
        Seen(job(), (pod(unschedulable="0/1 nodes"),)),
        fields={"reason": "Unschedulable", "error_message": "0/1 nodes"},
    ),
    *(
        Case(
            f"image: {waiting}",
            SUBMITTED,
            Seen(job(), (pod(node="n", waiting=waiting, message="no such image"),)),
            fields={"reason": "ImagePullFailed", "error_message": "no such image"},
        )
        for waiting in ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "RegistryUnavailable")
    ),
    Case(
        "image name",
        SUBMITTED,
        Seen(job(), (pod(node="n", waiting="InvalidImageName", message="x"),)),
        fields={"reason": "InvalidImage", "error_message": "x"},
    ),
    *(
        Case(
            f"container: {waiting}",
            SUBMITTED,
            Seen(job(), (pod(node="n", waiting=waiting, message="x"),)),
            fields={"reason": "ContainerConfigError", "error_message": "x"},
        )
        for waiting in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
    ),
    Case("not scheduled yet", SUBMITTED, Seen(job(), (pod(),))),
    Case(
        "the code is fetched",
        SUBMITTED,
        Seen(job(), (pod(node="n", step="fetch-source"),)),
        fields={"reason": "FetchingSource"},
    ),
    Case("being set up", SUBMITTED, Seen(job(), (pod(node="n"),)), fields={"reason": "Starting"}),
    Case(
        "a message that no longer holds goes",
        replace(SUBMITTED, reason="Unschedulable", error_message="0/1 nodes"),
        Seen(job(), (pod(node="n"),)),
        fields={"reason": "Starting", "error_message": ""},
    ),
    # Running
    Case(
        "it runs",
        SUBMITTED,
        Seen(job(), (running_pod(),)),
        fields={"status": "running", "reason": "Running", "started_at": EARLIER},
        lines=("started",),
    ),
    Case("it goes on running", RUNNING, Seen(job(), (running_pod(),))),
    Case(
        "the pod's end is seen before the Job's", RUNNING, Seen(job(), (ended_pod(0),)), fields={"reason": "Finishing"}
    ),
    Case(
        "the first thing seen is the pod's end: its start is told too",
        SUBMITTED,
        Seen(job(), (ended_pod(0),)),
        fields={"reason": "Finishing", "started_at": EARLIER},
        lines=("started",),
    ),
    Case(
        "a disrupted pod's replacement waits: still running, with a reason",
        RUNNING,
        Seen(job(), (ended_pod(137, disruption="PreemptionByScheduler"), pod(uid="p2", name="y", created_at=NOW))),
        fields={"reason": "Submitted"},
    ),
    Case(
        "the replacement runs: the start stays the first one",
        replace(RUNNING, reason="Submitted"),
        Seen(job(), (ended_pod(137), running_pod(uid="p2", name="y", created_at=NOW, started_at=NOW))),
        fields={"reason": "Running"},
    ),
    # Ends
    Case("the Job's end waits for the pod's", RUNNING, Seen(COMPLETE, (running_pod(),)), again=SETTLE),
    Case("the Job's end waits for a pod at all", RUNNING, Seen(COMPLETE), again=SETTLE),
    Case(
        "the pod's end does not come: the server is asked",
        RUNNING,
        Seen(COMPLETE, (running_pod(),)),
        Action.CHECK,
        now=NOW + SETTLE,
    ),
    Case("the cluster's clock is ahead: the server is asked", RUNNING, Seen(COMPLETE), Action.CHECK, now=NOW - SETTLE),
    Case(
        "the server has no pod any more: the Job's end is enough",
        RUNNING,
        Seen(COMPLETE, pods_confirmed=True),
        fields={"status": "succeeded", "reason": "Completed", "exit_code": 0, "completed_at": NOW},
        lines=("ended",),
    ),
    Case(
        "it succeeded",
        RUNNING,
        Seen(COMPLETE, (ended_pod(0),)),
        fields={"status": "succeeded", "reason": "Completed", "exit_code": 0, "completed_at": NOW},
        lines=("ended",),
    ),
    Case(
        "a short job is seen only at its end",
        QUEUED,
        Seen(COMPLETE, (ended_pod(0),)),
        fields=ADOPTED
        | {
            "status": "succeeded",
            "reason": "Completed",
            "exit_code": 0,
            "completed_at": NOW,
            "started_at": EARLIER,
        },
        lines=("started", "ended"),
    ),
    Case(
        "it failed",
        RUNNING,
        Seen(FAILED, (ended_pod(3),)),
        fields={
            "status": "failed",
            "reason": "UserCodeError",
            "exit_code": 3,
            "completed_at": NOW,
            "error_message": "The program ended with exit code 3.",
        },
        lines=("ended",),
    ),
    Case(
        "the newest pod tells why",
        RUNNING,
        Seen(FAILED, (ended_pod(137, terminated="OOMKilled"), ended_pod(1, uid="p2", created_at=NOW, message="boom"))),
        fields={
            "status": "failed",
            "reason": "UserCodeError",
            "exit_code": 1,
            "completed_at": NOW,
            "error_message": "boom",
        },
        lines=("ended",),
    ),
    Case(
        "an end without a time ends now",
        RUNNING,
        Seen(job(complete=True), (ended_pod(0, finished_at=None),)),
        fields={"status": "succeeded", "reason": "Completed", "exit_code": 0, "completed_at": NOW},
        lines=("ended",),
    ),
    # Deleted by hand
    Case(
        "somebody deletes the Job: not over yet",
        RUNNING,
        Seen(job(deleting=True), (running_pod(),)),
        again=timedelta(seconds=5),
    ),
    Case(
        "a deleting Job found again is adopted",
        QUEUED,
        Seen(job(deleting=True)),
        fields=ADOPTED,
        again=timedelta(seconds=5),
    ),
    Case(
        "the Job is gone",
        RUNNING,
        Seen(confirmed_absent=True),
        fields={"status": "failed", "reason": "DeletedInCluster", "completed_at": NOW},
        lines=("ended",),
    ),
    Case(
        "a success that somebody tidies away is a success",
        RUNNING,
        Seen(replace(COMPLETE, deleting=True), (ended_pod(0),)),
        fields={"status": "succeeded", "reason": "Completed", "exit_code": 0, "completed_at": NOW},
        lines=("ended",),
    ),
    # Cancelled
    Case("cancel before anything was created: the server is asked first", cancelled(QUEUED), Seen(), Action.CHECK),
    Case(
        "cancel before anything was created",
        cancelled(QUEUED),
        Seen(confirmed_absent=True),
        fields={"status": "cancelled", "reason": "CancelledByUser", "completed_at": NOW},
        lines=("ended",),
    ),
    Case(
        "cancel while the create was under way: what came to life is deleted",
        cancelled(QUEUED),
        Seen(job()),
        Action.DELETE,
    ),
    Case("cancel while it runs", cancelled(RUNNING), Seen(job(), (running_pod(),)), Action.DELETE),
    Case(
        "cancel of what has just begun: its start is told too",
        cancelled(SUBMITTED),
        Seen(job(), (running_pod(),)),
        Action.DELETE,
        fields={"started_at": EARLIER},
        lines=("started",),
    ),
    Case(
        "cancel after the success, before it was written down",
        cancelled(RUNNING),
        Seen(COMPLETE, (ended_pod(0),)),
        Action.DELETE,
    ),
    Case(
        "the deletion is under way",
        cancelled(RUNNING),
        Seen(job(deleting=True), (running_pod(),)),
        again=timedelta(seconds=5),
    ),
    Case("out of view is not absent", cancelled(RUNNING), Seen(), Action.CHECK),
    Case(
        "cancelled",
        replace(cancelled(RUNNING), error_message="0/1 nodes"),
        Seen(confirmed_absent=True),
        fields={"status": "cancelled", "reason": "CancelledByUser", "completed_at": NOW, "error_message": ""},
        lines=("ended",),
    ),
    # Ended
    *(
        Case(f"{status} is final: {seen.job}", Row(status, "x", completed_at=EARLIER), seen)
        for status in ("succeeded", "failed")
        for seen in (Seen(), Seen(job(), (running_pod(),)), Seen(FAILED), Seen(confirmed_absent=True))
    ),
    Case("an orphan of a cancelled row is taken away", Row("cancelled", "CancelledByUser"), Seen(job()), Action.DELETE),
    Case("it is being taken away already", Row("cancelled", "CancelledByUser"), Seen(job(deleting=True))),
    Case("a finished one goes by itself", Row("cancelled", "CancelledByUser"), Seen(COMPLETE)),
    Case("a cancelled row without a Job is final", Row("cancelled", "CancelledByUser"), Seen()),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_the_decision_for(case: Case) -> None:
    decision = decide(case.row, case.seen, case.now)
    assert decision.action == case.action
    assert decision.fields == case.fields
    assert tuple(line.key for line in decision.lines) == case.lines
    expected = None if case.again is None else NOW + case.again
    assert decision.check_again_at == expected
    if case.action is Action.DELETE:
        assert decision.uid == "job-1"


def test_the_lines_carry_the_cluster_s_times_and_say_who_cancelled() -> None:
    started, ended = decide(QUEUED, Seen(COMPLETE, (ended_pod(0),)), NOW + timedelta(minutes=1)).lines
    assert (started.reason, started.at) == ("Running", EARLIER)
    assert (ended.reason, ended.at, ended.level) == ("Completed", NOW, "info")
    (line,) = decide(cancelled(RUNNING), Seen(confirmed_absent=True), NOW).lines
    assert (line.reason, line.message) == ("CancelledByUser", "by ada")
    (line,) = decide(replace(cancelled(RUNNING), cancelled_by=""), Seen(confirmed_absent=True), NOW).lines
    assert line.message == ""
    (line,) = decide(RUNNING, Seen(FAILED, (ended_pod(3, message="boom"),)), NOW).lines
    assert (line.reason, line.message, line.level) == ("UserCodeError", "boom", "error")


FAILURES: list[tuple[str, JobView, PodView | None, tuple[str, str, int | None]]] = [
    (
        "deadline",
        job(failed="DeadlineExceeded", message="too long"),
        ended_pod(143),
        ("DeadlineExceeded", "too long", None),
    ),
    ("no pod left", FAILED, None, ("Failed", "Job has reached the limit", None)),
    ("preempted", FAILED, ended_pod(137, disruption="PreemptionByScheduler", message="m"), ("Preempted", "m", 137)),
    ("evicted", FAILED, ended_pod(137, reason="Evicted", message="disk"), ("Evicted", "disk", 137)),
    (
        "evicted for its memory is out of memory",
        FAILED,
        ended_pod(137, reason="Evicted", terminated="OOMKilled", message="m"),
        ("OutOfMemory", "The program used more memory than its limit.", 137),
    ),
    ("node lost", FAILED, pod(phase="Failed", reason="NodeLost"), ("NodeLost", "", None)),
    ("node shut down", FAILED, pod(phase="Failed", reason="NodeShutdown"), ("NodeLost", "", None)),
    (
        "node shut down, by its newer name",
        FAILED,
        pod(phase="Failed", reason="Terminated", message="m"),
        ("NodeLost", "m", None),
    ),
    (
        "memory",
        FAILED,
        ended_pod(137, terminated="OOMKilled"),
        ("OutOfMemory", "The program used more memory than its limit.", 137),
    ),
    (
        "memory while the code was fetched",
        FAILED,
        ended_pod(137, terminated="OOMKilled", step="fetch-source", message="m"),
        ("OutOfMemory", "The program used more memory than its limit.", 137),
    ),
    (
        "the code could not be fetched",
        FAILED,
        ended_pod(1, step="clone-repository", message="no such repo"),
        ("SourceFetchFailed", "no such repo", 1),
    ),
    (
        "the container could not run",
        FAILED,
        ended_pod(128, terminated="ContainerCannotRun", message="m"),
        ("CommandNotFound", "m", 128),
    ),
    (
        "the container could not start",
        FAILED,
        ended_pod(128, terminated="StartError", message="m"),
        ("CommandNotFound", "m", 128),
    ),
    ("no such command", FAILED, ended_pod(127, message="not found"), ("CommandNotFound", "not found", 127)),
    ("not executable", FAILED, ended_pod(126), ("CommandNotFound", "", 126)),
    ("killed", FAILED, ended_pod(137), ("Killed", "The program was ended by SIGKILL.", 137)),
    (
        "killed by a signal that the runtime names",
        FAILED,
        ended_pod(9, signal=9),
        ("Killed", "The program was ended by SIGKILL.", 9),
    ),
    ("crashed", FAILED, ended_pod(139, message="Segmentation fault"), ("Killed", "Segmentation fault", 139)),
    (
        "a real-time signal has a number only",
        FAILED,
        ended_pod(128 + 40),
        ("Killed", "The program was ended by signal 40.", 168),
    ),
    (
        "sys.exit(-1) is no signal",
        FAILED,
        ended_pod(255),
        ("UserCodeError", "The program ended with exit code 255.", 255),
    ),
    ("128 is no signal", FAILED, ended_pod(128), ("UserCodeError", "The program ended with exit code 128.", 128)),
    ("an error", FAILED, ended_pod(1, message="ValueError: x"), ("UserCodeError", "ValueError: x", 1)),
    ("nothing is known", FAILED, pod(phase="Failed"), ("Failed", "Job has reached the limit", None)),
    (
        "the kubelet did not admit it",
        FAILED,
        pod(phase="Failed", reason="OutOfcpu", message="no cpu"),
        ("Failed", "no cpu", None),
    ),
]


@pytest.mark.parametrize(
    ("job_seen", "pod_seen", "expected"), [pytest.param(*case[1:], id=case[0]) for case in FAILURES]
)
def test_a_failure_is_explained_by(
    job_seen: JobView, pod_seen: PodView | None, expected: tuple[str, str, int | None]
) -> None:
    assert explain_failure(job_seen, pod_seen) == expected


def test_every_token_that_a_decision_can_give_has_a_sentence() -> None:
    told = {case.fields["reason"] for case in CASES if "reason" in case.fields} | {case[3][0] for case in FAILURES}
    told |= {line.reason for case in CASES for line in decide(case.row, case.seen, case.now).lines}
    told |= {"ClusterRefused", "RejectedByCluster", "NameConflict", "CreatedInCluster", "CancelRequested"}
    assert told <= reasons.REASONS.keys()


def test_an_unknown_token_is_shown_as_words() -> None:
    assert reasons.sentence("BackOffLimit") == "Back off limit."
    assert (
        reasons.sentence("") == "" and reasons.remedy("BackOffLimit") == "" and not reasons.is_permanent("BackOffLimit")
    )
    assert reasons.is_permanent("ImagePullFailed") and reasons.remedy("OutOfMemory") == "Run it again with more memory."
    assert reasons.sentence("Completed") == "The program ended with exit code 0."


def test_a_create_that_came_through_is_written_down() -> None:
    decision = created(QUEUED, job(), NOW)
    assert decision.fields == ADOPTED | {"reason": "Submitted"}
    assert [(line.key, line.reason, line.message) for line in decision.lines] == [
        ("created", "CreatedInCluster", "a-3f2c8a8e")
    ]


def test_a_create_that_lost_to_a_cancel_keeps_the_cancel_s_reason() -> None:
    assert created(cancelled(QUEUED), job(), NOW).fields == ADOPTED


@pytest.mark.parametrize(
    ("code", "message", "fields"),
    [
        (403, OVER_QUOTA, {"reason": "QuotaExceeded", "error_message": OVER_QUOTA}),
        (403, "not allowed", {"reason": "ClusterRefused", "error_message": "not allowed"}),
        (409, "taken", {"status": "failed", "reason": "NameConflict", "error_message": "taken", "completed_at": NOW}),
        (422, "bad", {"status": "failed", "reason": "RejectedByCluster", "error_message": "bad", "completed_at": NOW}),
        (400, "bad", {"status": "failed", "reason": "RejectedByCluster", "error_message": "bad", "completed_at": NOW}),
    ],
)
def test_what_the_cluster_refuses_for_good_fails_and_the_rest_waits(
    code: int, message: str, fields: dict[str, Any]
) -> None:
    decision = refused_by_cluster(QUEUED, code, message, NOW)
    assert decision.fields == fields
    assert [line.key for line in decision.lines] == (["ended"] if "status" in fields else [])


def test_merging_nothing_gives_the_row_itself() -> None:
    assert merge(QUEUED, Decision()) is QUEUED


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. preemption: 0/1 nodes.",
            "NoSuchMachine",
        ),
        ("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.", "NoSuchMachine"),
        (
            "0/3 nodes are available: 2 node(s) didn't match Pod's node affinity/selector, 1 Insufficient cpu. preemption: no.",
            "Unschedulable",
        ),
        ("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.", "Unschedulable"),
        ("0/0 nodes are available: .", "Unschedulable"),
        ("no nodes available to schedule pods", "Unschedulable"),
        ("", "Submitted"),
    ],
)
def test_a_machine_of_the_wrong_kind_is_told_from_a_full_one(message: str, reason: str) -> None:
    decision = decide(Row(status="pending", reason="Queued"), Seen(job(), (pod(unschedulable=message),)), NOW)
    assert decision.fields["reason"] == reason


def test_a_disrupted_pod_is_being_started_again_and_has_not_finished() -> None:
    disrupted = ended_pod(137, disruption="PreemptionByScheduler")
    decision = decide(RUNNING, Seen(job(), (disrupted,)), NOW)
    assert decision.fields["reason"] == "Restarting" and "status" not in decision.fields
