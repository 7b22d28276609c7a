"""Writes: who belongs to a team, and as what.

Each takes the tenant's row first: two leads who demote each other at once come one after the other, and the second is no lead any
more. What an identity provider's group gave (``source``) only its rules take away.
"""

from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils import timezone

from platform_portal import safejson
from platform_portal.errors import conflict, invalid, not_found
from tenants import audit
from tenants.context import TenantContext
from tenants.models import ApiToken, Membership, Role, Tenant
from tenants.services.notifications import notify

if TYPE_CHECKING:
    from django.contrib.auth.models import User

By = TenantContext | audit.Actor
NO_SIGN_UP = (
    "Accounts are not made by signing up: ask a platform admin for one, or have the person sign in once where they can."
)


def member_set(*, tenant: Tenant, user: "User", role: str, by: By = audit.PLATFORM, source: str = "") -> Membership:
    """Gives the person this role in the tenant, whatever they had before. For the platform itself; nobody is asked.

    ``source`` is the provider whose groups gave it, empty for what a person gave.
    """
    with transaction.atomic():
        _lock(tenant)
        known = Membership.objects.filter(tenant=tenant, user=user).first()
        if known is None:
            return _add(by, tenant, user, role, source)
        return _change(by, tenant, known, user, role, source)


def member_unset(*, tenant: Tenant, user: "User", by: By = audit.PLATFORM) -> bool:
    """Takes the person out of the team, for the platform itself; whether they were in it."""
    with transaction.atomic():
        _lock(tenant)
        known = Membership.objects.filter(tenant=tenant, user=user).first()
        if known is not None:
            _remove(by, tenant, known, user)
    return known is not None


def member_add(*, ctx: TenantContext, who: str, role: str) -> Membership:
    """Adds somebody by user name or e-mail address; a 409 when they are in the team already."""
    _require_lead(ctx)
    problems = _role_problems(role)
    user, problem = _person(who)
    if problem:
        problems["who"] = [problem]
    if problems or user is None:
        raise invalid(problems)
    with transaction.atomic():
        _lock(ctx.tenant)
        _require_still_lead(ctx)
        if Membership.objects.filter(tenant=ctx.tenant, user=user).exists():
            raise conflict(
                "already_member",
                f"{user} is in the team already; change the role in the list.",
                {"who": ["is in the team already"]},
            )
        return _add(ctx, ctx.tenant, user, role, "")


def member_put(*, ctx: TenantContext, username: str, role: str) -> Membership:
    """The person has this role in the team afterwards, whether they were in it before or not."""
    _require_lead(ctx)
    if problems := _role_problems(role):
        raise invalid(problems)
    with transaction.atomic():
        _lock(ctx.tenant)
        _require_still_lead(ctx)
        user = get_user_model().objects.filter(username=_storable(username)).first()
        if user is None:
            raise not_found("person")
        known = Membership.objects.filter(tenant=ctx.tenant, user=user).first()
        if known is None:
            if not user.is_active:
                raise invalid({"username": ["this account is not active"]})
            return _add(ctx, ctx.tenant, user, role, "")
        return _change_role(ctx, known, role)


def member_change(*, ctx: TenantContext, username: str, role: str) -> Membership:
    """Another role for somebody who is in the team; a 404 for whoever is not."""
    _require_lead(ctx)
    if problems := _role_problems(role):
        raise invalid(problems)
    with transaction.atomic():
        _lock(ctx.tenant)
        _require_still_lead(ctx)
        return _change_role(ctx, _member(ctx, username), role)


def member_remove(*, ctx: TenantContext, username: str) -> None:
    """Takes somebody out of the team; their tokens for it end at once, their jobs stay."""
    _require_lead(ctx)
    with transaction.atomic():
        _lock(ctx.tenant)
        _require_still_lead(ctx)
        known = _member(ctx, username)
        _require_own(known, known.user)
        _require_another_lead(ctx, known)
        _remove(ctx, ctx.tenant, known, known.user)


def _member(ctx: TenantContext, username: str) -> Membership:
    found = Membership.objects.filter(tenant=ctx.tenant, user__username=_storable(username))
    known = found.select_related("user").first()
    if known is None:
        raise not_found("member of this team")
    return known


def _change_role(ctx: TenantContext, known: Membership, role: str) -> Membership:
    if known.role != role:
        _require_own(known, known.user)
        if role != Role.LEAD:
            _require_another_lead(ctx, known)
    return _change(ctx, ctx.tenant, known, known.user, role, known.source)


def _add(by: By, tenant: Tenant, user: "User", role: str, source: str) -> Membership:
    known = Membership.objects.create(tenant=tenant, user=user, role=role, source=source)
    audit.record(by, "member.add", tenant=tenant, target=user, target_id=user.pk, after=_state(role, source))
    _tell(by, user, f"You are in the team {tenant.name} now, as {role}.", f"/t/{tenant.slug}/")
    return known


def _change(by: By, tenant: Tenant, known: Membership, user: "User", role: str, source: str) -> Membership:
    before, after = audit.changes(_state(known.role, known.source), _state(role, source))
    if not after:
        return known
    known.role, known.source = role, source
    known.save(update_fields=["role", "source"])
    audit.record(by, "member.change", tenant=tenant, target=user, target_id=user.pk, before=before, after=after)
    if "role" in after:
        _tell(by, user, f"Your role in {tenant.name} is {role} now; it was {before['role']}.", f"/t/{tenant.slug}/")
    return known


def _remove(by: By, tenant: Tenant, known: Membership, user: "User") -> None:
    live = ApiToken.objects.filter(tenant=tenant, user=user, revoked_at=None)
    names = sorted(live.values_list("name", flat=True))
    live.update(revoked_at=timezone.now())
    known.delete()
    before = _state(known.role, known.source) | ({"tokens": names} if names else {})
    audit.record(by, "member.remove", tenant=tenant, target=user, target_id=user.pk, before=before)
    _tell(by, user, f"You are not in the team {tenant.name} any more.", "")


def _state(role: str, source: str) -> dict[str, Any]:
    return {"role": str(role)} | ({"source": source} if source else {})


def _tell(by: By, user: "User", message: str, url: str) -> None:
    """Nobody is told what they did themselves, nor what the platform sets up or a sign-in brings with it."""
    who = by.user.pk if isinstance(by, TenantContext) and by.user else None
    if isinstance(by, TenantContext) and who != user.pk:
        notify(users=[user], message=message, url=url)


def _lock(tenant: Tenant) -> None:
    # Not for a change of the key: jobs that refer to the team may be inserted meanwhile.
    Tenant.objects.select_for_update(no_key=True).only("pk").get(pk=tenant.pk)


def _require_lead(ctx: TenantContext) -> None:
    ctx.require(ctx.can(Role.LEAD), "manage members")


def _require_still_lead(ctx: TenantContext) -> None:
    """Whether they are one is read again under the lock: somebody else may have changed it since."""
    if ctx.user is None or ctx.user.is_superuser:
        return
    is_lead = Membership.objects.filter(tenant=ctx.tenant, user=ctx.user, role=Role.LEAD).exists()
    ctx.require(is_lead, "manage members any more")


def _require_own(known: Membership, user: "User") -> None:
    if known.source:
        raise conflict(
            "managed_by_groups",
            f"{user}'s role comes from a group at {known.source}; it changes there, and here at the next sign-in.",
        )


def _require_another_lead(ctx: TenantContext, known: Membership) -> None:
    """A team keeps a lead, unless a platform admin takes the last one: they can give it another."""
    if known.role != Role.LEAD or ctx.is_platform_admin:
        return
    leads = Membership.objects.filter(tenant=ctx.tenant, role=Role.LEAD, user__is_active=True)
    if not leads.exclude(pk=known.pk).exists():
        raise conflict(
            "last_lead", "This is the team's last lead. Make somebody else a lead first, or ask a platform admin."
        )


def _storable(username: str) -> str:
    """The name, or nobody's where the database could not even be asked for it."""
    return "" if safejson.text_problem(username) else username


def _role_problems(role: str) -> dict[str, list[str]]:
    return {} if role in Role.values else {"role": [f"must be one of {', '.join(Role.values)}"]}


def _person(who: str) -> "tuple[User | None, str]":
    """The person of that user name or e-mail address, or why there is none to add."""
    who = who.strip()
    if not who or len(who) > 254 or safejson.text_problem(who):
        return None, "give a user name or an e-mail address"
    people = get_user_model().objects
    user = people.filter(username=who).first()
    if user is None and "@" in who:
        found = list(people.filter(email__iexact=who)[:2])
        if len(found) > 1:
            return None, "several accounts have this address; give the user name"
        user = found[0] if found else None
    if user is None:
        return None, f"there is no account {who}. {NO_SIGN_UP}"
    return user, "" if user.is_active else f"the account {user} is not active; a platform admin can activate it"
