"""Writes: a team's wishes for more quota, and what a platform admin makes of them.

Each takes the tenant's row first, so that two decisions, or a decision and a withdrawal, come one after the other and the second
sees what the first has done.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils import timezone

from platform_portal import safejson, wakeup
from platform_portal.errors import conflict, forbidden, invalid, not_found
from tenants import amounts, audit
from tenants.context import TenantContext
from tenants.models import QuotaRequest, Role, Tenant
from tenants.quotas import GPU_TYPE, RESOURCES, limits_of, live_grants
from tenants.services.notifications import notify

if TYPE_CHECKING:
    from django.contrib.auth.models import User

MOST_PENDING = 5
MOST = 1_000_000
LONGEST_REASON = 2000
FURTHEST = timedelta(days=3653)
Status = QuotaRequest.Status


def quota_request_create(*, ctx: TenantContext, wanted: Mapping[str, Any], reason: str) -> QuotaRequest:
    """Asks for higher limits: resource (``tenants.quotas.RESOURCES`` or ``gpus:<type>``) to the limit that is wanted."""
    ctx.require(ctx.can(Role.MEMBER) and _may_write(ctx), "ask for more quota")
    with transaction.atomic():
        tenant = _locked(ctx.tenant.pk)
        replace(ctx, tenant=tenant).require(tenant.accepts_work, "ask for more quota")
        present = amounts.lasting(tenant)
        problems = _problems(wanted, present) | _text_problems("reason", reason, is_required=True)
        if problems:
            raise invalid(problems)
        pending = list(QuotaRequest.objects.filter(tenant=tenant, status=Status.PENDING))
        _require_room(pending, wanted)
        request = QuotaRequest.objects.create(
            tenant=tenant,
            requested_by=ctx.user,
            wanted=dict(wanted),
            current={resource: present[resource] for resource in wanted},
            reason=reason.strip(),
        )
        asked = amounts.listed(wanted)
        audit.record(
            ctx,
            "quota.request",
            target=asked,
            target_id=request.pk,
            before=request.current,
            after=request.wanted | {"reason": request.reason},
        )
        notify(
            users=get_user_model().objects.filter(is_superuser=True, is_active=True),
            message=f"{ctx.actor} asks for {asked} for {tenant.name}: {request.reason}",
            url=admin_url(request),
        )
    return request


def quota_request_withdraw(*, ctx: TenantContext, request_id: int) -> QuotaRequest:
    """Takes a pending request back: who made it, or a lead. Repeating it changes nothing."""
    with transaction.atomic():
        _locked(ctx.tenant.pk)
        request = QuotaRequest.objects.filter(tenant=ctx.tenant, pk=request_id).first()
        if request is None:
            raise not_found("quota request in this team")
        own = ctx.user is not None and request.requested_by_id == ctx.user.pk and ctx.can(Role.MEMBER)
        ctx.require(ctx.can(Role.LEAD) or (own and _may_write(ctx)), "withdraw this request")
        if request.status == Status.WITHDRAWN:
            return request
        _require_pending(request)
        request.status, request.decided_at, request.decided_by = Status.WITHDRAWN, timezone.now(), ctx.user
        request.save(update_fields=["status", "decided_at", "decided_by"])
        audit.record(
            ctx,
            "quota.withdraw",
            target=amounts.listed(request.wanted),
            target_id=request.pk,
            before={"status": Status.PENDING.value},
            after={"status": Status.WITHDRAWN.value},
        )
    return request


def quota_request_decide(
    *,
    by: "User",
    request_id: int,
    granted: Mapping[str, Any] | None,
    until: date | None = None,
    note: str = "",
) -> QuotaRequest:
    """A platform admin's decision: ``granted`` is all or part of what was wanted, ``None`` declines, which takes a note.

    Without a date the team's quota is raised for good; with one it is raised until the end of that day in UTC. A request that
    has been decided or withdrawn is a 409.
    """
    if not (by.is_active and by.is_superuser):
        raise forbidden("Only platform admins decide on quota.")
    now = timezone.now()
    with transaction.atomic():
        known = QuotaRequest.objects.filter(pk=request_id).first()
        if known is None:
            raise not_found("quota request")
        tenant = _locked(known.tenant_id)
        request = QuotaRequest.objects.select_related("requested_by", "decided_by").get(pk=request_id)
        request.tenant = tenant
        _require_pending(request)
        problems = _decision_problems(request, granted, until, note, now)
        if problems:
            raise invalid(problems)
        before = amounts.flat(limits_of(tenant, now))
        if granted is not None:
            _raise_limits(tenant, request, granted, until, now)
        after = amounts.flat(limits_of(tenant, now))
        request.status = Status.DECLINED if granted is None else Status.GRANTED
        request.granted = None if granted is None else dict(granted)
        request.until, request.decision_note = until if granted is not None else None, note.strip()
        request.decided_by, request.decided_at = by, now
        request.save()
        _tell(request, tenant)
        was, is_now = audit.changes(before, after)
        audit.record(
            audit.actor_of(by),
            "quota.decline" if granted is None else "quota.grant",
            tenant=tenant,
            target=amounts.listed(granted or request.wanted),
            target_id=request.pk,
            before=was,
            after=is_now | _kept({"until": until, "note": request.decision_note}),
        )
        wakeup.notify()
    return request


def admin_url(request: QuotaRequest) -> str:
    """Where a platform admin decides on it."""
    return f"/admin/tenants/quotarequest/{request.pk}/change/"


def end_of(day: date) -> datetime:
    """The moment from which the day is over, in UTC."""
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def _locked(tenant_id: int) -> Tenant:
    # Not for a change of the key: jobs that refer to the team may be inserted meanwhile.
    return Tenant.objects.select_for_update(no_key=True).get(pk=tenant_id)


def _may_write(ctx: TenantContext) -> bool:
    return bool(ctx.scopes & {"submit", "deploy", "admin"})


def _problems(wanted: Any, present: Mapping[str, int]) -> dict[str, list[str]]:
    if not isinstance(wanted, Mapping) or not wanted:
        return {"wanted": ["name at least one resource and the limit that is wanted"]}
    found: dict[str, list[str]] = {}
    for resource, number in wanted.items():
        path = f"wanted.{str(resource)[:80]}"
        if resource not in present:
            found[path] = [_unknown(str(resource), present)]
        elif type(number) is not int or not 0 <= number <= MOST:
            found[path] = [f"must be a whole number up to {MOST}"]
        elif number <= present[resource]:
            found[path] = [f"must be more than the present limit, {present[resource]}"]
    return found


def _unknown(resource: str, present: Mapping[str, int]) -> str:
    if resource.startswith(GPU_TYPE):
        return "this type has no limit of its own; ask for gpus, which limits all types together"
    return f"is not a resource; use one of {', '.join(present)}"


def _require_room(pending: list[QuotaRequest], wanted: Mapping[str, Any]) -> None:
    if any(set(request.wanted) == set(wanted) for request in pending):
        raise conflict(
            "already_requested",
            "A request of the team for the same resources awaits its decision; withdraw it to ask for something else.",
        )
    if len(pending) >= MOST_PENDING:
        raise conflict(
            "too_many_requests_pending",
            f"{MOST_PENDING} requests of the team await a decision, which is the most; withdraw one or wait.",
        )


def _require_pending(request: QuotaRequest) -> None:
    if request.status == Status.PENDING:
        return
    who = f" by {request.decided_by}" if request.decided_by else ""
    when = f" on {request.decided_at:%Y-%m-%d at %H:%M} UTC" if request.decided_at else ""
    raise conflict(
        "already_decided", f"This request has been {Status(request.status).label.lower()} already{who}{when}."
    )


def _decision_problems(
    request: QuotaRequest, granted: Any, until: date | None, note: str, now: datetime
) -> dict[str, list[str]]:
    found = _text_problems("note", note, is_required=granted is None)
    if granted is None:
        return found
    if until is not None and not now.date() <= until <= now.date() + FURTHEST:
        found["until"] = ["must be today or a day of the next ten years"]
    if not isinstance(granted, Mapping) or not granted:
        return found | {"granted": ["name what is granted, or decline"]}
    present = amounts.lasting(request.tenant)
    for resource, number in granted.items():
        path = f"granted.{str(resource)[:80]}"
        if resource not in request.wanted:
            found[path] = ["was not asked for"]
        elif type(number) is not int or not 0 < number <= request.wanted[resource]:
            found[path] = [f"must be a whole number up to what was asked for, {request.wanted[resource]}"]
        elif resource not in present:
            found[path] = ["has no limit of its own any more"]
        elif number <= present[resource]:
            found[path] = [f"must be more than the present limit, {present[resource]}"]
    return found


def _text_problems(field: str, text: Any, *, is_required: bool) -> dict[str, list[str]]:
    if not isinstance(text, str):
        return {field: ["must be text"]}
    if is_required and not text.strip():
        return {field: ["say why; the other side reads it"]}
    if len(text.strip()) > LONGEST_REASON:
        return {field: [f"must have at most {LONGEST_REASON} characters"]}
    problem = safejson.text_problem(text)
    return {field: [problem]} if problem else {}


def _raise_limits(
    tenant: Tenant, request: QuotaRequest, granted: Mapping[str, int], until: date | None, now: datetime
) -> None:
    if until is not None:
        grant = {"until": end_of(until).isoformat(), "request": request.pk, **granted}
        tenant.grants = [*live_grants(tenant.grants, now), grant]
        tenant.save(update_fields=["grants"])
        return
    changed = set()
    for resource, number in granted.items():
        if resource.startswith(GPU_TYPE):
            tenant.quota_gpu_types = tenant.quota_gpu_types | {resource.removeprefix(GPU_TYPE): number}
            changed.add("quota_gpu_types")
        else:
            setattr(tenant, RESOURCES[resource][0], number)
            changed.add(RESOURCES[resource][0])
    tenant.save(update_fields=changed)


def _tell(request: QuotaRequest, tenant: Tenant) -> None:
    if request.requested_by is None:
        return
    note = f" {request.decision_note}" if request.decision_note else ""
    if request.granted is None:
        message = f"{tenant.name} does not get {amounts.listed(request.wanted)}:{note}"
    else:
        until = f", until the end of {request.until:%Y-%m-%d} (UTC)" if request.until else ""
        message = f"{tenant.name} now has {amounts.listed(request.granted)}{until}.{note}"
    notify(users=[request.requested_by], message=message, url=f"/t/{tenant.slug}/usage")


def _kept(values: dict[str, Any]) -> dict[str, Any]:
    return {key: str(value) for key, value in values.items() if value}
