"""The pages around signing in that are the platform's own; the rest are django-allauth's, with our templates."""

from collections.abc import Callable
from typing import Any

import requests
from allauth.account.utils import get_next_redirect_url
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialApp
from allauth.socialaccount.providers.base import AuthProcess
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from tenants.accounts.adapters import provider_of
from tenants.accounts.browsers import browser_name
from tenants.accounts.single_sign_on import OidcAdapter
from tenants.selectors.sessions import sessions_of
from tenants.services.sessions import sessions_end

View = Callable[..., HttpResponse]


def closed(request: HttpRequest, **kwargs: Any) -> HttpResponse:
    """An address that django-allauth knows by name and nobody is to use."""
    raise Http404


def with_mail(view: View) -> View:
    """A page that is of no use without a mail server says so instead."""

    def either(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if settings.EMAIL_URL:
            return view(request, *args, **kwargs)
        return render(request, "account/password_reset_closed.html")

    return either


@require_safe
def no_signup(request: HttpRequest) -> HttpResponse:
    return render(request, "account/signup_closed.html")


@require_safe
@login_required
def no_password(request: HttpRequest) -> HttpResponse:
    """Who signs in with a provider has no password here, and gets none: it would outlive their account there."""
    user: Any = request.user
    if user.has_usable_password():
        return redirect("account_change_password")
    return render(request, "account/no_password.html", {"provider": provider_of(user)})


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def oidc_login(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Sends the browser to the provider. Only by POST: a link on another site must not sign anybody in.

    The answer is a page that goes on by itself, since form-action in our Content-Security-Policy forbids a redirect elsewhere.
    Nothing of the request but where to go afterwards reaches the provider.
    """
    try:
        provider = get_adapter(request).get_provider(request, provider_id)
    except SocialApp.DoesNotExist as exc:
        raise Http404 from exc
    next_url = get_next_redirect_url(request)
    if request.method != "POST":
        return redirect(f"{reverse('account_login')}?{urlencode({'next': next_url})}" if next_url else "account_login")
    provider.oauth2_adapter_class = OidcAdapter
    again = {"prompt": "login"} if request.user.is_authenticated else {}
    try:
        answer = provider.redirect(request, process=AuthProcess.LOGIN, next_url=next_url, auth_params=again)
    except (requests.RequestException, OAuth2Error) as exc:
        return _unreachable(request, provider_id, exc)
    if "Location" not in answer:
        return answer
    return render(request, "socialaccount/leaving.html", {"provider": provider, "url": answer["Location"]})


@never_cache
@require_safe
def oidc_callback(request: HttpRequest, provider_id: str) -> HttpResponse:
    """The provider sends the browser back here."""
    try:
        answer: HttpResponse = OAuth2CallbackView.adapter_view(OidcAdapter(request, provider_id))(request)
    except SocialApp.DoesNotExist as exc:
        raise Http404 from exc
    except (requests.RequestException, OAuth2Error) as exc:
        # Where allauth does not look for them: while it asks what addresses the provider has.
        return _unreachable(request, provider_id, exc)
    return answer


@never_cache
@require_safe
@login_required
def reauthenticate_provider(request: HttpRequest) -> HttpResponse:
    """Who has no password here proves who they are where they have one."""
    provider = provider_of(request.user)  # type: ignore[arg-type]
    if provider is None:
        return redirect("account_reauthenticate")
    next_url = get_next_redirect_url(request) or reverse("mfa_index")
    return render(request, "account/reauthenticate_provider.html", {"provider": provider, "next_url": next_url})


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def sessions(request: HttpRequest) -> HttpResponse:
    """Where the person is signed in; ends one session, the others, or all."""
    user: Any = request.user
    current = request.session.session_key
    if request.method == "POST":
        return _end(request, user, current)
    found = [
        {"session": one, "name": browser_name(one.browser), "current": one.session_key == current}
        for one in sessions_of(user, timezone.now())
    ]
    found.sort(key=lambda one: not one["current"])
    return render(request, "account/sessions.html", {"sessions": found, "idle": settings.SESSION_IDLE_SECONDS})


def _unreachable(request: HttpRequest, provider_id: str, exc: Exception) -> HttpResponse:
    provider = get_adapter(request).get_provider(request, provider_id)
    get_adapter(request).on_authentication_error(request, provider, error="discovery", exception=exc)
    return render(request, "socialaccount/unreachable.html", {"provider": provider}, status=503)


def _end(request: HttpRequest, user: Any, current: str | None) -> HttpResponse:
    what = request.POST.get("end", "")
    if what == "all":
        sessions_end(user=user)
        logout(request)
        messages.success(request, "You are signed out everywhere.")
        return redirect("account_login")
    if what == "others":
        count = sessions_end(user=user, keep=current)
        told = f"{count} other session{' was' if count == 1 else 's were'} ended." if count else "There was no other."
    elif what.isdecimal() and len(what) < 19:
        count = sessions_end(user=user, ids=[int(what)], keep=current)
        told = "The session was ended." if count else "That session had ended already."
    else:
        messages.error(request, "Choose a session to end.")
        return redirect("account_sessions")
    messages.success(request, told)
    return redirect("account_sessions")
