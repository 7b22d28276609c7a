"""Hints: given after commit only, never an error, and lost without harm."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from platform_portal import wakeup
from platform_portal.celery import app


@pytest.fixture
def listener(transactional_db: None) -> Iterator[psycopg.Connection[Any]]:
    with wakeup.listen() as listening:
        yield listening


def heard(listener: psycopg.Connection[Any], seconds: float = 0.3) -> int:
    """How many notifications come; when some are expected, the first ends the waiting."""
    return len(list(listener.notifies(timeout=seconds, stop_after=1 if seconds > 1 else None)))


def test_a_notification_comes_after_the_commit_and_not_before(listener: psycopg.Connection[Any]) -> None:
    with transaction.atomic():
        wakeup.notify()
        assert heard(listener) == 0
    assert heard(listener, 5) == 1


def test_what_is_rolled_back_is_never_heard(listener: psycopg.Connection[Any]) -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        wakeup.notify()
        raise RuntimeError
    assert heard(listener) == 0


def test_many_commits_are_few_notifications_and_the_last_is_heard(listener: psycopg.Connection[Any]) -> None:
    for _ in range(100):
        wakeup.notify()
    assert 1 <= heard(listener, 0.5) < 50
    wakeup.notify()
    assert heard(listener, 5) == 1


def test_the_bell_rings_again_after_it_has_rested(
    listener: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeup, "IDLE_SECONDS", 0.05)
    for _ in range(3):
        wakeup.notify()
        assert heard(listener, 5) == 1
        deadline = time.monotonic() + 5
        while wakeup._bell._thread is not None:
            assert time.monotonic() < deadline, "the thread ends when there is nothing to say"
            time.sleep(0.01)


def test_a_database_that_refuses_a_connection_costs_the_hint_only(
    listener: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> Any:
        raise psycopg.OperationalError("too many connections")

    bell = wakeup._Bell()
    with monkeypatch.context() as patch:
        patch.setattr(wakeup, "_connect", refuse)
        bell.ring()
        deadline = time.monotonic() + 5
        while bell._thread is not None and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "could not be notified: too many connections" in caplog.text
    bell.ring()
    assert heard(listener, 5) == 1


def test_many_threads_ring_one_bell(listener: psycopg.Connection[Any]) -> None:
    def commit() -> None:
        wakeup.notify()
        connection.close()

    before = sum(thread.name == "wakeup" for thread in threading.enumerate())
    threads = [threading.Thread(target=commit) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= heard(listener, 5) < 20
    assert sum(thread.name == "wakeup" for thread in threading.enumerate()) <= before + 1


def test_a_task_is_sent_after_commit_by_name(
    django_capture_on_commit_callbacks: Any, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(app, "send_task", lambda name, args, **options: sent.append((name, args, options)))
    with django_capture_on_commit_callbacks() as callbacks:
        wakeup.task("jobs.collect_log", "an-id")
        assert sent == []
    for callback in callbacks:
        callback()
    assert sent == [("jobs.collect_log", ("an-id",), {"retry": False, "ignore_result": True})]


def test_a_broker_that_is_down_is_logged_and_no_error(
    django_capture_on_commit_callbacks: Any, db: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def down(*args: Any, **options: Any) -> None:
        raise OSError("connection refused")

    monkeypatch.setattr(app, "send_task", down)
    with django_capture_on_commit_callbacks(execute=True):
        wakeup.task("jobs.collect_log", "an-id")
    assert "the broker did not take a hint for jobs.collect_log: connection refused" in caplog.text


def test_a_thread_that_cannot_be_had_costs_the_hint_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    bell = wakeup._Bell()
    with monkeypatch.context() as patch, caplog.at_level("WARNING"):
        patch.setattr(threading.Thread, "start", refuse)
        bell.ring()
    assert "can't start new thread" in caplog.text and bell._thread is None


def test_whatever_stops_the_sender_the_next_ring_starts_another(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ValueError("something nobody thought of")

    monkeypatch.setattr(wakeup, "_connect", fail)
    bell = wakeup._Bell()
    with caplog.at_level("WARNING"):
        for _ in range(2):
            bell.ring()
            deadline = time.monotonic() + 10
            while bell._thread is not None and time.monotonic() < deadline:
                time.sleep(0.01)
            assert bell._thread is None
    assert caplog.text.count("something nobody thought of") == 2
