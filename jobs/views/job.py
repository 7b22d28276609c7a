"""The pages of one job: a tab each, and what can be done to it."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import yaml
from django.contrib import messages
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape
from django.views.decorators.http import require_POST, require_safe

from jobs import charts, forms, log_pages, logs, metrics, outputs, presenters, selectors, services
from jobs.api.views import download
from jobs.models import TrainingJob
from jobs.quota import QuotaExceeded, waiting_verdict
from jobs.views.shared import came_from, fragment, here, live_page, repeatable, seen_fragment
from platform_portal.errors import DomainError, invalid
from tenants.context import TenantContext
from tenants.idempotency import once
from tenants.pages import tenant_page

# A tab that shows curves sends them whole, so it asks less often.
TAB_SECONDS, METRICS_SECONDS = 2, 5
# Kubernetes' last words and the last metrics come in a moment after the end.
AFTERWARDS = timedelta(seconds=15)
TABS = (
    ("detail", "Overview"),
    ("log", "Logs"),
    ("metrics", "Metrics"),
    ("timeline", "Timeline"),
    ("files", "Files"),
    ("spec", "Spec"),
)
MANY_CHARTS, FEW_CHARTS = 24, 6
SLOW_SECONDS = 0.1


@require_safe
@tenant_page
def overview(request: HttpRequest, ctx: TenantContext, job_id: UUID) -> HttpResponse:
    return _tab(request, ctx, job_id, "detail", _overview)


@require_safe
@tenant_page
def log(request: HttpRequest, ctx: TenantContext, job_id: UUID) -> HttpResponse:
    """The log's end, or the piece around ``at=``; ``q=`` searches all of it."""
    return _tab(request, ctx, job_id, "log", lambda job: _log(request, job), live_body=False)


@require_safe
@tenant_page
def metrics_tab(request: HttpRequest, ctx: TenantContext, job_id: UUID) -> HttpResponse:
    return _tab(request, ctx, job_id, "metrics", lambda job: _metrics(request, job))


@require_safe
@tenant_page
def timeline(request: HttpRequest, ctx: TenantContext, job_id: UUID) -> HttpResponse:
    return _tab(request, ctx, job_id, "timeline", _timeline)


@require_safe
@tenant_page
def files(request: HttpRequest, ctx: TenantContext, job_id: UUID) -> HttpResponse:
    return _tab(request, ctx, job_id, "files", _files)


@require_safe
@tenant_page
def spec(request: HttpRequest, ctx: TenantContext, job_id: UUID) -> HttpResponse:
    return _tab(request, ctx, job_id, "spec", _spec, live_body=False)


@require_safe
@tenant_page
def log_part(request: HttpRequest, ctx: TenantContext, job_id: UUID) -> HttpResponse:
    """Lines as JSON: those after ``offset=`` or those that end at ``before=``; 204 when there is nothing new."""
    job = selectors.job_for_page(ctx, job_id)
    before = _offset(request, "before")
    if before is not None:
        return JsonResponse(vars(log_pages.backward(job, before)))
    offset = _offset(request, "offset") or 0
    if not job.ended:
        logs.watch(job)
    page = log_pages.forward(job, offset)
    if not (page.lines or page.partial or page.complete):
        return HttpResponse(status=204)
    return JsonResponse(vars(page))


@require_safe
@tenant_page
def log_download(request: HttpRequest, ctx: TenantContext, job_id: UUID) -> HttpResponseBase:
    job = selectors.job_for_page(ctx, job_id)
    headers = {"Content-Disposition": f'attachment; filename="{job.name}-{job.pk.hex[:8]}.log"'}
    return StreamingHttpResponse(logs.stream(job), content_type="text/plain; charset=utf-8", headers=headers)


@require_safe
@tenant_page
def file(request: HttpRequest, ctx: TenantContext, job_id: UUID, path: str) -> HttpResponseBase:
    """Downloads a file that the job wrote."""
    job = selectors.job_for_page(ctx, job_id)
    return download(outputs.content(job, path), path)


@tenant_page
def cancel(request: HttpRequest, ctx: TenantContext, job_id: UUID) -> HttpResponse:
    """Cancels a job after a confirmation, which the page's script asks for itself and this view does otherwise."""
    job = selectors.job_for_page(ctx, job_id)
    after = came_from(request, ctx, _address(job))
    ctx.require(ctx.can_manage(job.owner_id, job.submitted_by), "cancel this job")
    if job.ended:
        messages.info(request, f"{job.name} has already {job.status}; there is nothing to cancel.")
        return redirect(after)
    if request.method != "POST" or not request.POST.get("confirmed"):
        return render(request, "jobs/confirm_cancel.html", {"jobs": [job], "after": after})
    services.job_cancel(ctx=ctx, job_id=job.pk)
    messages.success(request, f"{job.name} was asked to end.")
    return redirect(after)


@require_POST
@tenant_page
def rerun(request: HttpRequest, ctx: TenantContext, job_id: UUID) -> HttpResponse:
    """Runs a job again as it was, under the next free name. Two clicks on one page make one job."""
    job = selectors.job_for_page(ctx, job_id)
    ctx.require(ctx.can_submit, "submit jobs")

    wanted, left_out = repeatable(ctx, job)

    def produce() -> tuple[int, Any]:
        payload = wanted | {"name": selectors.free_name(ctx, job.name)}
        return 201, str(services.job_submit(ctx=ctx, payload=payload).pk)

    key = request.POST.get("key", "")[:64]
    try:
        _, new_id = once(ctx, f"page-rerun-{key}-{job.pk}" if key else None, str(job.pk), produce)
    except DomainError as error:
        why = error.verdict.sentence if isinstance(error, QuotaExceeded) else error.message
        messages.error(request, f"{job.name} could not be run again: {why}")
        return redirect("jobs:rerun_form", ctx.tenant.slug, job.pk)
    messages.success(request, f"Submitted again, as it was for {job.name}.")
    if left_out:
        messages.warning(request, left_out)
    return redirect("jobs:detail", ctx.tenant.slug, new_id)


def _tab(
    request: HttpRequest,
    ctx: TenantContext,
    job_id: UUID,
    tab: str,
    content: Callable[[TrainingJob], dict[str, Any]],
    *,
    live_body: bool = True,
) -> HttpResponse:
    """A tab: the job's head above, the tab's own part below; both follow the job while it lives."""
    job = selectors.job_for_page(ctx, job_id)
    is_live = not job.ended or (job.completed_at is not None and timezone.now() - job.completed_at < AFTERWARDS)
    shown = presenters.shown(job, ctx, waiting_verdict(job, ctx))
    context: dict[str, Any] = {"job": job, "shown": shown, "tab": tab, "tabs": TABS}
    context |= {"here": here(request), "title": f"{job.name} · {job.get_status_display()}"}
    fragments = {
        "job-head": fragment(request, "jobs/_head.html", context),
        "announce": escape(f"{job.name}: {job.get_status_display()}. {shown.sentence}"),
        "seen": seen_fragment(request, selectors.last_seen(job), is_live=not job.ended, what="Last"),
    }
    if live_body or "poll" not in request.GET:
        context |= content(job)
    if live_body:
        fragments["tab-body"] = fragment(request, f"jobs/tabs/{tab}.html", context)
    if "poll" not in request.GET:
        context["key"] = forms.new_key()
        context["body"] = fragments.get("tab-body") or fragment(request, f"jobs/tabs/{tab}.html", context)
    seconds = METRICS_SECONDS if tab == "metrics" else TAB_SECONDS
    return live_page(request, "jobs/job.html", fragments, context, is_live=is_live, seconds=seconds)


def _overview(job: TrainingJob) -> dict[str, Any]:
    curves = _curves(job, 80) if job.metrics else {}
    last = [
        (name, value, charts.sparkline(curves.get(name, [])))
        for name, value in sorted(job.metrics.items())[:MANY_CHARTS]
    ]
    found = {"last_metrics": last, "compute": presenters.compute_text(job.spec.get("compute") or {})}
    if job.price_per_hour:
        found |= {"price": presenters.price_text(job.price_per_hour), "cost": presenters.cost_text(job)}
    return found


def _log(request: HttpRequest, job: TrainingJob) -> dict[str, Any]:
    if not job.ended:
        logs.watch(job)
    at = _offset(request, "at")
    wanted = request.GET.get("q", "").replace("\x00", "")[:200]
    page = log_pages.latest(job) if at is None else log_pages.from_line_at(job, at)
    return {"page": page, "at": at, "q": wanted, "search": log_pages.search(job, wanted) if wanted else None}


def _metrics(request: HttpRequest, job: TrainingJob) -> dict[str, Any]:
    curves = _curves(job, 400 if len(job.metrics) <= FEW_CHARTS else 120)
    names = sorted(curves)
    shown = names if request.GET.get("all") else names[:MANY_CHARTS]
    return {
        "charts": [charts.chart(name, curves[name]) for name in shown],
        "left_out": len(names) - len(shown),
        "report": presenters.REPORT_METRICS,
    }


def _curves(job: TrainingJob, most: int) -> dict[str, list[tuple[int, float]]]:
    """The thinned curves. Those of a job with a million points are read again only after twenty times as long as that took,
    so that a page left open costs little however much was reported.
    """
    key = f"curves-{job.pk}-{most}"
    known: dict[str, list[tuple[int, float]]] | None = cache.get(key)
    if known is not None:
        return known
    began = time.monotonic()
    curves = metrics.series(job, most=most)
    took = time.monotonic() - began
    if took > SLOW_SECONDS:
        cache.set(key, curves, timeout=20 * took)
    return curves


def _timeline(job: TrainingJob) -> dict[str, Any]:
    return {"lines": [presenters.line(event) for event in selectors.timeline(job)]}


def _files(job: TrainingJob) -> dict[str, Any]:
    try:
        found = outputs.files(job)
    except DomainError as error:
        return {"problem": error.message}
    return {
        "files": found.files,
        "more": found.truncated,
        "note": found.note,
        "total": sum(f.size for f in found.files),
    }


def _spec(job: TrainingJob) -> dict[str, Any]:
    request = selectors.request_of(job)
    manifest = yaml.safe_dump(selectors.manifest_of(job), sort_keys=False, allow_unicode=True, width=120)
    return {
        "call": presenters.curl(request),
        "spec_json": orjson.dumps(
            job.spec | {"queue": job.queue, "priority": job.priority}, option=orjson.OPT_INDENT_2
        ).decode(),
        "manifest": manifest,
        "source": job.source,
    }


def _offset(request: HttpRequest, name: str) -> int | None:
    given = request.GET.get(name)
    if given is None:
        return None
    if not (given.isascii() and given.isdigit() and len(given) < 19):
        raise invalid({name: ["must be a number of bytes"]})
    return int(given)


def _address(job: TrainingJob) -> str:
    return reverse("jobs:detail", args=[job.tenant.slug, job.pk])
