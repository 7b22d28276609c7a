"""A job as people read it: sentences, sizes and durations for the pages.

Reads nothing from the database; a list may be built from rows that were loaded without their spec.
"""

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.conf import settings

from jobs import reasons
from jobs.models import JobEvent, Status, TrainingJob
from tenants.context import TenantContext
from tenants.models import InstanceType
from tenants.quotas import Outcome, Verdict

# Waiting for room is a wait of unknown length: people want to hear that it will end by itself.
WAITING_FOR_ROOM = ("Unschedulable", "QuotaExceeded", reasons.QUEUED_FOR_QUOTA)


@dataclass(frozen=True)
class Shown:
    """A job with what the person who looks at it may read and do."""

    job: TrainingJob
    can_cancel: bool
    can_rerun: bool
    # What a waiting job would meet now, where somebody has looked.
    verdict: Verdict | None = None

    @property
    def sentence(self) -> str:
        if self.job.queue_position is not None:
            return f"Waiting for quota, {ordinal_text(self.job.queue_position)} in the queue."
        return reasons.sentence(self.job.reason)

    @property
    def waits_for(self) -> str:
        """What has to happen before a waiting job starts."""
        if self.verdict is None or self.verdict.outcome is Outcome.NEVER:
            return ""
        if self.verdict.outcome is Outcome.WAIT and self.verdict.waiting:
            # What is free will be taken by those before it, so the numbers of today say nothing of its turn.
            return replace(self.verdict, exceeded=()).sentence
        return "It is about to start." if self.verdict.outcome is Outcome.NOW else self.verdict.sentence

    @property
    def remedy(self) -> str:
        return reasons.remedy(self.job.reason)

    @property
    def outlook(self) -> str:
        """``never`` when waiting will not help a pending job, ``not now`` when it will."""
        if self.job.status != Status.PENDING:
            return ""
        if reasons.is_permanent(self.job.reason):
            return "never"
        return "not now" if self.job.reason in WAITING_FOR_ROOM else ""

    @property
    def resources(self) -> str:
        """The instance type's name, or the sizes that were asked for."""
        if self.job.instance_type:
            return self.job.instance_type
        compute = getattr(self.job, "compute", None)
        if compute is None and "spec" not in self.job.get_deferred_fields():
            compute = self.job.spec.get("compute")
        return compute_text(compute or {})

    @property
    def began(self) -> datetime:
        """From when the time that matters now is counted: waiting since the submission, running since the start."""
        return self.job.started_at or self.job.created_at


def shown(job: TrainingJob, ctx: TenantContext, verdict: Verdict | None = None) -> Shown:
    may_cancel = not job.ended and job.cancel_requested_at is None and ctx.can_manage(job.owner_id, job.submitted_by)
    return Shown(job, may_cancel, ctx.can_submit, verdict)


@dataclass(frozen=True)
class Line:
    """One line of a timeline."""

    event: JobEvent
    sentence: str
    detail: str

    @property
    def level(self) -> str:
        if self.event.reason in ("Completed", "Running"):
            return "good"
        return self.event.level


def line(event: JobEvent) -> Line:
    """The platform speaks in sentences; Kubernetes' own words are left as they are."""
    if event.source == JobEvent.Source.PLATFORM:
        return Line(event, reasons.sentence(event.reason), event.message)
    return Line(event, event.message or event.reason, "")


def compute_text(compute: Mapping[str, Any]) -> str:
    if not compute:
        return "–"
    gpus = compute.get("gpu_count") or 0
    model = str(compute.get("gpu_type") or "GPU").removeprefix("nvidia-")
    parts = [f"{compute.get('cpu_cores', '?')} CPU", f"{compute.get('memory_gb', '?')} GB"]
    return " · ".join(parts + ([f"{gpus} × {model}"] if gpus else []))


def price_text(price: Decimal) -> str:
    """A price with at least two decimals, and more where it has them; nothing for what is free."""
    if not price:
        return ""
    exact = price.normalize()
    places = max(2, -int(exact.as_tuple().exponent))
    return f"{exact:,.{places}f} {settings.PRICE_CURRENCY}"


def cost_text(job: TrainingJob) -> str:
    """What an ended job has cost, by the price that its machine had when it was submitted."""
    if not job.price_per_hour or job.started_at is None or job.completed_at is None:
        return ""
    hours = Decimal((job.completed_at - job.started_at).total_seconds()) / 3600
    cost = job.price_per_hour * hours
    amount = f"{cost:,.2f}" if cost >= Decimal("0.01") else "less than 0.01"
    return f"{amount} {settings.PRICE_CURRENCY}"


def machine_text(machine: InstanceType) -> str:
    """A machine as the form offers it."""
    price = price_text(machine.price_per_hour)
    return f"{machine.label} · {price} per hour" if price else machine.label


def ordinal_text(number: int) -> str:
    last = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{last}"


def ago_text(seconds: float) -> str:
    if seconds < 5:
        return "just now"
    return f"{coarse_text(seconds)} ago"


def coarse_text(seconds: float) -> str:
    whole = int(max(seconds, 0))
    for limit, length, unit in ((60, 1, "s"), (3600, 60, "min"), (172800, 3600, "h"), (math.inf, 86400, "d")):
        if whole < limit:
            return f"{whole // length} {unit}"
    raise AssertionError("the last limit is infinite")


def duration_text(seconds: float) -> str:
    whole = int(max(seconds, 0))
    minutes, rest = divmod(whole, 60)
    hours, minutes_rest = divmod(minutes, 60)
    if whole < 60:
        return f"{whole} s"
    if hours < 1:
        return f"{minutes} min {rest:02} s"
    if hours < 48:
        return f"{hours} h {minutes_rest:02} min"
    return f"{hours // 24} d {hours % 24} h"


def size_text(count: int) -> str:
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{int(value)} {unit}" if unit == "bytes" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def number_text(value: Any) -> str:
    """A metric's value, short; what is no finite number is said to be none."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "NaN" if value is None or value != value else ("∞" if value > 0 else "−∞")
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.4g}"


def curl(payload: Mapping[str, Any], upload: str = "") -> str:
    """The API call that submits ``payload``; with ``upload`` the call that uploads this file comes first."""
    url = settings.PLATFORM_URL
    token = '-H "Authorization: Bearer $ML_PLATFORM_TOKEN"'
    body = json.dumps(payload, indent=2, ensure_ascii=False)
    head = ""
    if upload:
        reader = "python3 -c 'import json, sys; print(json.load(sys.stdin)[\"id\"])'"
        head = f"SOURCE=$(curl -sS {token} \\\n  -F {shlex.quote('file=@' + upload)} {url}/v1/sources | {reader})\n\n"
    # Quoting the word keeps the shell's hands off the body; with an upload its id has to be put in.
    word, body = ("JSON", escaped(body)) if upload else ("'JSON'", body)
    return (
        f"{head}curl -sS {token} \\\n  -H 'Content-Type: application/json' \\\n"
        f"  {url}/v1/jobs/training --data @- <<{word}\n{body}\nJSON"
    )


UPLOADED = "\ue000SOURCE\ue000"


def escaped(body: str) -> str:
    """The body inside an unquoted here-document, with the upload's id in its place."""
    for char in ("\\", "$", "`"):
        body = body.replace(char, f"\\{char}")
    return body.replace(UPLOADED, "$SOURCE")


REPORT_METRICS = """\
import json, os, urllib.request

def report(step, **values):
    urllib.request.urlopen(urllib.request.Request(
        f"{os.environ['ML_PLATFORM_URL']}/v1/jobs/training/{os.environ['ML_PLATFORM_JOB_ID']}/metrics",
        json.dumps({"step": step, "values": values}).encode(),
        {"Authorization": f"Bearer {os.environ['ML_PLATFORM_JOB_TOKEN']}", "Content-Type": "application/json"},
    )).close()

report(1, loss=0.42)"""
