"""The submit form: empty, from an earlier job, refused with everything that is wrong, or accepted."""

import hashlib
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from jobs import forms, live, presenters, selectors, services, sources, spec
from jobs.models import SourceArchive
from jobs.quota import QuotaExceeded
from jobs.views.quota import answer_fragments
from jobs.views.shared import repeatable
from platform_portal import api
from platform_portal.errors import DomainError
from tenants.context import TenantContext
from tenants.idempotency import once
from tenants.pages import tenant_page
from tenants.quotas import Outcome

# What the form's other fields may add to the largest upload.
FORM_ROOM = 4 * 1024 * 1024


@tenant_page
def _submit(request: HttpRequest, ctx: TenantContext) -> HttpResponse:
    ctx.require(ctx.can_submit, "submit jobs")
    if request.method != "POST":
        initial = {"name": forms.suggested_name(), "key": forms.new_key()}
        return _page(request, ctx, _form(ctx, initial=initial), None)
    form = _form(ctx, request.POST, request.FILES)
    form.is_valid()
    source = _source(ctx, form)
    if request.POST.get("check"):
        # Without JavaScript this is how the panel follows what was chosen.
        return _page(request, ctx, form, source)
    payload = form.payload(source)
    if form.errors:
        # What the rules find is said along with it, so that people mend everything in one go.
        found = spec.clean(payload, services.rules_for(ctx, payload))[1]
        form.add_domain_error(DomainError("invalid", "", fields=found))
        return _page(request, ctx, form, source, status=400)
    try:
        job_id = _accept(ctx, form.cleaned_data.get("key", ""), payload, source)
    except QuotaExceeded as error:
        form.add_error(None, error.verdict.sentence)
        return _page(request, ctx, form, source, status=429, can_queue=error.verdict.outcome is Outcome.WAIT)
    except DomainError as error:
        form.add_domain_error(error)
        return _page(request, ctx, form, source, status=error.http_status)
    messages.success(request, "Submitted. This page follows the job by itself.")
    return redirect("jobs:detail", ctx.tenant.slug, job_id)


_protected = csrf_protect(_submit)


@require_http_methods(["GET", "HEAD", "POST"])
@csrf_exempt
def submit(request: HttpRequest, tenant: str) -> HttpResponseBase:
    """Looks at the announced length before the CSRF check reads the body; that check is done right after."""
    api.check_content_length(request, settings.SOURCE_MAX_BYTES + FORM_ROOM)
    return _protected(request, tenant)


@require_safe
@tenant_page
def rerun_form(request: HttpRequest, ctx: TenantContext, job_id: UUID) -> HttpResponse:
    """The form with everything as it was for an earlier job, under the next free name."""
    ctx.require(ctx.can_submit, "submit jobs")
    job = selectors.job_for_page(ctx, job_id)
    form = _form(ctx)
    wanted, left_out = repeatable(ctx, job)
    if left_out:
        messages.warning(request, left_out)
    form.initial = forms.initial_of(wanted, job.spec.get("compute") or {}, form.sizes)
    form.initial |= {"name": selectors.free_name(ctx, job.name), "key": forms.new_key()}
    return _page(request, ctx, form, job.source, again=job.name)


@require_POST
@tenant_page
def preview(request: HttpRequest, ctx: TenantContext) -> HttpResponse:
    """The request that the form stands for, as curl, whether or not it is valid yet."""
    form = _form(ctx, request.POST)
    form.is_valid()
    source = _known_source(ctx, request.POST.get("source", ""))
    payload = form.payload(source)
    upload = ""
    if "source" not in payload and form.cleaned_data.get("source_kind") in (forms.UPLOAD, ""):
        upload = "train.py"
        payload = {"name": payload.pop("name"), "source": presenters.UPLOADED} | payload
    return render(request, "jobs/_preview.html", {"call": presenters.curl(payload, upload)})


def _form(ctx: TenantContext, *args: Any, **kwargs: Any) -> forms.SubmitForm:
    return forms.SubmitForm(*args, machines=selectors.machines(ctx), **kwargs)


def _accept(ctx: TenantContext, key: str, payload: dict[str, Any], source: SourceArchive | None) -> str:
    """Submits once for each filled-in form: a second click gets the first one's job."""
    # An upload that is sent twice has two ids; its digest is what makes the two requests the same.
    same = payload | ({"source": source.sha256} if source and "source" in payload else {})
    wanted = hashlib.sha256(api.canonical(same)).hexdigest()
    key_of_content = f"page-{hashlib.sha256(f'{key} {wanted}'.encode()).hexdigest()}" if key else None

    def produce() -> tuple[int, Any]:
        return 201, str(services.job_submit(ctx=ctx, payload=payload).pk)

    return str(once(ctx, key_of_content, wanted, produce)[1])


def _source(ctx: TenantContext, form: forms.SubmitForm) -> SourceArchive | None:
    """The upload that came with the form, stored so that it is not lost with a refusal; else the one stored before."""
    file = form.cleaned_data.get("file")
    if not file:
        return _known_source(ctx, form.cleaned_data.get("source", ""))
    digest, size = sources.digest_of(file)
    try:
        return sources.source_upload(ctx=ctx, file=file, filename=file.name or "", digest=digest, size=size)
    except DomainError as error:
        form.add_error("file", error.message)
        return None


def _known_source(ctx: TenantContext, text: str) -> SourceArchive | None:
    found = forms.source_id(text)
    return sources.source_of(ctx, found) if found else None


def _page(
    request: HttpRequest,
    ctx: TenantContext,
    form: forms.SubmitForm,
    source: SourceArchive | None,
    *,
    again: str = "",
    status: int = 200,
    can_queue: bool = False,
) -> HttpResponse:
    form.mark_errors()
    quota = answer_fragments(request, ctx, form)
    context = {
        "form": form,
        "source": source,
        "again": again,
        "quota": quota,
        "shown": live.digests(quota),
        "can_queue": can_queue and not form["queue"].value(),
    }
    return render(request, "jobs/submit.html", context, status=status)
