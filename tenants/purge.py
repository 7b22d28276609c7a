"""Deletes a team's rows and all that hangs on them, in pieces: each is a short transaction, and any of them may be the last.

What hangs on a team is known from the models themselves, so that an app this one knows nothing of loses its rows too. Rows go
before those they point to. The audit log points to nothing and stays.
"""

import time
from collections.abc import Iterable, Sequence
from graphlib import TopologicalSorter
from typing import Any

from django.db import models, transaction
from django.db.models import ForeignKey, ManyToOneRel

from tenants.models import Tenant

PIECE = 500
SECONDS = 1.0


def purge(tenant: Tenant, *, seconds: float = SECONDS, piece: int = PIECE) -> bool:
    """Works for about ``seconds``; returns whether nothing hangs on the team any more. The team's own row stays."""
    deadline = time.monotonic() + seconds
    for field in _in_order(_pointing_to(Tenant)):
        while keys := _keys(field, [tenant.pk], piece):
            if not _delete(field.model, keys, piece, deadline):
                return False
            if time.monotonic() >= deadline:
                return False
    return True


def _delete(model: type[models.Model], keys: Sequence[Any], piece: int, deadline: float) -> bool:
    """These rows after all that hangs on them; ``False`` when the time was over before."""
    for field in _pointing_to(model):
        on_delete = field.remote_field.on_delete
        if on_delete is models.SET_NULL:
            while found := _keys(field, keys, piece):
                field.model._base_manager.filter(pk__in=found).update(**{field.name: None})
            continue
        while found := _keys(field, keys, piece):
            if not _delete(field.model, found, piece, deadline):
                return False
            if time.monotonic() >= deadline:
                return False
    with transaction.atomic():
        rows = model._base_manager.filter(pk__in=list(keys))
        rows._raw_delete(rows.db)
    return True


def _keys(field: "ForeignKey[Any, Any]", keys: Iterable[Any], piece: int) -> list[Any]:
    found = field.model._base_manager.filter(**{f"{field.name}__in": list(keys)}).order_by()
    return list(found.values_list("pk", flat=True)[:piece])


def _pointing_to(model: type[models.Model]) -> list["ForeignKey[Any, Any]"]:
    """The foreign keys that point to the model, those of many-to-many tables among them."""
    relations = [one for one in model._meta.get_fields(include_hidden=True) if isinstance(one, ManyToOneRel)]
    return [one.field for one in relations if isinstance(one.field, ForeignKey)]


def _in_order(fields: Sequence["ForeignKey[Any, Any]"]) -> list["ForeignKey[Any, Any]"]:
    """Models that point to others of them first, so that no protected row is in the way."""
    by_model: dict[type[models.Model], list[ForeignKey[Any, Any]]] = {}
    for field in fields:
        by_model.setdefault(field.model, []).append(field)
    graph = {
        model: [one.model for one in _pointing_to(model) if one.model in by_model and one.model is not model]
        for model in by_model
    }
    return [field for model in TopologicalSorter(graph).static_order() for field in by_model[model]]
