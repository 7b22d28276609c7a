"""The kept log: copied in pieces, read by byte offset, whole after every accident."""

import random
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries, Settings

from jobs import logs
from jobs.models import JobEvent, JobLog, JobLogChunk, TrainingJob
from platform_portal import wakeup
from platform_portal.kube import logs as pod_logs
from platform_portal.kube.errors import Unavailable
from platform_portal.kube.logs import Position
from tests.jobs.fake_cluster import FakeCluster
from tests.jobs.rounds import failing, submit
from tests.personas import Team


@pytest.fixture
def job(ours: Team, cluster: FakeCluster) -> TrainingJob:
    """A job that runs in a pod, with a log that is to be collected."""
    made = submit(ours)
    labels = {"ml-platform/job-id": str(made.pk)}
    standing = {"metadata": {"uid": "u", "namespace": "ml-ours", "labels": labels}}
    cluster.run(cluster.add_pod(standing))
    TrainingJob.objects.filter(pk=made.pk).update(status="running", cluster_uid="u")
    logs.schedule([made.pk], timezone.now())
    return TrainingJob.objects.select_related("tenant").get(pk=made.pk)


def pod_of(cluster: FakeCluster, name: str = "pod-1") -> dict[str, Any]:
    return cluster.objects["Pod", "ml-ours", name]


def prints(cluster: FakeCluster, text: bytes, pod: str = "pod-1", container: str = "training") -> None:
    cluster.logs[pod, container] = cluster.logs.get((pod, container), b"") + text


def end(job: TrainingJob, cluster: FakeCluster, status: str = "succeeded") -> None:
    pod_of(cluster)["status"]["containerStatuses"][0]["state"] = {"terminated": {"exitCode": 0}}
    TrainingJob.objects.filter(pk=job.pk).update(status=status)
    job.status = status


def kept(job: TrainingJob, pieces: list[bytes]) -> JobLog:
    """A log that was copied in these pieces."""
    size = 0
    for piece in pieces:
        JobLogChunk.objects.create(job=job, offset=size, data=piece)
        size += len(piece)
    return JobLog.objects.update_or_create(job=job, defaults={"size": size})[0]


def collect(job: TrainingJob, cluster: FakeCluster) -> None:
    logs.collect(job.pk, cluster)  # type: ignore[arg-type]


# ---- reading


def test_it_is_read_from_any_byte(job: TrainingJob) -> None:
    kept(job, [b"hello ", b"big\n", b"world"])
    whole = b"hello big\nworld"
    for offset in range(len(whole) + 3):
        part = logs.read(job, offset=offset)
        assert (part.data, part.start, part.next_offset) == (whole[offset:], offset, max(offset, len(whole)))
        for limit in (1, 5, 6, 7, 100):
            part = logs.read(job, offset=offset, limit=limit)
            assert part.data == whole[offset : offset + limit] and part.next_offset == offset + len(part.data)


def test_what_is_appended_between_the_two_looks_is_left_for_the_next(job: TrainingJob) -> None:
    kept(job, [b"one"])
    JobLogChunk.objects.create(job=job, offset=3, data=b"two")
    assert logs.read(job).data == b"one"


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from([b"\n", b"a", b"long line ", b"\n\n", b"x\ny\n", b"\xff\x00"]), max_size=12),
    st.integers(1, 8),
)
def test_the_tail_is_the_last_lines(job: TrainingJob, pieces: list[bytes], lines: int) -> None:
    JobLogChunk.objects.filter(job=job).delete()
    kept(job, pieces)
    whole = b"".join(pieces)
    expected = b"".join(_lines(whole)[-lines:])
    part = logs.tail(job, lines)
    assert part.data == expected
    assert (part.start, part.next_offset) == (len(whole) - len(expected), len(whole))


def _lines(whole: bytes) -> list[bytes]:
    """Lines with their line feeds; only a line feed ends one."""
    parts = [part + b"\n" for part in whole.split(b"\n")]
    parts[-1] = parts[-1][:-1]
    return parts if parts[-1] else parts[:-1]


def test_a_tail_of_endless_lines_is_bounded(job: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_RESPONSE", 1000)
    kept(job, [b"x" * 400] * 10)
    part = logs.tail(job, 5)
    assert part.data == b"x" * 800 and (part.start, part.next_offset) == (3200, 4000)


def test_a_huge_log_is_read_in_bounded_pieces(
    job: TrainingJob, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    kept(job, [bytes([65 + number]) * logs.PIECE for number in range(20)])
    with django_assert_max_num_queries(5):
        part = logs.read(job)
    assert len(part.data) == logs.MAX_RESPONSE == part.next_offset
    offset, read = 0, 0
    while offset < 20 * logs.PIECE:
        part = logs.read(job, offset=offset)
        read, offset = read + len(part.data), part.next_offset
    assert read == 20 * logs.PIECE
    with django_assert_max_num_queries(4):
        assert logs.tail(job, 1).data


def test_a_log_of_many_small_pieces_takes_few_queries(
    job: TrainingJob, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    JobLogChunk.objects.bulk_create(JobLogChunk(job=job, offset=number * 4, data=b"abc\n") for number in range(1000))
    JobLog.objects.filter(job=job).update(size=4000)
    with django_assert_max_num_queries(8):
        assert logs.read(job).data == b"abc\n" * 1000
    with django_assert_max_num_queries(8):
        assert logs.tail(job, 1000).data == b"abc\n" * 1000


def test_the_whole_is_streamed(job: TrainingJob) -> None:
    kept(job, [b"one\n", b"two\n", b"\xff\x00"])
    assert b"".join(logs.stream(job)) == b"one\ntwo\n\xff\x00"


def test_where_the_middle_is_missing_reading_goes_on_behind_it(job: TrainingJob) -> None:
    kept(job, [b"head", b"lost", b"tail"])
    JobLogChunk.objects.filter(offset=4).delete()
    first = logs.read(job)
    assert (first.data, first.next_offset) == (b"head", 4)
    second = logs.read(job, offset=first.next_offset)
    assert (second.data, second.start, second.next_offset) == (b"tail", 8, 12)
    assert logs.tail(job, 100).data == b"tail"


@pytest.mark.parametrize(
    ("status", "cluster_uid", "log", "complete"),
    [
        ("pending", "", None, False),
        ("cancelled", "", None, True),
        ("failed", "u", None, False),
        ("succeeded", "u", {"complete": False}, False),
        ("succeeded", "u", {"complete": True}, True),
    ],
)
def test_whether_more_can_come(
    job: TrainingJob, status: str, cluster_uid: str, log: dict[str, bool] | None, complete: bool
) -> None:
    JobLog.objects.all().delete()
    if log is not None:
        JobLog.objects.create(job=job, **log)
    job.status, job.cluster_uid = status, cluster_uid
    assert logs.read(job).complete == logs.tail(job, 5).complete == complete


def test_a_complete_log_is_complete_only_at_its_end(job: TrainingJob) -> None:
    kept(job, [b"hello"])
    JobLog.objects.update(complete=True)
    assert not logs.read(job, limit=3).complete and logs.read(job, offset=3).complete


# ---- collecting


def test_what_is_new_is_appended_and_nothing_twice(job: TrainingJob, cluster: FakeCluster) -> None:
    for text in (b"epoch 1\n", b"", b"epoch 2\nhalf a li", b"ne\n", b"\xff\x00binary\n"):
        prints(cluster, text)
        collect(job, cluster)
        assert logs.read(job).data == cluster.logs["pod-1", "training"]
    state = JobLog.objects.get()
    assert (
        not state.complete and state.lease_until is None and state.due_at is not None and state.due_at > timezone.now()
    )


def test_it_is_complete_once_the_job_has_ended_and_the_log_was_read_after_that(
    job: TrainingJob, cluster: FakeCluster
) -> None:
    prints(cluster, b"working\n")
    collect(job, cluster)
    prints(cluster, b"last words\n")
    end(job, cluster)
    assert not logs.read(job).complete
    collect(job, cluster)
    part = logs.read(job)
    assert part.data == b"working\nlast words\n" and part.complete
    assert JobLog.objects.get().due_at is None
    collect(job, cluster)
    assert logs.read(job).data == part.data


def test_an_end_that_is_written_while_it_is_read_makes_it_look_once_more(
    job: TrainingJob, cluster: FakeCluster
) -> None:
    def ends(verb: str, kind: str, name: str) -> None:
        if verb == "log":
            TrainingJob.objects.filter(pk=job.pk).update(status="succeeded")

    cluster.trouble = ends
    prints(cluster, b"x\n")
    collect(job, cluster)
    state = JobLog.objects.get()
    assert not state.complete and state.due_at is not None and state.due_at <= timezone.now()


def test_the_pod_may_be_gone(job: TrainingJob, cluster: FakeCluster) -> None:
    prints(cluster, b"x\n")
    collect(job, cluster)
    cluster.objects.clear()
    TrainingJob.objects.update(status="cancelled")
    collect(job, cluster)
    part = logs.read(job)
    assert part.data == b"x\n" and part.complete


def test_the_fetching_of_the_code_is_in_the_log_first(job: TrainingJob, cluster: FakeCluster) -> None:
    ended = {"name": "fetch-source", "state": {"terminated": {"exitCode": 0}}}
    pod_of(cluster)["status"]["initContainerStatuses"] = [ended]
    prints(cluster, b"fetched\n", container="fetch-source")
    collect(job, cluster)
    prints(cluster, b"training\n")
    collect(job, cluster)
    prints(cluster, b"done\n")
    collect(job, cluster)
    assert logs.read(job).data == b"fetched\ntraining\ndone\n"


def test_a_container_that_waits_has_no_log_yet(job: TrainingJob, cluster: FakeCluster) -> None:
    pod_of(cluster)["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": "PodInitializing"}}
    collect(job, cluster)
    assert ("log", "Pod", "pod-1") not in cluster.calls and logs.read(job).data == b""


def test_a_replaced_pod_s_log_follows_with_a_note(job: TrainingJob, cluster: FakeCluster) -> None:
    prints(cluster, b"first\n")
    collect(job, cluster)
    standing = {"metadata": {"uid": "u", "namespace": "ml-ours", "labels": pod_of(cluster)["metadata"]["labels"]}}
    cluster.run(cluster.add_pod(standing, "pod-2"))
    prints(cluster, b"more of the first\n")
    prints(cluster, b"second\n", pod="pod-2")
    collect(job, cluster)
    collect(job, cluster)
    note = b"\n[the pod was replaced; here begins the log of the new one]\n"
    assert logs.read(job).data == b"first\nmore of the first\n" + note + b"second\n"


def test_a_container_without_a_log_is_no_error(job: TrainingJob, cluster: FakeCluster) -> None:
    end(job, cluster, "failed")
    collect(job, cluster)
    assert logs.read(job).complete and logs.read(job).data == b""


def test_trouble_is_waited_for_and_what_came_before_it_is_kept(
    job: TrainingJob, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    prints(cluster, b"one\n")
    collect(job, cluster)
    cluster.trouble = failing(Unavailable(500, "InternalError", "kubelet"), "log", kind="Pod")
    prints(cluster, b"two\n")
    collect(job, cluster)
    state = JobLog.objects.get()
    assert (
        state.failures == 1 and state.lease_until is None and state.due_at is not None and state.due_at > timezone.now()
    )
    cluster.trouble = lambda *call: None
    collect(job, cluster)
    assert logs.read(job).data == b"one\ntwo\n" and JobLog.objects.get().failures == 0


def test_a_log_that_never_can_be_read_is_given_up_after_the_end(job: TrainingJob, cluster: FakeCluster) -> None:
    end(job, cluster)
    cluster.trouble = failing(Unavailable(500, "InternalError", "node is gone"), "log", kind="Pod")
    JobLog.objects.update(failures=logs.MAX_FAILURES - 1)
    collect(job, cluster)
    assert logs.read(job).complete and JobLog.objects.get().due_at is None


def test_a_lease_keeps_a_second_collector_away_until_it_is_over(job: TrainingJob, cluster: FakeCluster) -> None:
    prints(cluster, b"x\n")
    JobLog.objects.update(lease_until=timezone.now() + timedelta(seconds=30))
    collect(job, cluster)
    assert logs.read(job).data == b""
    JobLog.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    collect(job, cluster)
    assert logs.read(job).data == b"x\n"


def test_two_collectors_at_once_append_each_byte_once(job: TrainingJob, cluster: FakeCluster) -> None:
    """The second one's lease is taken although the first still works, as when a lease ran out."""
    prints(cluster, b"line\n" * 10)
    first, second = (logs._Appender(JobLog.objects.get()) for _ in range(2))
    for appender in (first, second):
        appender.enter("pod-1/training")
        appender.add(b"line\n", Position("2026-05-04T12:00:00.5Z", 0, 5))
    first.flush()
    with pytest.raises(logs.LostRace):
        second.flush()
    JobLog.objects.update(lease_until=None)
    collect(job, cluster)
    assert logs.read(job).data == b"line\n" * 10


def test_a_collector_that_lost_the_race_does_not_call_the_log_complete(job: TrainingJob, cluster: FakeCluster) -> None:
    end(job, cluster)
    prints(cluster, b"line\n")

    def meanwhile(verb: str, kind: str, name: str) -> None:
        if verb == "log":
            JobLog.objects.update(size=7)

    cluster.trouble = meanwhile
    collect(job, cluster)
    assert not JobLog.objects.get().complete and not JobLogChunk.objects.exists()


def test_a_kill_between_two_pieces_leaves_whole_pieces_and_the_rest_follows(
    job: TrainingJob, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "PIECE", 100)
    monkeypatch.setattr(pod_logs, "CHUNK", 100)
    text = b"".join(b"%06d %s\n" % (number, b"x" * random.Random(number).randint(0, 300)) for number in range(200))
    prints(cluster, text)
    killed = _kill_after(3, logs._Appender.flush)
    with monkeypatch.context() as patch:
        patch.setattr(logs._Appender, "flush", killed)
        with pytest.raises(KeyboardInterrupt):
            collect(job, cluster)
    some = logs.read(job).data
    assert 0 < len(some) < len(text) and text.startswith(some)
    JobLog.objects.update(lease_until=None)
    collect(job, cluster)
    assert logs.read(job).data == text


def _kill_after(times: int, flush: Callable[[Any], None]) -> Callable[[Any], None]:
    left = [times]

    def flushing(self: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        flush(self)

    return flushing


def test_a_huge_log_keeps_its_head_and_its_tail(
    job: TrainingJob, cluster: FakeCluster, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "PIECE", 1000)
    settings.JOB_LOG_HEAD_BYTES, settings.JOB_LOG_TAIL_BYTES = 3000, 5000
    lines = [b"%06d\n" % number for number in range(5000)]
    for start in range(0, 5000, 500):
        prints(cluster, b"".join(lines[start : start + 500]))
        collect(job, cluster)
    whole = b"".join(lines)
    head = logs.read(job)
    assert len(head.data) >= 3000 and whole.startswith(head.data)
    rest = logs.read(job, offset=head.next_offset)
    assert rest.start > head.next_offset and whole[rest.start :] == rest.data and len(rest.data) >= 5000
    assert rest.next_offset == len(whole) == JobLog.objects.get().size
    total = sum(len(chunk.data) for chunk in JobLogChunk.objects.all())
    assert total < 3000 + 5000 + 3 * 1000 + 3500
    assert JobEvent.objects.filter(reason="LogTruncated").count() == 1


# ---- when


def test_due_are_those_whose_time_has_come_and_that_nobody_holds(ours: Team, cluster: FakeCluster) -> None:
    now = timezone.now()
    jobs = [submit(ours, f"job-{number}") for number in range(4)]
    logs.schedule([job.pk for job in jobs], now)
    JobLog.objects.filter(job=jobs[0]).update(due_at=now - timedelta(seconds=5))
    JobLog.objects.filter(job=jobs[1]).update(due_at=now + timedelta(seconds=5))
    JobLog.objects.filter(job=jobs[2]).update(lease_until=now + timedelta(seconds=5))
    assert logs.due(now, 10) == [jobs[0].pk, jobs[3].pk] and logs.due(now, 1) == [jobs[0].pk]


def test_scheduling_again_keeps_what_was_collected(job: TrainingJob, cluster: FakeCluster) -> None:
    prints(cluster, b"x\n")
    collect(job, cluster)
    logs.schedule([job.pk], timezone.now())
    assert JobLog.objects.get().size == 2 and logs.due(timezone.now(), 5) == [job.pk]


def test_a_watched_log_is_collected_every_second_and_says_so_once(
    job: TrainingJob, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    hints: list[str] = []
    monkeypatch.setattr(wakeup, "task", lambda name, *args: hints.append(name))
    for _ in range(3):
        logs.watch(job)
    assert hints == ["jobs.collect_log"]
    collect(job, cluster)
    due = JobLog.objects.get().due_at
    assert due is not None and due - timezone.now() <= logs.WATCHED_INTERVAL
    JobLog.objects.update(complete=True, wanted_at=None)
    logs.watch(job)
    assert len(hints) == 1


def test_nobody_looks_for_the_log_of_a_job_that_is_nowhere(ours: Team, cluster: FakeCluster) -> None:
    job = submit(ours)
    logs.watch(job)
    logs.collect(job.pk, cluster)  # type: ignore[arg-type]
    assert not JobLog.objects.exists() and cluster.calls == []


@pytest.mark.django_db(transaction=True)
def test_threads_that_collect_at_the_same_time_append_each_byte_once(job: TrainingJob, cluster: FakeCluster) -> None:
    stop = threading.Event()

    def work() -> None:
        try:
            while not stop.is_set():
                collect(job, cluster)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(100):
        prints(cluster, b"line %d\n" % number)
    stop.wait(0.5)
    stop.set()
    for thread in threads:
        thread.join()
    collect(job, cluster)
    assert logs.read(job).data == b"".join(b"line %d\n" % number for number in range(100))
