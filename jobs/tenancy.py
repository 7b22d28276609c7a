"""What becomes of a team's jobs when the team is deleted."""

from typing import Any

from django.db.models import F
from django.utils import timezone

from jobs.models import LIVE, Status, TrainingJob
from tenants.models import Tenant


def end_jobs(*, tenant: Tenant, by: str, **kwargs: Any) -> None:
    """Asks for the end of all that is live, in the transaction that the deletion is asked for in.

    What the reconciler has never touched ends here and now; the rest ends as jobs do that a person cancels.
    """
    now = timezone.now()
    wish = {"cancel_requested_at": now, "cancelled_by": by[:150], "version": F("version") + 1}
    live = TrainingJob.objects.filter(tenant=tenant, status__in=LIVE)
    # One statement: a job is either untouched when it is written, or found by the next.
    live.filter(kubernetes_job_name="", lease_until__isnull=True).update(
        **wish, status=Status.CANCELLED, reason="CancelledByUser", completed_at=now, next_check_at=None
    )
    live.filter(cancel_requested_at__isnull=True).update(**wish, reason="Cancelling", next_check_at=now)
