"""Reads: where a person is signed in."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.sessions.models import Session

from tenants.models import UserSession

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def sessions_of(user: "User", now: datetime) -> list[UserSession]:
    """The person's sessions that still hold, the one used last first."""
    mine = list(
        UserSession.objects.filter(
            user=user,
            seen_at__gt=now - timedelta(seconds=settings.SESSION_IDLE_SECONDS),
            started_at__gt=now - timedelta(seconds=settings.SESSION_MAX_SECONDS),
        )
    )
    alive = _alive([one.session_key for one in mine], now)
    return [one for one in mine if one.session_key in alive]


def _alive(keys: Iterable[str], now: datetime) -> set[str]:
    found = Session.objects.filter(session_key__in=keys, expire_date__gt=now)
    return set(found.values_list("session_key", flat=True))
