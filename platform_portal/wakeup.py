"""Hints that something is to be done, given after commit; a lost hint only delays, because sweeps read the database.

``notify`` is a PostgreSQL notification: it travels with the commit itself, costs no second system, and the reconciler
listens. ``task`` sends a Celery task by name, for side work; a broker that is down is logged, never an error of the request.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
from django.db import connection, transaction

log = logging.getLogger(__name__)
CHANNEL = "ml_platform"


def notify(payload: str) -> None:
    """Wakes the reconciler once the current transaction has been committed."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, payload])


def task(name: str, *args: Any) -> None:
    """Asks a Celery worker to run a task by name, after commit."""
    transaction.on_commit(partial(_send, name, args))


@contextmanager
def listen() -> Iterator[psycopg.Connection[Any]]:
    """A connection of its own that receives what ``notify`` sends (``connection.notifies(timeout=…)``)."""
    params = connection.get_connection_params()
    params.pop("cursor_factory", None)
    params.pop("context", None)
    with psycopg.connect(**params, autocommit=True) as listener:
        listener.execute(f"LISTEN {CHANNEL}")
        yield listener


def _send(name: str, args: tuple[Any, ...]) -> None:
    from platform_portal.celery import app  # after Django is set up

    try:
        app.send_task(name, args, retry=False, ignore_result=True)
    except Exception as exc:
        log.warning("the broker did not take a hint for %s: %s", name, exc)
