"""Sessions end: after a time without activity, after a time in any case, and when somebody ends them.

Both times are checked on every request with a session. Activity is written down at most once a minute; what a page asks by itself
(``X-Poll``, set by app.js) is none, so that a forgotten tab signs out like a closed one.
"""

import time
from collections.abc import Callable
from typing import Any

from allauth.account.signals import authentication_step_completed, password_changed, password_set
from allauth.mfa.signals import authenticator_added, authenticator_removed, authenticator_reset
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import get_user_model, logout
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db.models.signals import post_save, pre_save
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from platform_portal import origin
from tenants.services import sessions, sign_in

STARTED, SEEN = "signed_in_at", "last_active_at"
WRITE_EVERY_SECONDS = 60
POLL = "X-Poll"
# What makes a person another one to the platform; a change ends their other sessions.
PRIVILEGES = ("password", "is_superuser", "is_staff", "is_active")


class SessionAgeMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # Without the cookie nothing is loaded, and the answer does not vary by it.
        if settings.SESSION_COOKIE_NAME not in request.COOKIES or not request.user.is_authenticated:
            return self.get_response(request)
        now = time.time()
        why = _too_old(request, now)
        if not why:
            _note_activity(request, now)
            return self.get_response(request)
        if POLL in request.headers:
            # The page loads itself again, and that request tells the person why they are out.
            return HttpResponse(status=401, headers={"HX-Refresh": "true"})
        logout(request)
        messages.info(request, why)
        return self.get_response(request)


def connect() -> None:
    """Called once, when the app is ready."""
    user_logged_in.connect(_signed_in, dispatch_uid="session-open")
    user_logged_out.connect(_signed_out, dispatch_uid="session-forget")
    for signal in (password_changed, password_set):
        signal.connect(_password_changed, dispatch_uid="session-password")
    authenticator_added.connect(_factor_added, dispatch_uid="session-factor")
    authenticator_reset.connect(_factor_added, dispatch_uid="session-factor")
    authenticator_removed.connect(_factor_removed, dispatch_uid="session-factor")
    authentication_step_completed.connect(_step, dispatch_uid="session-step")
    pre_save.connect(_before_user_saved, sender=get_user_model(), dispatch_uid="session-user")
    post_save.connect(_after_user_saved, sender=get_user_model(), dispatch_uid="session-user")


def rotate(request: HttpRequest) -> None:
    """Gives the session a new id; whoever knows the old one knows nothing."""
    old = request.session.session_key
    request.session.cycle_key()
    if old and request.session.session_key:
        sessions.session_renamed(old=old, new=request.session.session_key)


def _too_old(request: HttpRequest, now: float) -> str:
    """The sentence that says why the session is over; empty while it holds. One that does not say its age is too old."""
    started, seen = request.session.get(STARTED, 0.0), request.session.get(SEEN, 0.0)
    if now - started >= settings.SESSION_MAX_SECONDS:
        return f"You were signed out: a sign-in holds for {_lasting(settings.SESSION_MAX_SECONDS)}."
    if now - seen >= settings.SESSION_IDLE_SECONDS:
        return f"You were signed out after {_lasting(settings.SESSION_IDLE_SECONDS)} without activity."
    return ""


def _note_activity(request: HttpRequest, now: float) -> None:
    if POLL in request.headers or now - request.session[SEEN] < WRITE_EVERY_SECONDS:
        return
    request.session[SEEN] = now
    sessions.session_seen(key=_key(request), now=timezone.now(), **_client(request))


def _signed_in(sender: Any, request: HttpRequest, user: Any, **kwargs: Any) -> None:
    if not hasattr(request, "session"):
        return
    request.session[STARTED] = request.session[SEEN] = time.time()
    if not request.session.session_key:
        request.session.save()
    sessions.session_open(user=user, key=_key(request), now=timezone.now(), **_client(request))


def _signed_out(sender: Any, request: HttpRequest, **kwargs: Any) -> None:
    if key := request.session.session_key:
        sessions.session_forget(key=key)


def _password_changed(sender: Any, request: HttpRequest, user: Any, **kwargs: Any) -> None:
    """Everybody else is out; the session in which it was done goes on, under the new id that Django gave it."""
    sign_in.account_secured(user=user, action="password.change", what="password")
    if request.user.is_authenticated and request.user.pk == user.pk:
        sessions.session_open(user=user, key=_key(request), now=timezone.now(), **_client(request))


def _factor_added(sender: Any, request: HttpRequest, user: Any, authenticator: Any, **kwargs: Any) -> None:
    sign_in.account_secured(user=user, action="mfa.add", what=authenticator.type)
    rotate(request)


def _factor_removed(sender: Any, request: HttpRequest, user: Any, authenticator: Any, **kwargs: Any) -> None:
    sign_in.account_secured(user=user, action="mfa.remove", what=authenticator.type)
    rotate(request)


def _step(sender: Any, request: HttpRequest, **kwargs: Any) -> None:
    if kwargs.get("reauthenticated"):
        rotate(request)


def _before_user_saved(sender: Any, instance: Any, update_fields: Any = None, **kwargs: Any) -> None:
    instance._privileges_before = None
    if instance.pk and (update_fields is None or set(update_fields) & set(PRIVILEGES)):
        instance._privileges_before = sender.objects.filter(pk=instance.pk).values(*PRIVILEGES).first()


def _after_user_saved(sender: Any, instance: Any, **kwargs: Any) -> None:
    before = getattr(instance, "_privileges_before", None)
    if before is None or all(before[name] == getattr(instance, name) for name in PRIVILEGES):
        return
    if not instance.is_active:
        sessions.person_shut_out(user=instance)
    else:
        sessions.sessions_end(user=instance, keep=_own_key(instance))


def _own_key(user: Any) -> str | None:
    """The session in which people change themselves goes on."""
    from allauth.core import context

    request = context.request
    if request is None or not request.user.is_authenticated or request.user.pk != user.pk:
        return None
    key: str | None = request.session.session_key
    return key


def _key(request: HttpRequest) -> str:
    """The id of a session that has been saved."""
    return request.session.session_key or ""


def _client(request: HttpRequest) -> dict[str, Any]:
    return {"address": origin.client_address(request), "browser": request.headers.get("User-Agent", "")}


def _lasting(seconds: int) -> str:
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size and seconds % size == 0:
            count = seconds // size
            return f"{count} {name}{'' if count == 1 else 's'}"
    return f"{seconds} seconds"
