"""Errors that users see: raised anywhere below the edge as ``DomainError``, rendered once at the edge.

The API renders JSON ``{"detail", "code", "errors"?, ...}``; pages render ``error.html`` (``platform_portal.middleware``). A
code is a stable snake_case token that scripts may compare; the detail is a sentence for people.
"""

import logging
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.db import IntegrityError, InterfaceError, OperationalError
from django.http import Http404, UnreadablePostError
from rest_framework import exceptions, status
from rest_framework.response import Response

log = logging.getLogger(__name__)

Fields = dict[str, list[str]]


class DomainError(Exception):
    """Something the caller can understand and usually mend.

    ``fields`` maps the dotted path of each bad field to its sentences; ``extra`` joins the JSON answer as it is.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        http_status: int = 400,
        fields: Fields | None = None,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.http_status = code, message, http_status
        self.fields, self.extra, self.headers = fields or {}, dict(extra or {}), dict(headers or {})

    def as_json(self) -> dict[str, Any]:
        body: dict[str, Any] = {"detail": self.message, "code": self.code}
        if self.fields:
            body["errors"] = self.fields
        return body | self.extra


def invalid(fields: Fields, message: str = "") -> DomainError:
    """A 400 that names every bad field at once."""
    if not message:
        names = ", ".join(name or "the request" for name in fields)
        message = f"The request is not valid; correct {names}."
    return DomainError("invalid", message, fields=fields)


def not_found(what: str) -> DomainError:
    return DomainError("not_found", f"There is no such {what}.", http_status=404)


def forbidden(message: str, code: str = "permission_denied") -> DomainError:
    return DomainError(code, message, http_status=403)


def conflict(code: str, message: str, fields: Fields | None = None) -> DomainError:
    return DomainError(code, message, http_status=409, fields=fields)


def too_large(message: str) -> DomainError:
    return DomainError("too_large", message, http_status=413)


def as_domain_error(exc: Exception) -> DomainError | None:
    """The user's view of an exception that a request may end in; ``None`` is a fault of ours."""
    if isinstance(exc, DomainError):
        return exc
    if isinstance(exc, Http404):
        return not_found("page or object")
    if isinstance(exc, PermissionDenied):
        return forbidden("You may not do this.")
    if isinstance(exc, RequestDataTooBig | TooManyFieldsSent | TooManyFilesSent):
        return too_large("The request is larger than the platform accepts.")
    if isinstance(exc, UnreadablePostError):
        return DomainError("incomplete_request", "The request broke off before all of it had arrived; send it again.")
    if isinstance(exc, IntegrityError):
        message = "Something that this refers to has just been changed by somebody else; look again and repeat it."
        return conflict("conflict", message)
    if isinstance(exc, OperationalError | InterfaceError):
        return DomainError(
            "database_unavailable",
            "The platform's database does not answer at the moment; nothing was changed. Try again shortly.",
            http_status=503,
            headers={"Retry-After": "5"},
        )
    return None


def api_exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's handler: every error leaves the API in the contract's shape."""
    error = as_domain_error(exc)
    if error is None and isinstance(exc, exceptions.APIException):
        error = _from_rest_framework(exc)
    if error is None:
        return None
    if error.http_status >= status.HTTP_500_INTERNAL_SERVER_ERROR:
        log.error("answered %s: %s", error.http_status, exc)
    # Imported late: rest_framework.views loads the authentication classes, which need this module.
    from rest_framework.views import set_rollback

    set_rollback()
    return Response(error.as_json(), status=error.http_status, headers=error.headers)


def _from_rest_framework(exc: exceptions.APIException) -> DomainError:
    headers: dict[str, str] = {}
    if getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = exc.auth_header  # type: ignore[attr-defined]
    if getattr(exc, "wait", None):
        headers["Retry-After"] = str(int(exc.wait))  # type: ignore[attr-defined]
    codes = exc.get_codes()
    code = codes if isinstance(codes, str) else "invalid"
    detail = str(exc.detail) if isinstance(exc.detail, str) else "The request is not valid."
    return DomainError(code, detail, http_status=exc.status_code, headers=headers)
