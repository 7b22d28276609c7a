"""Writes: the teams themselves. What they want of the cluster the reconciler brings there, moments after the commit."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from platform_portal import safejson
from platform_portal.errors import DomainError, Fields, conflict, forbidden, invalid, not_found
from tenants import audit
from tenants.context import TenantContext
from tenants.defaults import UNASSIGNED
from tenants.models import CostCenter, InstanceType, Tenant
from tenants.signals import tenant_deleting

By = TenantContext | audit.Actor
TEXTS = ("name", "artifact_root", "pod_security", "cost_center")
NUMBERS = (
    "quota_cpu", "quota_memory_gib", "quota_gpus", "quota_gpus_per_job", "quota_jobs", "quota_pods", "quota_pvcs",
)  # fmt: skip
FIELDS = (*TEXTS, *NUMBERS, "labels", "quota_gpu_types", "is_active")
SCHEMES = ("s3", "gs", "az")


def tenant_create(
    *, slug: str, name: str, cost_center: str = UNASSIGNED, by: By = audit.PLATFORM, **fields: object
) -> Tenant:
    """Makes a team; a 400 with every bad field, a 409 for a slug that is taken."""
    _require_admin(by, "create teams")
    given = {"name": name, "cost_center": cost_center} | fields
    errors = _problems(given)
    if not isinstance(slug, str) or safejson.text_problem(slug):
        errors["slug"] = ["must be a text"]
    if errors:
        raise invalid(errors)
    tenant = Tenant(slug=slug, **_columns(given))
    try:
        with transaction.atomic():
            _full_clean(tenant, changed={"slug", *given})
            tenant.save()
            after = {"slug": slug} | {field: _shown(tenant, field) for field in FIELDS if field in given}
            audit.record(_actor(by), "tenant.create", tenant=tenant, target=slug, target_id=tenant.pk, after=after)
    except IntegrityError as exc:
        raise _taken(slug) from exc
    return tenant


def tenant_update(*, slug: str, by: By = audit.PLATFORM, **fields: object) -> Tenant:
    """Changes what is given and different; a slug names a namespace and stays."""
    _require_admin(by, "change teams")
    if errors := _problems(fields):
        raise invalid(errors)
    with transaction.atomic():
        tenant = _locked(slug)
        return _change(tenant, fields, by, "tenant.change")


def tenant_deactivate(*, slug: str, by: By = audit.PLATFORM) -> Tenant:
    """From now on nothing is submitted; what runs goes on, and history stays readable."""
    return _set_active(slug, False, by, "tenant.deactivate")


def tenant_activate(*, slug: str, by: By = audit.PLATFORM) -> Tenant:
    return _set_active(slug, True, by, "tenant.activate")


def tenant_delete(*, slug: str, confirm: str, by: By = audit.PLATFORM) -> Tenant:
    """Begins a deletion that cannot be taken back, when the team's slug is typed; repeating it changes nothing.

    No work is accepted any more and what runs is asked to end. The row stands until the namespace has been seen gone.
    """
    _require_admin(by, "delete teams")
    with transaction.atomic():
        tenant = _locked(slug, deleting=True)
        if confirm != tenant.slug:
            raise invalid({"confirm": [f"must be the team's slug, {tenant.slug}, letter by letter"]})
        if tenant.deleting_at is not None:
            return tenant
        actor = _actor(by)
        tenant.deleting_at, tenant.deletion_requested_by, tenant.apply_error = timezone.now(), actor.name[:150], ""
        tenant.save(update_fields=["deleting_at", "deletion_requested_by", "apply_error"])
        before = {"name": tenant.name, "cost_center": tenant.cost_center_id}
        audit.record(actor, "tenant.delete", tenant=tenant, target=slug, target_id=tenant.pk, before=before)
        _withdraw_own_types(tenant, actor)
        tenant_deleting.send(sender=Tenant, tenant=tenant, by=actor.name)
    return tenant


# ---- what is shared


def _set_active(slug: str, active: bool, by: By, action: str) -> Tenant:
    _require_admin(by, "activate and deactivate teams")
    with transaction.atomic():
        return _change(_locked(slug), {"is_active": active}, by, action)


def _change(tenant: Tenant, fields: Mapping[str, Any], by: By, action: str) -> Tenant:
    columns = _columns(fields)
    before, after = audit.changes(
        {field: _shown(tenant, field) for field in fields}, {field: _plain(value) for field, value in fields.items()}
    )
    if not after:
        return tenant
    for column, value in columns.items():
        setattr(tenant, column, value)
    _full_clean(tenant, changed=set(after))
    tenant.save(update_fields=[_column(field) for field in after])
    audit.record(_actor(by), action, tenant=tenant, target=tenant.slug, target_id=tenant.pk, before=before, after=after)
    return tenant


def _locked(slug: str, *, deleting: bool = False) -> Tenant:
    """The row, held until the transaction ends; rows that refer to it may be written meanwhile."""
    tenant = Tenant.objects.select_for_update(no_key=True).filter(slug=slug).first()
    if tenant is None:
        raise not_found("team")
    if tenant.deleting_at is not None and not deleting:
        raise conflict(
            "tenant_deleting", f"The team {slug} is being deleted; nothing about it can be changed any more."
        )
    return tenant


def _withdraw_own_types(tenant: Tenant, actor: audit.Actor) -> None:
    """An instance type that was this team's alone must not become everybody's because there is nobody left on its list."""
    for one in InstanceType.objects.filter(tenants=tenant, is_active=True):
        if one.tenants.exclude(pk=tenant.pk).exists():
            continue
        one.is_active = False
        one.save(update_fields=["is_active"])
        audit.record(
            actor, "instance-type.change", tenant=tenant, target=one.name, target_id=one.pk,
            before={"is_active": True}, after={"is_active": False},
        )  # fmt: skip


def _problems(given: Mapping[str, Any]) -> Fields:
    """What is wrong with the values as such; rules of their content are the model's."""
    errors: Fields = {}
    for field, value in given.items():
        found = None
        if field not in FIELDS:
            found = "is no field of a team"
        elif field in TEXTS:
            found = safejson.text_problem(value) if isinstance(value, str) else "must be a text"
        elif field in NUMBERS and type(value) is not int:
            found = "must be a whole number"
        elif field == "is_active" and not isinstance(value, bool):
            found = "must be true or false"
        if found:
            errors[field] = [found]
    root = given.get("artifact_root")
    if root and "artifact_root" not in errors and (found := _root_problem(root)):
        errors["artifact_root"] = [found]
    return errors


def _root_problem(root: str) -> str | None:
    """The portal reads below it with its own credentials, so it must not be a folder of the portal's machine."""
    schemes = (*SCHEMES, "file") if settings.CLUSTER_IS_LOCAL else SCHEMES
    try:
        parts = urlsplit(root)
    except ValueError:
        # A host in brackets that is none.
        parts = urlsplit("")
    if parts.scheme not in schemes or not (parts.netloc or parts.scheme == "file") or ".." in parts.path.split("/"):
        return f"must be a place such as {schemes[0]}://bucket/team ({', '.join(schemes)})"
    return None


def _full_clean(tenant: Tenant, *, changed: set[str]) -> None:
    errors: Fields = {}
    if "cost_center" in changed:
        center = CostCenter.objects.filter(pk=tenant.cost_center_id).first()
        if center is None:
            errors["cost_center"] = [f"there is no cost center {tenant.cost_center_id}"]
        elif not center.is_active:
            errors["cost_center"] = [f"the cost center {center.pk} is not in use any more"]
    try:
        # A value that nobody has just changed is no reason to refuse another one.
        names = {_column(field).removesuffix("_id") for field in changed} - {"cost_center"}
        tenant.full_clean(exclude={field.name for field in tenant._meta.concrete_fields if field.name not in names})
    except ValidationError as exc:
        if any(error.code == "unique" for error in exc.error_dict.get("slug", [])):
            raise _taken(tenant.slug) from exc
        errors |= {field or "": list(messages) for field, messages in exc.message_dict.items()}
    if errors:
        raise invalid(errors)


def _taken(slug: str) -> DomainError:
    return conflict("slug_taken", f"There is a team {slug} already.", {"slug": ["is taken; choose another"]})


def _columns(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {_column(field): value for field, value in fields.items()}


def _column(field: str) -> str:
    return "cost_center_id" if field == "cost_center" else field


def _shown(tenant: Tenant, field: str) -> Any:
    return _plain(getattr(tenant, _column(field)))


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, str) else value


def _actor(by: By) -> audit.Actor:
    """Whoever it is, the line is about the team that was changed and not about the one they act in."""
    if isinstance(by, TenantContext):
        return audit.Actor(by.actor, by.actor_kind, by.user.pk if by.user else None)
    return by


def _require_admin(by: By, action: str) -> None:
    if isinstance(by, TenantContext) and not by.is_platform_admin:
        raise forbidden(
            f"Only platform admins {action}: as a person, or with a personal token of theirs that has the admin scope."
        )
