"""``/v1/tenants/{slug}/quota-requests``."""

from datetime import date
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from platform_portal import api
from platform_portal.errors import forbidden, invalid
from tenants import selectors, services
from tenants.api import bodies, shapes
from tenants.api.scope import TeamView
from tenants.idempotency import once
from tenants.models import QuotaRequest

DECISIONS = ("grant", "decline")
DECISION = {"decision": str, "granted": dict, "until": str, "note": str}
LIMITS = serializers.DictField(
    child=serializers.IntegerField(min_value=0),
    help_text='Resource to limit: cpu, memory_gb, gpus, jobs, pods, pvcs, gpus_per_job or "gpus:<type>".',
)


class QuotaRequestWishSerializer(serializers.Serializer[Any]):
    wanted = LIMITS
    reason = serializers.CharField(max_length=2000)


class QuotaRequestSerializer(QuotaRequestWishSerializer):
    id = serializers.IntegerField()
    current = serializers.DictField(child=serializers.IntegerField(), help_text="What the limits were then.")
    requested_by = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    status = serializers.ChoiceField(choices=QuotaRequest.Status.choices)
    granted = serializers.DictField(child=serializers.IntegerField(), allow_null=True)
    until = serializers.DateField(allow_null=True, help_text="The last day of the grant, in UTC; null for good.")
    decided_by = serializers.CharField(allow_null=True)
    decided_at = serializers.DateTimeField(allow_null=True)
    note = serializers.CharField(allow_blank=True)


class QuotaDecisionSerializer(serializers.Serializer[Any]):
    decision = serializers.ChoiceField(choices=DECISIONS)
    granted = serializers.DictField(
        child=serializers.IntegerField(min_value=1), required=False, help_text="By default all that is wanted."
    )
    until = serializers.DateField(required=False, allow_null=True)
    note = serializers.CharField(required=False, allow_blank=True, max_length=2000, help_text="Required to decline.")


def quota_request_json(request: QuotaRequest) -> dict[str, Any]:
    return {
        "id": request.pk,
        "wanted": request.wanted,
        "current": request.current,
        "reason": request.reason,
        "requested_by": request.requested_by.get_username() if request.requested_by else None,
        "created_at": request.created_at,
        "status": request.status,
        "granted": request.granted,
        "until": request.until,
        "decided_by": request.decided_by.get_username() if request.decided_by else None,
        "decided_at": request.decided_at,
        "note": request.decision_note,
    }


class QuotaRequestsView(TeamView):
    @extend_schema(
        operation_id="quota_requests_list", responses={200: QuotaRequestSerializer(many=True)} | shapes.errors(403, 404)
    )
    def get(self, request: Request, slug: str) -> Response:
        """List the team's newest requests for more quota, and what became of them."""
        return Response([quota_request_json(one) for one in selectors.quota_requests_of(self.ctx_of(request, slug))])

    @extend_schema(
        operation_id="quota_requests_create",
        request=QuotaRequestWishSerializer,
        parameters=[OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER)],
        responses={201: QuotaRequestSerializer} | shapes.errors(400, 403, 404, 409, 413, 415),
    )
    def post(self, request: Request, slug: str) -> Response:
        """Ask for more quota. The platform admins are told, and you are told what they decide."""
        ctx = self.ctx_of(request, slug)
        wish = bodies.read(request, {"wanted": dict, "reason": str}, required=("wanted", "reason"))

        def produce() -> tuple[int, Any]:
            return 201, quota_request_json(services.quota_request_create(ctx=ctx, **wish))

        mark = api.fingerprint(request, api.canonical(wish))
        status, body = once(ctx, request.headers.get("Idempotency-Key"), mark, produce)
        return Response(body, status=status, headers={"Location": f"{request.path}/{body['id']}"})


class QuotaRequestView(TeamView):
    @extend_schema(operation_id="quota_requests_get", responses={200: QuotaRequestSerializer} | shapes.errors(403, 404))
    def get(self, request: Request, slug: str, request_id: int) -> Response:
        """Look at a request."""
        return Response(quota_request_json(selectors.quota_request_get(self.ctx_of(request, slug), request_id)))

    @extend_schema(operation_id="quota_requests_withdraw", responses={204: None} | shapes.errors(403, 404, 409))
    def delete(self, request: Request, slug: str, request_id: int) -> Response:
        """Withdraw a request that awaits its decision. Repeating it changes nothing."""
        services.quota_request_withdraw(ctx=self.ctx_of(request, slug), request_id=request_id)
        return Response(status=204)


class QuotaDecisionView(TeamView):
    @extend_schema(
        operation_id="quota_requests_decide",
        request=QuotaDecisionSerializer,
        responses={200: QuotaRequestSerializer} | shapes.errors(400, 403, 404, 409, 413, 415),
    )
    def post(self, request: Request, slug: str, request_id: int) -> Response:
        """Decide on a request, as a platform admin: grant all or part of it, for good or until a date, or decline."""
        ctx = self.ctx_of(request, slug)
        if not ctx.is_platform_admin or ctx.user is None:
            raise forbidden("Only platform admins decide on quota.")
        wanted = selectors.quota_request_get(ctx, request_id).wanted
        wish = bodies.read(request, DECISION, required=("decision",))
        if wish["decision"] not in DECISIONS:
            raise invalid({"decision": [f"must be one of {', '.join(DECISIONS)}"]})
        granted = wish.get("granted", wanted) if wish["decision"] == "grant" else None
        decided = services.quota_request_decide(
            by=ctx.user,
            request_id=request_id,
            granted=granted,
            until=_day(wish.get("until")),
            note=wish.get("note", ""),
        )
        return Response(quota_request_json(decided))


def _day(text: str | None) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as exc:
        raise invalid({"until": ["must be a day such as 2026-03-31"]}) from exc
