"""What loops of background work share: keys that may need work, now or later, and a run that outlives what it waits for."""

import heapq
import logging
import threading
import time
from collections.abc import Callable

from django.db import InterfaceError, OperationalError, close_old_connections

MAX_BACKOFF = 30.0


class WorkQueue:
    """Keys that may need work; a key that is added again before it is taken is there once. Safe from any thread."""

    def __init__(self) -> None:
        self._now: set[str] = set()
        self._later: list[tuple[float, str]] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()

    def add(self, key: str) -> None:
        with self._lock:
            self._now.add(key)
        self._wake.set()

    def again(self, key: str, seconds: float) -> None:
        """The key comes back after ``seconds``."""
        with self._lock:
            heapq.heappush(self._later, (time.monotonic() + seconds, key))

    def take(self, most: int) -> list[str]:
        """Up to ``most`` keys whose time has come."""
        now = time.monotonic()
        with self._lock:
            while self._later and self._later[0][0] <= now:
                self._now.add(heapq.heappop(self._later)[1])
            taken = [self._now.pop() for _ in range(min(most, len(self._now)))]
            if not self._now:
                self._wake.clear()
        return taken

    def wake(self) -> None:
        """Ends ``wait``: there may be something to do that is no key."""
        self._wake.set()

    def wait(self, until: float) -> None:
        """Returns when a key is there, somebody wakes it, or the monotonic time ``until`` has come."""
        with self._lock:
            deadline = min([until, *(at for at, _ in self._later[:1])])
        self._wake.wait(max(0.01, deadline - time.monotonic()))


def keep_going(step: Callable[[], bool], wait: Callable[[], None], stop: threading.Event, log: logging.Logger) -> None:
    """Calls ``step`` until ``stop`` is set, and ``wait`` when it had nothing to do. A database that is away is waited for."""
    backoff = 1.0
    while not stop.is_set():
        try:
            worked = step()
            backoff = 1.0
        except Exception as exc:
            if isinstance(exc, OperationalError | InterfaceError):
                log.warning("the database does not answer: %s; again in %.0f s", exc, backoff)
            else:
                # One row or object that nobody thought of must not stop the work on all others.
                log.exception("a round failed; again in %.0f s", backoff)
            close_old_connections()
            stop.wait(backoff)
            backoff = min(backoff * 2, MAX_BACKOFF)
            continue
        if not worked:
            wait()
