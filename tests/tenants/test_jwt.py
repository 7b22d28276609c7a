"""Short-lived JWTs: what is in them, what ends them, what is refused as one; the keys that sign them."""

import base64
import io
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from platform_portal.errors import DomainError
from tenants import sealing
from tenants.context import TenantContext
from tenants.models import ApiToken, AuditEntry, Membership, Role, SigningKey, Tenant
from tenants.selectors import context_for_jwt, context_for_token, is_jwt, key_set
from tenants.selectors.signing_keys import forget_keys, signing_keys
from tenants.services import member_set, token_create, token_exchange, token_revoke
from tenants.services.signing_keys import signing_key_current, signing_key_retire, signing_key_rotate
from tests.personas import Team, api_client

JOBS = "/v1/jobs/training"


@pytest.fixture(autouse=True)
def nothing_remembered() -> Any:
    forget_keys()
    yield
    forget_keys()


def exchange(token: str, body: Any = None) -> Any:
    return api_client(token).post("/v1/auth/token", body, format="json")


def jwt_of(token: str, **body: Any) -> str:
    answer = exchange(token, body)
    assert answer.status_code == 200, answer.content
    return str(answer.json()["access_token"])


def status(token: str) -> int:
    return int(api_client(token).get(JOBS).status_code)


def refused(token: str) -> str:
    """The sentence of the 401."""
    answer = api_client(token).get(JOBS)
    assert answer.status_code == 401 and answer.json()["code"] == "invalid_token", answer.content
    assert answer["WWW-Authenticate"].startswith("Bearer")
    return str(answer.json()["detail"])


def signed(claims: dict[str, Any], **changes: Any) -> str:
    """A JWT with the platform's own key, of claims that the platform would never make."""
    kid, key = signing_key_current()
    headers = {"kid": kid} | changes.pop("headers", {})
    return jwt.encode(claims, changes.pop("key", key), algorithm=changes.pop("algorithm", "ES256"), headers=headers)


def claims_of(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


# ---- the exchange


def test_a_jwt_carries_who_what_and_until_when(ours: Team, settings: Settings) -> None:
    settings.PLATFORM_URL = "https://ml.example.com"
    answer = exchange(ours.token)
    body = answer.json()
    assert answer.status_code == 200 and answer["Cache-Control"] == "no-store"
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 900)
    # As anybody would verify it: with the published key set and nothing else.
    header = jwt.get_unverified_header(body["access_token"])
    published = {key["kid"]: key for key in Client().get("/.well-known/jwks.json").json()["keys"]}
    claims = jwt.decode(
        body["access_token"],
        jwt.PyJWK(published[header["kid"]]).key,
        algorithms=["ES256"],
        audience="ml-platform",
        issuer="https://ml.example.com",
    )
    token = ApiToken.objects.get()
    assert claims == {
        "iss": "https://ml.example.com",
        "aud": "ml-platform",
        "sub": f"token:{token.pk}",
        "tenant": "ours",
        "role": "lead",
        "scopes": ["read", "submit", "deploy", "admin"],
        "iat": claims["iat"],
        "nbf": claims["iat"],
        "exp": claims["iat"] + 900,
        "jti": claims["jti"],
        "tid": str(token.pk),
        "kind": "team",
    }
    assert abs(claims["iat"] - time.time()) < 5 and len(claims["jti"]) == 36
    assert body["expires_at"] == datetime.fromtimestamp(claims["exp"], UTC).isoformat().replace("+00:00", "Z")


def test_a_jwt_is_accepted_where_its_token_is_and_narrower_if_asked(ours: Team) -> None:
    whole, narrow = jwt_of(ours.token), jwt_of(ours.token, scopes=["read"])
    assert is_jwt(whole) and not is_jwt(ours.token)
    assert status(whole) == status(narrow) == 200
    made = api_client(whole).post(JOBS, {"name": "a"}, format="json")
    assert made.status_code == 201
    assert api_client(narrow).post(JOBS, {"name": "b"}, format="json").status_code == 403
    # It acts as its token: what one submits the other may cancel.
    assert api_client(ours.token).delete(f"{JOBS}/{made.json()['id']}").status_code == 204
    elsewhere = api_client(whole).post(JOBS, {"name": "c", "tenant_id": "theirs"}, format="json")
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (403, "tenant_mismatch")


@pytest.mark.parametrize("role", ["viewer", "member", "lead"])
def test_a_person_s_jwt_acts_as_the_person(ours: Team, role: str) -> None:
    _, secret = token_create(ctx=ours.context(role), name="x", kind="personal")
    ctx = context_for_jwt(jwt_of(secret))
    assert (ctx.user, ctx.role, ctx.actor) == (ours.people[role], role, f"ours-{role}")
    assert claims_of(jwt_of(secret))["sub"] == f"user:ours-{role}"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, 900),
        ({"expires_in": 1}, 1),
        ({"expires_in": 3600}, 3600),
        ({"expires_in": 0}, "expires_in"),
        ({"expires_in": 3601}, "expires_in"),
        ({"expires_in": "900"}, "expires_in"),
        ({"expires_in": True}, "expires_in"),
        ({"expires_in": 1.5}, "expires_in"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["all"]}, "scopes"),
        ({"scopes": "read"}, "scopes"),
        ({"scopes": [1]}, "scopes"),
        ({"audience": "x"}, "audience"),
        ([], ""),
        (None, 900),
    ],
)
def test_what_may_be_asked_for(ours: Team, body: Any, expected: int | str) -> None:
    answer = exchange(ours.token, body)
    if isinstance(expected, int):
        assert (answer.status_code, answer.json()["expires_in"]) == (200, expected)
    else:
        assert answer.status_code == 400 and list(answer.json()["errors"]) == [expected]


def test_no_more_scopes_than_the_token_s(ours: Team) -> None:
    _, secret = token_create(ctx=ours.context("lead"), name="x", scopes=["submit"])
    assert claims_of(jwt_of(secret))["scopes"] == ["read", "submit"]
    answer = exchange(secret, {"scopes": ["submit", "admin"]})
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    assert answer.json()["detail"] == "The token does not have admin; it has read, submit."


def test_a_jwt_ends_with_its_token_at_the_latest(ours: Team) -> None:
    ApiToken.objects.update(expires_at=timezone.now() + timedelta(seconds=100))
    assert 95 <= exchange(ours.token).json()["expires_in"] <= 100


def test_a_jwt_is_not_exchanged_for_another(ours: Team) -> None:
    answer = exchange(jwt_of(ours.token))
    assert (answer.status_code, answer.json()["code"]) == (403, "not_a_token")


@pytest.mark.parametrize("token", [None, "mlp_none", "eyJ.eyJ.x"])
def test_without_a_good_token_nothing_is_exchanged(ours: Team, token: str | None) -> None:
    client = api_client(token) if token else Client()
    assert client.post("/v1/auth/token").status_code == 401 and not SigningKey.objects.exists()


def test_each_exchange_is_in_the_audit_log_without_the_jwt(ours: Team) -> None:
    text = jwt_of(ours.token, scopes=["submit"])
    line = AuditEntry.objects.get(action="token.exchange")
    assert (line.actor, line.via, line.target_id) == ("token ci", "api", claims_of(text)["jti"])
    assert line.after is not None and (line.after["scopes"], line.after["token"]) == (["read", "submit"], "ci")
    assert text not in str(line.__dict__)


# ---- what ends a JWT


def test_a_jwt_is_good_until_it_expires(ours: Team) -> None:
    now = int(time.time())
    claims = claims_of(jwt_of(ours.token))
    assert status(signed(claims | {"exp": now + 1})) == 200
    assert refused(signed(claims | {"exp": now - 10})) == "The JWT has expired (exp)."


def test_a_jwt_s_use_is_one_query_once_the_key_is_known(
    ours: Team, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    _, personal = token_create(ctx=ours.context("member"), name="x", kind="personal")
    for text in (jwt_of(ours.token), jwt_of(personal)):
        context_for_jwt(text)
        with django_assert_num_queries(1):
            ctx = context_for_jwt(text)
            assert ctx.tenant.accepts_work and ctx.actor


def test_what_ends_the_token_ends_its_jwts_at_once(ours: Team) -> None:
    member = ours.people["member"]
    token, secret = token_create(ctx=ours.context("member"), name="x", kind="personal")
    text = jwt_of(secret)
    assert status(text) == 200
    Membership.objects.filter(user=member).delete()
    assert "revoked" in refused(text)
    member_set(tenant=ours.tenant, user=member, role=Role.VIEWER)
    assert status(text) == 200 and context_for_jwt(text).role == "viewer"
    token_revoke(ctx=ours.context("lead"), token_id=token.pk)
    assert "revoked" in refused(text)
    ApiToken.objects.update(revoked_at=None, expires_at=timezone.now() - timedelta(seconds=1))
    assert "expired" in refused(text)


def test_a_jwt_never_has_more_than_its_token_has_now(ours: Team) -> None:
    text = jwt_of(ours.token)
    ApiToken.objects.update(scopes=["read"])
    assert context_for_jwt(text).scopes == {"read"}


# ---- what is refused

RSA = rsa.generate_private_key(65537, 2048)
OTHER = ec.generate_private_key(ec.SECP256R1())
GONE: Any = object()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"aud": "somebody-else"}, "The JWT is meant for somebody else: its aud must contain ml-platform."),
        ({"aud": GONE}, "The JWT has no aud."),
        ({"exp": GONE}, "The JWT has no exp."),
        ({"nbf": GONE}, "The JWT has no nbf."),
        ({"iat": GONE}, "The JWT has no iat."),
        ({"sub": GONE}, "The JWT has no sub."),
        ({"jti": GONE}, "The JWT has no jti."),
        ({"iss": "https://evil.example.com"}, "The JWT's issuer (iss 'https://evil.example.com') is none that"),
        ({"iss": GONE}, "The JWT's issuer (iss missing) is none that the platform trusts."),
        ({"nbf": 4102444800}, "The JWT is not valid yet (nbf, iat)."),
        ({"iat": 4102444800}, "The JWT is not valid yet (nbf, iat)."),
        ({"exp": "soon"}, "The JWT is not valid."),
        ({"exp": 10**400}, "The JWT is not valid."),
        ({"tid": GONE}, "What the JWT was given for has been revoked"),
        ({"tid": "0"}, "What the JWT was given for has been revoked"),
        ({"tenant": "theirs"}, "What the JWT was given for has been revoked"),
        ({"tid": GONE, "rid": "1"}, "What the JWT was given for has been revoked"),
    ],
)
def test_claims_are_checked(ours: Team, changes: dict[str, Any], sentence: str) -> None:
    claims = claims_of(jwt_of(ours.token)) | changes
    text = signed({name: value for name, value in claims.items() if value is not GONE})
    assert refused(text).startswith(sentence)


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def _unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return f"{_part(header)}.{_part(claims)}."


def _public_pem() -> bytes:
    key = signing_key_current()[1].public_key()
    return bytes(key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))


def _hmac_with_the_public_key(claims: dict[str, Any]) -> str:
    """The classic confusion: the public key, which everybody has, used as a shared secret."""
    import hashlib
    import hmac

    head = f"{_part({'alg': 'HS256', 'typ': 'JWT', 'kid': signing_key_current()[0]})}.{_part(claims)}"
    digest = hmac.new(_public_pem(), head.encode(), hashlib.sha256).digest()
    return f"{head}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


FORGED: list[tuple[str, Any]] = [
    ("alg none", lambda claims: _unsigned({"alg": "none", "kid": signing_key_current()[0]}, claims)),
    ("alg None", lambda claims: _unsigned({"alg": "None", "kid": signing_key_current()[0]}, claims)),
    ("no alg", lambda claims: _unsigned({"kid": signing_key_current()[0]}, claims)),
    ("HS256 with the public key", _hmac_with_the_public_key),
    ("HS256 with no key", lambda claims: signed(claims, key="x" * 32, algorithm="HS256")),
    ("another key", lambda claims: signed(claims, key=OTHER)),
    ("RS256 by somebody", lambda claims: signed(claims, key=RSA, algorithm="RS256")),
    ("a key of its own", lambda claims: signed(claims, key=OTHER, headers={"jwk": {"kty": "EC"}, "jku": "http://x"})),
    ("an unknown kid", lambda claims: signed(claims, headers={"kid": "none"})),
    ("a kid with NUL", lambda claims: signed(claims, headers={"kid": "a\x00"})),
    ("a kid that is a surrogate", lambda claims: signed(claims, headers={"kid": "\ud800"})),
    ("a kid that is empty", lambda claims: signed(claims, headers={"kid": ""})),
    ("a long kid", lambda claims: signed(claims, headers={"kid": "x" * 201})),
    ("a kid that is a number", lambda claims: _unsigned({"alg": "ES256", "kid": 7}, claims)),
    ("no kid", lambda claims: _unsigned({"alg": "ES256"}, claims)),
    ("a signature cut off", lambda claims: signed(claims)[:-4]),
    ("another claim under the signature", lambda claims: _with_claim(signed(claims), "role", "admin")),
    ("too long", lambda claims: signed(claims | {"x": "y" * 8192})),
    ("no JSON", lambda claims: "ey.ey.ey"),
    ("deep JSON", lambda claims: f"{_deep()}.{_part(claims)}.x"),
    ("a list", lambda claims: f"{_part({'alg': 'ES256', 'kid': 'x'})}.{_part([1])}.x"),
    ("an issuer that is an object", lambda claims: signed(claims | {"iss": "x"}).replace("x", "y")),
]


def _with_claim(text: str, name: str, value: str) -> str:
    head, _, signature = text.split(".")
    return f"{head}.{_part(claims_of(text) | {name: value})}.{signature}"


def _deep() -> str:
    return base64.urlsafe_b64encode(b'{"a":' + b"[" * 3000).decode().rstrip("=")


@pytest.mark.parametrize(("name", "forge"), FORGED, ids=[name for name, _ in FORGED])
def test_nothing_else_is_a_jwt_of_ours(ours: Team, name: str, forge: Any) -> None:
    text = forge(claims_of(jwt_of(ours.token)))
    assert refused(text)


# ---- keys


def test_the_key_set_is_public_cached_and_holds_nothing_private(ours: Team) -> None:
    jwt_of(ours.token)
    for path in ("/.well-known/jwks.json", "/v1/auth/jwks"):
        answer = Client().get(path)
        assert answer.status_code == 200 and answer["Content-Type"].startswith("application/json")
        assert set(answer["Cache-Control"].split(", ")) == {"public", "max-age=300"} and "Set-Cookie" not in answer
        (key,) = answer.json()["keys"]
        assert set(key) == {"kty", "crv", "x", "y", "kid", "alg", "use"} and key["alg"] == "ES256"


def test_a_key_at_rest_opens_with_the_secret_key_only(ours: Team, settings: Settings) -> None:
    kid, key = signing_key_current()
    row = SigningKey.objects.get()
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    assert der not in bytes(row.private_key) and sealing.unseal(bytes(row.private_key), kid) == der
    with pytest.raises(sealing.SealBroken):
        sealing.unseal(bytes(row.private_key), "another-row")
    with pytest.raises(sealing.SealBroken):
        sealing.unseal(bytes(row.private_key)[:-1] + b"x", kid)
    with pytest.raises(sealing.SealBroken):
        sealing.unseal(b"", kid)
    old, settings.SECRET_KEY = settings.SECRET_KEY, "another key, " * 5
    settings.SECRET_KEY_FALLBACKS = [old]
    assert sealing.unseal(bytes(row.private_key), kid) == der and signing_key_current()[0] == kid


def test_a_key_that_does_not_open_any_more_is_replaced_and_still_verifies(ours: Team, settings: Settings) -> None:
    text = jwt_of(ours.token)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another key, " * 5, []
    assert jwt.get_unverified_header(jwt_of(ours.token))["kid"] != jwt.get_unverified_header(text)["kid"]
    assert status(text) == 200 and SigningKey.objects.count() == 2


def test_a_key_is_replaced_by_age_and_the_old_one_verifies_a_while(ours: Team, settings: Settings) -> None:
    old = jwt_of(ours.token, expires_in=3600)
    SigningKey.objects.update(created_at=timezone.now() - timedelta(days=29, hours=23))
    assert signing_key_current()[0] == jwt.get_unverified_header(old)["kid"]
    SigningKey.objects.update(created_at=timezone.now() - timedelta(days=30))
    new = jwt_of(ours.token)
    kids = [jwt.get_unverified_header(text)["kid"] for text in (new, old)]
    assert [key.kid for key in signing_keys()] == kids == [key["kid"] for key in key_set()["keys"]]
    assert status(old) == status(new) == 200
    SigningKey.objects.filter(pk=kids[1]).update(retires_at=timezone.now())
    forget_keys()
    assert "unknown or retired" in refused(old) and status(new) == 200
    assert [key["kid"] for key in key_set()["keys"]] == kids[:1]


def test_a_remembered_key_retires_on_time(ours: Team) -> None:
    text = jwt_of(ours.token)
    SigningKey.objects.update(retires_at=timezone.now() + timedelta(seconds=0.3))
    forget_keys()
    assert status(text) == 200
    time.sleep(0.35)
    assert "unknown or retired" in refused(text)


def test_rotating_and_retiring_by_hand(ours: Team) -> None:
    def run(*arguments: str) -> str:
        out = io.StringIO()
        call_command("signing_keys", *arguments, stdout=out)
        return out.getvalue()

    assert run("list") == ""
    text = jwt_of(ours.token)
    old = jwt.get_unverified_header(text)["kid"]
    new = run("rotate").split()[0]
    assert signing_key_current()[0] == new and status(text) == 200
    first, second = run("list").splitlines()
    assert first.startswith(new) and first.endswith("signs") and second.startswith(old) and "verifies until" in second
    run("retire", old)
    assert "unknown or retired" in refused(text) and len(run("list").splitlines()) == 1
    for arguments, told in ((("retire",), "Name the key"), (("retire", "x"), "no such"), (("retire", old), "already")):
        with pytest.raises(CommandError, match=told):
            run(*arguments)
    assert list(AuditEntry.objects.filter(action__startswith="signing-key").values_list("action", flat=True)) == [
        "signing-key.retire",
        "signing-key.create",
        "signing-key.create",
    ]


def test_after_the_one_that_signs_is_retired_a_new_one_is_made(ours: Team) -> None:
    text = jwt_of(ours.token)
    signing_key_retire(kid=jwt.get_unverified_header(text)["kid"])
    assert status(jwt_of(ours.token)) == 200 and refused(text)


def test_rows_of_keys_long_retired_are_taken_away(ours: Team) -> None:
    first = signing_key_rotate()
    second = signing_key_rotate()
    SigningKey.objects.filter(pk=first).update(retires_at=timezone.now() - timedelta(days=91))
    third = signing_key_rotate()
    assert set(SigningKey.objects.values_list("pk", flat=True)) == {second, third}


@pytest.mark.django_db(transaction=True)
def test_of_many_that_need_a_key_at_once_one_makes_it() -> None:
    found: list[str] = []
    gate = threading.Barrier(8)

    def work() -> None:
        gate.wait()
        try:
            found.append(signing_key_current()[0])
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1 == SigningKey.objects.count()


@pytest.mark.django_db(transaction=True)
def test_whoever_dies_while_making_the_key_holds_nobody_up() -> None:
    """The lock is the connection's: when the server hears no more of it, the next one makes the key."""
    import psycopg

    parameters = connection.get_connection_params()
    dying = psycopg.connect(
        **{key: parameters[key] for key in ("dbname", "user", "host", "port") if parameters.get(key)}
    )
    from tenants.services.signing_keys import LOCK

    dying.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
    made: list[str] = []

    def work() -> None:
        try:
            made.append(signing_key_current()[0])
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(0.5)
    assert thread.is_alive() and not made
    # As kill -9 does it: the socket closes, and nothing else is said.
    dying.pgconn.finish()
    thread.join(10)
    assert len(made) == 1 and SigningKey.objects.count() == 1


def test_a_jwt_needs_a_token_behind_it(ours: Team) -> None:
    session = TenantContext(ours.tenant, Role.LEAD, user=ours.people["lead"])
    with pytest.raises(DomainError) as refusal:
        token_exchange(ctx=session)
    assert refusal.value.code == "not_a_token"


def test_a_closed_team_s_jwt_reads_and_submits_nothing(ours: Team) -> None:
    text = jwt_of(ours.token)
    Tenant.objects.update(is_active=False)
    assert status(text) == 200
    answer = api_client(text).post(JOBS, {"name": "x"}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (403, "tenant_inactive")


# ---- whoami


def test_whoami_tells_what_a_token_is(ours: Team) -> None:
    def whoami(token: str) -> dict[str, Any]:
        return dict(api_client(token).get("/v1/auth/whoami").json())

    assert whoami(ours.token) == {
        "tenant": "ours",
        "actor": "token ci",
        "actor_kind": "token",
        "role": "lead",
        "scopes": ["read", "submit", "deploy", "admin"],
        "platform_admin": False,
        "expires_at": None,
    }
    token, secret = token_create(ctx=ours.context("member"), name="x", kind="personal", scopes=["submit"])
    mine = whoami(secret)
    assert (mine["actor"], mine["actor_kind"], mine["role"]) == ("ours-member", "user", "member")
    assert mine["scopes"] == ["read", "submit"] and token.expires_at is not None
    assert datetime.fromisoformat(mine["expires_at"]) == token.expires_at
    answer = exchange(secret, {"scopes": ["read"]}).json()
    short = whoami(answer["access_token"])
    assert (short["scopes"], short["expires_at"]) == (["read"], answer["expires_at"])
    assert context_for_token(secret) is not None
