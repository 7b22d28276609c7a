"""Lets waiting jobs go, as the team's quota has room: by priority, then by age, and strictly so.

Nobody is let past a job that merely does not fit yet, so a large one is not starved by small ones. A job that the quota could not
hold with nothing else running (the quota was lowered) says so and is passed by. One transaction for each team, under the lock
that submissions take as well; it may be cut off at any point and repeated, and any number of processes may do it at once.
"""

import logging
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import F, Q
from psycopg.errors import DeadlockDetected, LockNotAvailable

from jobs.models import JobEvent, TrainingJob, TrainingJobQuerySet
from jobs.quota import could_fit
from jobs.reasons import EXCEEDS_QUOTA, QUEUED_FOR_QUOTA
from tenants.models import QuotaUsage, Tenant
from tenants.quotas import Held, Limits, Outcome, decide, held_of, limits_of, with_ask

log = logging.getLogger(__name__)

# How many are looked at in one transaction: others of the team wait for its lock.
BATCH = 100
# Somebody who holds the team's lock longer than this is not waited for; the next round comes soon.
LOCK_TIMEOUT = "2s"


def admit_waiting(now: datetime) -> list[UUID]:
    """Admits, in each team with waiting jobs, those whose turn it is and that fit; returns their ids.

    What goes wrong in one team is logged and keeps no other team's jobs waiting.
    """
    admitted: list[UUID] = []
    for tenant_id in QuotaUsage.objects.filter(waiting__gt=0).order_by("tenant_id").values_list("tenant_id", flat=True):
        try:
            while len(found := tenant_admit(tenant_id=tenant_id, now=now)) == BATCH:
                admitted += found
            admitted += found
        except (OperationalError, InterfaceError) as exc:
            if not isinstance(exc.__cause__, LockNotAvailable | DeadlockDetected):
                raise
            log.info("the queue of team %s is busy: %s", tenant_id, exc)
        except Exception:
            log.exception("the queue of team %s could not be worked on", tenant_id)
    return admitted


def tenant_admit(*, tenant_id: int, now: datetime) -> list[UUID]:
    """One transaction: at most ``BATCH`` jobs of the team leave its queue; returns their ids."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        usage = QuotaUsage.objects.select_for_update().filter(tenant_id=tenant_id, waiting__gt=0).first()
        # Read after the lock was had: a change of the quota takes it too.
        tenant = Tenant.objects.filter(pk=tenant_id).first() if usage else None
        if usage is None or tenant is None or not tenant.accepts_work:
            return []
        limits, waiting = limits_of(tenant, now), TrainingJob.objects.filter(tenant_id=tenant_id).waiting()
        _tell_apart(waiting, could_fit(limits))
        chosen = _chosen(waiting.filter(could_fit(limits)), limits, held_of(usage))
        if chosen:
            _admit(chosen, now)
        return [job.pk for job in chosen]


def _chosen(waiting: TrainingJobQuerySet, limits: Limits, held: Held) -> list[TrainingJob]:
    """Those at the head of the queue that fit together. One that somebody has locked, such as a cancel, is waited for."""
    head = list(waiting.only("id", "created_at", "cpu_cores", "memory_gb", "gpu_count", "gpu_type", "pods")[:BATCH])
    mine = _locked(TrainingJob.objects.filter(pk__in=[job.pk for job in head]).waiting())
    chosen = []
    for job in head:
        if job.pk not in mine or decide(limits, held, job.ask).outcome is not Outcome.NOW:
            break
        held = with_ask(held, job.ask)
        chosen.append(job)
    return chosen


def _admit(chosen: Sequence[TrainingJob], now: datetime) -> None:
    TrainingJob.objects.filter(pk__in=[job.pk for job in chosen]).update(
        admitted_at=now, reason="Queued", error_message="", next_check_at=now, version=F("version") + 1
    )
    lines = [JobEvent(job=job, key="admitted", reason="Admitted", at=max(now, job.created_at)) for job in chosen]
    JobEvent.objects.bulk_create(lines, ignore_conflicts=True)


def _tell_apart(waiting: TrainingJobQuerySet, able: Q) -> None:
    """Notes which jobs the quota can never hold as it is, and which it can again."""
    for wrong, reason in (
        (waiting.exclude(able).exclude(reason=EXCEEDS_QUOTA), EXCEEDS_QUOTA),
        (waiting.filter(able).exclude(reason=QUEUED_FOR_QUOTA), QUEUED_FOR_QUOTA),
    ):
        if rows := _locked(wrong[:BATCH]):
            TrainingJob.objects.filter(pk__in=rows).update(reason=reason, version=F("version") + 1)


def _locked(jobs: TrainingJobQuerySet) -> set[UUID]:
    """The ids of those that nobody else has locked; from now on we have. Waiting for one could be a deadlock: who ends a job
    locks the row first and the usage after it."""
    return set(jobs.select_for_update(skip_locked=True, no_key=True).values_list("pk", flat=True))
