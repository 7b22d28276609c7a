"""The work queue every controller is built on.

A controller maps a store change to keys and reconciles a key from scratch. Keys are deduplicated; a reconcile that raises
is tried again with exponential back-off; one that returns a number is run again after so many seconds. Nothing runs and no
timer exists while there is nothing to do.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable

from localcluster.errors import ApiError
from localcluster.registry import Registry
from localcluster.store import Change, Key

_BATCH_SECONDS = 0.02
_FIRST_RETRY = 0.05
_LONGEST_RETRY = 60.0


class Controller(ABC):
    name = "controller"

    def __init__(self, registry: Registry) -> None:
        self.registry, self.store = registry, registry.store
        self.log = logging.getLogger(f"localcluster.{self.name}")
        self._queue: dict[Key, None] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._scheduled = False
        self._running = False

    @abstractmethod
    def keys_for(self, change: Change) -> Iterable[Key]:
        """The keys whose reconciliation a change may affect."""

    def initial_keys(self) -> Iterable[Key]:
        """The keys to look at when the server starts."""
        return ()

    @abstractmethod
    def reconcile(self, key: Key) -> float | None:
        """Bring one object forward; the number of seconds after which to look again, if time matters."""

    def start(self) -> None:
        self._running = True
        self.store.observe(self._observe)
        for key in self.initial_keys():
            self.enqueue(key)

    def stop(self) -> None:
        self._running = False
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def enqueue(self, key: Key) -> None:
        self._queue[key] = None
        if not self._scheduled and self._running:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._drain)

    def enqueue_after(self, key: Key, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        when = loop.time() + max(seconds, 0.0)
        if timer is not None:
            if timer.when() <= when and not timer.cancelled():
                return
            timer.cancel()
        self._timers[key] = loop.call_at(when, self._fire, key)

    def _observe(self, change: Change) -> None:
        for key in self.keys_for(change):
            self.enqueue(key)

    def _fire(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.enqueue(key)

    def _drain(self) -> None:
        self._scheduled = False
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _BATCH_SECONDS
        while self._queue and self._running:
            key = next(iter(self._queue))
            del self._queue[key]
            self._run(key)
            if loop.time() > deadline:
                break
        if self._queue and self._running and not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._drain)

    def _run(self, key: Key) -> None:
        try:
            again = self.reconcile(key)
        except Exception as error:
            attempts = self._failures[key] = self._failures.get(key, 0) + 1
            if not isinstance(error, ApiError):
                self.log.exception("reconciling %s failed", key)
            self.enqueue_after(key, min(_FIRST_RETRY * 2 ** min(attempts, 12), _LONGEST_RETRY))
            return
        self._failures.pop(key, None)
        if again is not None:
            self.enqueue_after(key, again)
