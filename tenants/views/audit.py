"""The team's audit log, for its leads: searched, paged, exported."""

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.http import content_disposition_header, urlencode
from django.views.decorators.http import require_safe

from platform_portal.errors import DomainError
from tenants import audit_export as export
from tenants import selectors
from tenants.context import TenantContext
from tenants.pages import tenant_page
from tenants.views.shared import team_page

PAGE = 50


@require_safe
@tenant_page
def audit_log(request: HttpRequest, ctx: TenantContext) -> HttpResponse:
    wanted = selectors.parse_audit_filter(request.GET, strict=False)
    try:
        after = selectors.decode_place(request.GET.get("cursor", ""))
    except DomainError:
        return redirect("tenants:audit", ctx.tenant.slug)
    entries, more = selectors.audit_page(ctx, wanted, limit=PAGE, after=after)
    context = {
        "entries": entries,
        "wanted": wanted,
        "actions": selectors.audit_actions(ctx),
        "query": _query(request),
        "older": _query(request, cursor=selectors.encode_place(entries[-1])) if more else "",
        "is_later_page": after is not None,
    }
    return team_page(request, ctx, "audit", context)


@require_safe
@tenant_page
def audit_export(request: HttpRequest, ctx: TenantContext) -> StreamingHttpResponse:
    """Everything that matches the filter, as CSV or as JSON lines."""
    kind = "jsonl" if request.GET.get("format") == "jsonl" else "csv"
    entries = selectors.audit_all(ctx, selectors.parse_audit_filter(request.GET, strict=True))
    answer = StreamingHttpResponse(export.written(entries, kind), content_type=export.TYPES[kind])
    name = f"audit-{ctx.tenant.slug}-{timezone.now():%Y-%m-%d}.{kind}"
    answer["Content-Disposition"] = content_disposition_header(True, name) or ""
    return answer


def _query(request: HttpRequest, **changes: str) -> str:
    keys = ("text", "actor", "action", "since", "until")
    parts = {key: request.GET.get(key, "") for key in keys} | changes
    return urlencode({key: value for key, value in parts.items() if value})
