"""Writes: the team's programs, such as its CI, that act under their own name. For leads."""

from typing import Any

from django.db import IntegrityError, transaction

from platform_portal import safejson
from platform_portal.errors import conflict, invalid, not_found
from tenants import audit, slugs
from tenants.context import TenantContext
from tenants.models import ApiToken, Role, ServiceAccount

FIELDS = ("role", "description", "is_active")


def service_account_create(
    *, ctx: TenantContext, name: str, role: str = Role.MEMBER, description: str = ""
) -> ServiceAccount:
    """Makes an account without tokens; ``token_create`` gives it some, an issuer's rule may let JWTs act as it."""
    ctx.require(ctx.can(Role.LEAD), "manage service accounts")
    errors = _problems({"role": role, "description": description})
    if found := safejson.text_problem(name) or slugs.problem(name):
        errors["name"] = [found]
    if errors:
        raise invalid(errors)
    try:
        with transaction.atomic():
            account = ServiceAccount.objects.create(
                tenant=ctx.tenant, name=name, role=role, description=description, created_by=ctx.user
            )
            after = {"name": name, "role": role, "description": description}
            audit.record(ctx, "service-account.create", target=name, target_id=account.pk, after=after)
    except IntegrityError as exc:
        taken = f"The team has a service account {name} already."
        raise conflict("name_taken", taken, {"name": ["is taken in this team"]}) from exc
    return account


def service_account_update(
    *,
    ctx: TenantContext,
    name: str,
    role: str | None = None,
    description: str | None = None,
    is_active: bool | None = None,
) -> ServiceAccount:
    """Changes what is given. A disabled account's tokens are refused from then on, and good again once it is enabled."""
    given = {"role": role, "description": description, "is_active": is_active}
    wanted = {field: value for field, value in given.items() if value is not None}
    ctx.require(ctx.can(Role.LEAD), "manage service accounts")
    if errors := _problems(wanted):
        raise invalid(errors)
    with transaction.atomic():
        account = _locked(ctx, name)
        before, after = audit.changes({field: getattr(account, field) for field in wanted}, wanted)
        if not after:
            return account
        for field, value in after.items():
            setattr(account, field, value)
        account.save(update_fields=list(after))
        audit.record(ctx, "service-account.change", target=name, target_id=account.pk, before=before, after=after)
    return account


def service_account_delete(*, ctx: TenantContext, name: str) -> None:
    """Takes the account away with its tokens and the issuers' rules that name it; what it submitted stays."""
    ctx.require(ctx.can(Role.LEAD), "manage service accounts")
    with transaction.atomic():
        account = _locked(ctx, name)
        live = ApiToken.objects.filter(service_account=account, revoked_at=None)
        before = {
            "role": account.role,
            "tokens": sorted(live.values_list("name", flat=True)),
            "rules": account.issuer_rules.count(),
        }
        audit.record(ctx, "service-account.delete", target=name, target_id=account.pk, before=before)
        account.delete()


def _locked(ctx: TenantContext, name: str) -> ServiceAccount:
    account = ServiceAccount.objects.select_for_update().filter(tenant=ctx.tenant, name=name).first()
    if account is None:
        raise not_found("service account")
    return account


def _problems(fields: dict[str, Any]) -> dict[str, list[str]]:
    errors = {}
    if "role" in fields and fields["role"] not in Role.values:
        errors["role"] = [f"must be one of {', '.join(Role.values)}"]
    if "description" in fields:
        found = safejson.text_problem(fields["description"])
        if not found and len(fields["description"]) > 200:
            found = "must have at most 200 characters"
        if found:
            errors["description"] = [found]
    return errors
