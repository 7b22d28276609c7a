"""Whether the usage that submissions are decided by is the sum over the jobs, and its repair.

Triggers keep it in the transaction of every change, so a difference means that somebody switched them off or wrote by hand.
"""

import json
import logging
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from tenants.models import QuotaUsage

log = logging.getLogger(__name__)

COUNTED = ("cpu", "memory_gb", "gpus", "pods", "jobs", "waiting", "gpu_types")
# One row for each team: what is written, and what its live jobs add up to, in one snapshot.
_SUMS = """
SELECT usage.tenant_id, tenant.slug,
    usage.cpu, usage.memory_gb, usage.gpus, usage.pods, usage.jobs, usage.waiting, usage.gpu_types::text,
    coalesce(sum(job.cpu_cores) FILTER (WHERE job.admitted_at IS NOT NULL), 0),
    coalesce(sum(job.memory_gb) FILTER (WHERE job.admitted_at IS NOT NULL), 0),
    coalesce(sum(job.gpu_count) FILTER (WHERE job.admitted_at IS NOT NULL), 0),
    coalesce(sum(job.pods) FILTER (WHERE job.admitted_at IS NOT NULL), 0),
    count(job.id) FILTER (WHERE job.admitted_at IS NOT NULL),
    count(job.id) FILTER (WHERE job.admitted_at IS NULL),
    coalesce((
        SELECT jsonb_object_agg(gpu_type, gpus) FROM (
            SELECT gpu_type, sum(gpu_count) AS gpus FROM jobs_trainingjob
            WHERE tenant_id = usage.tenant_id AND status IN ('pending', 'running') AND admitted_at IS NOT NULL
                AND gpu_type <> '' AND gpu_count > 0
            GROUP BY gpu_type
        ) AS types
    ), '{}')::text
FROM tenants_quotausage AS usage
JOIN tenants_tenant AS tenant ON tenant.id = usage.tenant_id
LEFT JOIN jobs_trainingjob AS job ON job.tenant_id = usage.tenant_id AND job.status IN ('pending', 'running')
WHERE usage.tenant_id = ANY(%s) OR %s
GROUP BY usage.tenant_id, tenant.slug ORDER BY tenant.slug
"""


@dataclass(frozen=True)
class Drift:
    """A team whose usage is not the sum over its jobs: each difference as (what is written, what is true)."""

    tenant_id: int
    slug: str
    differences: dict[str, tuple[Any, Any]]

    def __str__(self) -> str:
        told = ", ".join(f"{name} is {have}, should be {true}" for name, (have, true) in self.differences.items())
        return f"{self.slug}: {told}"


def usage_drift(tenant_id: int | None = None) -> list[Drift]:
    """The teams, or the one, whose usage is wrong."""
    with connection.cursor() as cursor:
        cursor.execute(_SUMS, [[tenant_id], tenant_id is None])
        return [one for row in cursor.fetchall() if (one := _compared(row)).differences]


def usage_repair(*, tenant_id: int) -> Drift | None:
    """Writes the sums into the team's usage; says what was wrong, or ``None``.

    Under the row's lock: a change that is not committed yet is in neither side, and its trigger adds it afterwards.
    """
    with transaction.atomic():
        if not QuotaUsage.objects.select_for_update().filter(tenant_id=tenant_id).exists():
            return None
        for found in usage_drift(tenant_id):
            right = {name: true for name, (_, true) in found.differences.items()}
            QuotaUsage.objects.filter(tenant_id=tenant_id).update(**right)
            log.error("the usage was wrong and has been put right: %s", found)
            return found
    return None


def _compared(row: tuple[Any, ...]) -> Drift:
    tenant_id, slug, *both = row
    written, true = both[: len(COUNTED)], both[len(COUNTED) :]
    pairs = dict(zip(COUNTED, zip(map(_plain, written), map(_plain, true), strict=True), strict=True))
    return Drift(tenant_id, slug, {name: pair for name, pair in pairs.items() if pair[0] != pair[1]})


def _plain(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else int(value)
