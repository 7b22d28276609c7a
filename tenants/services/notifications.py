"""Writes: what people are told, as a part of what it tells of. The mail follows after the commit, where there is mail."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from django.conf import settings
from django.utils import timezone

from platform_portal import wakeup
from tenants.models import Notification

if TYPE_CHECKING:
    from django.contrib.auth.models import User

LONGEST = 500


def notify(*, users: "Iterable[User]", message: str, url: str = "") -> list[Notification]:
    """Tells each of the people; called in the transaction of what it tells of. ``url`` is a path of the portal."""
    now = timezone.now()
    told = [
        Notification(
            user=user, at=now, message=shortened(message), url=url, mail_due_at=now if _gets_mail(user) else None
        )
        for user in {user.pk: user for user in users if user.is_active}.values()
    ]
    Notification.objects.bulk_create(told)
    if any(one.mail_due_at for one in told):
        wakeup.task("tenants.send_mail")
    return told


def notification_open(*, user: "User", notification_id: int, now: datetime) -> Notification | None:
    """Marks one of the person's own as read, and gives it back; ``None`` when it is not theirs."""
    found = Notification.objects.filter(user=user, pk=notification_id).first()
    if found is not None and found.read_at is None:
        Notification.objects.filter(pk=found.pk, read_at=None).update(read_at=now)
    return found


def notifications_read(*, user: "User", now: datetime) -> int:
    """Marks all of the person's as read; how many were not."""
    return Notification.objects.filter(user=user, read_at=None).update(read_at=now)


def shortened(message: str) -> str:
    return message if len(message) <= LONGEST else message[: LONGEST - 1] + "…"


def _gets_mail(user: "User") -> bool:
    return bool(settings.EMAIL_URL and user.email)
