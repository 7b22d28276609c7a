"""``/v1/tenants/{slug}/audit``."""

from typing import Any

from django.http import HttpResponseBase, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from platform_portal import api
from tenants import audit_export, selectors
from tenants.api import shapes
from tenants.api.scope import TeamView


class _Export(BaseRenderer):
    """Accepts who asks for it, by header or ``format=``; the view streams, and errors stay JSON."""

    charset = None

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return api.JSONRenderer().render(data)


class CSVExport(_Export):
    media_type, format = "text/csv", "csv"


class JSONLinesExport(_Export):
    media_type, format = "application/x-ndjson", "jsonl"


class AuditEntrySerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    at = serializers.DateTimeField()
    actor = serializers.CharField()
    actor_kind = serializers.CharField(help_text="user, token, service-account or platform")
    action = serializers.CharField(help_text="Such as member.add or quota.grant.")
    target = serializers.CharField(allow_blank=True)
    target_id = serializers.CharField(allow_blank=True)
    before = serializers.DictField(allow_null=True, help_text="What changed, as it was.")
    after = serializers.DictField(allow_null=True)
    via = serializers.CharField(help_text="page, api, admin, sign-in, command or reconciler")
    address = serializers.IPAddressField(allow_null=True)
    tenant = serializers.CharField()


class AuditView(TeamView):
    renderer_classes = (api.JSONRenderer, CSVExport, JSONLinesExport)

    def handle_exception(self, exc: Exception) -> Response:
        """An error is JSON and says so, also to who asked for an export."""
        response = super().handle_exception(exc)
        response.content_type = api.JSONRenderer.media_type
        return response

    @extend_schema(
        operation_id="audit_list",
        parameters=[
            OpenApiParameter("text", str, description="Words that stand somewhere in a line."),
            OpenApiParameter("actor", str, description="A part of who did it."),
            OpenApiParameter("action", str, description="The beginning of what was done, such as member."),
            OpenApiParameter("since", OpenApiTypes.DATE, description="The first day, in UTC."),
            OpenApiParameter("until", OpenApiTypes.DATE, description="The last day, in UTC."),
            OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}),
            OpenApiParameter("cursor", str, description="From the Link header of the page before."),
            OpenApiParameter("format", str, enum=["json", "csv", "jsonl"], description="csv and jsonl are everything."),
        ],
        responses={
            (200, "application/json"): AuditEntrySerializer(many=True),
            (200, "text/csv"): OpenApiTypes.STR,
            (200, "application/x-ndjson"): OpenApiTypes.STR,
        }
        | shapes.errors(400, 403, 404),
    )
    def get(self, request: Request, slug: str) -> HttpResponseBase:
        """Read the team's audit log, newest first, as its lead: a page of it, or all of it as CSV or JSON lines."""
        ctx = self.ctx_of(request, slug)
        wanted = selectors.parse_audit_filter(request.GET, strict=True)
        kind = request.accepted_renderer.format
        if kind in audit_export.TYPES:
            entries = selectors.audit_all(ctx, wanted)
            return StreamingHttpResponse(audit_export.written(entries, kind), content_type=audit_export.TYPES[kind])
        limit, after = api.page_limit(request), selectors.decode_place(request.GET.get("cursor", ""))
        page, more = selectors.audit_page(ctx, wanted, limit=limit, after=after)
        headers = {"Link": api.next_link(request, selectors.encode_place(page[-1]))} if more else {}
        return Response([audit_export.entry_json(entry) for entry in page], headers=headers)
