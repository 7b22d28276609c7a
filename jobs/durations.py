"""The histogram of how long jobs took, kept in the database: exact, and the same from every process that is asked."""

from collections import defaultdict
from collections.abc import Iterable

from django.db import connection

from jobs.models import JobDuration

# Seconds. From a smoke test to a week's training.
BOUNDS = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 72 * 3600, 168 * 3600)


def durations_add(ended: Iterable[tuple[int, str, float]]) -> None:
    """Adds (tenant id, status, seconds) of jobs that ended; call it in the transaction that ends them."""
    sums: dict[tuple[int, str], list[float]] = defaultdict(lambda: [0.0] * (len(BOUNDS) + 2))
    for tenant_id, status, seconds in ended:
        entry = sums[tenant_id, str(status)]
        entry[sum(seconds > bound for bound in BOUNDS)] += 1
        entry[-1] += seconds
    # In one order, so that two processes that add at the same time cannot wait for each other in a ring.
    for (tenant_id, status), entry in sorted(sums.items()):
        _add(tenant_id, status, [int(count) for count in entry[:-1]], entry[-1])


def histogram() -> list[tuple[str, str, list[int], float]]:
    """(tenant slug, status, cumulative counts by bound and +Inf, sum of seconds)."""
    found = []
    rows = JobDuration.objects.select_related("tenant").order_by("tenant__slug", "status")
    for row in rows:
        running, cumulative = 0, []
        for count in row.counts:
            running += count
            cumulative.append(running)
        found.append((row.tenant.slug, row.status, cumulative, row.total_seconds))
    return found


def _add(tenant_id: int, status: str, counts: list[int], seconds: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO jobs_jobduration AS old (tenant_id, status, counts, total_seconds)"
            " VALUES (%(tenant)s, %(status)s, to_jsonb(%(counts)s::bigint[]), %(seconds)s)"
            " ON CONFLICT (tenant_id, status) DO UPDATE SET total_seconds = old.total_seconds + excluded.total_seconds,"
            " counts = (SELECT jsonb_agg(a.n::bigint + b.n::bigint ORDER BY a.i)"
            "  FROM jsonb_array_elements_text(old.counts) WITH ORDINALITY AS a(n, i)"
            "  JOIN jsonb_array_elements_text(excluded.counts) WITH ORDINALITY AS b(n, i) USING (i))",
            {"tenant": tenant_id, "status": status, "counts": counts, "seconds": seconds},
        )
