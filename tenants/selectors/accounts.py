"""Reads: accounts, by what people and identity providers call them."""

from typing import TYPE_CHECKING

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth import get_user_model

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def account_named(login: str) -> "User | None":
    """Whom a username or an address means. One username is one person; an address only when it is nobody else's."""
    people = get_user_model().objects
    if found := people.filter(username__iexact=login).first():
        return found
    if "@" not in login:
        return None
    by_address = list(people.filter(email__iexact=login)[:2])
    return by_address[0] if len(by_address) == 1 else None


def username_taken(username: str) -> bool:
    return get_user_model().objects.filter(username__iexact=username).exists()


def address_taken(email: str) -> bool:
    return (
        get_user_model().objects.filter(email__iexact=email).exists()
        or EmailAddress.objects.filter(email__iexact=email).exists()
    )


def account_with_verified(email: str) -> "User | None":
    """The one local account for which this address has been verified here."""
    found = list(EmailAddress.objects.filter(email__iexact=email, verified=True).select_related("user")[:2])
    return found[0].user if len(found) == 1 else None


def keys_of(user: "User", kind: str) -> int:
    """How many second factors of this kind the person has."""
    return Authenticator.objects.filter(user=user, type=kind).count()


def providers_of(user: "User") -> list[str]:
    """The ids of the identity providers that the account is linked to, the one used last first."""
    return list(SocialAccount.objects.filter(user=user).order_by("-last_login").values_list("provider", flat=True))
