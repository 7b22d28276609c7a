"""Names of Kubernetes objects, derived from rows so that a repeated create finds its own object.

Requires: a job's name is a DNS-1123 label of at most 50 characters, so that every derived name fits in 63.
"""

from uuid import UUID

MANAGED_BY = "ml-platform"
JOB_ID_LABEL = "ml-platform/job-id"
SELECTOR = f"managed-by={MANAGED_BY}"
NAMESPACE_PREFIX = "ml-"


def namespace(tenant_slug: str) -> str:
    return f"{NAMESPACE_PREFIX}{tenant_slug}"


def training_job(name: str, job_id: UUID, attempt: int = 1) -> str:
    """``<name>-<8 hex of the id>``; an attempt after the first adds ``-<n>``."""
    base = f"{name}-{job_id.hex[:8]}"
    return base if attempt <= 1 else f"{base}-{attempt}"
