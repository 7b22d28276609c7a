"""A training process's own token: it names one job, and opens that job's metrics and source only."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from jobs import selectors, tokens
from jobs.models import TrainingJob
from platform_portal.errors import forbidden
from platform_portal.rate_limits import hit
from tenants.api.authentication import CHALLENGE, bearer, count_failure

# What a program reports in its last moments may arrive after the cluster has said that it ended.
AFTER_END = timedelta(hours=1)


@dataclass(frozen=True)
class JobPrincipal:
    job: TrainingJob


class JobTokenAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Any, JobPrincipal] | None:
        token = bearer(request)
        if token is None:
            return None
        job_id = tokens.job_id_of(token)
        job = selectors.job_of_token(job_id) if job_id else None
        if job is None:
            count_failure()
            raise AuthenticationFailed("This needs the token of the training job itself.", code="invalid_token")
        hit("RATE_LIMIT_JOB_TOKEN", str(job.pk), "by this job")
        if job.completed_at is not None and job.completed_at < timezone.now() - AFTER_END:
            raise AuthenticationFailed("The job has ended, and its token with it.", code="invalid_token")
        return None, JobPrincipal(job)

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


class IsTheJob(BasePermission):
    """The token's job is the one that the URL names."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if not isinstance(request.auth, JobPrincipal):
            return False
        if request.auth.job.pk != view.kwargs["job_id"]:
            raise forbidden("This token belongs to another training job.")
        return True


class JobTokenScheme(OpenApiAuthenticationExtension):
    target_class = JobTokenAuthentication
    name = "jobToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "ML_PLATFORM_JOB_TOKEN of the training process."}
