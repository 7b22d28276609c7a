"""The portal's addresses and a few that fail in every way a page can."""

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import HttpRequest, HttpResponse
from django.urls import path

from platform_portal.urls import urlpatterns as real


def fail(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("a fault of ours")


def deny(request: HttpRequest) -> HttpResponse:
    raise PermissionDenied


def suspect(request: HttpRequest) -> HttpResponse:
    raise SuspiciousOperation


urlpatterns = [*real, path("broken/500", fail), path("broken/403", deny), path("broken/400", suspect)]
