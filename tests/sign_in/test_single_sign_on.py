"""Signing in with a provider: whom it lets in, as whom, and what is not believed."""

import time
from typing import Any

import jwt
import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount, SocialApp
from django.contrib.auth import get_user_model
from django.test import Client
from pytest_django import Settings

from tenants.accounts.single_sign_on import verified
from tenants.models import AuditEntry, Membership, RoleRule
from tests.personas import team
from tests.sign_in.conftest import CALLBACK, ISSUER, OTHER_KEY, Idp, configure, good_claims, jwk, signed


def user(name: str) -> Any:
    return get_user_model().objects.get(username=name)


def signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


# ---- the ID token


def check(token: str, keys: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return verified(token, {"keys": keys or [jwk()]}, issuer=ISSUER, audience="ml")


def test_a_good_token_is_read() -> None:
    assert check(signed(good_claims()))["sub"] == "1"
    assert check(signed(good_claims(), kid=None))["sub"] == "1", "one key needs no name"
    assert check(signed(good_claims(aud=["ml", "other"], azp="ml")))["sub"] == "1"


def public_pem() -> bytes:
    from cryptography.hazmat.primitives import serialization

    from tests.sign_in.conftest import KEY

    return KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def hmac_with_public_key() -> str:
    """What an attacker makes who hopes that the public key is taken for a shared secret; by hand, as the library refuses to."""
    import base64
    import hashlib
    import hmac
    import json

    def part(data: Any) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=")

    body = part({"alg": "HS256", "kid": "k1"}) + b"." + part(good_claims())
    signature = base64.urlsafe_b64encode(hmac.new(public_pem(), body, hashlib.sha256).digest()).rstrip(b"=")
    return (body + b"." + signature).decode()


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(lambda: signed(good_claims(), key=OTHER_KEY), id="signed by somebody else"),
        pytest.param(lambda: signed(good_claims(), kid="k2"), id="a key that the issuer does not have"),
        pytest.param(lambda: signed(good_claims(exp=int(time.time()) - 120)), id="expired"),
        pytest.param(lambda: signed(good_claims(iat=int(time.time()) + 3600)), id="from the future"),
        pytest.param(lambda: signed(good_claims(nbf=int(time.time()) + 3600)), id="not yet good"),
        pytest.param(lambda: signed(good_claims(iss="https://evil.example.com")), id="another issuer"),
        pytest.param(lambda: signed(good_claims(aud="other")), id="for another client"),
        pytest.param(lambda: signed(good_claims(aud=["ml", "other"])), id="for several, none of them named"),
        pytest.param(lambda: signed({k: v for k, v in good_claims().items() if k != "exp"}), id="without an end"),
        pytest.param(lambda: signed({k: v for k, v in good_claims().items() if k != "sub"}), id="about nobody"),
        pytest.param(lambda: jwt.encode(good_claims(), "", algorithm="none"), id="not signed"),
        pytest.param(hmac_with_public_key, id="signed with the public key as a secret"),
        pytest.param(lambda: signed(good_claims())[:-4] + "AAAA", id="changed"),
        pytest.param(lambda: "not.a.token", id="no token"),
    ],
)
def test_a_forged_or_stale_token_is_not_taken(token: Any) -> None:
    with pytest.raises(jwt.PyJWTError):
        check(token())


def test_two_keys_and_no_name_is_no_key() -> None:
    with pytest.raises(jwt.PyJWTError):
        check(signed(good_claims(), kid=None), [jwk(), jwk(OTHER_KEY, kid="k2")])


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param({"id_token": signed(good_claims(sub="grace-1"), key=OTHER_KEY)}, id="forged token"),
        pytest.param({"userinfo": {"sub": "somebody-else"}}, id="userinfo about somebody else"),
        pytest.param({"config": {"issuer": "https://evil.example.com"}}, id="another issuer in the discovery document"),
    ],
)
def test_a_provider_that_is_not_to_be_believed_signs_nobody_in(idp: Idp, client: Client, spoil: dict[str, Any]) -> None:
    state = idp.begin(client)
    for name, value in spoil.items():
        setattr(idp, name, value)
    answer = client.get(CALLBACK, {"code": "c0de", "state": state})
    assert answer.status_code in (401, 503)
    assert b"Back to the sign-in page" in answer.content
    assert not signed_in(client) and not SocialAccount.objects.exists()


# ---- the way there and back


def test_the_first_sign_in_makes_the_account_and_the_second_finds_it(idp: Idp, client: Client) -> None:
    assert idp.sign_in(client).status_code == 302
    grace = user("grace")
    assert (grace.email, grace.has_usable_password()) == ("grace@example.com", False)
    assert AuditEntry.objects.filter(action="user.create", target="grace").count() == 1
    idp.sign_in(Client())
    assert get_user_model().objects.count() == 1
    assert AuditEntry.objects.filter(action="sign-in.succeed", user_id=grace.pk).count() == 2


def test_roles_are_there_before_the_first_page_and_gone_at_the_next_sign_in(idp: Idp, client: Client) -> None:
    ours = team("ours")
    RoleRule.objects.create(provider="corp", group="ml", tenant=ours.tenant, role="member")
    idp.sign_in(client)
    assert client.get("/")["Location"] == "/t/ours/"
    other = Client()
    idp.person("grace")
    idp.sign_in(other)
    assert not Membership.objects.filter(user=user("grace")).exists()
    assert client.get("/t/ours/").status_code == 404, "in the session that was open already, too"


def test_state_is_used_once_and_is_this_browser_s(idp: Idp, client: Client) -> None:
    idp.sign_in(client)
    assert Client().get(CALLBACK, {"code": "c0de", "state": "stolen"}).status_code == 401
    state = idp.begin(client)
    assert Client().get(CALLBACK, {"code": "c0de", "state": state}).status_code == 401


def test_a_link_signs_nobody_in_and_only_where_to_go_is_taken_from_the_request(idp: Idp, client: Client) -> None:
    answer = client.get("/accounts/oidc/corp/login/?next=/t/ours/&process=connect")
    assert answer["Location"] == "/accounts/login/?next=%2Ft%2Fours%2F"
    url = client.post(
        "/accounts/oidc/corp/login/?process=connect&scope=admin&auth_params=redirect_uri%3Dhttps://evil.example.com"
    ).context["url"]
    assert "evil" not in url and "admin" not in url
    assert "code_challenge_method=S256" in url


@pytest.mark.parametrize(
    "next_url", ["https://evil.example.com/", "//evil.example.com/", "/\\evil.example.com", "javascript:x"]
)
def test_the_way_back_leads_nowhere_else(idp: Idp, client: Client, next_url: str) -> None:
    assert idp.sign_in(client, next_url)["Location"] == "/"
    local = Client()
    get_user_model().objects.create_user("local", password="right-one")
    answer = local.post(
        f"/accounts/login/?next={next_url}", {"login": "local", "password": "right-one", "next": next_url}
    )
    assert answer["Location"] == "/"


def test_a_provider_that_does_not_answer_is_a_page_and_no_fault(idp: Idp, client: Client) -> None:
    idp.down = True
    answer = client.post("/accounts/oidc/corp/login/")
    assert answer.status_code == 503 and b"does not answer" in answer.content


def test_a_provider_that_dies_on_the_way_is_a_page_and_no_fault(idp: Idp, client: Client) -> None:
    state = idp.begin(client)
    idp.down = True
    answer = client.get(CALLBACK, {"code": "c0de", "state": state})
    assert answer.status_code == 503 and b"does not answer" in answer.content


def test_a_discovery_document_that_says_too_little_is_a_page_and_no_fault(idp: Idp, client: Client) -> None:
    idp.config = {"jwks_uri": None}
    assert client.post("/accounts/oidc/corp/login/").status_code == 503


def test_a_provider_in_the_database_opens_nothing(idp: Idp, client: Client) -> None:
    SocialApp.objects.create(provider="openid_connect", provider_id="evil", name="Evil", client_id="x")
    assert client.post("/accounts/oidc/evil/login/").status_code == 404
    assert client.get("/accounts/oidc/evil/login/callback/").status_code == 404
    assert b"Evil" not in client.get("/accounts/login/").content


# ---- whom


def test_a_name_that_is_taken_gets_a_number(idp: Idp, client: Client) -> None:
    for name in ("grace", "Grace-2"):
        get_user_model().objects.create_user(name)
    idp.sign_in(client)
    assert SocialAccount.objects.get().user.username == "grace-3"


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"email": "grace@example.com"}, 302),
        ({"email": "grace@elsewhere.example"}, 403),
        ({"email": "grace@example.com.evil.org"}, 403),
        ({"email_verified": False}, 403),
        ({"email_verified": "false"}, 403),
        ({"email": ""}, 403),
    ],
)
def test_only_verified_addresses_of_the_domains_come_in(
    idp: Idp, client: Client, settings: Settings, more: dict[str, Any], status: int
) -> None:
    configure(settings, allowed_domains=["example.com"])
    idp.person("grace", **more)
    answer = idp.sign_in(client)
    assert answer.status_code == status
    assert signed_in(client) is (status == 302)
    if status == 403:
        assert b"example.com" in answer.content
        assert not get_user_model().objects.exists()


def test_a_domain_that_is_taken_off_the_list_shuts_out_who_was_in(idp: Idp, client: Client, settings: Settings) -> None:
    idp.sign_in(client)
    configure(settings, allowed_domains=["elsewhere.example"])
    again = Client()
    assert idp.sign_in(again).status_code == 403
    assert not signed_in(again)


def test_an_unverified_address_is_not_even_stored(idp: Idp, client: Client) -> None:
    idp.person("grace", email_verified=False)
    assert idp.sign_in(client).status_code == 302
    assert user("grace").email == ""
    assert not EmailAddress.objects.exists()


@pytest.mark.parametrize("verified_here", [True, False])
@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("verified_there", [True, False])
def test_an_account_with_the_same_address_is_joined_only_when_both_sides_verified_it(
    idp: Idp, client: Client, settings: Settings, verified_here: bool, verified_there: bool, wanted: bool
) -> None:
    settings.OIDC_LINK_BY_EMAIL = wanted
    local = get_user_model().objects.create_user("local", email="grace@example.com", password="right-one")
    EmailAddress.objects.create(user=local, email=local.email, verified=verified_here, primary=True)
    idp.person("grace", email_verified=verified_there)
    answer = idp.sign_in(client)
    joined = verified_here and verified_there and wanted
    assert SocialAccount.objects.filter(user=local).exists() is joined
    if joined:
        assert client.session["_auth_user_id"] == str(local.pk)
        local.refresh_from_db()
        assert local.check_password("right-one"), "the password stays, and with it the other way in"
    elif verified_there:
        assert answer.status_code == 403 and not signed_in(client)
    else:
        assert user("grace").email == "", "somebody else, without that address"


def test_a_provider_that_makes_no_accounts_lets_in_whom_it_knows(idp: Idp, client: Client, settings: Settings) -> None:
    configure(settings, auto_create=False)
    answer = idp.sign_in(client)
    assert answer.status_code == 403 and b"does not make one" in answer.content
    configure(settings)
    idp.sign_in(client)
    configure(settings, auto_create=False)
    again = Client()
    idp.sign_in(again)
    assert signed_in(again)


def test_a_disabled_person_gets_neither_in_nor_any_role(idp: Idp, client: Client) -> None:
    ours = team("ours")
    idp.sign_in(client)
    grace = user("grace")
    grace.is_active = False
    grace.save()
    RoleRule.objects.create(provider="corp", group="ml", tenant=ours.tenant, role="lead")
    again = Client()
    assert idp.sign_in(again)["Location"] == "/accounts/inactive/"
    assert not signed_in(again) and not Membership.objects.filter(user=grace).exists()


def test_who_comes_by_a_provider_gets_no_password(idp: Idp, client: Client, settings: Settings) -> None:
    from django.core import mail

    idp.sign_in(client)
    assert client.get("/accounts/password/change/")["Location"].startswith("/accounts/password/none/")
    assert b"Example Corp" in client.get("/accounts/password/none/").content
    settings.EMAIL_URL = "smtp://mail.example.com"
    Client().post("/accounts/password/reset/", {"email": "grace@example.com"})
    assert mail.outbox == []


def test_who_has_only_a_provider_is_sent_there_before_a_second_factor_is_added(
    idp: Idp, client: Client, settings: Settings
) -> None:
    idp.sign_in(client)
    assert client.get("/accounts/security/app/add/").status_code == 200, "the sign-in itself is fresh"
    settings.ACCOUNT_REAUTHENTICATION_TIMEOUT = 0
    away = client.get("/accounts/security/app/add/")["Location"]
    assert away.startswith("/accounts/reauthenticate/provider/?next=")
    page = client.get(away)
    assert b"Sign in again with Example Corp" in page.content
    again = client.post("/accounts/oidc/corp/login/", {"next": page.context["next_url"]})
    assert "prompt=login" in again.context["url"]
