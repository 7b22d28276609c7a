"""What a team holds of each resource beside what it may hold."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from tenants import amounts
from tenants.context import TenantContext
from tenants.models import CostCenter, QuotaUsage
from tenants.quotas import GPU_TYPE, RESOURCES, Held, held_of, limits_of, live_grants

# What is limited for each job, or counted by the cluster alone: there is nothing of the team's to sum up.
UNCOUNTED = ("pvcs", "gpus_per_job")
HIGH = 0.8


@dataclass(frozen=True)
class Bar:
    """One resource: how much of it is in use. ``limit`` is ``None`` for a GPU type without a limit of its own."""

    resource: str
    used: int
    limit: int | None
    # What is left of the limit once grants that end have ended, and the last day of the one that ends first.
    lasting: int | None = None
    until: date | None = None

    @property
    def label(self) -> str:
        return (
            self.resource.removeprefix(GPU_TYPE) if self.resource.startswith(GPU_TYPE) else RESOURCES[self.resource][1]
        )

    @property
    def unit(self) -> str:
        """What stands after the number, where the label does not say it."""
        return {"cpu": "cores", "memory_gb": "GB"}.get(self.resource, "GPUs" if GPU_TYPE in self.resource else "")

    @property
    def left(self) -> int:
        return max((self.limit or 0) - self.used, 0)

    @property
    def level(self) -> str:
        if self.limit is None:
            return "fine"
        if self.used > self.limit:
            return "over"
        return "high" if self.used and self.used >= HIGH * self.limit else "fine"


@dataclass(frozen=True)
class Usage:
    bars: list[Bar]
    # Limits without a sum, as (label, amount).
    rules: list[tuple[str, str]] = field(default_factory=list)
    waiting: int = 0


def usage_of(ctx: TenantContext, now: datetime) -> Usage:
    """One query: the row that submissions decide by."""
    row = QuotaUsage.objects.filter(tenant=ctx.tenant).first()
    held = held_of(row) if row else Held()
    limits, lasting = amounts.flat(limits_of(ctx.tenant, now)), amounts.lasting(ctx.tenant)
    ends = _ends(ctx, now)
    bars: list[Bar] = []
    for resource in [*limits, *(GPU_TYPE + model for model, used in sorted(held.gpu_types.items()) if used)]:
        if resource in UNCOUNTED or any(bar.resource == resource for bar in bars):
            continue
        used = held.gpu_types.get(resource.removeprefix(GPU_TYPE), 0)
        if not resource.startswith(GPU_TYPE):
            used = getattr(held, resource)
        limit = limits.get(resource)
        raised = limit is not None and limit > lasting[resource]
        bars.append(
            Bar(resource, used, limit, lasting[resource] if raised else None, ends.get(resource) if raised else None)
        )
    rules = [(amounts.label(resource), amounts.amount(resource, limits[resource])) for resource in UNCOUNTED]
    return Usage(bars, rules, row.waiting if row else 0)


def _ends(ctx: TenantContext, now: datetime) -> dict[str, date]:
    """The last day of the grant that ends first, by resource."""
    found: dict[str, date] = {}
    for grant in live_grants(ctx.tenant.grants, now):
        last = (datetime.fromisoformat(grant["until"]) - timedelta(microseconds=1)).date()
        for resource in grant:
            found[resource] = min(last, found.get(resource, last))
    return found


def cost_center_of(ctx: TenantContext) -> CostCenter:
    """Who pays for the team."""
    return CostCenter.objects.get(pk=ctx.tenant.cost_center_id)
