"""What the pages of jobs share: live fragments, query strings, the way back."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme

from jobs import live, selectors
from jobs.models import TrainingJob
from tenants.context import TenantContext
from tenants.models import Role

# The reconciler notes every few seconds that it has the cluster in view; this long without is worth a warning.
STALE = timedelta(seconds=45)


def live_page(
    request: HttpRequest,
    template: str,
    fragments: Mapping[str, str],
    context: dict[str, Any],
    *,
    is_live: bool,
    seconds: int,
) -> HttpResponse:
    """The whole page, or what is different for one that asks again: by element id, the HTML inside it."""
    known = request.GET.get("poll")
    context = context | {
        "fragments": fragments,
        "is_live": is_live,
        "poll_url": f"{request.path}?{query(request, poll=live.digests(fragments))}",
        "poll_seconds": seconds,
    }
    if known is None:
        return render(request, template, context)
    different = live.changed(fragments, known)
    if is_live and not different:
        return HttpResponse(status=204)
    status = 200 if is_live else live.STOP_POLLING
    return render(request, "jobs/_changes.html", context | {"fragments": different}, status=status)


def fragment(request: HttpRequest, template: str, context: dict[str, Any]) -> str:
    return render_to_string(template, context, request)


def seen_fragment(request: HttpRequest, at: datetime | None, *, is_live: bool, what: str) -> str:
    """When the cluster (or one job in it) was last seen, with a warning when that is long ago."""
    stale = is_live and at is not None and timezone.now() - at > STALE
    return fragment(request, "jobs/_seen.html", {"seen_at": at, "stale": stale, "what": what})


def asks_again(request: HttpRequest) -> bool:
    return "poll" in request.GET


def query(request: HttpRequest, **changes: str) -> str:
    """The query string with some parts changed; empty parts and the polling's own are left out."""
    parts = {key: value for key, value in request.GET.items() if key != "poll"} | changes
    return urlencode({key: value for key, value in parts.items() if value})


def here(request: HttpRequest) -> str:
    """The page's own address, also when its polling asks."""
    parts = query(request)
    return f"{request.path}?{parts}" if parts else request.path


def came_from(request: HttpRequest, ctx: TenantContext, otherwise: str) -> str:
    """The page of this team that a POST says it came from."""
    after = request.POST.get("next", "")
    ours = reverse("jobs:dashboard", args=[ctx.tenant.slug])
    if after.startswith(ours) and url_has_allowed_host_and_scheme(after, allowed_hosts=None):
        return after
    return otherwise


def repeatable(ctx: TenantContext, job: TrainingJob) -> tuple[dict[str, Any], str]:
    """The request that makes the same job for whoever repeats it, and a sentence on what had to be left out."""
    wanted = selectors.request_of(job)
    if job.priority <= 0 or ctx.can(Role.LEAD):
        return wanted, ""
    del wanted["priority"]
    return wanted, f"Without its priority {job.priority}: only a lead may put a job before others."
