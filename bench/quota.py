"""What a submission's decision on quota costs in a team with 10,000 live jobs, against one with 100 in the same run.

Both teams submit in turn from one process, straight into PostgreSQL, so that neither HTTP nor the machine's mood is in the ratio.
Three decisions are measured: one that admits (in one statement), one that refuses, and one that puts the job into the queue.
"""

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from bench import report
from bench.stack import Stack

if TYPE_CHECKING:
    from tenants.context import TenantContext

SMALLEST = 100
COMPUTE = {"cpu_cores": 1, "memory_gb": 1}


def main(*, largest: int = 10_000, count: int = 600) -> None:
    sizes = (SMALLEST, largest)
    with Stack("--no-kubelet", "--no-controllers"):
        from django.db import connection

        teams = {size: _team(size) for size in sizes}
        found: dict[str, dict[int, list[float]]] = {}
        for name, prepare, decision in (
            ("admitted", _room, _admitted),
            ("refused", _full, _refused),
            ("put into the queue", _full, _queued),
        ):
            for ctx in teams.values():
                prepare(ctx)
            with connection.cursor() as cursor:
                cursor.execute("VACUUM ANALYZE jobs_trainingjob")
            found[name] = _measure(teams, decision, count)
    rows = []
    for name, times in found.items():
        first, last = (statistics.median(times[size]) for size in sizes)
        rows.append([name, report.ms(first), report.ms(last), f"**{last / first:.2f}**"])
    head = ["decision", *(f"{size:,} live jobs" for size in sizes), "ratio"]
    report.table(f"A submission's decision on quota (p50 of {count} each)", head, rows)


def _team(size: int) -> "TenantContext":
    from bench.data import fill
    from tenants.context import TenantContext
    from tenants.models import Role
    from tenants.services import tenant_create

    tenant = tenant_create(slug=f"bench-{size}", name=f"{size} live jobs")
    fill(tenant.slug, 0, size, kind="running")
    return TenantContext(tenant=tenant, role=Role.LEAD, name="bench")


def _room(ctx: "TenantContext") -> None:
    from bench.data import raise_quota

    raise_quota(ctx.tenant.slug)
    ctx.tenant.refresh_from_db()


def _full(ctx: "TenantContext") -> None:
    """The quota is what is held, and a little less than that is asked for."""
    ctx.tenant.quota_cpu = ctx.tenant.usage.cpu
    ctx.tenant.save()


def _measure(
    teams: "dict[int, TenantContext]", decision: "Callable[[TenantContext, str], None]", count: int
) -> dict[int, list[float]]:
    times: dict[int, list[float]] = {size: [] for size in teams}
    for number in range(count + count // 10):
        for size, ctx in teams.items():
            began = time.perf_counter()
            decision(ctx, f"{decision.__name__.strip('_')}-{number}")
            # The first ones warm caches and plans.
            if number >= count // 10:
                times[size].append(time.perf_counter() - began)
    return times


def _admitted(ctx: "TenantContext", name: str) -> None:
    from jobs.services import job_submit

    assert not job_submit(ctx=ctx, payload={"name": name, "compute": COMPUTE}).waits


def _refused(ctx: "TenantContext", name: str) -> None:
    from jobs.quota import QuotaExceeded
    from jobs.services import job_submit

    try:
        job_submit(ctx=ctx, payload={"name": name, "compute": COMPUTE})
    except QuotaExceeded:
        return
    raise AssertionError("there was room")


def _queued(ctx: "TenantContext", name: str) -> None:
    from jobs.services import job_submit

    assert job_submit(ctx=ctx, payload={"name": name, "compute": COMPUTE, "queue": True}).waits
