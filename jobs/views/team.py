"""A team's dashboard and its list of jobs."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from jobs import forms, presenters, selectors, services
from jobs.models import Status
from jobs.quota import QuotaState, quota_state
from jobs.views.shared import asks_again, came_from, fragment, here, live_page, query, seen_fragment
from platform_portal import api
from platform_portal.errors import DomainError
from tenants.context import TenantContext
from tenants.pages import tenant_page

PAGE = 50
RECENT, FAILURES, QUEUE = 8, 5, 5
LIST_SECONDS, DASHBOARD_SECONDS = 3, 5
STATES = [("", "All"), ("live", "Live"), *Status.choices]


@require_safe
@tenant_page
def dashboard(request: HttpRequest, ctx: TenantContext) -> HttpResponse:
    recent, more = selectors.jobs_newest(ctx, selectors.JobFilter(), limit=RECENT)
    if not recent:
        call = presenters.curl({"name": "my-first-job", "source": presenters.UPLOADED, "compute": "cpu-2x"}, "train.py")
        return render(request, "jobs/first_steps.html", {"call": call})
    failed, _ = selectors.jobs_newest(ctx, selectors.JobFilter(status=Status.FAILED), limit=FAILURES)
    counts = selectors.status_counts(ctx)
    state = quota_state(ctx)
    queue = selectors.jobs_waiting(ctx, limit=QUEUE) if state.waiting else []
    is_live = any(counts.values())
    context = {
        "counts": counts,
        "meters": meters(state),
        "queue": [presenters.shown(job, ctx) for job in queue],
        "waiting": state.waiting,
        "recent": [presenters.shown(job, ctx) for job in recent],
        "failures": [presenters.shown(job, ctx) for job in failed],
        "more": more,
    }
    fragments = {
        "seen": seen_fragment(request, selectors.cluster_seen_at(), is_live=is_live, what="Cluster"),
        "dashboard": fragment(request, "jobs/_dashboard.html", context),
    }
    return live_page(request, "jobs/dashboard.html", fragments, context, is_live=is_live, seconds=DASHBOARD_SECONDS)


@require_safe
@tenant_page
def job_list(request: HttpRequest, ctx: TenantContext) -> HttpResponse:
    wanted = selectors.parse_filter(request.GET, strict=False)
    try:
        after = api.decode_cursor(request.GET.get("cursor", ""))
    except DomainError:
        return redirect("jobs:list", ctx.tenant.slug)
    jobs, more = selectors.jobs_newest(ctx, wanted, limit=PAGE, after=after)
    rows = [presenters.shown(job, ctx) for job in jobs]
    is_live = any(not job.ended for job in jobs)
    context: dict[str, Any] = {
        "rows": rows,
        "wanted": wanted,
        "states": STATES,
        "state": "live" if wanted.live else wanted.status,
        "here": here(request),
        "older": query(request, cursor=api.encode_cursor(jobs[-1].created_at, jobs[-1].pk)) if more else "",
        "newest": query(request, cursor="") if after else None,
        "any_cancel": any(row.can_cancel for row in rows),
    }
    fragments = {
        "seen": seen_fragment(request, selectors.cluster_seen_at(), is_live=is_live, what="Cluster"),
        "jobs-table": fragment(request, "jobs/_table.html", context),
    }
    if not asks_again(request):
        context |= {"owners": selectors.owners(ctx), "key": forms.new_key()}
    return live_page(request, "jobs/list.html", fragments, context, is_live=is_live, seconds=LIST_SECONDS)


@require_POST
@tenant_page
def cancel_many(request: HttpRequest, ctx: TenantContext) -> HttpResponse:
    """Cancels the selected jobs, after a confirmation."""
    after = came_from(request, ctx, reverse("jobs:list", args=[ctx.tenant.slug]))
    ids = [found for text in request.POST.getlist("job") if (found := forms.source_id(text))]
    chosen = selectors.jobs_live_of(ctx, ids)
    jobs = [job for job in chosen if ctx.can_manage(job.owner_id, job.submitted_by)]
    if not jobs:
        ctx.require(not chosen, "cancel these jobs")
        messages.info(request, "None of the selected jobs is waiting or running; nothing was cancelled.")
        return redirect(after)
    if not request.POST.get("confirmed"):
        return render(request, "jobs/confirm_cancel.html", {"jobs": jobs, "after": after})
    asked = services.jobs_cancel(ctx=ctx, job_ids=[job.pk for job in jobs])
    messages.success(request, f"{asked} {'job' if asked == 1 else 'jobs'} asked to end.")
    return redirect(after)


@dataclass(frozen=True)
class Meter:
    """How much of a quota the team's work holds."""

    label: str
    used: int
    quota: int
    unit: str

    @property
    def level(self) -> str:
        if self.used > self.quota:
            return "over"
        return "high" if self.quota and self.used / self.quota >= 0.8 else "fine"


def meters(state: QuotaState) -> list[Meter]:
    """The few that everybody's work is limited by; the page of the team's usage shows all."""
    limits, held = state.limits, state.held
    return [
        Meter("CPU", held.cpu, limits.cpu, "cores"),
        Meter("Memory", held.memory_gb, limits.memory_gb, "GB"),
        Meter("GPUs", held.gpus, limits.gpus, "GPUs"),
        Meter("Jobs at once", held.jobs, limits.jobs, "jobs"),
    ]
