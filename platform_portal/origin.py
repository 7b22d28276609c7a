"""Where the work at hand comes from: the address and the kind of door, for the audit log and the rate limits.

A context variable, so that services need not be handed a request. Behind proxies, ``TRUSTED_PROXIES`` says how many of them add
to X-Forwarded-For: only what the outermost of ours wrote is believed.
"""

import ipaddress
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest, HttpResponse


@dataclass(frozen=True)
class Origin:
    """``via``: page, api, admin, sign-in, command or reconciler; ``address`` of the client, where there is one."""

    via: str = "command"
    address: str | None = None


COMMAND = Origin()
_current: ContextVar[Origin] = ContextVar("origin", default=COMMAND)


def current() -> Origin:
    return _current.get()


@contextmanager
def working(via: str, address: str | None = None) -> Iterator[None]:
    """What happens inside is told to come from here."""
    token = _current.set(Origin(via, address))
    try:
        yield
    finally:
        _current.reset(token)


def client_address(request: HttpRequest) -> str | None:
    """The client's IP address; ``None`` when what stands there is none."""
    hops = [request.META.get("REMOTE_ADDR", "")]
    if settings.TRUSTED_PROXIES and (forwarded := request.META.get("HTTP_X_FORWARDED_FOR")):
        hops = [*forwarded.split(","), *hops]
    # From the right: each of our proxies wrote down whom it heard from.
    found = hops[max(0, len(hops) - 1 - settings.TRUSTED_PROXIES)].strip()
    try:
        return str(ipaddress.ip_address(found))
    except ValueError:
        return None


class OriginMiddleware:
    """Says for each request where it comes from."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with working(_door(request.path), client_address(request)):
            return self.get_response(request)


def _door(path: str) -> str:
    for prefix, via in (("/v1/", "api"), ("/admin/", "admin"), ("/accounts/", "sign-in")):
        if path.startswith(prefix):
            return via
    return "page"
