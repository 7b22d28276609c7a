"""``Idempotency-Key``: the same key and request within 24 hours get the first answer again and make nothing new.

The record is written in the transaction of what it stands for, so after a crash either both are there or neither. Two requests
that arrive together meet at the unique key: the second waits for the first to commit and then repeats its answer. Only
answers that made something are kept; a refused request may be mended and sent again under its key.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from platform_portal import safejson
from platform_portal.api import plain
from platform_portal.errors import conflict, invalid
from tenants.context import TenantContext
from tenants.models import IdempotencyRecord

LIFETIME = timedelta(hours=24)
MAX_KEY = 255
Answer = tuple[int, Any]


def once(ctx: TenantContext, key: str | None, fingerprint: str, produce: Callable[[], Answer]) -> Answer:
    """What ``produce`` answers, or what it answered before under ``key``; with a key both are one transaction."""
    if key is None:
        return produce()
    _check(key)
    now = timezone.now()
    with transaction.atomic():
        IdempotencyRecord.objects.filter(tenant=ctx.tenant, key=key, created_at__lt=now - LIFETIME).delete()
        record = IdempotencyRecord(tenant=ctx.tenant, key=key, fingerprint=fingerprint, created_at=now)
        IdempotencyRecord.objects.bulk_create([record], ignore_conflicts=True)
        stored = IdempotencyRecord.objects.get(tenant=ctx.tenant, key=key)
        if stored.status is not None:
            if stored.fingerprint != fingerprint:
                raise conflict("idempotency_key_reused", "This Idempotency-Key was used with another request.")
            return stored.status, stored.body
        status, body = produce()
        body = plain(body)
        IdempotencyRecord.objects.filter(pk=stored.pk).update(status=status, body=body)
    return status, body


def delete_expired() -> int:
    """Removes records that no longer count; returns how many."""
    return IdempotencyRecord.objects.filter(created_at__lt=timezone.now() - LIFETIME).delete()[0]


def _check(key: str) -> None:
    found = safejson.text_problem(key)
    if not key or len(key) > MAX_KEY or found:
        raise invalid({"Idempotency-Key": [found or f"must have 1 to {MAX_KEY} characters"]})
