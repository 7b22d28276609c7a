"""Writes: what follows from a sign-in. Each is one transaction with its lines in the audit log."""

from typing import TYPE_CHECKING

from django.contrib.auth import get_user_model
from django.db import transaction

from tenants import audit, role_rules
from tenants.audit import Actor
from tenants.models import GrantedAdmin, Membership, RoleRule, Tenant
from tenants.role_rules import Changes, Held, Rule
from tenants.selectors.accounts import account_named

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def roles_apply(*, user: "User", provider: str, groups: frozenset[str]) -> Changes:
    """Gives and takes what the rules say of the groups: memberships of this provider's source, and platform administration.

    The person's row is locked, so that two sign-ins at once come one after the other. What people gave by hand stays.
    """
    with transaction.atomic():
        person = get_user_model().objects.select_for_update().get(pk=user.pk)
        held = {
            one.tenant_id: Held(one.role, one.source)
            for one in Membership.objects.filter(user=person).only("tenant_id", "role", "source")
        }
        changes = role_rules.decide(provider, groups, _rules(provider), held)
        by = Actor(role_rules.source_of(provider), "platform", person.pk)
        _memberships(person, provider, changes, held, by)
        _administration(person, provider, changes.platform_admin, by)
    user.is_superuser, user.is_staff = person.is_superuser, person.is_staff
    return changes


def sign_in_failed(*, login: str) -> None:
    """A line in the log. A name that is nobody's is not written down: it may be a password typed into the wrong field."""
    known = account_named(login)
    who = Actor(known.get_username(), "user", known.pk) if known else Actor("unknown", "user")
    audit.record(who, "sign-in.fail", target=who.name, target_id=who.user_id or "")


def sign_in_done(*, user: "User", how: str) -> None:
    audit.record(
        audit.actor_of(user), "sign-in.succeed", target=user.get_username(), target_id=user.pk, after={"by": how}
    )


def account_secured(*, user: "User", action: str, what: str) -> None:
    """A line for a change of how the person proves who they are: password.change, mfa.add, mfa.remove."""
    audit.record(audit.actor_of(user), action, target=user.get_username(), target_id=user.pk, after={"what": what})


def account_made(*, user: "User", provider: str) -> None:
    audit.record(
        Actor(role_rules.source_of(provider), "platform", user.pk),
        "user.create",
        target=user.get_username(),
        target_id=user.pk,
        after={"email": user.email},
    )


def account_linked(*, user: "User", provider: str) -> None:
    audit.record(
        Actor(role_rules.source_of(provider), "platform", user.pk),
        "user.link",
        target=user.get_username(),
        target_id=user.pk,
        after={"provider": provider},
    )


def _rules(provider: str) -> list[Rule]:
    found = RoleRule.objects.filter(is_active=True, provider__in=(provider, role_rules.EVERY_PROVIDER)).exclude(
        tenant__deleting_at__isnull=False
    )
    return [Rule(one.provider, one.group, one.tenant_id, one.role, one.platform_admin) for one in found]


def _memberships(person: "User", provider: str, changes: Changes, held: dict[int, Held], by: Actor) -> None:
    touched = {*changes.add, *changes.change, *changes.remove}
    if not touched:
        return
    source = role_rules.source_of(provider)
    tenants = Tenant.objects.in_bulk(touched)
    for pk, tenant in sorted(tenants.items()):
        before = held[pk].role if pk in held else None
        after = changes.add.get(pk) or changes.change.get(pk)
        if after is None:
            Membership.objects.filter(user=person, tenant=tenant, source=source).delete()
            action = "member.remove"
        elif before is None:
            Membership.objects.create(user=person, tenant=tenant, role=after, source=source)
            action = "member.add"
        else:
            Membership.objects.filter(user=person, tenant=tenant, source=source).update(role=after)
            action = "member.change"
        audit.record(
            by,
            action,
            tenant=tenant,
            target=person.get_username(),
            target_id=person.pk,
            before={"role": before} if before else None,
            after={"role": after, "source": source} if after else None,
        )


def _administration(person: "User", provider: str, wanted: bool, by: Actor) -> None:
    """Only who was made an admin by a provider is unmade by one; the last provider that says so decides."""
    mine = GrantedAdmin.objects.filter(user=person, provider=provider)
    marked = mine.exists()
    if wanted == marked:
        return
    others = GrantedAdmin.objects.filter(user=person).exclude(provider=provider).exists()
    if wanted:
        if person.is_superuser and not others:
            return  # a person made them one, and only a person unmakes them
        GrantedAdmin.objects.create(user=person, provider=provider)
    else:
        mine.delete()
    if others or person.is_superuser == wanted:
        return
    person.is_superuser = person.is_staff = wanted
    person.save(update_fields=["is_superuser", "is_staff"])
    action = "admin.grant" if wanted else "admin.revoke"
    audit.record(by, action, target=person.get_username(), target_id=person.pk)
