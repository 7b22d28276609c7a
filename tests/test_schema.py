"""The OpenAPI document is valid, is the committed one, and the API keeps to it whatever is thrown at it.

schemathesis makes requests from the document, good ones and bad ones, each operation with a fixed seed. Nothing may answer 5xx,
and every answer must be one that the document describes.
"""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from platform_portal.wsgi import application

if TYPE_CHECKING:
    from tests.personas import Team

ROOT = Path(__file__).resolve().parent.parent
COMMITTED = ROOT / "docs" / "openapi.yaml"
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
# Without a cluster, 503 is what /v1/ready is for.
schema = schemathesis.openapi.from_wsgi("/v1/schema", application).exclude(path="/v1/ready")


@pytest.fixture(autouse=True)
def database(db: None) -> Iterator[None]:
    """Each example's writes end with the test: a request's end must not close the test's own connection."""
    from django.core.signals import request_finished, request_started
    from django.db import close_old_connections

    for moment in (request_started, request_finished):
        moment.disconnect(close_old_connections)
    yield
    for moment in (request_started, request_finished):
        moment.connect(close_old_connections)


@pytest.fixture
def ours() -> "Team":
    """A team whose quota holds every job that the examples make: the document's answers are examined, not the quota's."""
    from tenants.models import Tenant
    from tests.personas import team

    ours = team("ours")
    Tenant.objects.filter(pk=ours.tenant.pk).update(
        quota_cpu=100_000, quota_memory_gib=1_000_000, quota_jobs=10_000, quota_pods=10_000
    )
    ours.tenant.refresh_from_db()
    return ours


def test_the_committed_document_is_what_the_code_says(tmp_path: Path) -> None:
    from django.core.management import call_command

    call_command("spectacular", file=str(tmp_path / "now.yaml"), validate=True, fail_on_warn=True)
    told = "run: PLATFORM_MODE=laptop .venv/bin/python manage.py spectacular --file docs/openapi.yaml"
    assert COMMITTED.read_text() == (tmp_path / "now.yaml").read_text(), told


def test_the_document_describes_every_call_of_the_contract() -> None:
    paths = yaml.safe_load(COMMITTED.read_text())["paths"]
    called = {(path, method) for path, methods in paths.items() for method in methods}
    job = "/v1/jobs/training/{job_id}"
    assert called >= {
        ("/v1/jobs/training", "post"),
        ("/v1/jobs/training", "get"),
        (job, "get"),
        (job, "delete"),
        (f"{job}/logs", "get"),
        (f"{job}/events", "get"),
        (f"{job}/metrics", "post"),
        (f"{job}/files", "get"),
        ("/v1/sources", "post"),
        ("/v1/health", "get"),
        ("/v1/ready", "get"),
    }


@schema.parametrize()
@settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_every_operation_keeps_to_the_document(case: Any, ours: "Team") -> None:
    """Examples about a job are about one that is there; unknown ids are in the table of errors."""
    from jobs import tokens
    from jobs.services import job_submit

    token = ours.token
    if "job_id" in (case.path_parameters or {}):
        job = job_submit(ctx=ours.ctx, payload={"name": f"job-{uuid.uuid4().hex[:8]}"})
        case.path_parameters["job_id"] = str(job.pk)
        if case.path.endswith("/metrics"):
            token = tokens.make(job.pk)
    case.headers = {**(case.headers or {}), "Authorization": f"Bearer {token}", "Accept-Encoding": "identity"}
    case.call_and_validate(checks=CHECKS)
