"""Renders ``DomainError`` and its kin as a page; the API has its own handler (``platform_portal.errors``)."""

import logging
from collections.abc import Callable

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from platform_portal.errors import as_domain_error

log = logging.getLogger(__name__)


class DomainErrorMiddleware:
    """Turns an error that a view raised into ``error.html`` with its status; a fault of ours stays Django's 500."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exc: Exception) -> HttpResponse | None:
        error = as_domain_error(exc)
        # A 404 keeps Django's own way, which serves the same template for unknown addresses.
        if error is None or isinstance(exc, Http404):
            return None
        if error.http_status >= 500:
            log.error("answered %s: %s", error.http_status, exc)
        if request.path.startswith("/v1/"):
            return JsonResponse(error.as_json(), status=error.http_status, headers=error.headers)
        page = render(request, "error.html", {"error": error}, status=error.http_status)
        for name, value in error.headers.items():
            page[name] = value
        return page
