"""Writes: the browsers in which people are signed in, and shutting people out.

Ending a session deletes Django's own row, so that it is over with the browser's next request, whatever that is.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.contrib.sessions.models import Session
from django.db import transaction
from django.utils import timezone

from tenants import audit
from tenants.audit import Actor
from tenants.models import ApiToken, UserSession

if TYPE_CHECKING:
    from django.contrib.auth.models import User

BROWSER_MAX = 200


def session_open(*, user: "User", key: str, address: str | None, browser: str, now: datetime) -> UserSession:
    """A person has signed in; rows of theirs whose session is dead go at this opportunity."""
    session, _ = UserSession.objects.update_or_create(
        session_key=key,
        defaults={
            "user": user,
            "address": address,
            "browser": browser[:BROWSER_MAX],
            "started_at": now,
            "seen_at": now,
        },
    )
    alive = Session.objects.filter(expire_date__gt=now).values("session_key")
    UserSession.objects.filter(user=user).exclude(session_key__in=alive).delete()
    return session


def sessions_forget_dead(*, now: datetime) -> int:
    """Rows of everybody whose session has expired or is gone; how many. One that was used just now may still be on its way."""
    alive = Session.objects.filter(expire_date__gt=now).values("session_key")
    old = UserSession.objects.filter(seen_at__lt=now - timedelta(minutes=10)).exclude(session_key__in=alive)
    return old.delete()[0]


def session_seen(*, key: str, address: str | None, browser: str, now: datetime) -> None:
    UserSession.objects.filter(session_key=key).update(address=address, browser=browser[:BROWSER_MAX], seen_at=now)


def session_renamed(*, old: str, new: str) -> None:
    """The session has been given a new id."""
    UserSession.objects.filter(session_key=old).update(session_key=new)


def session_forget(*, key: str) -> None:
    """The session is over: signed out, or too old."""
    UserSession.objects.filter(session_key=key).delete()


def sessions_end(*, user: "User", ids: Iterable[int] | None = None, keep: str | None = None) -> int:
    """Ends these of the person's sessions, all of them without ``ids``, but never ``keep``; how many were ended."""
    mine = UserSession.objects.filter(user=user)
    if ids is not None:
        mine = mine.filter(pk__in=list(ids))
    if keep:
        mine = mine.exclude(session_key=keep)
    with transaction.atomic():
        keys = list(mine.values_list("session_key", flat=True))
        if not keys:
            return 0
        Session.objects.filter(session_key__in=keys).delete()
        mine.filter(session_key__in=keys).delete()
        audit.record(
            _actor_for(user), "session.end", target=user.get_username(), target_id=user.pk, after={"ended": len(keys)}
        )
    return len(keys)


def person_shut_out(*, user: "User") -> None:
    """A disabled person's sessions and personal tokens end; enabling them again brings none of it back."""
    with transaction.atomic():
        sessions_end(user=user)
        live = ApiToken.objects.filter(user=user, revoked_at=None).select_related("tenant")
        for token in live:
            audit.record(
                audit.PLATFORM,
                "token.revoke",
                tenant=token.tenant,
                target=token.name,
                target_id=token.pk,
                after={"reason": f"{user.get_username()} was disabled"},
            )
        live.update(revoked_at=timezone.now())


def _actor_for(user: "User") -> Actor:
    """Who did it: the person at the keyboard, when there is one; else it follows from what was done to the person."""
    from allauth.core import context

    request = context.request
    return audit.actor_of(request.user) if request is not None and hasattr(request, "user") else audit.PLATFORM
