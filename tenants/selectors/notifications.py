"""What a person was told."""

from typing import TYPE_CHECKING

from tenants.models import Notification

if TYPE_CHECKING:
    from django.contrib.auth.models import User

NEWEST = 100
# More are not counted: the bell says "99+".
COUNTED = 100


def unread_count(user: "User") -> int:
    """How many are unread, counted up to ``COUNTED``."""
    return Notification.objects.filter(user=user, read_at=None).order_by()[:COUNTED].count()


def notifications_of(user: "User") -> list[Notification]:
    """The newest, read or not."""
    return list(Notification.objects.filter(user=user).order_by("-at", "-pk")[:NEWEST])
