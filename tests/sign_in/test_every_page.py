"""Every page around signing in renders, keeps the content policy, and no template of theirs is left unseen."""

import re
from typing import Any
from urllib.parse import urlencode

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from cryptography.hazmat.primitives.asymmetric import ec
from django.contrib.auth import get_user_model
from django.core import mail
from django.core.cache import cache
from django.test import Client
from fido2.cose import ES256
from fido2.utils import websafe_encode
from fido2.webauthn import AttestationObject, AttestedCredentialData, AuthenticatorData, CollectedClientData
from pytest_django import Settings

from tests.every_page import SIGN_IN, check, seeing, unseen
from tests.sign_in.conftest import CALLBACK, Idp, configure

PASSWORD = "a-good-old-password"


@pytest.fixture
def person(db: None) -> Any:
    cache.clear()
    return get_user_model().objects.create_user("ada", email="ada@example.com", password=PASSWORD)


@pytest.mark.parametrize("address", ["http://[::1", "//[", "http://a]b/", "http://\u2100.com/"])
def test_a_next_that_cannot_be_read_is_none(person: Any, address: str) -> None:
    for path in ("/accounts/login/", "/accounts/logout/", "/admin/login/"):
        for is_in in (False, True):
            client = Client()
            if is_in:
                client.force_login(person)
            there = f"{path}?{urlencode({'next': address})}"
            for answer in (client.get(there, follow=True), client.post(there, {"next": address}, follow=True)):
                assert answer.status_code == (403 if is_in and "admin" in path else 200), (path, is_in)
    client = Client()
    form = {"login": "ada", "password": PASSWORD, "next": address}
    answer = client.post(f"/accounts/login/?{urlencode({'next': address})}", form)
    assert answer.status_code == 302 and answer["Location"].startswith("/") and "[" not in answer["Location"]


def test_every_template_is_rendered_and_every_page_keeps_the_content_policy(
    person: Any, idp: Idp, settings: Settings
) -> None:
    with seeing() as seen:
        passwords(person, settings)
        factors(person, settings)
        providers(idp, settings)
    assert not unseen(seen, *SIGN_IN)


def opened(client: Client, *paths: str) -> None:
    for path in paths:
        answer = client.get(f"/accounts/{path}")
        assert answer.status_code == 200, (path, answer.status_code, answer.get("Location"))
        check(answer)


def passwords(person: Any, settings: Settings) -> None:
    client = Client()
    opened(client, "login/", "signup/", "inactive/", "password/reset/")
    settings.EMAIL_URL = "smtp://mail.example.com"
    opened(client, "password/reset/", "password/reset/done/", "password/reset/key/done/")
    check(client.post("/accounts/password/reset/", {"email": "no address"}))
    client.post("/accounts/password/reset/", {"email": person.email})
    link = re.search(r"/accounts/(password/reset/key/\S+)", str(mail.outbox[-1].body))
    assert link is not None
    opened(client, "password/reset/key/1-wrong/")
    check(client.get(f"/accounts/{link[1]}", follow=True))
    for _ in range(6):
        answer = Client(REMOTE_ADDR="203.0.113.77").post("/accounts/login/", {"login": "nobody", "password": "x"})
    assert answer.status_code == 429
    check(answer)
    signed_in = sign_in()
    opened(signed_in, "logout/", "password/change/", "sessions/", "reauthenticate/")
    check(signed_in.post("/accounts/password/change/", {"oldpassword": "wrong"}))
    check(signed_in.post("/accounts/reauthenticate/", {"password": "wrong"}))


def factors(person: Any, settings: Settings) -> None:
    client = sign_in()
    opened(client, "security/", "security/app/add/", "security/keys/", "security/keys/add/")
    check(client.post("/accounts/security/app/add/", {"code": "wrong"}))
    TOTP.activate(person, generate_totp_secret())
    key = Authenticator.objects.create(
        user=person, type="webauthn", data={"name": "Laptop", "credential": registration(b"key")}
    )
    opened(client, "security/", "security/app/remove/", "security/keys/", "security/codes/new/")
    opened(client, f"security/keys/{key.pk}/remove/", f"security/keys/{key.pk}/rename/")
    opened(client, "security/reauthenticate/", "security/keys/reauthenticate/")
    client.post("/accounts/security/codes/new/")
    opened(client, "security/codes/", "security/codes/")
    halfway = Client()
    answer = halfway.post("/accounts/login/", {"login": "ada", "password": PASSWORD}, follow=True)
    assert answer.redirect_chain[-1][0] == "/accounts/security/authenticate/"
    check(answer)
    check(halfway.post("/accounts/security/authenticate/", {"code": "wrong"}))


def providers(idp: Idp, settings: Settings) -> None:
    client = Client()
    opened(client, "login/", "oidc/cancelled/")
    check(client.post("/accounts/oidc/corp/login/"))
    check(client.get(CALLBACK, {"code": "c0de", "state": "unknown"}))
    idp.down = True
    check(Client().post("/accounts/oidc/corp/login/"))
    idp.down = False
    configure(settings, allowed_domains=["elsewhere.example"])
    refused = idp.sign_in(Client())
    assert refused.status_code == 403
    check(refused)
    configure(settings)
    assert idp.sign_in(client).status_code == 302
    opened(client, "password/none/", "reauthenticate/provider/")


def sign_in() -> Client:
    client = Client()
    assert client.post("/accounts/login/", {"login": "ada", "password": PASSWORD}).status_code == 302
    return client


def registration(key_id: bytes) -> dict[str, Any]:
    """What a browser sends when a security key is added."""
    public = ES256.from_cryptography_key(ec.generate_private_key(ec.SECP256R1()).public_key())
    credential = AttestedCredentialData.create(b"\0" * 16, key_id, public)
    flags = AuthenticatorData.FLAG.UP | AuthenticatorData.FLAG.UV | AuthenticatorData.FLAG.AT
    about = AuthenticatorData.create(b"\0" * 32, flags, 0, credential)
    client_data = CollectedClientData.create("webauthn.create", b"challenge", "http://testserver")
    name = websafe_encode(key_id)
    return {
        "id": name,
        "rawId": name,
        "type": "public-key",
        "response": {
            "clientDataJSON": websafe_encode(client_data),
            "attestationObject": websafe_encode(AttestationObject.create("none", about, {})),
        },
    }
