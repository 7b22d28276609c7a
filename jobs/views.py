"""The pages of training jobs."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse

from jobs import selectors
from tenants.context import TenantContext
from tenants.pages import tenant_page


@tenant_page
def dashboard(request: HttpRequest, ctx: TenantContext) -> HttpResponse:
    return HttpResponse("dashboard")


@tenant_page
def job_list(request: HttpRequest, ctx: TenantContext) -> HttpResponse:
    return HttpResponse("list")


@tenant_page
def submit(request: HttpRequest, ctx: TenantContext) -> HttpResponse:
    return HttpResponse("submit")


@tenant_page
def detail(request: HttpRequest, ctx: TenantContext, job_id: UUID) -> HttpResponse:
    return HttpResponse(selectors.job_for_page(ctx, job_id).name)


@tenant_page
def cancel(request: HttpRequest, ctx: TenantContext, job_id: UUID) -> HttpResponse:
    return HttpResponse("cancel")
