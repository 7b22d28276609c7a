"""One shape for every error, in the API and on pages, and nothing of ours in it."""

import logging
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404, HttpResponse, UnreadablePostError
from django.test import RequestFactory
from rest_framework import exceptions

from platform_portal import errors
from platform_portal.errors import DomainError, api_exception_handler, as_domain_error
from platform_portal.middleware import DomainErrorMiddleware

CASES = [
    (errors.invalid({"a": ["x"], "": ["y"]}), 400, "invalid"),
    (errors.not_found("job"), 404, "not_found"),
    (errors.forbidden("no"), 403, "permission_denied"),
    (errors.conflict("taken", "taken"), 409, "taken"),
    (errors.too_large("big"), 413, "too_large"),
    (Http404("secret path"), 404, "not_found"),
    (PermissionDenied("secret"), 403, "permission_denied"),
    (RequestDataTooBig("x"), 413, "too_large"),
    (TooManyFilesSent("x"), 413, "too_large"),
    (TooManyFieldsSent("x"), 413, "too_large"),
    (UnreadablePostError("x"), 400, "incomplete_request"),
    (OperationalError("password=secret"), 503, "database_unavailable"),
    (InterfaceError("secret"), 503, "database_unavailable"),
]


@pytest.mark.parametrize(("error", "status", "code"), CASES, ids=lambda value: type(value).__name__)
def test_what_a_request_may_end_in_has_a_status_and_a_code(error: Exception, status: int, code: str) -> None:
    found = as_domain_error(error)
    assert found is not None and (found.http_status, found.code) == (status, code)
    answer = api_exception_handler(error, {})
    assert answer is not None and answer.status_code == status
    assert answer.data["code"] == code and answer.data["detail"]
    assert "secret" not in str(answer.data)


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), DataError("x")])
def test_a_fault_of_ours_stays_one(error: Exception) -> None:
    assert as_domain_error(error) is None and api_exception_handler(error, {}) is None


def test_fields_extra_and_headers_are_in_the_answer() -> None:
    error = DomainError(
        "quota", "Full.", http_status=429, fields={"a.b": ["x"]}, extra={"left": 3}, headers={"Retry-After": "5"}
    )
    answer = api_exception_handler(error, {})
    assert answer is not None
    assert answer.data == {"detail": "Full.", "code": "quota", "errors": {"a.b": ["x"]}, "left": 3}
    assert answer["Retry-After"] == "5" and str(error) == "Full."


def test_the_sentence_of_a_400_names_the_fields() -> None:
    assert errors.invalid({"a": ["x"], "b.c": ["y"]}).message == "The request is not valid; correct a, b.c."
    assert errors.invalid({"": ["x"]}).message == "The request is not valid; correct the request."
    assert errors.invalid({"a": ["x"]}, "Own words.").message == "Own words."


@pytest.mark.parametrize(
    ("error", "status", "code", "header"),
    [
        (exceptions.NotAuthenticated(), 401, "not_authenticated", None),
        (exceptions.AuthenticationFailed("No.", code="invalid_token"), 401, "invalid_token", None),
        (exceptions.PermissionDenied(), 403, "permission_denied", None),
        (exceptions.MethodNotAllowed("PUT"), 405, "method_not_allowed", None),
        (exceptions.NotAcceptable(), 406, "not_acceptable", None),
        (exceptions.UnsupportedMediaType("a/b"), 415, "unsupported_media_type", None),
        (exceptions.Throttled(wait=7), 429, "throttled", ("Retry-After", "7")),
        (exceptions.ParseError(), 400, "parse_error", None),
        (exceptions.ValidationError({"a": ["x"]}), 400, "invalid", None),
    ],
)
def test_the_framework_s_errors_have_the_same_shape(
    error: Any, status: int, code: str, header: tuple[str, str] | None
) -> None:
    answer = api_exception_handler(error, {})
    assert answer is not None and answer.status_code == status
    assert answer.data["code"] == code and isinstance(answer.data["detail"], str)
    assert header is None or answer[header[0]] == header[1]


def test_a_challenge_goes_with_a_401() -> None:
    error = exceptions.NotAuthenticated()
    error.auth_header = "Bearer"  # type: ignore[attr-defined]
    answer = api_exception_handler(error, {})
    assert answer is not None and answer["WWW-Authenticate"] == "Bearer"


def test_an_outage_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        api_exception_handler(OperationalError("connection refused"), {})
    assert "connection refused" in caplog.text


def test_pages_get_a_page_and_the_api_json() -> None:
    middleware = DomainErrorMiddleware(lambda request: HttpResponse())
    outage = OperationalError("connection refused")
    answer = middleware.process_exception(RequestFactory().get("/v1/x"), outage)
    assert answer is not None and answer.status_code == 503 and answer["Content-Type"] == "application/json"
    assert answer["Retry-After"] == "5"
    page = middleware.process_exception(
        RequestFactory().get("/t/ours/"), DomainError("x", "A sentence.", http_status=409, headers={"X-A": "b"})
    )
    assert (
        page is not None and page.status_code == 409 and "A sentence." in page.content.decode() and page["X-A"] == "b"
    )
    for untouched in (ValueError("x"), Http404()):
        assert middleware.process_exception(RequestFactory().get("/x"), untouched) is None
    assert middleware(RequestFactory().get("/")).status_code == 200
