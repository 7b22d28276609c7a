"""JWTs of a trusted issuer, such as a CI system: verified with its keys over real HTTP, matched by rules, or refused."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from platform_portal.errors import DomainError
from tenants import issuers
from tenants.models import AuditEntry, IssuerRule, ServiceAccount, Tenant, TrustedIssuer
from tenants.selectors import context_for_jwt
from tenants.selectors.federation import mismatches
from tenants.services import service_account_create, service_account_delete, service_account_update
from tests.personas import Team, api_client
from tests.tenants.issuer import DISCOVERY, RSA_KEYS, Issuer

JOBS = "/v1/jobs/training"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuers.forget()
    server = Issuer()
    yield server
    server.stop()
    issuers.forget()


@pytest.fixture
def trusted(issuer: Issuer, ours: Team) -> TrustedIssuer:
    """The issuer, and one rule: pushes to main of one repository act as the team's CI."""
    row = TrustedIssuer.objects.create(name="forge", issuer=issuer.url, audience="ml-platform")
    account = service_account_create(ctx=ours.context("lead"), name="ci")
    rule(row, account, {"sub": "repo:org/app:*"})
    return row


def rule(row: TrustedIssuer, account: ServiceAccount, claims: dict[str, Any], **fields: Any) -> IssuerRule:
    return IssuerRule.objects.create(issuer=row, service_account=account, claims=claims, **fields)


def answer(token: str, path: str = JOBS) -> tuple[int, str]:
    """Status, and of an error its sentence."""
    response = api_client(token).get(path)
    body = response.json()
    return response.status_code, body.get("detail", "") if isinstance(body, dict) else ""


# ---- what is let in


def test_a_ci_system_s_jwt_acts_as_the_service_account(trusted: TrustedIssuer, issuer: Issuer, ours: Team) -> None:
    client = api_client(issuer.token())
    assert client.get("/v1/auth/whoami").json() | {"expires_at": ""} == {
        "tenant": "ours",
        "actor": "service account ci",
        "actor_kind": "service-account",
        "role": "member",
        "scopes": ["read", "submit", "deploy", "admin"],
        "platform_admin": False,
        "expires_at": "",
    }
    made = client.post(JOBS, {"name": "a"}, format="json")
    assert made.status_code == 201
    assert client.delete(f"{JOBS}/{made.json()['id']}").status_code == 204
    elsewhere = client.post(JOBS, {"name": "b", "tenant_id": "theirs"}, format="json")
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (403, "tenant_mismatch")
    assert issuer.asked == [DISCOVERY, "/keys"]


def test_a_ci_system_s_jwt_is_exchanged_and_the_exchange_written_down(
    trusted: TrustedIssuer, issuer: Issuer, ours: Team
) -> None:
    IssuerRule.objects.update(scopes=["submit"])
    response = api_client(issuer.token()).post("/v1/auth/token", {"expires_in": 3600}, format="json")
    body = response.json()
    assert response.status_code == 200 and (body["expires_in"], body["scopes"]) == (3600, ["read", "submit"])
    issuer.stop()
    issuers.forget()
    # The platform's own JWT needs the issuer no more.
    assert api_client(body["access_token"]).post(JOBS, {"name": "a"}, format="json").status_code == 201
    line = AuditEntry.objects.get(action="token.exchange")
    assert (line.actor, line.actor_kind, line.tenant_slug) == ("service account ci", "service-account", "ours")
    assert line.target == "service-account:ours/ci" and line.after is not None
    assert (line.after["issuer"], line.after["issuer_subject"]) == ("forge", "repo:org/app:ref")


@pytest.mark.parametrize("what", ["rule", "issuer", "account", "deleted account", "deleted rule"])
def test_what_ends_the_rule_ends_its_jwts_at_once(
    trusted: TrustedIssuer, issuer: Issuer, ours: Team, what: str
) -> None:
    own = api_client(issuer.token()).post("/v1/auth/token").json()["access_token"]
    assert answer(own)[0] == 200
    lead = ours.context("lead")
    match what:
        case "rule":
            IssuerRule.objects.update(is_active=False)
        case "issuer":
            TrustedIssuer.objects.update(is_active=False)
        case "account":
            service_account_update(ctx=lead, name="ci", is_active=False)
        case "deleted account":
            service_account_delete(ctx=lead, name="ci")
        case "deleted rule":
            IssuerRule.objects.all().delete()
    assert answer(own) == (401, "What the JWT was given for has been revoked, has expired or is disabled.")
    assert answer(issuer.token())[0] in (401, 403)


def test_direct_use_takes_two_queries_and_the_exchanged_jwt_one(trusted: TrustedIssuer, issuer: Issuer) -> None:
    direct = issuer.token()
    own = api_client(direct).post("/v1/auth/token").json()["access_token"]
    context_for_jwt(own)
    for text, expected in ((direct, 2), (own, 1)):
        with CaptureQueriesContext(connection) as queries:
            ctx = context_for_jwt(text)
            assert ctx.actor == "service account ci" and ctx.tenant.accepts_work
        assert len(queries) == expected


def test_a_provider_that_we_did_not_write_is_understood(ours: Team) -> None:
    """A whole OpenID Connect provider as a process: its discovery, its keys and an ID token of its code flow."""
    issuers.forget()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "oidc_provider_mock", "--host", "127.0.0.1", "--port", str(port)]
    provider = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        token = _id_token(url, audience="ml-ci", subject="robot-7")
        row = TrustedIssuer.objects.create(name="provider", issuer=url, audience="ml-ci")
        assert answer(token) == (403, "The issuer provider is trusted, but no rule of it gives anybody access.")
        rule(row, service_account_create(ctx=ours.context("lead"), name="robots"), {"sub": "robot-*"})
        assert api_client(token).get("/v1/auth/whoami").json()["actor"] == "service account robots"
        TrustedIssuer.objects.update(audience="another")
        assert answer(token)[0] == 401
    finally:
        provider.terminate()
        provider.wait(10)
        issuers.forget()


def _id_token(url: str, *, audience: str, subject: str) -> str:
    query = {"client_id": audience, "redirect_uri": "http://127.0.0.1/back", "response_type": "code", "scope": "openid"}
    session = requests.Session()
    for _ in range(100):
        try:
            asked = session.post(f"{url}/oauth2/authorize", params=query, data={"sub": subject}, allow_redirects=False)
            break
        except requests.ConnectionError:
            time.sleep(0.1)
    code = parse_qs(urlsplit(asked.headers["Location"]).query)["code"][0]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": query["redirect_uri"]}
    answered = session.post(f"{url}/oauth2/token", data=form, auth=(audience, "secret"))
    return str(answered.json()["id_token"])


# ---- rules


@pytest.mark.parametrize(
    ("patterns", "claims", "wrong"),
    [
        ({"sub": "a"}, {"sub": "a"}, []),
        ({"sub": "a"}, {"sub": "ab"}, ["sub"]),
        ({"sub": "a*"}, {"sub": "ab:c/d\ne"}, []),
        ({"sub": "a"}, {"sub": "A"}, ["sub"]),
        ({"sub": "a?"}, {"sub": "ab"}, []),
        ({"sub": "*"}, {}, ["sub"]),
        ({"sub": ""}, {}, ["sub"]),
        ({"sub": "a", "ref": "b"}, {"sub": "a", "ref": "c"}, ["ref"]),
        ({"sub": "a", "ref": "b"}, {"sub": "a", "ref": "b", "x": "y"}, []),
        ({"groups": "dev"}, {"groups": ["ops", "dev"]}, []),
        ({"groups": "dev"}, {"groups": []}, ["groups"]),
        ({"groups": "dev"}, {"groups": [["dev"]]}, ["groups"]),
        ({"groups": "*dev*"}, {"groups": {"dev": "dev"}}, ["groups"]),
        ({"protected": "true"}, {"protected": True}, []),
        ({"protected": "true"}, {"protected": False}, ["protected"]),
        ({"run": "17"}, {"run": 17}, []),
        ({"run": "*"}, {"run": None}, ["run"]),
        ({"sub": 1}, {"sub": 1}, ["sub"]),
        ({"sub": "a", "ref": "b"}, {"sub": "b"}, ["ref", "sub"]),
        ({}, {"sub": "a"}, [""]),
        ([], {"sub": "a"}, [""]),
        (None, {"sub": "a"}, [""]),
    ],
)
def test_a_rule_matches_when_each_pattern_does(patterns: Any, claims: dict[str, Any], wrong: list[str]) -> None:
    assert mismatches(patterns, claims) == wrong


def test_the_first_rule_by_order_holds(trusted: TrustedIssuer, issuer: Issuer, ours: Team, theirs: Team) -> None:
    account = service_account_create(ctx=theirs.context("lead"), name="deploy", role="viewer")
    rule(trusted, account, {"sub": "repo:org/*", "ref": "refs/heads/main"}, scopes=["read"], order=1)
    main = context_for_jwt(issuer.token(ref="refs/heads/main"))
    assert (main.tenant, main.role, main.scopes) == (theirs.tenant, "viewer", frozenset({"read"}))
    assert context_for_jwt(issuer.token(ref="refs/heads/x")).tenant == ours.tenant
    IssuerRule.objects.filter(order=1).update(is_active=False)
    assert context_for_jwt(issuer.token(ref="refs/heads/main")).tenant == ours.tenant


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        ({"sub": "repo:evil/app", "ref": "refs/heads/main"}, "its claim sub is 'repo:evil/app'."),
        ({"sub": None}, "its claim ref is missing and its claim sub is missing."),
        ({"sub": "repo:org/app:x", "ref": "dev"}, "its claim ref is 'dev'."),
        ({"sub": "repo:org/app:x"}, "its claim ref is missing."),
        ({"sub": "x" * 200, "ref": "refs/heads/main"}, f"its claim sub is '{'x' * 100}…'."),
    ],
)
def test_an_unmatched_jwt_is_told_which_claim_and_never_the_pattern(
    trusted: TrustedIssuer, issuer: Issuer, claims: dict[str, Any], sentence: str
) -> None:
    IssuerRule.objects.update(claims={"sub": "repo:org/app:*", "ref": "refs/heads/main"})
    status, told = answer(issuer.token(**claims))
    assert status == 403 and told == f"No rule of the issuer forge matches this JWT: {sentence}"


def test_an_issuer_without_rules_lets_nobody_in(trusted: TrustedIssuer, issuer: Issuer) -> None:
    IssuerRule.objects.update(claims={})
    assert answer(issuer.token())[0] == 403
    IssuerRule.objects.all().delete()
    assert answer(issuer.token()) == (403, "The issuer forge is trusted, but no rule of it gives anybody access.")


@pytest.mark.parametrize(
    ("fields", "bad"),
    [
        ({"claims": {}}, "claims"),
        ({"claims": {"sub": "*"}}, "claims"),
        ({"claims": {"sub": 1}}, "claims"),
        ({"claims": ["sub"]}, "claims"),
        ({"scopes": ["all"]}, "scopes"),
    ],
)
def test_a_rule_that_would_let_everybody_in_is_not_made(
    trusted: TrustedIssuer, fields: dict[str, Any], bad: str
) -> None:
    row = IssuerRule.objects.get()
    row.full_clean()
    for name, value in fields.items():
        setattr(row, name, value)
    with pytest.raises(ValidationError) as refused:
        row.full_clean()
    assert list(refused.value.message_dict) == [bad]


# ---- what is refused


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"aud": "somebody-else"}, "The JWT is meant for somebody else: its aud must contain ml-platform."),
        ({"aud": ["a", "b"]}, "The JWT is meant for somebody else: its aud must contain ml-platform."),
        ({"aud": None}, "The JWT has no aud."),
        ({"exp": 1}, "The JWT has expired (exp)."),
        ({"exp": None}, "The JWT has no exp."),
        ({"iat": None}, "The JWT has no iat."),
        ({"nbf": 4102444800}, "The JWT is not valid yet (nbf, iat)."),
        ({"iss": "https://other.example.com"}, "The JWT's issuer (iss 'https://other.example.com') is none that the"),
        ({"iss": "a\x00"}, "The JWT's issuer (iss 'a\\x00') is none that the platform trusts."),
        ({"key": RSA_KEYS[1]}, "The JWT's signature is not the issuer's."),
        ({"key": ec.generate_private_key(ec.SECP256R1()), "algorithm": "ES256"}, "The JWT's algorithm (alg 'ES256')"),
        ({"key": "s" * 32, "algorithm": "HS256"}, "The JWT's algorithm (alg 'HS256') is not one for the issuer's key."),
        ({"algorithm": "none", "key": ""}, "The JWT's algorithm (alg 'none') is not one for the issuer's key."),
    ],
)
def test_a_jwt_that_is_not_good_is_told_why(
    trusted: TrustedIssuer, issuer: Issuer, changes: dict[str, Any], sentence: str
) -> None:
    if changes.get("algorithm") == "none":
        claims = jwt.decode(issuer.token(), options={"verify_signature": False})
        text = jwt.encode(claims, "", algorithm="none", headers={"kid": "k1"})
    else:
        text = issuer.token(**changes)
    status, told = answer(text)
    assert status == 401 and told.startswith(sentence)


def test_an_audience_among_several_is_enough(trusted: TrustedIssuer, issuer: Issuer) -> None:
    assert answer(issuer.token(aud=["x", "ml-platform"]))[0] == 200


@pytest.mark.parametrize("active", [True, False])
def test_an_issuer_is_trusted_while_it_is_active(trusted: TrustedIssuer, issuer: Issuer, active: bool) -> None:
    TrustedIssuer.objects.update(is_active=active)
    assert answer(issuer.token())[0] == (200 if active else 401)
    assert (issuer.asked == []) is not active


@pytest.mark.parametrize(
    ("key", "algorithm", "extra", "good"),
    [
        (RSA_KEYS[0], "RS256", {}, True),
        (RSA_KEYS[0], "PS512", {}, True),
        (RSA_KEYS[0], "RS512", {"alg": "RS256"}, False),
        (RSA_KEYS[0], "RS256", {"use": "sig", "alg": "RS256"}, True),
        (RSA_KEYS[0], "RS256", {"use": "enc"}, False),
        (ec.generate_private_key(ec.SECP256R1()), "ES256", {}, True),
        (ec.generate_private_key(ec.SECP384R1()), "ES384", {}, True),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA", {}, True),
        (RSA_KEYS[0], "RS256", {"kty": "nonsense"}, False),
        (RSA_KEYS[0], "RS256", {"n": "!"}, False),
    ],
)
def test_which_keys_and_algorithms_are_taken(
    trusted: TrustedIssuer, issuer: Issuer, key: Any, algorithm: str, extra: dict[str, Any], good: bool
) -> None:
    issuer.keys, issuer.extra = {"k1": key}, {"k1": extra}
    assert answer(issuer.token(algorithm=algorithm))[0] == (200 if good else 401)


def test_without_a_key_id_it_is_the_only_key(trusted: TrustedIssuer, issuer: Issuer) -> None:
    clock = Clock()
    assert issuers.key_of(trusted, "", clock)
    issuer.keys["k2"] = RSA_KEYS[1]
    clock.now += issuers.FRESH_SECONDS + 1
    assert issuers.key_of(trusted, "", clock) is None and issuers.key_of(trusted, "k2", clock)


def test_a_shared_secret_in_a_key_set_is_no_key(trusted: TrustedIssuer, issuer: Issuer) -> None:
    secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"
    issuer.extra = {"k1": {"kty": "oct", "k": secret}}
    text = issuer.token(key=b"secret-secret-secret-secret-secret", algorithm="HS256")
    assert answer(text) == (401, "The issuer forge has no key 'k1' (kid).")


# ---- the issuer's keys


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_new_key_is_fetched_when_it_is_first_seen_at_most_once_a_minute(
    trusted: TrustedIssuer, issuer: Issuer
) -> None:
    clock = Clock()

    def known(kid: str) -> bool:
        return issuers.key_of(trusted, kid, clock) is not None

    assert known("k1") and not known("k2") and issuer.asked.count("/keys") == 1
    issuer.keys = {"k2": RSA_KEYS[1]}
    clock.now += 59
    assert not known("k2") and known("k1") and issuer.asked.count("/keys") == 1
    clock.now += 1
    # The one that was taken away is gone as well.
    assert known("k2") and not known("k1") and issuer.asked.count("/keys") == 2


def test_known_keys_are_renewed_after_ten_minutes(trusted: TrustedIssuer, issuer: Issuer) -> None:
    clock = Clock()
    for _ in range(3):
        assert issuers.key_of(trusted, "k1", clock)
    issuer.keys = {}
    clock.now += issuers.FRESH_SECONDS
    assert issuers.key_of(trusted, "k1", clock) and issuer.asked.count("/keys") == 1
    clock.now += 1
    assert issuers.key_of(trusted, "k1", clock) is None


def test_a_rotated_key_verifies_a_new_jwt(trusted: TrustedIssuer, issuer: Issuer, monkeypatch: Any) -> None:
    assert answer(issuer.token())[0] == 200
    old = issuer.token()
    issuer.keys = {"k2": RSA_KEYS[1]}
    monkeypatch.setattr(issuers, "REFETCH_SECONDS", 0.0)
    assert answer(issuer.token(kid="k2"))[0] == 200
    assert answer(old) == (401, "The issuer forge has no key 'k1' (kid).")


def test_while_the_issuer_is_down_known_keys_hold_for_an_hour(trusted: TrustedIssuer, issuer: Issuer) -> None:
    clock = Clock()
    assert issuers.key_of(trusted, "k1", clock)
    issuer.fault = lambda path: (500, {}, b"")
    clock.now += issuers.STALE_SECONDS
    assert issuers.key_of(trusted, "k1", clock)
    clock.now += 1
    with pytest.raises(DomainError) as refused:
        issuers.key_of(trusted, "k1", clock)
    assert refused.value.http_status == 503
    # Back again, it is asked after the pause.
    issuer.fault = None
    clock.now += issuers.PAUSE_SECONDS
    assert issuers.key_of(trusted, "k1", clock)


def _slowly(seconds: float) -> Iterator[bytes]:
    for _ in range(int(seconds * 20)):
        yield b" "
        time.sleep(0.05)


BROKEN: list[tuple[str, Any]] = [
    ("an error", lambda path: (500, {}, b"")),
    ("a redirect", lambda path: (302, {"Location": "http://169.254.169.254/"}, b"")),
    ("no JSON", lambda path: (200, {}, b"<html>")),
    ("a list", lambda path: (200, {}, b"[]")),
    ("no keys", lambda path: (200, {}, b"{}") if path == "/keys" else None),
    ("keys that are none", lambda path: (200, {}, b'{"keys": 1}') if path == "/keys" else None),
    ("another issuer", lambda path: (200, {}, b'{"issuer": "x"}') if path == DISCOVERY else None),
    ("no jwks_uri", lambda path: None),
    ("a file", lambda path: None),
    ("too much", lambda path: (200, {}, b'{"a": "' + b"x" * (issuers.MAX_BYTES + 1) + b'"}')),
    ("deep JSON", lambda path: (200, {}, b'{"a":' + b"[" * 100_000)),
    ("too slow", lambda path: (200, {}, _slowly(5))),
]


@pytest.mark.parametrize(("name", "fault"), BROKEN, ids=[name for name, _ in BROKEN])
def test_an_issuer_that_gives_no_usable_answer_is_a_503(
    trusted: TrustedIssuer, issuer: Issuer, monkeypatch: Any, name: str, fault: Any
) -> None:
    monkeypatch.setattr(issuers, "FETCH_SECONDS", 0.5)
    issuer.fault = fault
    if name == "no jwks_uri":
        issuer.document = {"jwks_uri": None}
    elif name == "a file":
        issuer.document = {"jwks_uri": "file:///etc/passwd"}
    client, began = api_client(issuer.token()), time.monotonic()
    for path in ("/v1/auth/token", JOBS):
        response = client.post(path, {}, format="json")
        assert (response.status_code, response.json()["code"]) == (503, "issuer_unavailable")
        assert response["Retry-After"] == "10" and "forge" in response.json()["detail"]
    assert time.monotonic() - began < 2
    # The second request did not ask again.
    assert len(issuer.asked) <= 2


def test_an_issuer_that_is_not_there_is_a_503(trusted: TrustedIssuer, issuer: Issuer) -> None:
    text = issuer.token()
    issuer.stop()
    assert answer(text)[0] == 503


def test_only_https_outside_the_laptop(trusted: TrustedIssuer, issuer: Issuer, settings: Settings) -> None:
    settings.LAPTOP = False
    assert answer(issuer.token())[0] == 503 and issuer.asked == []
    with pytest.raises(ValidationError):
        trusted.full_clean()
    settings.LAPTOP = True
    trusted.full_clean()


def test_a_key_set_s_address_may_be_named(trusted: TrustedIssuer, issuer: Issuer) -> None:
    TrustedIssuer.objects.update(jwks_url=f"{issuer.url}/keys")
    assert answer(issuer.token())[0] == 200 and issuer.asked == ["/keys"]


def test_of_many_that_meet_an_unknown_issuer_one_asks(trusted: TrustedIssuer, issuer: Issuer) -> None:
    issuer.fault = lambda path: time.sleep(0.3)
    gate, found = threading.Barrier(6), []

    def work() -> None:
        gate.wait()
        found.append(issuers.key_of(trusted, "k1"))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 and all(found) and issuer.asked == [DISCOVERY, "/keys"]


def test_who_knows_the_key_does_not_wait_for_an_issuer_that_hangs(trusted: TrustedIssuer, issuer: Issuer) -> None:
    clock = Clock()
    assert issuers.key_of(trusted, "k1", clock)
    clock.now += issuers.FRESH_SECONDS + 1
    hanging = threading.Event()
    issuer.fault = lambda path: hanging.wait(3) and None
    asking = threading.Thread(target=lambda: issuers.key_of(trusted, "k1", clock))
    asking.start()
    while len(issuer.asked) < 3:
        time.sleep(0.01)
    began = time.monotonic()
    assert issuers.key_of(trusted, "k1", clock) and time.monotonic() - began < 0.5
    hanging.set()
    asking.join()


def test_a_closed_team_s_ci_submits_nothing(trusted: TrustedIssuer, issuer: Issuer) -> None:
    Tenant.objects.update(is_active=False)
    refused = api_client(issuer.token()).post(JOBS, {"name": "x"}, format="json")
    assert (refused.status_code, refused.json()["code"]) == (403, "tenant_inactive")
