"""Second factors: kept encrypted, changed only by who proves who they are, and never a way around a provider."""

from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret, validate_totp_code
from django.contrib.auth import get_user_model
from django.test import Client, RequestFactory
from pytest_django import Settings

from tenants.accounts.adapters import AccountAdapter, MFAAdapter
from tenants.models import AuditEntry

PASSWORD = "a-good-old-password"


@pytest.fixture
def person(db: None) -> Any:
    return get_user_model().objects.create_user("ada", password=PASSWORD)


@pytest.fixture
def signed_in(person: Any, client: Client) -> Client:
    client.post("/accounts/login/", {"login": "ada", "password": PASSWORD})
    return client


def code_of(secret: str) -> str:
    from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time

    return str(format_hotp_value(hotp_value(secret, next(iter(yield_hotp_counters_from_time())))))


def test_a_secret_is_not_readable_in_the_database(person: Any) -> None:
    secret = generate_totp_secret()
    TOTP.activate(person, secret)
    stored = Authenticator.objects.get().data["secret"]
    assert secret not in stored
    assert MFAAdapter().decrypt(stored) == secret


def test_a_new_key_reads_what_the_old_one_wrote_as_long_as_the_old_one_is_named(settings: Settings) -> None:
    stored = MFAAdapter().encrypt("secret")
    old, settings.SECRET_KEY = settings.SECRET_KEY, "n" * 64
    settings.SECRET_KEY_FALLBACKS = [old]
    assert MFAAdapter().decrypt(stored) == "secret"


def test_a_secret_that_cannot_be_read_lets_nobody_in(settings: Settings) -> None:
    stored = MFAAdapter().encrypt("secret")
    settings.SECRET_KEY = "n" * 64
    found = MFAAdapter().decrypt(stored)
    assert found not in ("", "secret") and found != MFAAdapter().decrypt(stored), "an empty one would have known codes"
    assert not validate_totp_code(found, code_of(""))


@pytest.mark.django_db(transaction=True)
def test_an_app_is_added_with_a_line_in_the_log_and_a_new_session_id(signed_in: Client) -> None:
    page = signed_in.get("/accounts/security/app/add/")
    assert b'src="data:image/svg+xml;base64,' in page.content
    before = signed_in.session.session_key
    answer = signed_in.post("/accounts/security/app/add/", {"code": code_of(page.context["form"].secret)})
    assert answer["Location"] == "/accounts/security/codes/"
    assert signed_in.session.session_key != before
    shown = signed_in.get("/accounts/security/codes/")
    assert len(shown.context["unused_codes"]) == 10 and b"not shown again" in shown.content
    assert b"not shown again" not in signed_in.get("/accounts/security/codes/").content
    lines = AuditEntry.objects.filter(action="mfa.add").order_by("id").values_list("after", flat=True)
    assert [one["what"] for one in lines if one] == ["totp", "recovery_codes"]


@pytest.mark.parametrize("path", ["app/add/", "keys/add/"])
def test_after_a_while_one_proves_again_who_one_is(signed_in: Client, settings: Settings, path: str) -> None:
    assert signed_in.get(f"/accounts/security/{path}").status_code == 200
    settings.ACCOUNT_REAUTHENTICATION_TIMEOUT = 0
    away = signed_in.get(f"/accounts/security/{path}")
    assert away["Location"].startswith("/accounts/reauthenticate/?next=")
    settings.ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
    back = signed_in.post(away["Location"], {"password": PASSWORD})
    assert back["Location"] == f"/accounts/security/{path}"
    assert signed_in.post(away["Location"], {"password": "wrong"}).status_code == 200


def test_removing_the_last_factor_takes_the_codes_with_it(signed_in: Client, person: Any) -> None:
    page = signed_in.get("/accounts/security/app/add/")
    signed_in.post("/accounts/security/app/add/", {"code": code_of(page.context["form"].secret)})
    assert signed_in.get("/accounts/security/app/remove/").status_code == 200
    signed_in.post("/accounts/security/app/remove/")
    assert not Authenticator.objects.filter(user=person).exists()
    assert AuditEntry.objects.filter(action="mfa.remove").count() == 2


def test_nobody_touches_the_key_of_somebody_else(signed_in: Client) -> None:
    eve = get_user_model().objects.create_user("eve")
    key = Authenticator.objects.create(user=eve, type="webauthn", data={"name": "hers", "credential": {}})
    for verb in ("remove", "rename"):
        assert signed_in.get(f"/accounts/security/keys/{key.pk}/{verb}/").status_code == 404


def test_a_passkey_is_no_way_around_the_provider(person: Any) -> None:
    """Who has left the company must not keep a key to the portal."""
    from django.contrib.sessions.backends.db import SessionStore

    request = RequestFactory().get("/")
    request.session, request.user = SessionStore(), person
    assert (
        AccountAdapter(request).pre_login(
            request, person, email_verification="none", redirect_url=None, signal_kwargs=None, signup=False, email=None
        )
        is None
    )
    person.set_unusable_password()
    person.save()
    refused = AccountAdapter(request).pre_login(
        request, person, email_verification="none", redirect_url=None, signal_kwargs=None, signup=False, email=None
    )
    assert refused is not None and refused.status_code == 403
    assert b"made by an identity provider" in refused.content


def test_pages_of_factors_load_scripts_from_here_and_run_none_within(signed_in: Client) -> None:
    import re

    for path in ("/accounts/security/keys/add/", "/accounts/security/app/add/"):
        page = signed_in.get(path).content.decode()
        inline = [
            one
            for one in re.findall(r"<script([^>]*)>", page)
            if "src=" not in one and 'type="application/json"' not in one
        ]
        assert inline == [] and " onclick=" not in page and "<style" not in page and " style=" not in page, path
