"""What django-allauth asks the platform about local accounts and second factors.

Whatever refuses too many attempts answers 429 with a page that says when to try again: ``Locked`` is raised where a form would
have shown an error, so that no form of allauth's can forget it.
"""

import base64
import logging
import math
import secrets
import smtplib
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal import stagekit
from allauth.account.internal.flows.login import get_authentication_records
from allauth.account.internal.flows.reauthentication import get_reauthentication_flows
from allauth.core import context as current
from allauth.core.exceptions import ImmediateHttpResponse, ReauthenticationRequired
from allauth.core.internal import ratelimit
from allauth.mfa.adapter import DefaultMFAAdapter
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from platform_portal import oidc, origin
from tenants.selectors import accounts
from tenants.services import sign_in

if TYPE_CHECKING:
    from django.contrib.auth.models import User

log = logging.getLogger(__name__)
APP = "allauth.account"
FAILED = "login_failed"
TOO_MANY = "too_many_login_attempts"


class AccountAdapter(DefaultAccountAdapter):
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """There is no signing up: a platform admin makes local accounts."""
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        # What no address can be found for shares one count: it is limited rather than let through.
        return origin.client_address(request) or "::"

    def is_safe_url(self, url: str | None) -> bool:
        """Where to go next, from anybody's link: what cannot be read as an address is none."""
        try:
            return bool(super().is_safe_url(url))
        except ValueError:
            return False

    def validation_error(self, code: str, *args: Any) -> Exception:
        if code == TOO_MANY:
            return ImmediateHttpResponse(locked(self.request, self._waiting()))
        error: Exception = super().validation_error(code, *args)
        return error

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        sign_in.sign_in_failed(login=credentials.get("username") or credentials.get("email") or "")

    def login(self, request: HttpRequest, user: "User") -> None:
        super().login(request, user)
        records = get_authentication_records(request, user)
        how = [str(one.get("provider") or one.get("type") or one.get("method") or "") for one in records]
        sign_in.sign_in_done(user=user, how=" + ".join(dict.fromkeys(filter(None, how))))

    def pre_login(self, request: HttpRequest, user: "User", **kwargs: Any) -> HttpResponse | None:
        """Whom a provider brought comes by the provider only: what they lose there, they must lose here."""
        response: HttpResponse | None = super().pre_login(request, user, **kwargs)
        if response is not None or user.has_usable_password() or came_by_provider(request, user):
            return response
        return render(request, "socialaccount/refused.html", {"reason": "elsewhere"}, status=403)

    def send_password_reset_mail(self, user: "User", email: str, context: dict[str, Any]) -> None:
        if user.has_usable_password():
            super().send_password_reset_mail(user, email, context)

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """A mail server that does not answer is our matter: what the person did is done."""
        try:
            super().send_mail(template_prefix, email, context)
        except (OSError, smtplib.SMTPException) as exc:
            log.error("%s could not be mailed: %s", template_prefix, exc)

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        """Signing in is proof for a while, as proving it again is; who has only a provider is sent there, not let off."""
        if not super().is_reauthentication_required(app=app, **kwargs):
            return False
        request = current.request
        records = get_authentication_records(request, request.user) or [{}]
        if time.time() - records[-1].get("at", 0) < settings.ACCOUNT_REAUTHENTICATION_TIMEOUT:
            return False
        if not get_reauthentication_flows(request.user):
            raise ReauthenticationRequired
        return True

    def get_reauthentication_methods(self, user: "User") -> list[dict[str, Any]]:
        """As allauth has it, and the identity provider: whoever signs in there may have no password here."""
        methods: list[dict[str, Any]] = super().get_reauthentication_methods(user)
        found = provider_of(user)
        if found is not None:
            methods.append(
                {
                    "id": "reauthenticate:oidc",
                    "description": f"Sign in again with {found.name}",
                    "url": reverse("account_reauthenticate_provider"),
                }
            )
        return methods

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        """One count for an account, whether it is named by its username or its address."""
        login = (credentials.get("username") or credentials.get("email") or "").lower()
        known = accounts.account_named(login)
        self._key = f"account:{known.pk}" if known else f"name:{login}"
        return self._key

    def _waiting(self) -> int:
        request = self.request
        keys = [self._key] if hasattr(self, "_key") else []
        pending = stagekit.unstash_login(request, peek=True)
        person = pending.user if pending else request.user
        if person is not None and person.pk:
            keys.append(f"mfa-auth-user-{person.pk}")
        return seconds_to_wait(request, keys)


class MFAAdapter(DefaultMFAAdapter):
    """Secrets of second factors are kept encrypted by a key derived from SECRET_KEY: a copy of the database gives no codes."""

    def encrypt(self, text: str) -> str:
        return _fernet().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        try:
            return _fernet().decrypt(encrypted_text.encode()).decode()
        except InvalidToken as exc:
            # Random, because an empty secret has codes that anybody can compute.
            log.error("a second factor was encrypted by a SECRET_KEY that is no longer known: %r", exc)
            return base64.b32encode(secrets.token_bytes(20)).decode()

    def generate_authenticator_name(self, user: "User", type: str) -> str:
        number = accounts.keys_of(user, type) + 1
        return "My key" if number == 1 else f"My key {number}"

    def get_totp_label(self, user: "User") -> str:
        return user.get_username()


def came_by_provider(request: HttpRequest, user: "User") -> bool:
    """Whether an identity provider was the first to say who this is."""
    records: list[dict[str, Any]] = get_authentication_records(request, user) or [{}]
    return records[0].get("method") == "socialaccount"


def provider_of(user: "User") -> oidc.Provider | None:
    """The configured provider by which the person signs in."""
    known = {provider.id: provider for provider in settings.OIDC}
    linked = accounts.providers_of(user) if known else []
    return next((known[one] for one in linked if one in known), None)


def seconds_to_wait(request: HttpRequest, keys: list[str]) -> int:
    """How long until one more attempt is allowed, by the counts that allauth keeps."""
    now, longest = time.time(), 1.0
    for rate in ratelimit.get_rates(app=APP, action=FAILED):
        for key in keys if rate.per == "key" else [None]:
            history = cache.get(ratelimit.get_cache_key(request, app=APP, action=FAILED, rate=rate, key=key), [])
            if len(history) >= rate.amount:
                longest = max(longest, history[rate.amount - 1] + rate.duration - now)
    return math.ceil(longest)


def locked(request: HttpRequest, seconds: int) -> HttpResponse:
    until = timezone.now() + timedelta(seconds=seconds)
    page = render(request, "account/locked.html", {"seconds": seconds, "until": until}, status=429)
    page["Retry-After"] = str(seconds)
    return page


def too_many_requests(request: HttpRequest) -> HttpResponse:
    """``handler429``: allauth's limits on forms other than failed sign-ins, which all last a minute."""
    return locked(request, 60)


def _fernet() -> MultiFernet:
    return MultiFernet([Fernet(_derived(key)) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])


def _derived(secret: str) -> bytes:
    kdf = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"second factors")
    return base64.urlsafe_b64encode(kdf.derive(secret.encode()))
