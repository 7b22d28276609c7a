"""Sends notifications by mail, at least once each: a row says what is due, so a lost hint or a dead worker only delays.

No transaction is open while the mail server is spoken to. A row that is being sent is pushed into the future first, and that is
also when it is tried again should the sender die.
"""

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction

from tenants.models import Notification

log = logging.getLogger(__name__)
BATCH = 50
MOST_ATTEMPTS = 10


def send_due(now: datetime) -> int:
    """Sends what is due; how many went out. What fails is tried again, later each time, ten times in all."""
    sent = 0
    for one in _claim(now):
        try:
            _message(one).send()
        except Exception as exc:
            # Whatever a mail server or its absence raises; the row says when to try again.
            log.warning("notification %s could not be mailed (attempt %s): %s", one.pk, one.mail_attempts, exc)
            continue
        Notification.objects.filter(pk=one.pk).update(mail_due_at=None)
        sent += 1
    return sent


def _claim(now: datetime) -> list[Notification]:
    with transaction.atomic():
        due = Notification.objects.filter(mail_due_at__lte=now).order_by("mail_due_at").select_related("user")
        found = list(due.select_for_update(skip_locked=True, of=("self",))[:BATCH])
        for one in found:
            one.mail_attempts += 1
            again = now + timedelta(minutes=2 ** min(one.mail_attempts, 8))
            one.mail_due_at = again if one.mail_attempts < MOST_ATTEMPTS else None
        Notification.objects.bulk_update(found, ["mail_attempts", "mail_due_at"])
    return found


def _message(one: Notification) -> EmailMessage:
    # A subject is one line, whatever people have typed.
    subject = " ".join(one.message.split())
    link = f"\n\n{settings.PLATFORM_URL}{one.url}" if one.url else ""
    return EmailMessage(
        subject=f"[ML Platform] {subject if len(subject) <= 120 else subject[:119] + '…'}",
        body=f"{one.message}{link}\n",
        to=[one.user.email],
    )
