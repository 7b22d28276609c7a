"""What ``decide`` promises, whatever it is shown."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from jobs.lifecycle import ENDED, Action, Row, Seen, decide, merge
from tests.jobs.seen import EARLIER, LONG_AGO, NOW, OVER_QUOTA, job, pod, refusal

TIMES = st.sampled_from([None, LONG_AGO, EARLIER, NOW])
TEXTS = st.sampled_from(["", "x", OVER_QUOTA])
JOBS = st.builds(
    job,
    deleting=st.booleans(),
    suspended=st.booleans(),
    complete=st.booleans(),
    failed=st.sampled_from(["", "BackoffLimitExceeded", "DeadlineExceeded"]),
    message=TEXTS,
    started_at=TIMES,
    finished_at=TIMES,
)
PODS = st.builds(
    pod,
    uid=st.sampled_from(["p1", "p2"]),
    name=st.sampled_from(["x", "y"]),
    created_at=st.sampled_from([LONG_AGO, EARLIER, NOW]),
    phase=st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown"]),
    node=st.sampled_from(["", "n"]),
    reason=st.sampled_from(["", "Evicted", "NodeLost"]),
    disruption=st.sampled_from(["", "PreemptionByScheduler"]),
    unschedulable=TEXTS,
    step=st.sampled_from(["", "training", "fetch-source"]),
    waiting=st.sampled_from(["", "ErrImagePull", "InvalidImageName", "CreateContainerError", "PodInitializing"]),
    message=TEXTS,
    started_at=TIMES,
    finished_at=TIMES,
    exit_code=st.sampled_from([None, 0, 1, 126, 137, 255]),
    signal=st.sampled_from([None, 9]),
    terminated=st.sampled_from(["", "OOMKilled", "Error", "StartError"]),
)
SEEN = st.builds(
    Seen,
    job=st.none() | JOBS,
    pods=st.lists(PODS, max_size=3).map(tuple),
    refused=st.none() | st.builds(refusal, TEXTS, st.sampled_from([LONG_AGO, NOW])),
).flatmap(lambda seen: st.just(seen) if seen.job else st.builds(replace, st.just(seen), confirmed_absent=st.booleans()))
ROWS = st.builds(
    Row,
    status=st.sampled_from(["pending", "running", "succeeded", "failed", "cancelled"]),
    reason=st.sampled_from(["Queued", "Running", "Cancelling", "Unschedulable"]),
    cancel_requested_at=st.sampled_from([None, EARLIER]),
    cancelled_by=st.sampled_from(["", "ada"]),
    cluster_uid=st.sampled_from(["", "job-1", "job-0"]),
    error_message=TEXTS,
    exit_code=st.sampled_from([None, 1]),
    attempts=st.integers(0, 2),
    started_at=TIMES,
    completed_at=TIMES,
)


@given(ROWS, SEEN)
def test_whatever_is_seen_the_promises_hold(row: Row, seen: Seen) -> None:
    decision = decide(row, seen, NOW)
    if row.status in ENDED:
        assert not decision.fields and not decision.lines and decision.action in (None, Action.DELETE)
    if decision.action is Action.CREATE:
        assert not row.cluster_uid and row.cancel_requested_at is None and seen.job is None
    if decision.action is Action.DELETE:
        assert seen.job is not None and decision.uid == seen.job.uid
        assert row.status == "cancelled" or row.cancel_requested_at is not None
    if row.cancel_requested_at is not None and row.status not in ENDED:
        ends = decision.fields.get("status")
        assert ends == ("cancelled" if seen.confirmed_absent else None)
        assert decision.action is not Action.CREATE
    if seen.job is None and not seen.confirmed_absent:
        assert not decision.fields and not decision.lines
    assert all(getattr(row, name) != value for name, value in decision.fields.items()), "only differences"


@given(ROWS, SEEN)
def test_deciding_again_after_the_fields_were_written_changes_nothing(row: Row, seen: Seen) -> None:
    first = decide(row, seen, NOW)
    again = decide(merge(row, first), seen, NOW)
    assert again.fields == {} and again.lines == ()
    if merge(row, first).status not in ENDED:
        assert again.action == first.action and again.check_again_at == first.check_again_at


@given(ROWS, st.lists(SEEN, max_size=6))
def test_a_status_never_goes_back(row: Row, story: list[Seen]) -> None:
    order = {"pending": 0, "running": 1, "succeeded": 2, "failed": 2, "cancelled": 2}
    for seen in story:
        after = merge(row, decide(row, seen, NOW))
        assert order[after.status] >= order[row.status]
        assert row.status not in ENDED or after == row
        assert row.started_at is None or after.started_at == row.started_at
        row = after


@given(ROWS, SEEN)
def test_a_live_row_is_never_left_without_a_way_on(row: Row, seen: Seen) -> None:
    """Either something is done, or it is looked at again, or a Job stands there whose next change will be told."""
    decision = decide(row, seen, NOW)
    if merge(row, decision).status in ENDED:
        return
    assert decision.action or decision.check_again_at or seen.job is not None
