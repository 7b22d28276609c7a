"""PURE: whether a wish fits a team's quota now, has to wait, or never can; and the sentences that say so.

One rule for the API, the form's preview, the queue and the errors: ``decide``. Cores, GB, GPUs and so on are whole numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

# Resource to (the tenant's field, what people call it, the unit after a number).
RESOURCES: dict[str, tuple[str, str, str]] = {
    "cpu": ("quota_cpu", "CPU", "cores"),
    "memory_gb": ("quota_memory_gib", "Memory", "GB"),
    "gpus": ("quota_gpus", "GPUs", "GPUs"),
    "jobs": ("quota_jobs", "Running jobs", "jobs"),
    "pods": ("quota_pods", "Pods", "pods"),
    "pvcs": ("quota_pvcs", "Volume claims", "claims"),
    "gpus_per_job": ("quota_gpus_per_job", "GPUs per job", "GPUs"),
}
GPU_TYPE = "gpus:"
# More than anybody can hold; fits the database's integers.
ANY = 2**31 - 1


@dataclass(frozen=True)
class Limits:
    """What the team may hold at once; ``gpu_types`` limits single types further."""

    cpu: int
    memory_gb: int
    gpus: int
    jobs: int
    pods: int
    pvcs: int
    gpus_per_job: int
    gpu_types: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Held:
    """What the team holds: the sum over its admitted live work."""

    cpu: int = 0
    memory_gb: int = 0
    gpus: int = 0
    jobs: int = 0
    pods: int = 0
    gpu_types: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Ask:
    """What one piece of work would add. ``jobs`` is 0 for what is no job, such as a deployment."""

    cpu: int
    memory_gb: int
    gpus: int = 0
    gpu_type: str = ""
    pods: int = 1
    jobs: int = 1


class Outcome(Enum):
    NOW = "now"
    WAIT = "wait"
    NEVER = "never"


@dataclass(frozen=True)
class Exceeded:
    """One resource that does not fit. ``never``: even with nothing else running."""

    resource: str
    limit: int
    used: int
    requested: int

    @property
    def never(self) -> bool:
        return self.requested > self.limit

    @property
    def label(self) -> str:
        if self.resource.startswith(GPU_TYPE):
            return f"GPUs of type {self.resource.removeprefix(GPU_TYPE)}"
        return RESOURCES[self.resource][1]

    @property
    def missing(self) -> int:
        return self.used + self.requested - self.limit

    def as_json(self) -> dict[str, Any]:
        return {"resource": self.resource, "limit": self.limit, "used": self.used, "requested": self.requested}


@dataclass(frozen=True)
class Verdict:
    outcome: Outcome
    exceeded: tuple[Exceeded, ...] = ()
    # How many jobs of the team wait before this one, of the same or a higher priority.
    waiting: int = 0

    @property
    def binding(self) -> Exceeded | None:
        """The limit that decides: one that can never hold the wish before others, then the one that lacks most of itself."""
        return max(self.exceeded, key=lambda one: (one.never, one.missing / max(one.limit, 1)), default=None)

    @property
    def sentence(self) -> str:
        """What a person is told: the binding limit, and what would free it."""
        if self.outcome is Outcome.NOW:
            return "This would start now."
        one = self.binding
        if one is None:
            if self.waiting == 1:
                return "1 job waits in the team's queue before it; it starts after that one."
            return f"{self.waiting} jobs wait in the team's queue before it; it starts after them."
        if self.outcome is Outcome.NEVER:
            return _never(one)
        return (
            f"The team's quota of {_amount(one, one.limit)} is reached: {one.used} in use, {one.requested} asked for. It fits"
            f" once {_amount(one, one.missing)} {_are(one)} free; that takes a job of the team to end or to be cancelled."
        )


def decide(limits: Limits, held: Held, ask: Ask, *, waiting: int = 0) -> Verdict:
    """NOW when everything fits and nobody waits before it; NEVER when it is more than the quota could ever hold."""
    pairs = [
        ("cpu", limits.cpu, held.cpu, ask.cpu),
        ("memory_gb", limits.memory_gb, held.memory_gb, ask.memory_gb),
        ("gpus", limits.gpus, held.gpus, ask.gpus),
        ("jobs", limits.jobs, held.jobs, ask.jobs),
        ("pods", limits.pods, held.pods, ask.pods),
    ]
    if ask.gpu_type and ask.gpu_type in limits.gpu_types:
        used = held.gpu_types.get(ask.gpu_type, 0)
        pairs.append((GPU_TYPE + ask.gpu_type, limits.gpu_types[ask.gpu_type], used, ask.gpus))
    if ask.jobs:
        pairs.append(("gpus_per_job", limits.gpus_per_job, 0, ask.gpus))
    # Who asks for nothing of a resource is not in its way, also where a lowered limit is overrun.
    exceeded = tuple(Exceeded(*pair) for pair in pairs if pair[3] and pair[2] + pair[3] > pair[1])
    if any(one.never for one in exceeded):
        return Verdict(Outcome.NEVER, exceeded, waiting)
    if exceeded or waiting:
        return Verdict(Outcome.WAIT, exceeded, waiting)
    return Verdict(Outcome.NOW)


@dataclass(frozen=True)
class Room:
    """The most of each resource that may be in use for a wish to fit beside it: ``decide`` as comparisons with one row."""

    cpu: int
    memory_gb: int
    gpus: int
    jobs: int
    pods: int
    # Of the wish's own type of GPU, where that is limited.
    gpus_of_type: int

    def holds(self, held: Held, gpu_type: str) -> bool:
        most = (self.cpu, self.memory_gb, self.gpus, self.jobs, self.pods, self.gpus_of_type)
        used = (held.cpu, held.memory_gb, held.gpus, held.jobs, held.pods, held.gpu_types.get(gpu_type, 0))
        return all(one <= other for one, other in zip(used, most, strict=True))


def room_for(limits: Limits, ask: Ask) -> Room | None:
    """``room.holds(held)`` exactly when ``decide`` with nobody waiting says NOW; ``None`` when no usage would do."""
    if ask.jobs and ask.gpus > limits.gpus_per_job:
        return None

    def most(limit: int, asked: int) -> int:
        return limit - asked if asked else ANY

    of_type = limits.gpu_types.get(ask.gpu_type) if ask.gpu_type else None
    room = Room(
        cpu=most(limits.cpu, ask.cpu),
        memory_gb=most(limits.memory_gb, ask.memory_gb),
        gpus=most(limits.gpus, ask.gpus),
        jobs=most(limits.jobs, ask.jobs),
        pods=most(limits.pods, ask.pods),
        gpus_of_type=ANY if of_type is None else most(of_type, ask.gpus),
    )
    return None if min(room.cpu, room.memory_gb, room.gpus, room.jobs, room.pods, room.gpus_of_type) < 0 else room


def limits_of(tenant: Any, now: datetime) -> Limits:
    """The tenant's limits at this moment: its quota, raised by what was granted until a date that is still to come."""
    values = {resource: int(getattr(tenant, names[0])) for resource, names in RESOURCES.items()}
    gpu_types = dict(tenant.quota_gpu_types)
    for grant in live_grants(tenant.grants, now):
        for resource, most in grant.items():
            if resource in values:
                values[resource] = max(values[resource], int(most))
            elif resource.startswith(GPU_TYPE) and resource.removeprefix(GPU_TYPE) in gpu_types:
                model = resource.removeprefix(GPU_TYPE)
                gpu_types[model] = max(gpu_types[model], int(most))
    return Limits(**values, gpu_types=gpu_types)


def live_grants(grants: Sequence[Mapping[str, Any]], now: datetime) -> list[Mapping[str, Any]]:
    """Those that have not run out. ``until`` is the moment, ISO 8601 with its offset, from which a grant is over."""
    return [grant for grant in grants if datetime.fromisoformat(grant["until"]) > now]


def held_of(usage: Any) -> Held:
    """What a row of usage says."""
    return Held(
        cpu=usage.cpu,
        memory_gb=usage.memory_gb,
        gpus=usage.gpus,
        jobs=usage.jobs,
        pods=usage.pods,
        gpu_types=usage.gpu_types,
    )


def with_ask(held: Held, ask: Ask) -> Held:
    """What is held once this wish has been admitted too."""
    gpu_types = dict(held.gpu_types)
    if ask.gpu_type and ask.gpus:
        gpu_types[ask.gpu_type] = gpu_types.get(ask.gpu_type, 0) + ask.gpus
    return Held(
        cpu=held.cpu + ask.cpu,
        memory_gb=held.memory_gb + ask.memory_gb,
        gpus=held.gpus + ask.gpus,
        jobs=held.jobs + ask.jobs,
        pods=held.pods + ask.pods,
        gpu_types=gpu_types,
    )


def _never(one: Exceeded) -> str:
    if one.resource == "gpus_per_job":
        return f"A job of this team may have at most {_amount(one, one.limit)}; this one asks for {one.requested}."
    return (
        f"This asks for {_amount(one, one.requested)}, and the team's quota holds {one.limit} in all: it can never start."
        " Ask for less, or for more quota."
    )


def _amount(one: Exceeded, number: int) -> str:
    if one.resource.startswith(GPU_TYPE):
        return f"{number} {one.resource.removeprefix(GPU_TYPE)} GPU{'' if number == 1 else 's'}"
    unit = RESOURCES[one.resource][2]
    unit = {"memory_gb": "GB of memory", "cpu": "CPU cores", "jobs": "running jobs"}.get(one.resource, unit)
    return f"{number} {unit.replace('cores', 'core').replace('GPUs', 'GPU').replace('jobs', 'job') if number == 1 else unit}"


def _are(one: Exceeded) -> str:
    return "is" if one.missing == 1 else "are"
