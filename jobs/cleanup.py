"""Periodic tidying: what has served its time is removed, what is counted is checked; each step may be repeated or cut off."""

import logging
from datetime import timedelta

from django.contrib.sessions.models import Session
from django.utils import timezone

from jobs import usage
from jobs.models import SourceArchive
from tenants import idempotency
from tenants.services.sessions import sessions_forget_dead

log = logging.getLogger(__name__)
UNUSED_SOURCE_DAYS = 30


def run() -> None:
    """Removes expired idempotency records and sessions, and uploads that no job ever used; puts wrong usage right."""
    records = idempotency.delete_expired()
    old = timezone.now() - timedelta(days=UNUSED_SOURCE_DAYS)
    # The bytes stay: another upload with the same digest may stand on them.
    sources, _ = SourceArchive.objects.filter(created_at__lt=old, trainingjob__isnull=True).delete()
    sessions, _ = Session.objects.filter(expire_date__lt=timezone.now()).delete()
    sessions_forget_dead(now=timezone.now())
    if records or sources or sessions:
        log.info("removed %d idempotency records, %d unused uploads, %d sessions", records, sources, sessions)
    for drift in usage.usage_drift():
        usage.usage_repair(tenant_id=drift.tenant_id)
