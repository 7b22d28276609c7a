"""A job as the API shows it, and the shapes of requests and answers for the OpenAPI document.

The rules of a spec are in ``jobs.spec``; the serializers here describe, they do not decide.
"""

from typing import Any

from django.conf import settings
from django.urls import reverse
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from jobs import spec
from jobs.models import JobEvent, Status, TrainingJob
from tenants.api import shapes

# One shape of errors in the whole API.
ErrorSerializer = shapes.Error
LABEL = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"


def job_json(job: TrainingJob) -> dict[str, Any]:
    """The contract's job. Needs ``tenant`` loaded and the place in the queue looked up; does no query."""
    return {
        "id": job.pk,
        "spec": job.spec,
        "status": job.status,
        "reason": job.reason,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "completed_at": job.completed_at,
        "error_message": job.error_message or None,
        "exit_code": job.exit_code,
        "kubernetes_job_name": job.kubernetes_job_name or None,
        "metrics": job.metrics,
        "attempts": job.attempts,
        "queue": job.queue,
        "priority": job.priority,
        "queue_position": job.queue_position,
        "price_per_hour": None if job.price_per_hour is None else float(job.price_per_hour),
        "output_path": job.output_path,
        "cost": None,
        "observed_at": job.observed_at,
        "url": settings.PLATFORM_URL + reverse("jobs:detail", args=[job.tenant.slug, job.pk]),
    }


def event_json(event: JobEvent) -> dict[str, Any]:
    return {
        "at": event.at,
        "source": event.source,
        "level": event.level,
        "reason": event.reason,
        "message": event.message,
        "count": event.count,
    }


class ComputeSerializer(serializers.Serializer[Any]):
    type = serializers.ChoiceField(choices=spec.COMPUTE_TYPES, default="cpu")
    cpu_cores = serializers.IntegerField(min_value=1, max_value=96, default=spec.DEFAULT_CPU_CORES)
    memory_gb = serializers.IntegerField(min_value=1, max_value=768, default=spec.DEFAULT_MEMORY_GB)
    gpu_count = serializers.IntegerField(min_value=1, max_value=8, required=False, help_text='Only with type "gpu".')
    gpu_type = serializers.CharField(max_length=63, required=False, help_text="For example nvidia-tesla-v100.")


@extend_schema_field({"oneOf": [{"$ref": "#/components/schemas/Compute"}, {"type": "string"}], "nullable": True})
class ComputeField(serializers.JSONField):
    """An object, or the name of an instance type (GET /v1/instance-types)."""


class TrainingSpecSerializer(serializers.Serializer[Any]):
    name = serializers.RegexField(LABEL, max_length=spec.MAX_NAME, help_text="A DNS-1123 label, unique in the team.")
    tenant_id = serializers.CharField(required=False, help_text="The token's team; nothing else is allowed.")
    docker_image = serializers.CharField(required=False, max_length=spec.MAX_IMAGE)
    entrypoint = serializers.CharField(required=False, max_length=spec.MAX_ENTRYPOINT, help_text="Run by /bin/sh -c.")
    source = serializers.UUIDField(  # type: ignore[assignment]
        required=False, allow_null=True, help_text="The id that POST /v1/sources answered."
    )
    code_repo = serializers.CharField(required=False, allow_null=True, max_length=spec.MAX_URL)
    code_commit = serializers.CharField(required=False, allow_null=True, max_length=255)
    data_path = serializers.CharField(required=False, allow_null=True, max_length=spec.MAX_URL)
    compute = ComputeField(required=False)
    hyperparameters = serializers.DictField(child=serializers.JSONField(), required=False)
    env_vars = serializers.DictField(child=serializers.CharField(allow_blank=True), required=False)
    model_output_path = serializers.CharField(required=False, allow_null=True, max_length=spec.MAX_URL)


class TrainingRequestSerializer(TrainingSpecSerializer):
    queue = serializers.BooleanField(
        required=False, help_text="Over quota it waits in the team's queue, instead of being refused with a 429."
    )
    priority = serializers.IntegerField(
        required=False,
        min_value=spec.PRIORITY[0],
        max_value=spec.PRIORITY[1],
        help_text="Of a waiting job: the higher one first, then the older one. Above 0 is for leads.",
    )


class TrainingJobSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    spec = TrainingSpecSerializer()
    status = serializers.ChoiceField(choices=Status.choices)
    reason = serializers.CharField(help_text="A stable CamelCase token.")
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    completed_at = serializers.DateTimeField(allow_null=True)
    error_message = serializers.CharField(allow_null=True)
    exit_code = serializers.IntegerField(allow_null=True)
    kubernetes_job_name = serializers.CharField(allow_null=True)
    metrics = serializers.DictField(child=serializers.FloatField(allow_null=True))
    attempts = serializers.IntegerField()
    queue = serializers.BooleanField(help_text="Whether it may wait in the team's queue.")
    priority = serializers.IntegerField()
    queue_position = serializers.IntegerField(
        allow_null=True, help_text="Its place in the team's queue, from 1 on; null for what waits for no turn there."
    )
    price_per_hour = serializers.FloatField(
        allow_null=True, help_text="Of its instance type when it was submitted, in the currency of instance types."
    )
    output_path = serializers.CharField()
    cost = serializers.FloatField(allow_null=True)
    observed_at = serializers.DateTimeField(allow_null=True)
    url = serializers.URLField()


class ExceededSerializer(serializers.Serializer[Any]):
    resource = serializers.CharField(help_text="cpu, memory_gb, gpus, gpus:<type>, jobs, pods or gpus_per_job.")
    limit = serializers.IntegerField()
    used = serializers.IntegerField()
    requested = serializers.IntegerField()


class QuotaSerializer(serializers.Serializer[Any]):
    limits = serializers.DictField(child=serializers.IntegerField())
    used = serializers.DictField(child=serializers.IntegerField())
    left = serializers.DictField(child=serializers.IntegerField())
    waiting = serializers.IntegerField(help_text="Jobs in the team's queue.")


class PreviewSerializer(serializers.Serializer[Any]):
    outcome = serializers.ChoiceField(choices=("now", "wait", "never"))
    detail = serializers.CharField()
    exceeded = ExceededSerializer(many=True)
    left = serializers.DictField(child=serializers.IntegerField())
    queue_position_if_queued = serializers.IntegerField(
        allow_null=True,
        help_text='The place in the queue that it would have with "queue": true; null unless it would wait.',
    )


class InstanceTypeSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    description = serializers.CharField(allow_blank=True)
    cpu_cores = serializers.IntegerField()
    memory_gb = serializers.IntegerField()
    gpu_count = serializers.IntegerField()
    gpu_type = serializers.CharField(allow_null=True)
    price_per_hour = serializers.FloatField()
    currency = serializers.CharField(help_text="What the price is in, by ISO 4217; the same for all.")


class JobEventSerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    source = serializers.ChoiceField(choices=JobEvent.Source.choices)  # type: ignore[assignment]
    level = serializers.CharField()
    reason = serializers.CharField()
    message = serializers.CharField()
    count = serializers.IntegerField()


class SourceUploadSerializer(serializers.Serializer[Any]):
    file = serializers.FileField()


class SourceSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    sha256 = serializers.CharField()
    size = serializers.IntegerField()


class MetricsSerializer(serializers.Serializer[Any]):
    step = serializers.IntegerField(min_value=0)
    values = serializers.DictField(child=serializers.FloatField())


class MetricsAcceptedSerializer(serializers.Serializer[Any]):
    accepted = serializers.IntegerField()


class FileSerializer(serializers.Serializer[Any]):
    path = serializers.CharField()
    size = serializers.IntegerField(help_text="In bytes.")


class FilesSerializer(serializers.Serializer[Any]):
    files = FileSerializer(many=True)
    truncated = serializers.BooleanField(help_text="There are more files than are listed.")
    note = serializers.CharField(allow_blank=True, help_text="Why nothing can be listed.")


class QuotaExceededSerializer(ErrorSerializer):
    exceeded = ExceededSerializer(many=True)
    fits = serializers.ChoiceField(
        choices=("later", "never"), help_text="later: once other work ends; never: the quota could not hold it at all."
    )
    waiting = serializers.IntegerField(help_text="How many jobs of the team's queue go before it.")
