"""The API of quotas: what the token's team may hold and holds, what a submission would meet, and the machines on offer."""

from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from jobs import quota, selectors, services
from jobs.api import serializers as shapes
from jobs.api.views import TenantView, errors
from platform_portal import api
from tenants.models import InstanceType


class QuotaView(TenantView):
    @extend_schema(operation_id="quota_get", responses={200: shapes.QuotaSerializer} | errors())
    def get(self, request: Request) -> Response:
        """Look at the team's quota: limits, what is in use, what is left, and how many jobs wait."""
        state = quota.quota_state(self.ctx)
        return Response(
            {
                "limits": state.limits_by_resource,
                "used": state.used_by_resource,
                "left": state.left_by_resource,
                "waiting": state.waiting,
            }
        )


class TrainingJobPreviewView(TenantView):
    @extend_schema(
        operation_id="training_jobs_preview",
        request=shapes.TrainingRequestSerializer,
        responses={200: shapes.PreviewSerializer} | errors(403, 409, 413, 415),
    )
    def post(self, request: Request) -> Response:
        """Ask what a submission would meet now: start, wait or never fit. Makes nothing."""
        found = services.submit_preview(ctx=self.ctx, payload=api.json_object(request))
        verdict, state = found.verdict, quota.QuotaState(found.limits, found.held, found.waiting)
        return Response(
            {
                "outcome": verdict.outcome.value,
                "detail": verdict.sentence,
                "exceeded": [one.as_json() for one in verdict.exceeded],
                "left": state.left_by_resource,
                "queue_position_if_queued": found.position_if_queued,
            }
        )


class InstanceTypesView(TenantView):
    @extend_schema(
        operation_id="instance_types_list", responses={200: shapes.InstanceTypeSerializer(many=True)} | errors()
    )
    def get(self, request: Request) -> Response:
        """List the instance types that the team may name as compute."""
        return Response([_machine_json(one) for one in selectors.machines(self.ctx)])


def _machine_json(machine: InstanceType) -> dict[str, Any]:
    return {
        "name": machine.name,
        "description": machine.description,
        "cpu_cores": machine.cpu_cores,
        "memory_gb": machine.memory_gb,
        "gpu_count": machine.gpu_count,
        "gpu_type": machine.gpu_type or None,
        "price_per_hour": float(machine.price_per_hour),
        "currency": settings.PRICE_CURRENCY,
    }
