"""``/v1/health`` and ``/v1/ready``, for probes; no token."""

import logging
from typing import Any

from django.db import Error as DatabaseError
from django.db import connection
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from platform_portal.kube import cluster
from platform_portal.kube.errors import ClusterError

log = logging.getLogger(__name__)


class HealthView(APIView):
    authentication_classes = ()
    permission_classes = ()

    @extend_schema(
        operation_id="health",
        responses=inline_serializer("Health", {"status": serializers.CharField(), "service": serializers.CharField()}),
    )
    def get(self, request: Request) -> Response:
        """The process answers."""
        return Response({"status": "healthy", "service": "ml-platform-api"})


class ReadyView(APIView):
    authentication_classes = ()
    permission_classes = ()

    @extend_schema(
        operation_id="ready",
        responses={
            200: inline_serializer("Ready", {"status": serializers.CharField()}),
            503: inline_serializer(
                "NotReady",
                {
                    "detail": serializers.CharField(),
                    "code": serializers.CharField(),
                    "problems": serializers.DictField(child=serializers.CharField()),
                },
            ),
        },
    )
    def get(self, request: Request) -> Response:
        """200 when database and cluster answer, else 503 naming what does not."""
        problems = _problems()
        if not problems:
            return Response({"status": "ready"})
        detail = "Not ready: " + " and ".join(f"the {part} {what}" for part, what in problems.items()) + "."
        return Response({"detail": detail, "code": "not_ready", "problems": problems}, status=503)


def _problems() -> dict[str, Any]:
    found = {}
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as exc:
        log.warning("the database is not ready: %s", exc)
        found["database"] = "does not answer"
    try:
        cluster.default().ping()
    except ClusterError as exc:
        log.warning("the cluster is not ready: %s", exc)
        found["cluster"] = "does not answer"
    return found
