"""Hints that something is to be done, given after commit; a lost hint only delays, because sweeps read the database.

``notify`` wakes the reconciler by a PostgreSQL notification. It is not part of the transaction: PostgreSQL lets only one
notifying transaction commit at a time, disk flush included, which would queue up all submissions behind each other. A thread of
this process sends it instead, some milliseconds later and once for many. ``task`` sends a Celery task by name, for side work. A
database or broker that does not take a hint is logged, never an error of the request.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
from django.db import connection, transaction

log = logging.getLogger(__name__)
CHANNEL = "ml_platform"
# One notification for all that was committed within this time.
GATHER_SECONDS = 0.03
IDLE_SECONDS = 0.5


def notify() -> None:
    """Wakes the reconciler once the current transaction has been committed."""
    transaction.on_commit(_bell.ring)


def task(name: str, *args: Any) -> None:
    """Asks a Celery worker to run a task by name, after commit."""
    transaction.on_commit(partial(_send, name, args))


@contextmanager
def listen() -> Iterator[psycopg.Connection[Any]]:
    """A connection of its own that receives what ``notify`` sends (``connection.notifies(timeout=…)``)."""
    with _connect() as listener:
        listener.execute(f"LISTEN {CHANNEL}")
        yield listener


class _Bell:
    """Sends the notifications of one process from a thread that lives while there are any."""

    def __init__(self) -> None:
        self._rung = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        os.register_at_fork(after_in_child=self.__init__)  # type: ignore[misc]

    def ring(self) -> None:
        self._rung.set()
        with self._lock:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._send_all, name="wakeup", daemon=True)
            try:
                thread.start()
            except RuntimeError as exc:
                # No thread to be had, or the process is ending. What was committed stands; the sweep finds it.
                log.warning("the reconciler could not be notified: %s", exc)
                return
            self._thread = thread

    def _send_all(self) -> None:
        try:
            with _connect() as sender:
                # A hint need not survive a crash of the database, so nobody waits for the disk.
                sender.execute("SET synchronous_commit = off")
                while self._rung.wait(IDLE_SECONDS):
                    self._rung.clear()
                    sender.execute(f"NOTIFY {CHANNEL}")
                    threading.Event().wait(GATHER_SECONDS)
        except Exception as exc:
            # Whatever it was, the next commit rings again and must find no dead thread in its way.
            self._rung.clear()
            log.warning("the reconciler could not be notified: %s", exc)
        finally:
            with self._lock:
                self._thread = None
        if self._rung.is_set():
            self.ring()


_bell = _Bell()


def _connect() -> psycopg.Connection[Any]:
    params = connection.get_connection_params()
    params.pop("cursor_factory", None)
    params.pop("context", None)
    return psycopg.connect(**params, autocommit=True)


def _send(name: str, args: tuple[Any, ...]) -> None:
    from platform_portal.celery import app  # after Django is set up

    try:
        app.send_task(name, args, retry=False, ignore_result=True)
    except Exception as exc:
        # Whatever a broker raises: the periodic sweep does the work instead.
        log.warning("the broker did not take a hint for %s: %s", name, exc)
