"""Where a request is said to come from: its door, and an address that a client cannot make up."""

import pytest
from django.test import RequestFactory
from pytest_django import Settings

from platform_portal import origin


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, None, "192.0.2.1"),
        (0, "203.0.113.9", "192.0.2.1"),
        (1, "203.0.113.9", "203.0.113.9"),
        # What stands further left was sent along by the client and proves nothing.
        (1, "10.9.9.9, 203.0.113.9", "203.0.113.9"),
        (2, "203.0.113.9, 198.51.100.2", "203.0.113.9"),
        (2, "10.9.9.9, 203.0.113.9, 198.51.100.2", "203.0.113.9"),
        (1, "2001:db8::1", "2001:db8::1"),
        (1, "nobody", None),
        (1, "", "192.0.2.1"),
        (1, None, "192.0.2.1"),
        (3, "203.0.113.9", "203.0.113.9"),
    ],
)
def test_the_client_s_address_is_what_our_own_proxies_wrote(
    settings: Settings, proxies: int, forwarded: str | None, address: str | None
) -> None:
    settings.TRUSTED_PROXIES = proxies
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
    request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.1", headers=headers)
    assert origin.client_address(request) == address


def test_a_socket_without_an_address_has_none(settings: Settings) -> None:
    assert origin.client_address(RequestFactory().get("/", REMOTE_ADDR="")) is None


@pytest.mark.parametrize(
    ("path", "via"),
    [("/v1/health", "api"), ("/admin/", "admin"), ("/accounts/login/", "sign-in"), ("/t/ours/", "page"), ("/", "page")],
)
def test_a_request_comes_through_a_door(path: str, via: str) -> None:
    seen = []
    middleware = origin.OriginMiddleware(lambda request: seen.append(origin.current()))  # type: ignore[arg-type, return-value]
    middleware(RequestFactory().get(path, REMOTE_ADDR="192.0.2.1"))
    assert seen == [origin.Origin(via, "192.0.2.1")] and origin.current() == origin.Origin("command", None)


def test_what_no_request_brought_says_what_it_is() -> None:
    with pytest.raises(RuntimeError), origin.working("reconciler"):
        assert origin.current() == origin.Origin("reconciler", None)
        raise RuntimeError
    assert origin.current() == origin.COMMAND
