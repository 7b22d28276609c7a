"""``/v1/health`` and ``/v1/ready``, for probes; no token."""

import logging

from django.db import Error as DatabaseError
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from platform_portal.kube import cluster
from platform_portal.kube.errors import ClusterError

log = logging.getLogger(__name__)


@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """The process answers."""
    return JsonResponse({"status": "healthy", "service": "ml-platform-api"})


@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """200 when database and cluster answer, else 503 naming what does not."""
    problems = {}
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as exc:
        log.warning("the database is not ready: %s", exc)
        problems["database"] = "does not answer"
    try:
        cluster.default().ping()
    except ClusterError as exc:
        log.warning("the cluster is not ready: %s", exc)
        problems["cluster"] = "does not answer"
    if not problems:
        return JsonResponse({"status": "ready"})
    detail = "Not ready: " + " and ".join(f"the {part} {what}" for part, what in problems.items()) + "."
    return JsonResponse({"detail": detail, "code": "not_ready", "problems": problems}, status=503)
