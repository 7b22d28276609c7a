"""Sessions end: by age, without activity, everywhere at once; and their ids change when what they may do does."""

import time
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from jobs import cleanup
from tenants.accounts.browsers import browser_name
from tenants.accounts.sessions import SEEN, STARTED
from tenants.models import ApiToken, AuditEntry, UserSession
from tenants.selectors.sessions import sessions_of
from tests.personas import team

FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:130.0) Gecko/20100101 Firefox/130.0"
PASSWORD = "a-good-old-password"


@pytest.fixture
def person(db: None) -> Any:
    return get_user_model().objects.create_user("ada", password=PASSWORD)


def sign_in(password: str = PASSWORD, **more: Any) -> Client:
    client = Client(**more)
    assert client.post("/accounts/login/", {"login": "ada", "password": password}).status_code == 302
    return client


def is_in(client: Client) -> bool:
    return client.get("/accounts/sessions/").status_code == 200


def age(client: Client, started: float = 0, seen: float = 0) -> None:
    session = client.session
    session[STARTED] -= started
    session[SEEN] -= seen
    session.save()


@pytest.mark.parametrize(
    ("started", "seen", "holds"),
    [(0, 0, True), (0, 1790, True), (0, 1801, False), (43190, 0, True), (43201, 0, False), (43201, 1801, False)],
)
def test_a_session_ends_of_age_and_without_activity(
    person: Any, settings: Settings, started: float, seen: float, holds: bool
) -> None:
    settings.SESSION_IDLE_SECONDS, settings.SESSION_MAX_SECONDS = 1800, 43200
    client = sign_in()
    old = client.session.session_key
    age(client, started, seen)
    assert is_in(client) is holds
    if not holds:
        assert not Session.objects.filter(session_key=old).exists()
        assert not UserSession.objects.filter(session_key=old).exists()


def test_why_one_is_out_is_said_on_the_sign_in_page(person: Any, settings: Settings) -> None:
    settings.SESSION_IDLE_SECONDS = 1800
    client = sign_in()
    age(client, seen=1801)
    answer = client.get("/accounts/sessions/", follow=True)
    assert b"You were signed out after 30 minutes without activity." in answer.content


def test_a_session_that_does_not_say_its_age_is_too_old(person: Any) -> None:
    client = sign_in()
    session = client.session
    del session[STARTED]
    session.save()
    assert not is_in(client)


def test_activity_is_written_once_a_minute_and_polling_is_none(person: Any, django_assert_max_num_queries: Any) -> None:
    client = sign_in()
    client.get("/accounts/sessions/")
    seen = client.session[SEEN]
    assert client.get("/accounts/sessions/") and client.session[SEEN] == seen, "nothing is written within the minute"
    age(client, seen=61)
    polled = client.session[SEEN]
    client.get("/accounts/sessions/", headers={"X-Poll": "1"})
    assert client.session[SEEN] == polled
    client.get("/accounts/sessions/", headers={"User-Agent": FIREFOX})
    assert client.session[SEEN] > polled
    assert UserSession.objects.get().browser == FIREFOX


def test_a_page_that_polls_after_the_end_loads_itself_again(person: Any, settings: Settings) -> None:
    client = sign_in()
    age(client, seen=settings.SESSION_IDLE_SECONDS + 1)
    answer = client.get("/accounts/sessions/", headers={"X-Poll": "1"})
    assert (answer.status_code, answer["HX-Refresh"]) == (401, "true")
    assert b"without activity" in client.get("/accounts/sessions/", follow=True).content


def test_a_request_without_a_cookie_asks_nothing_of_sessions(
    db: None, client: Client, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        answer = client.get("/v1/health")
    assert "Cookie" not in answer.headers.get("Vary", "")


def test_the_id_changes_at_sign_in(person: Any) -> None:
    client = Client()
    client.get("/accounts/login/")
    session = client.session
    session["planted"] = "by an attacker"
    session.save()
    planted = session.session_key or ""
    client.cookies["sessionid"] = planted
    client.post("/accounts/login/", {"login": "ada", "password": PASSWORD})
    assert client.session.session_key != planted
    assert not Session.objects.filter(session_key=planted).exists()


def test_the_id_changes_when_one_proves_again_who_one_is(person: Any) -> None:
    client = sign_in()
    before = client.session.session_key
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    after = client.session.session_key
    assert before != after and not Session.objects.filter(session_key=before).exists()
    assert [one.session_key for one in UserSession.objects.all()] == [after]


def test_where_one_is_signed_in_is_listed(person: Any) -> None:
    sign_in(headers={"User-Agent": FIREFOX}, REMOTE_ADDR="203.0.113.7")
    here = sign_in()
    answer = here.get("/accounts/sessions/")
    assert b"Firefox on Windows" in answer.content and b"203.0.113.7" in answer.content
    assert answer.content.count(b"This browser") == 1
    assert answer.context["sessions"][0]["current"]


def test_the_list_takes_as_many_queries_for_many_sessions(person: Any, django_assert_max_num_queries: Any) -> None:
    here = sign_in()
    for _ in range(10):
        sign_in()
    with django_assert_max_num_queries(12):
        assert len(here.get("/accounts/sessions/").context["sessions"]) == 11


def test_what_is_listed_of_expired_sessions_is_tidied_up_with_them(person: Any) -> None:
    expired, gone, new, here = (sign_in() for _ in range(4))
    Session.objects.filter(session_key=expired.session.session_key).update(expire_date=timezone.now())
    Session.objects.filter(session_key__in=[gone.session.session_key, new.session.session_key]).delete()
    UserSession.objects.exclude(session_key=new.cookies["sessionid"].value).update(
        seen_at=timezone.now() - timedelta(minutes=11)
    )
    cleanup.run()
    left = {new.cookies["sessionid"].value, here.session.session_key}
    assert set(UserSession.objects.values_list("session_key", flat=True)) == left
    assert is_in(here) and not is_in(expired)


def test_one_is_ended_the_others_are_ended_all_are_ended(person: Any) -> None:
    first, second, third, here = (sign_in() for _ in range(4))
    one = UserSession.objects.get(session_key=first.session.session_key)
    assert here.post("/accounts/sessions/", {"end": one.pk}).status_code == 302
    assert [is_in(client) for client in (first, second, third, here)] == [False, True, True, True]
    here.post("/accounts/sessions/", {"end": "others"})
    assert [is_in(client) for client in (second, third, here)] == [False, False, True]
    other = sign_in()
    here.post("/accounts/sessions/", {"end": "all"})
    assert not is_in(here) and not is_in(other)
    assert list(sessions_of(person, timezone.now())) == []
    assert AuditEntry.objects.filter(action="session.end", target="ada").count() == 3


@pytest.mark.parametrize("end", ["", "none", "-1", "9" * 30, "²"])
def test_what_is_no_session_ends_none(person: Any, end: str) -> None:
    here, other = sign_in(), sign_in()
    assert here.post("/accounts/sessions/", {"end": end}).status_code == 302
    assert is_in(here) and is_in(other)


def test_nobody_ends_the_session_of_somebody_else(person: Any) -> None:
    mine = sign_in()
    eve = Client()
    eve.force_login(get_user_model().objects.create_user("eve"))
    eve.post("/accounts/sessions/", {"end": UserSession.objects.get(user=person).pk})
    eve.post("/accounts/sessions/", {"end": "all"})
    assert is_in(mine)


def test_a_new_password_ends_the_other_sessions_and_not_this_one(person: Any) -> None:
    other, here = sign_in(), sign_in()
    before = here.session.session_key
    form = {"oldpassword": PASSWORD, "password1": "an-even-better-one", "password2": "an-even-better-one"}
    assert here.post("/accounts/password/change/", form).status_code == 302
    assert is_in(here) and not is_in(other)
    assert here.session.session_key != before
    assert [one.session_key for one in UserSession.objects.all()] == [here.session.session_key]
    assert AuditEntry.objects.filter(action="password.change", target="ada").exists()


def test_a_password_that_an_administrator_sets_ends_all_sessions(person: Any) -> None:
    client = sign_in()
    person.set_password("another-good-one")
    person.save()
    assert not is_in(client) and not UserSession.objects.exists()


@pytest.mark.parametrize("change", [{"is_superuser": True}, {"is_staff": True}])
def test_other_rights_need_a_new_session(person: Any, change: dict[str, bool]) -> None:
    client = sign_in()
    for name, value in change.items():
        setattr(person, name, value)
    person.save()
    assert not is_in(client)


def test_another_first_name_needs_none(person: Any) -> None:
    client = sign_in()
    person.first_name = "Ada"
    person.save()
    assert is_in(client)


def test_a_disabled_person_loses_sessions_and_tokens_for_good(db: None) -> None:
    from tenants.models import Membership

    ours = team("ours")
    ada = get_user_model().objects.create_user("ada", password=PASSWORD)
    Membership.objects.create(tenant=ours.tenant, user=ada, role="member")
    client = sign_in()
    token = ApiToken.objects.create(tenant=ours.tenant, user=ada, name="mine", digest="d" * 64)
    ada.is_active = False
    ada.save()
    assert not is_in(client)
    token.refresh_from_db()
    assert token.revoked_at is not None
    ada.is_active = True
    ada.save()
    token.refresh_from_db()
    assert not is_in(client) and token.revoked_at is not None
    line = AuditEntry.objects.get(action="token.revoke")
    assert (line.tenant_id, line.target, line.after) == (ours.tenant.pk, "mine", {"reason": "ada was disabled"})


def test_signing_out_forgets_the_session(person: Any) -> None:
    client = sign_in()
    key = client.session.session_key
    client.post("/accounts/logout/")
    assert not UserSession.objects.exists() and not Session.objects.filter(session_key=key).exists()


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (FIREFOX, "Firefox on Windows"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) AppleWebKit Version/17 Safari/605.1.15", "Safari on macOS"),
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0 Safari/537.36", "Chrome on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit Chrome/120 Safari/537.36 Edg/120", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) CriOS/120 Safari/604.1", "Chrome on iPhone"),
        ("curl/8.4.0", "curl"),
        ("<script>alert(1)</script>", "Another program"),
        ("", "Another program"),
    ],
)
def test_a_browser_has_a_name(agent: str, name: str) -> None:
    assert browser_name(agent) == name


def test_a_session_of_the_future_is_no_way_around_the_age(person: Any, settings: Settings) -> None:
    """The ages come from the session, which the server keeps; a cookie only names it."""
    client = sign_in()
    assert set(client.cookies) <= {"sessionid", "csrftoken", "messages"}
    assert abs(client.session[STARTED] - time.time()) < 60
