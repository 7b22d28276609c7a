"""Failed sign-ins are counted, for an account and for an address, by all processes together; then it is 429 for a while."""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.db import connection
from django.test import Client
from pytest_django import Settings

from tenants.models import AuditEntry

PASSWORD = "a-good-old-password"


@pytest.fixture
def person(db: None) -> Any:
    cache.clear()
    return get_user_model().objects.create_user("ada", email="ada@example.com", password=PASSWORD)


def attempt(login: str = "ada", password: str = "wrong", address: str = "203.0.113.1") -> Any:
    return Client(REMOTE_ADDR=address).post("/accounts/login/", {"login": login, "password": password})


def test_the_sixth_failure_says_when_to_try_again(person: Any) -> None:
    assert [attempt().status_code for _ in range(6)] == [200] * 5 + [429]
    answer = attempt(password=PASSWORD)
    assert answer.status_code == 429, "the right password does not open it either"
    assert 240 < int(answer["Retry-After"]) <= 300
    assert re.search(rb"Try again at .*\d\d:\d\d:\d\d UTC", answer.content)


def test_an_account_is_one_by_whatever_name_and_from_wherever(person: Any) -> None:
    for number, login in enumerate(("ada", "ADA", "ada@example.com", "Ada@Example.com", "ada")):
        assert attempt(login, address=f"203.0.113.{number}").status_code == 200
    assert attempt("ada@example.com", address="198.51.100.1").status_code == 429


def test_somebody_else_is_not_locked(person: Any) -> None:
    get_user_model().objects.create_user("ben", password=PASSWORD)
    for _ in range(6):
        attempt()
    assert attempt("ben", PASSWORD, "203.0.113.9").status_code == 302


def test_one_address_that_tries_many_names_is_locked(person: Any) -> None:
    answers = [attempt(f"nobody-{number}").status_code for number in range(31)]
    assert answers == [200] * 30 + [429]
    assert attempt(password=PASSWORD).status_code == 429
    assert attempt(password=PASSWORD, address="203.0.113.2").status_code == 302


def test_what_a_proxy_was_not_asked_to_say_is_not_believed(person: Any, settings: Settings) -> None:
    settings.TRUSTED_PROXIES = 0
    client = Client(REMOTE_ADDR="203.0.113.1")
    for number in range(30):
        client.post(
            "/accounts/login/",
            {"login": f"n{number}", "password": "x"},
            headers={"X-Forwarded-For": f"10.0.0.{number}"},
        )
    assert attempt("n31").status_code == 429


def test_right_passwords_are_not_counted_and_wipe_no_failures(person: Any) -> None:
    for _ in range(4):
        attempt()
    for _ in range(3):
        assert attempt(password=PASSWORD).status_code == 302
    assert [attempt().status_code for _ in range(2)] == [200, 429]


def test_it_opens_again_by_itself(person: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    for _ in range(6):
        attempt()
    wait = int(attempt(password=PASSWORD)["Retry-After"])
    real = time.time
    monkeypatch.setattr("allauth.core.internal.ratelimit.time.time", lambda: real() + wait + 1)
    assert attempt(password=PASSWORD).status_code == 302


@pytest.mark.django_db(transaction=True)
def test_attempts_at_the_same_moment_are_counted_one_by_one() -> None:
    cache.clear()
    get_user_model().objects.create_user("ada", password=PASSWORD)

    def one(_: int) -> int:
        try:
            return int(attempt().status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(16)))
    assert answers.count(200) <= 5 and set(answers) == {200, 429}
    cache.clear()


def test_codes_of_second_factors_are_counted_too(person: Any) -> None:
    from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret

    TOTP.activate(person, generate_totp_secret())
    client = Client()
    assert (
        client.post("/accounts/login/", {"login": "ada", "password": PASSWORD})["Location"]
        == "/accounts/security/authenticate/"
    )
    answers = [client.post("/accounts/security/authenticate/", {"code": "000000"}) for _ in range(6)]
    assert [one.status_code for one in answers] == [200] * 5 + [429]
    assert int(answers[-1]["Retry-After"]) > 200
    assert "_auth_user_id" not in client.session


def test_the_admin_site_has_the_same_lock(person: Any) -> None:
    away = Client().get("/admin/login/?next=/admin/")
    assert away["Location"] == "/accounts/login/?next=%2Fadmin%2F"
    assert Client().post("/admin/login/", {"username": "ada", "password": PASSWORD}).status_code == 302
    client = Client()
    client.force_login(person)
    assert client.get("/admin/login/").status_code == 403, "signed in, and no administrator"


def test_the_log_names_accounts_and_nothing_that_was_typed(person: Any) -> None:
    attempt()
    attempt("hunter2-my-password")
    lines = AuditEntry.objects.filter(action="sign-in.fail").order_by("id")
    assert [(one.actor, one.via, one.address) for one in lines] == [
        ("ada", "sign-in", "203.0.113.1"),
        ("unknown", "sign-in", "203.0.113.1"),
    ]
    assert "hunter2" not in str(list(lines.values()))


def test_a_name_that_nobody_has_is_answered_like_one_that_somebody_has(person: Any) -> None:
    texts = [re.sub(rb'value="[^"]*"|nobody|ada', b"", attempt(login).content) for login in ("ada", "nobody")]
    assert texts[0] == texts[1]
