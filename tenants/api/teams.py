"""``/v1/tenants`` and ``/v1/cost-centers``: teams and who pays for them, for platform admins; a team may look at itself."""

from collections.abc import Mapping
from typing import Any, cast

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from platform_portal import api, names, safejson
from platform_portal.errors import DomainError, invalid
from tenants import quotas, services
from tenants.api.shapes import errors
from tenants.context import TenantContext
from tenants.idempotency import once
from tenants.models import CostCenter, PodSecurity, Tenant
from tenants.selectors.platform import (
    platform_cost_centers,
    platform_tenant,
    platform_tenants,
    require_platform_admin,
)
from tenants.wishes import CHANGING, CREATING, DELETING, ERROR, READY, artifact_root, state_of

# The path of a field in the API to the service's name for it.
QUOTA = {f"quota.{resource}": column for resource, (column, *_) in quotas.RESOURCES.items()}
QUOTA["quota.gpu_types"] = "quota_gpu_types"
FIELDS = {
    name: name for name in ("name", "cost_center", "artifact_root", "pod_security", "labels", "is_active")
} | QUOTA
CENTER_FIELDS = ("name", "monthly_budget", "currency", "is_active")


class Amounts(serializers.Serializer[Any]):
    cpu = serializers.IntegerField(required=False)
    memory_gb = serializers.IntegerField(required=False)
    gpus = serializers.IntegerField(required=False)
    gpu_types = serializers.DictField(child=serializers.IntegerField(), required=False)
    gpus_per_job = serializers.IntegerField(required=False)
    jobs = serializers.IntegerField(required=False)
    pods = serializers.IntegerField(required=False)
    pvcs = serializers.IntegerField(required=False)


class TenantChangeSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100, required=False)
    cost_center = serializers.CharField(required=False)
    is_active = serializers.BooleanField(required=False)
    pod_security = serializers.ChoiceField(choices=PodSecurity.choices, required=False)
    artifact_root = serializers.CharField(required=False, allow_blank=True)
    labels = serializers.DictField(child=serializers.CharField(), required=False)
    quota = Amounts(required=False)


class TenantWishSerializer(TenantChangeSerializer):
    slug = serializers.CharField(max_length=40)
    name = serializers.CharField(max_length=100)


class TenantSerializer(TenantWishSerializer):
    namespace = serializers.CharField()
    limits = Amounts(help_text="What holds now: the quota, raised by what was granted until a date.")
    state = serializers.ChoiceField(choices=(CREATING, READY, CHANGING, ERROR, DELETING))
    error = serializers.CharField(allow_null=True)
    applied_at = serializers.DateTimeField(allow_null=True)
    drift_at = serializers.DateTimeField(allow_null=True, help_text="When something changed by hand was put back last.")
    created_at = serializers.DateTimeField()
    deleting_at = serializers.DateTimeField(allow_null=True)


class CostCenterChangeSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100, required=False)
    monthly_budget = serializers.DecimalField(max_digits=12, decimal_places=2, required=False, allow_null=True)
    currency = serializers.CharField(max_length=3, required=False)
    is_active = serializers.BooleanField(required=False)


class CostCenterSerializer(CostCenterChangeSerializer):
    code = serializers.CharField(max_length=40)
    name = serializers.CharField(max_length=100)


IDEMPOTENCY = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, description="The same key and body within 24 h makes nothing new."
)
LIMIT = OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50})
CURSOR = OpenApiParameter("cursor", str, description="From the Link header of the page before.")
CONFIRM = OpenApiParameter("confirm", str, description="The team's slug, typed again; here or in the body.")


class _View(APIView):
    @property
    def ctx(self) -> TenantContext:
        return cast(TenantContext, self.request.auth)

    def made(self, request: Request, body: dict[str, Any], produce: Any) -> Response:
        """The answer to a POST, or the first one under its Idempotency-Key."""
        key = request.headers.get("Idempotency-Key")
        status, answer = once(self.ctx, key, api.fingerprint(request, api.canonical(body)), produce)
        where = answer.get("slug") or answer["code"]
        return Response(answer, status=status, headers={"Location": f"{request.path}/{where}"})


class TenantsView(_View):
    @extend_schema(
        operation_id="tenants_list",
        parameters=[LIMIT, CURSOR],
        responses={200: TenantSerializer(many=True)} | errors(400, 403),
    )
    def get(self, request: Request) -> Response:
        """List all teams by slug. For platform admins."""
        after = request.GET.get("cursor", "")
        if safejson.text_problem(after):
            raise invalid({"cursor": ["must be taken from the Link header of a page before"]})
        found, more = platform_tenants(self.ctx, limit=api.page_limit(request), after=after)
        headers = {"Link": api.next_link(request, found[-1].slug)} if more else {}
        return Response([tenant_json(tenant) for tenant in found], headers=headers)

    @extend_schema(
        operation_id="tenants_create",
        request=TenantWishSerializer,
        parameters=[IDEMPOTENCY],
        responses={201: TenantSerializer} | errors(400, 403, 409, 413, 415),
    )
    def post(self, request: Request) -> Response:
        """Create a team. Its namespace follows within seconds. For platform admins."""
        require_platform_admin(self.ctx)
        body = api.json_object(request)

        def produce() -> tuple[int, Any]:
            fields = _fields({key: value for key, value in body.items() if key != "slug"})
            missing = [name for name in ("slug", "name") if name not in body]
            if missing:
                raise invalid({name: ["is required"] for name in missing})
            with _Paths():
                tenant = services.tenant_create(slug=body["slug"], by=self.ctx, **fields)
            return 201, tenant_json(tenant)

        return self.made(request, body, produce)


class TenantView(_View):
    @extend_schema(operation_id="tenants_get", responses={200: TenantSerializer} | errors(403, 404))
    def get(self, request: Request, slug: str) -> Response:
        """Look at a team: the token's own, or for platform admins any."""
        return Response(tenant_json(platform_tenant(self.ctx, slug)))

    @extend_schema(
        operation_id="tenants_change",
        request=TenantChangeSerializer,
        responses={200: TenantSerializer} | errors(400, 403, 404, 409, 413, 415),
    )
    def patch(self, request: Request, slug: str) -> Response:
        """Change what is given. The namespace follows within seconds. For platform admins."""
        require_platform_admin(self.ctx)
        fields = _fields(api.json_object(request))
        with _Paths():
            return Response(tenant_json(services.tenant_update(slug=slug, by=self.ctx, **fields)))

    @extend_schema(
        operation_id="tenants_delete",
        parameters=[CONFIRM],
        request=None,
        responses={202: TenantSerializer} | errors(400, 403, 404),
    )
    def delete(self, request: Request, slug: str) -> Response:
        """Delete a team with all its jobs and its namespace. 202 until the namespace has gone, then 404. For platform admins."""
        require_platform_admin(self.ctx)
        body = request.data if isinstance(request.data, dict) else {}
        confirm = body.get("confirm", request.GET.get("confirm", ""))
        if not isinstance(confirm, str):
            raise invalid({"confirm": ["must be a text"]})
        return Response(tenant_json(services.tenant_delete(slug=slug, confirm=confirm, by=self.ctx)), status=202)


class CostCentersView(_View):
    @extend_schema(operation_id="cost_centers_list", responses={200: CostCenterSerializer(many=True)} | errors(403))
    def get(self, request: Request) -> Response:
        """List all cost centers. For platform admins."""
        return Response([cost_center_json(center) for center in platform_cost_centers(self.ctx)])

    @extend_schema(
        operation_id="cost_centers_create",
        request=CostCenterSerializer,
        parameters=[IDEMPOTENCY],
        responses={201: CostCenterSerializer} | errors(400, 403, 409, 413, 415),
    )
    def post(self, request: Request) -> Response:
        """Create a cost center. For platform admins."""
        require_platform_admin(self.ctx)
        body = api.json_object(request)

        def produce() -> tuple[int, Any]:
            missing = [name for name in ("code", "name") if name not in body]
            fields = _known(body, ("code", *CENTER_FIELDS))
            if missing:
                raise invalid({name: ["is required"] for name in missing})
            return 201, cost_center_json(services.cost_center_create(by=self.ctx, **fields))

        return self.made(request, body, produce)


class CostCenterView(_View):
    @extend_schema(
        operation_id="cost_centers_change",
        request=CostCenterChangeSerializer,
        responses={200: CostCenterSerializer} | errors(400, 403, 404, 413, 415),
    )
    def patch(self, request: Request, code: str) -> Response:
        """Change what is given. For platform admins."""
        require_platform_admin(self.ctx)
        fields = _known(api.json_object(request), CENTER_FIELDS)
        return Response(cost_center_json(services.cost_center_update(code=code, by=self.ctx, **fields)))


def tenant_json(tenant: Tenant) -> dict[str, Any]:
    now = timezone.now()
    limits = quotas.limits_of(tenant, now)
    return {
        "slug": tenant.slug,
        "name": tenant.name,
        "cost_center": tenant.cost_center_id,
        "is_active": tenant.is_active,
        "namespace": names.namespace(tenant.slug),
        "state": state_of(tenant, now),
        "error": tenant.apply_error or None,
        "applied_at": tenant.applied_at,
        "drift_at": tenant.drift_at,
        "pod_security": tenant.pod_security,
        "labels": tenant.labels,
        "artifact_root": artifact_root(tenant),
        "quota": {path.removeprefix("quota."): getattr(tenant, column) for path, column in QUOTA.items()},
        "limits": {resource: getattr(limits, resource) for resource in quotas.RESOURCES}
        | {"gpu_types": dict(limits.gpu_types)},
        "created_at": tenant.created_at,
        "deleting_at": tenant.deleting_at,
    }


def cost_center_json(center: CostCenter) -> dict[str, Any]:
    budget = center.monthly_budget
    return {
        "code": center.code,
        "name": center.name,
        "monthly_budget": None if budget is None else f"{budget:.2f}",
        "currency": center.currency,
        "is_active": center.is_active,
    }


class _Paths:
    """Errors that name a service's field leave with its path in the API."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DomainError) and error.fields:
            paths = {column: path for path, column in FIELDS.items()}
            error.fields = {paths.get(field, field): told for field, told in error.fields.items()}
            if error.code == "invalid":
                raise invalid(error.fields) from error


def _fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body's fields by the service's names; a 400 with every one that there is not."""
    flat: dict[str, Any] = {}
    for key, value in body.items():
        if key == "quota" and isinstance(value, dict):
            flat |= {f"quota.{resource}": amount for resource, amount in value.items()}
        else:
            flat[key] = value
    return {FIELDS[path]: value for path, value in _known(flat, tuple(FIELDS)).items()}


def _known(body: Mapping[str, Any], known: tuple[str, ...]) -> dict[str, Any]:
    unknown = [key for key in body if key not in known]
    if unknown:
        raise invalid({key: ["is not known"] for key in unknown})
    return dict(body)
