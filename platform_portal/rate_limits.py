"""How often one address or one token may ask: counted in windows of time, in Redis or in this process's memory.

``hit`` counts a request and raises the 429 when there were too many; ``RateLimitMiddleware`` does so for addresses, before
anybody is authenticated, and writes the ``RateLimit-*`` headers of the tightest limit that was asked. Limits are settings such as
``600/minute``; empty switches one off. A storage that does not answer stops nobody: requests pass, a warning is logged, and it
is left alone for some seconds, so that a dead Redis costs a request nothing.

Windows of one limit begin at a different moment for each key, so that not everybody's counters end at once. Memory counts for
one process: with several web processes the limits hold for each of them, which is why production must name a shared storage.
"""

import logging
import time
import zlib
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any, cast

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from limits import RateLimitItem, parse_many
from limits.storage import Storage, storage_from_string
from redis.backoff import NoBackoff
from redis.retry import Retry

from platform_portal.errors import DomainError
from platform_portal.origin import current

log = logging.getLogger(__name__)

# Longest wait for the storage, and how long it is left alone after it failed.
TIMEOUT_SECONDS = 0.25
PAUSE_SECONDS = 5.0
LIMITED = ("/v1/", "/.well-known/")
# Probes come often and from one place; a job's own calls are counted by job.
EXEMPT = ("/v1/health", "/v1/ready")
OF_JOBS = ("/metrics", "/source")


@dataclass(frozen=True)
class Window:
    """What is left of a limit in the window that runs now."""

    limit: int
    remaining: int
    resets_in: int

    def headers(self) -> dict[str, str]:
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.resets_in),
        }


def hit(setting: str, key: str, what: str) -> None:
    """Counts one request of ``key`` against the limits in ``setting``; a 429 that names ``what`` when that is too many."""
    for item in _items(getattr(settings, setting)):
        window = _count(item, f"{setting}:{key}")
        if window is None:
            continue
        tightest = _seen.get()
        if tightest is None or window.remaining < tightest.remaining:
            _seen.set(window)
        if window.remaining < 0:
            raise _too_many(item, window, what)


class RateLimitMiddleware:
    """Counts the API's requests by address. Requires ``OriginMiddleware`` before it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith(LIMITED) or request.path in EXEMPT:
            return self.get_response(request)
        token = _seen.set(None)
        try:
            if not _is_of_job(request.path):
                hit("RATE_LIMIT_ADDRESS", address(), "from your address")
            response = self.get_response(request)
        except DomainError as refused:
            response = JsonResponse(refused.as_json(), status=refused.http_status, headers=refused.headers)
        finally:
            window = _seen.get()
            _seen.reset(token)
        if window is not None:
            for name, value in window.headers().items():
                response.headers.setdefault(name, value)
        return response


def address() -> str:
    """The client's address; requests that have none, as from a socket, are counted together."""
    return current().address or "none"


def forget() -> None:
    """Counts from nothing, with the settings as they are; for tests."""
    with _making:
        _made.clear()
    _broken.until = 0.0


@dataclass
class _Broken:
    until: float = 0.0


_seen: ContextVar[Window | None] = ContextVar("rate_limit", default=None)
_broken = _Broken()
_made: list[Storage] = []
_making = Lock()


def _is_of_job(path: str) -> bool:
    return path.startswith("/v1/jobs/training/") and path.endswith(OF_JOBS)


def _count(item: RateLimitItem, key: str) -> Window | None:
    """``None`` when the storage does not answer."""
    moment = time.time()
    if moment < _broken.until:
        return None
    length = item.get_expiry()
    since = (int(moment) + zlib.crc32(key.encode("utf-8", "replace"))) % length
    try:
        used = _storage().incr(f"{key}:{item.amount}/{length}:{int(moment) - since}", length + 1)
    except Exception as exc:
        # Whatever a storage's client raises: counting is not worth an answer.
        _broken.until = moment + PAUSE_SECONDS
        log.warning("rate limits are not counted, their storage does not answer: %s", exc)
        return None
    return Window(item.amount, item.amount - used, length - since)


def _too_many(item: RateLimitItem, window: Window, what: str) -> DomainError:
    window = Window(window.limit, 0, window.resets_in)
    return DomainError(
        "rate_limited",
        f"Too many requests {what}: at most {item.amount} per {_period(item)}. Wait {window.resets_in} seconds.",
        http_status=429,
        headers={"Retry-After": str(window.resets_in), **window.headers()},
    )


def _period(item: RateLimitItem) -> str:
    name = item.GRANULARITY.name
    return name if item.multiples == 1 else f"{item.multiples} {name}s"


@cache
def _items(limits: str) -> tuple[RateLimitItem, ...]:
    return tuple(parse_many(limits)) if limits else ()


def _storage() -> Storage:
    """One for the process, made when it is first needed: after a server has divided itself into its workers."""
    if not _made:
        with _making:
            if not _made:
                _made.append(_connect(settings.RATE_LIMIT_STORAGE_URL))
    return _made[0]


def _connect(url: str) -> Storage:
    options: dict[str, Any] = {}
    if not url.startswith("memory:"):
        # One try: its client would otherwise go on trying for seconds, in the request.
        options = {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS}
        options["retry"] = Retry(NoBackoff(), 0)
    return cast(Storage, storage_from_string(url, **options))
