"""Writes: who pays."""

from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from platform_portal import safejson
from platform_portal.errors import DomainError, Fields, conflict, invalid, not_found
from tenants import audit
from tenants.models import CostCenter
from tenants.services.tenants import By, _actor, _require_admin

FIELDS = ("name", "monthly_budget", "currency", "is_active")


def cost_center_create(*, code: str, name: str, by: By = audit.PLATFORM, **fields: object) -> CostCenter:
    """Makes a cost center; a 400 with every bad field, a 409 for a code that is taken."""
    _require_admin(by, "create cost centers")
    given = {"name": name} | fields
    errors = _problems(given)
    if not isinstance(code, str) or safejson.text_problem(code):
        errors["code"] = ["must be a text"]
    if errors:
        raise invalid(errors)
    center = CostCenter(code=code, **_values(given))
    _full_clean(center)
    try:
        with transaction.atomic():
            center.save(force_insert=True)
            after = {"code": code} | {field: getattr(center, field) for field in FIELDS}
            audit.record(_actor(by), "cost-center.create", target=code, target_id=code, after=after)
    except IntegrityError as exc:
        raise _taken(code) from exc
    return center


def cost_center_update(*, code: str, by: By = audit.PLATFORM, **fields: object) -> CostCenter:
    """Changes what is given and different. The code stands on objects in the cluster and stays."""
    _require_admin(by, "change cost centers")
    if errors := _problems(fields):
        raise invalid(errors)
    with transaction.atomic():
        center = CostCenter.objects.select_for_update().filter(pk=code).first()
        if center is None:
            raise not_found("cost center")
        before, after = audit.changes({field: getattr(center, field) for field in fields}, _values(fields))
        if not after:
            return center
        for field, value in after.items():
            setattr(center, field, value)
        _full_clean(center)
        center.save(update_fields=list(after))
        audit.record(_actor(by), "cost-center.change", target=code, target_id=code, before=before, after=after)
    return center


def _full_clean(center: CostCenter) -> None:
    try:
        center.full_clean()
    except ValidationError as exc:
        if any(error.code == "unique" for error in exc.error_dict.get("code", [])):
            raise _taken(center.code) from exc
        raise invalid({field: list(messages) for field, messages in exc.message_dict.items()}) from exc


def _problems(given: dict[str, Any]) -> Fields:
    errors: Fields = {}
    for field, value in given.items():
        found = None
        if field not in FIELDS:
            found = "is no field of a cost center"
        elif field == "is_active":
            found = None if isinstance(value, bool) else "must be true or false"
        elif field == "monthly_budget":
            found = _budget_problem(value)
        else:
            found = safejson.text_problem(value) if isinstance(value, str) else "must be a text"
        if found:
            errors[field] = [found]
    return errors


def _budget_problem(value: Any) -> str | None:
    if value is None:
        return None
    wrong = 'must be an amount of money such as 5000 or "5000.00", or null'
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return wrong
    try:
        return None if Decimal(str(value)).is_finite() else wrong
    except InvalidOperation:
        return wrong


def _values(given: dict[str, Any]) -> dict[str, Any]:
    budget = given.get("monthly_budget")
    return given if budget is None else given | {"monthly_budget": Decimal(str(budget))}


def _taken(code: str) -> DomainError:
    return conflict("code_taken", f"There is a cost center {code} already.", {"code": ["is taken; choose another"]})
