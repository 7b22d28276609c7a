"""Signing in with an OpenID Connect provider: whom it may let in, and what is checked beyond what django-allauth checks.

Requires the providers in ``settings.OIDC``; what stands in the database as a "social application" opens nothing. Promises that an
ID token is taken only with a signature of the issuer's own keys, for us, unexpired, and about whom userinfo is about; that an
e-mail address counts only when it is verified; and that the roles which the groups give are in place before the first page.
"""

import logging
from typing import Any

import jwt
import requests
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp, SocialLogin
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django.shortcuts import render

from platform_portal import oidc
from tenants.accounts import claims
from tenants.selectors import accounts
from tenants.services import sign_in

log = logging.getLogger(__name__)
# Only signatures that a provider alone can make: with a shared secret, whoever knows it could.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
LEEWAY_SECONDS = 60
NEEDED = ("authorization_endpoint", "token_endpoint", "jwks_uri")
USERNAME_TRIES = 10_000


class SocialAdapter(DefaultSocialAccountAdapter):
    def list_apps(
        self, request: HttpRequest, provider: str | None = None, client_id: str | None = None
    ) -> list[SocialApp]:
        """The providers of the settings and no others."""
        apps = [SocialApp(provider="openid_connect", **oidc.app(one)) for one in settings.OIDC]
        return [
            app
            for app in apps
            if provider in (None, app.provider, app.provider_id) and client_id in (None, app.client_id)
        ]

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        return bool(_provider(sociallogin).auto_create)

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """The provider has said who it is; here it is decided whether they may come in, and as whom."""
        provider = _provider(sociallogin)
        person = _person(sociallogin)
        if not claims.domain_allowed(person.email, provider.allowed_domains):
            raise _refused(request, provider, "domain" if person.email else "unverified", person)
        sociallogin.email_addresses = [one for one in sociallogin.email_addresses if one.email == person.email]
        for one in sociallogin.email_addresses:
            one.verified = True
        if sociallogin.is_existing:
            if sociallogin.user.is_active:
                sign_in.roles_apply(user=sociallogin.user, provider=provider.id, groups=person.groups)
            return
        if person.email and accounts.address_taken(person.email):
            self._link(request, sociallogin, provider, person)
        elif not provider.auto_create:
            raise _refused(request, provider, "closed", person)

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None) -> Any:
        """Makes the account with its roles, or nothing."""
        provider, person = _provider(sociallogin), _person(sociallogin)
        with transaction.atomic():
            user = sociallogin.user
            user.username = _free_username(person.username)
            user.email, user.first_name, user.last_name = person.email, person.first_name, person.last_name
            user.set_unusable_password()
            sociallogin.save(request)
            sign_in.account_made(user=user, provider=provider.id)
            sign_in.roles_apply(user=user, provider=provider.id, groups=person.groups)
        return user

    def authenticate_by_email(self, sociallogin: SocialLogin) -> None:
        """Never by itself: ``pre_social_login`` links accounts, under its own conditions."""
        return None

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,
        error: Any = None,
        exception: Exception | None = None,
        extra_context: Any = None,
    ) -> None:
        # The person gets a page without details; who runs the platform needs them.
        log.warning("signing in with %s failed: %s %s", getattr(provider, "name", provider), error, exception or "")

    def _link(
        self, request: HttpRequest, sociallogin: SocialLogin, provider: oidc.Provider, person: claims.Person
    ) -> None:
        """Joins the provider's account to the local one with the same address, both having verified it, where that is wanted."""
        local = accounts.account_with_verified(person.email) if settings.OIDC_LINK_BY_EMAIL else None
        if local is None:
            raise _refused(request, provider, "taken", person)
        if not local.is_active:
            raise _refused(request, provider, "disabled", person)
        with transaction.atomic():
            sociallogin.connect(request, local)
            sign_in.account_linked(user=local, provider=provider.id)
            sign_in.roles_apply(user=local, provider=provider.id, groups=person.groups)


class OidcAdapter(OpenIDConnectOAuth2Adapter):
    """Checks the ID token whole, although it came straight from the provider: a proxy in between may not be ours."""

    @property
    def openid_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().openid_config
        issuer = next(one.issuer for one in settings.OIDC if one.id == self.provider_id)
        if str(config.get("issuer", "")).rstrip("/") != issuer.rstrip("/"):
            raise OAuth2Error(f"{issuer} says that its issuer is {config.get('issuer')!r}")
        if missing := [name for name in NEEDED if not isinstance(config.get(name), str)]:
            raise OAuth2Error(f"the discovery document of {issuer} lacks {', '.join(missing)}")
        return config

    def complete_login(self, request: HttpRequest, app: SocialApp, token: Any, **kwargs: Any) -> SocialLogin:
        raw = kwargs["response"].get("id_token")
        if not raw:
            raise OAuth2Error("the provider sent no ID token")
        id_token = self._decode_id_token(app, raw)
        userinfo = self._fetch_user_info(token.token) if self.openid_config.get("userinfo_endpoint") else {}
        if userinfo and userinfo.get("sub") != id_token["sub"]:
            raise OAuth2Error("userinfo is about somebody else than the ID token")
        return self.get_provider().sociallogin_from_response(
            request, {"userinfo": {**userinfo, "sub": id_token["sub"]}, "id_token": id_token}
        )

    def _decode_id_token(self, app: SocialApp, id_token: str) -> dict[str, Any]:
        config = self.openid_config
        try:
            return verified(id_token, self._keys(config["jwks_uri"]), issuer=config["issuer"], audience=app.client_id)
        except (jwt.PyJWTError, KeyError, ValueError, TypeError) as exc:
            raise OAuth2Error(f"the ID token is not good: {exc!r}") from exc

    def _keys(self, url: str) -> dict[str, Any]:
        answer = requests.get(url, timeout=5)
        answer.raise_for_status()
        keys: dict[str, Any] = answer.json()
        return keys


def verified(id_token: str, keys: dict[str, Any], *, issuer: str, audience: str) -> dict[str, Any]:
    """The claims of an ID token that the issuer signed for us and that holds now; raises ``jwt.PyJWTError`` for any other."""
    header = jwt.get_unverified_header(id_token)
    known = [key for key in jwt.PyJWKSet.from_dict(keys).keys if key.public_key_use in (None, "sig")]
    named = [key for key in known if key.key_id == header["kid"]] if "kid" in header else known
    if len(named) != 1:
        raise jwt.InvalidKeyError(f"no key of the issuer's is {header.get('kid')!r}")
    if header.get("alg") not in ALGORITHMS:
        raise jwt.InvalidAlgorithmError(f"{header.get('alg')!r} is not taken")
    claims_: dict[str, Any] = jwt.decode(
        id_token,
        named[0],
        algorithms=[header["alg"]],
        issuer=issuer,
        audience=audience,
        leeway=LEEWAY_SECONDS,
        options={"require": ["exp", "iat", "iss", "aud", "sub"]},
    )
    if isinstance(claims_["aud"], list) and len(claims_["aud"]) > 1 and claims_.get("azp") != audience:
        raise jwt.InvalidAudienceError("it was made for another client")
    return claims_


def _provider(sociallogin: SocialLogin) -> oidc.Provider:
    return next(one for one in settings.OIDC if one.id == sociallogin.account.provider)


def _person(sociallogin: SocialLogin) -> claims.Person:
    data = sociallogin.account.extra_data
    return claims.person(data["id_token"], data["userinfo"], _provider(sociallogin))


def _free_username(wish: str) -> str:
    if not accounts.username_taken(wish):
        return wish
    return next(name for number in range(2, USERNAME_TRIES) if not accounts.username_taken(name := f"{wish}-{number}"))


def _refused(
    request: HttpRequest, provider: oidc.Provider, reason: str, person: claims.Person
) -> ImmediateHttpResponse:
    log.warning("signing in with %s was refused: %s", provider.id, reason)
    context = {"provider": provider, "reason": reason, "email": person.email}
    return ImmediateHttpResponse(render(request, "socialaccount/refused.html", context, status=403))
