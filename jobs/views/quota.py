"""What the team's quota says to a wish before it is submitted: what is left, and whether it starts now, waits or never fits."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST

from jobs import forms, live, presenters, selectors, services
from jobs.quota import Preview, quota_preview, quota_state
from jobs.views.shared import fragment
from platform_portal.errors import DomainError
from tenants.context import TenantContext
from tenants.pages import tenant_page
from tenants.quotas import GPU_TYPE, RESOURCES, Held, Limits, Outcome


@dataclass(frozen=True)
class Left:
    """What the team still has of one resource; ``short`` marks what the wish does not fit into."""

    label: str
    limit: int
    used: int
    short: bool = False

    @property
    def left(self) -> int:
        return max(self.limit - self.used, 0)


@dataclass(frozen=True)
class Answer:
    """What the form says of the wish as it stands."""

    outcome: str
    headline: str
    sentence: str
    advice: str
    left: list[Left]
    price: str = ""


@require_POST
@tenant_page
def quota(request: HttpRequest, ctx: TenantContext) -> HttpResponse:
    """The parts of the answer that differ from what the form already shows."""
    ctx.require(ctx.can_submit, "submit jobs")
    form = forms.SubmitForm(request.POST, machines=selectors.machines(ctx))
    fragments = answer_fragments(request, ctx, form)
    different = live.changed(fragments, request.POST.get("shown", ""))
    if not different:
        return HttpResponse(status=204)
    return render(request, "jobs/_quota_changes.html", {"fragments": different, "shown": live.digests(fragments)})


def answer_fragments(request: HttpRequest, ctx: TenantContext, form: forms.SubmitForm) -> dict[str, str]:
    """The panel's two live parts by element id: the verdict, which is read out when it changes, and the numbers."""
    context = {"answer": answer(ctx, form)}
    return {
        "quota-verdict": fragment(request, "jobs/_quota_verdict.html", context),
        "quota-left": fragment(request, "jobs/_quota_left.html", context),
    }


def answer(ctx: TenantContext, form: forms.SubmitForm) -> Answer:
    """What the quota says to the form's machine, whether or not the rest is filled in."""
    wish = {"name": "any", "compute": form.compute()} | form.place_in_queue()
    try:
        job = services.job_checked(ctx=ctx, payload=wish)
    except DomainError as error:
        state = quota_state(ctx)
        return Answer("unknown", "Not known yet", form.sentences(error), "", _left(state.limits, state.held))
    preview = quota_preview(ctx, job.spec["compute"], priority=job.priority)
    verdict = preview.verdict
    return Answer(
        verdict.outcome.value,
        _headline(preview),
        # The headline has said that it starts now; this is why.
        "The team's quota has room for it." if verdict.outcome is Outcome.NOW else verdict.sentence,
        _advice(verdict.outcome, job.queue),
        _left(preview.limits, preview.held, [one.resource for one in verdict.exceeded], job.gpu_type),
        presenters.price_text(job.price_per_hour) if job.price_per_hour else "",
    )


def _headline(preview: Preview) -> str:
    if preview.position_if_queued is not None:
        return f"Would wait, {presenters.ordinal_text(preview.position_if_queued)} in the queue"
    return "Starts now" if preview.verdict.outcome is Outcome.NOW else "Never fits"


def _advice(outcome: Outcome, queues: bool) -> str:
    if outcome is not Outcome.WAIT:
        return ""
    if queues:
        return "It waits in the queue and starts by itself."
    return "It would be refused unless the box below is ticked."


def _left(limits: Limits, held: Held, short: Sequence[str] = (), gpu_type: str = "") -> list[Left]:
    """One number for GPUs, so that the panel keeps its shape: of those in all or of the chosen type, whichever are fewer."""
    cpu, memory, gpus, jobs = (
        Left(RESOURCES[name][1], getattr(limits, name), getattr(held, name), name in short)
        for name in ("cpu", "memory_gb", "gpus", "jobs")
    )
    if gpu_type in limits.gpu_types:
        used = held.gpu_types.get(gpu_type, 0)
        of_type = Left(gpu_type, limits.gpu_types[gpu_type], used, GPU_TYPE + gpu_type in short)
        gpus = min(gpus, of_type, key=lambda one: (one.left, not one.short))
    return [cpu, memory, gpus, jobs]
