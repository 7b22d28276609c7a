"""The API of training jobs: requests to services and selectors, and their answers to JSON."""

import hashlib
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from jobs import logs, metrics, outputs, selectors, services, sources
from jobs.api import serializers as shapes
from jobs.api.authentication import IsTheJob, JobPrincipal, JobTokenAuthentication
from jobs.models import Status
from platform_portal import api
from platform_portal.errors import DomainError, invalid
from tenants.context import TenantContext
from tenants.idempotency import once

IDEMPOTENCY = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, description="The same key and body within 24 h makes nothing new."
)
ERRORS = {code: OpenApiResponse(shapes.ErrorSerializer) for code in (400, 401, 403, 404, 409, 413, 415, 429, 503)}


def errors(*codes: int) -> dict[int, OpenApiResponse]:
    return {code: ERRORS[code] for code in (400, 401, 503, *codes)}


class PlainText(BaseRenderer):
    """Accepts what asks for text; the views answer bytes themselves, errors stay JSON."""

    media_type = "text/plain"
    format = "txt"
    charset = None

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return api.JSONRenderer().render(data)


class TenantView(APIView):
    """A view for a tenant's token; ``ctx`` is its context."""

    @property
    def ctx(self) -> TenantContext:
        return cast(TenantContext, self.request.auth)

    def once(self, content: bytes, produce: Any) -> tuple[int, Any]:
        """``produce``'s (status, body), or the first answer under the request's Idempotency-Key."""
        key = self.request.headers.get("Idempotency-Key")
        return once(self.ctx, key, api.fingerprint(self.request, content), produce)


class TrainingJobsView(TenantView):
    @extend_schema(
        operation_id="training_jobs_create",
        request=shapes.TrainingRequestSerializer,
        parameters=[IDEMPOTENCY],
        responses={201: shapes.TrainingJobSerializer, 429: shapes.QuotaExceededSerializer} | errors(403, 409, 413, 415),
    )
    def post(self, request: Request) -> Response:
        """Submit a training job."""
        payload = api.json_object(request)

        def produce() -> tuple[int, Any]:
            return 201, shapes.job_json(services.job_submit(ctx=self.ctx, payload=payload))

        status, body = self.once(api.canonical(payload), produce)
        return Response(body, status=status, headers={"Location": f"{request.path}/{body['id']}"})

    @extend_schema(
        operation_id="training_jobs_list",
        parameters=[
            OpenApiParameter("status", str, enum=[*Status.values, "live"]),
            OpenApiParameter("owner", str, description="Who submitted it."),
            OpenApiParameter("name", str, description="A part of the name."),
            OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}),
            OpenApiParameter("cursor", str, description="From the Link header of the page before."),
        ],
        responses={200: shapes.TrainingJobSerializer(many=True)} | errors(),
    )
    def get(self, request: Request) -> Response:
        """List the team's training jobs, newest first."""
        limit, after = api.page_limit(request), api.decode_cursor(request.GET.get("cursor", ""))
        wanted = selectors.parse_filter(request.GET, strict=True)
        jobs, more = selectors.jobs_newest(self.ctx, wanted, limit=limit, after=after, with_spec=True)
        headers = {}
        if more:
            headers["Link"] = api.next_link(request, api.encode_cursor(jobs[-1].created_at, jobs[-1].pk))
        return Response([shapes.job_json(job) for job in jobs], headers=headers)


class TrainingJobView(TenantView):
    @extend_schema(operation_id="training_jobs_get", responses={200: shapes.TrainingJobSerializer} | errors(403, 404))
    def get(self, request: Request, job_id: UUID) -> Response:
        """Look at a training job."""
        return Response(shapes.job_json(selectors.job_get(self.ctx, job_id)))

    @extend_schema(operation_id="training_jobs_cancel", responses={204: None} | errors(403, 404, 409))
    def delete(self, request: Request, job_id: UUID) -> Response:
        """Cancel a training job. Repeating it changes nothing."""
        selectors.job_get(self.ctx, job_id)
        services.job_cancel(ctx=self.ctx, job_id=job_id)
        return Response(status=204)


class TrainingJobLogsView(TenantView):
    renderer_classes = (PlainText, api.JSONRenderer)

    def handle_exception(self, exc: Exception) -> Response:
        """An error is JSON and says so, also to who asked for text."""
        response = super().handle_exception(exc)
        response.content_type = api.JSONRenderer.media_type
        return response

    @extend_schema(
        operation_id="training_jobs_logs",
        parameters=[
            OpenApiParameter("offset", {"type": "integer", "minimum": 0}, description="In bytes."),
            OpenApiParameter(
                "tail", {"type": "integer", "minimum": 1, "maximum": logs.MAX_TAIL_LINES}, description="In lines."
            ),
        ],
        responses={(200, "text/plain"): OpenApiTypes.STR} | errors(403, 404),
    )
    def get(self, request: Request, job_id: UUID) -> HttpResponse:
        """Read the log. X-Log-Offset is where to go on, X-Log-Complete whether nothing more can come."""
        job = selectors.job_get(self.ctx, job_id)
        lines = _whole(request, "tail", 1, logs.MAX_TAIL_LINES)
        offset = _whole(request, "offset", 0, 2**62)
        if lines is not None and offset is not None:
            raise invalid({"tail": ["cannot be combined with offset"]})
        if not job.ended:
            logs.watch(job)
        part = logs.tail(job, lines) if lines is not None else logs.read(job, offset=offset or 0)
        headers = {"X-Log-Offset": str(part.next_offset), "X-Log-Complete": str(part.complete).lower()}
        return HttpResponse(part.data, content_type="text/plain; charset=utf-8", headers=headers)


class TrainingJobEventsView(TenantView):
    @extend_schema(
        operation_id="training_jobs_events", responses={200: shapes.JobEventSerializer(many=True)} | errors(403, 404)
    )
    def get(self, request: Request, job_id: UUID) -> Response:
        """The timeline, oldest first."""
        job = selectors.job_get(self.ctx, job_id)
        return Response([shapes.event_json(event) for event in selectors.timeline(job)])


class TrainingJobFilesView(TenantView):
    @extend_schema(operation_id="training_jobs_files", responses={200: shapes.FilesSerializer} | errors(403, 404))
    def get(self, request: Request, job_id: UUID) -> Response:
        """List what the job wrote below its output path."""
        job = selectors.job_get(self.ctx, job_id)
        found = outputs.files(job)
        listed = [{"path": file.path, "size": file.size} for file in found.files]
        return Response({"files": listed, "truncated": found.truncated, "note": found.note})


class TrainingJobFileView(TenantView):
    @extend_schema(
        operation_id="training_jobs_file",
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY} | errors(403, 404),
    )
    def get(self, request: Request, job_id: UUID, path: str) -> StreamingHttpResponse:
        """Download a file that the job wrote."""
        return download(outputs.content(selectors.job_get(self.ctx, job_id), path), path)


class TrainingJobMetricsView(APIView):
    authentication_classes = (JobTokenAuthentication,)
    permission_classes = (IsTheJob,)

    @extend_schema(
        operation_id="training_jobs_metrics",
        request=shapes.MetricsSerializer,
        responses={202: shapes.MetricsAcceptedSerializer} | errors(403, 409, 413, 415),
    )
    def post(self, request: Request, job_id: UUID) -> Response:
        """Report metrics from the training program, one step or {"points": [...]}; a step sent again replaces itself."""
        principal = cast(JobPrincipal, request.auth)
        points = metrics.parse(request.data)
        return Response({"accepted": metrics.metrics_record(job=principal.job, points=points)}, status=202)


class TrainingJobSourceView(APIView):
    authentication_classes = (JobTokenAuthentication,)
    permission_classes = (IsTheJob,)

    @extend_schema(exclude=True)
    def get(self, request: Request, job_id: UUID) -> StreamingHttpResponse:
        """Hands the job's init container the uploaded source."""
        source = cast(JobPrincipal, request.auth).job.source
        if source is None:
            raise DomainError("not_found", "This job has no uploaded source.", http_status=404)
        return download(sources.source_content(source), source.filename)


class UploadParser(MultiPartParser):
    """Refuses an upload by its announced length before reading it."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        api.check_content_length(
            parser_context["request"] if parser_context else None, settings.SOURCE_MAX_BYTES + 2**16
        )
        return super().parse(stream, media_type, parser_context)


class SourcesView(TenantView):
    parser_classes: tuple[type[BaseParser], ...] = (UploadParser,)

    @extend_schema(
        operation_id="sources_create",
        request={"multipart/form-data": shapes.SourceUploadSerializer},
        parameters=[IDEMPOTENCY],
        responses={201: shapes.SourceSerializer} | errors(403, 409, 413, 415),
    )
    def post(self, request: Request) -> Response:
        """Upload code: a zip or tar.gz archive, or a single .py file."""
        file = request.FILES.get("file")
        if file is None:
            raise invalid({"file": ["is required: send the archive as multipart form field 'file'"]})
        digest, size = sources.digest_of(file)
        name = file.name or ""

        source = sources.source_store(ctx=self.ctx, file=file, filename=name, digest=digest, size=size)

        def produce() -> tuple[int, Any]:
            sources.source_keep(source)
            return 201, {"id": str(source.pk), "sha256": source.sha256, "size": source.size}

        # The boundary of a multipart body changes with each try: the file is what makes two uploads the same.
        content = hashlib.sha256(f"{name}\n{digest}".encode("utf-8", "surrogatepass")).digest()
        status, body = self.once(content, produce)
        return Response(body, status=status)


def download(content: Any, path: str) -> StreamingHttpResponse:
    """A file that the browser saves and never renders."""
    disposition = content_disposition_header(as_attachment=True, filename=path.rsplit("/", 1)[-1])
    headers = {"Content-Disposition": disposition or "attachment"}
    return StreamingHttpResponse(content, content_type="application/octet-stream", headers=headers)


def _whole(request: Request, name: str, least: int, most: int) -> int | None:
    given = request.GET.get(name)
    if given is None:
        return None
    if not given.isascii() or not given.isdigit() or len(given) > 19 or not least <= int(given) <= most:
        raise invalid({name: [f"must be a whole number from {least} to {most}"]})
    return int(given)
