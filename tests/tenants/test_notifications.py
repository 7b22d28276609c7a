"""Who is told what, and that it reaches them by mail where there is mail: later when the server is down, but not for ever."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core import mail as sent
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone
from pytest_django import Settings

from platform_portal import env
from tenants import mail
from tenants.models import Notification
from tenants.services import notification_open, notifications_read, notify
from tenants.tasks import send_mail


@pytest.fixture
def nina(db: None, settings: Settings) -> Any:
    settings.EMAIL_URL = "smtp://mail.example.com"
    return get_user_model().objects.create_user("nina", email="nina@example.com", password="x")


def test_without_a_mail_server_people_are_told_in_the_portal_only(nina: Any, settings: Settings) -> None:
    settings.EMAIL_URL = ""
    notify(users=[nina], message="news")
    assert mail.send_due(timezone.now()) == 0 and sent.outbox == []
    assert Notification.objects.get().mail_due_at is None


def test_mail_says_what_the_portal_says_with_the_way_there(nina: Any, settings: Settings) -> None:
    settings.PLATFORM_URL = "https://ml.example.com"
    notify(users=[nina], message="Ours now has 200 CPU cores.\nEnjoy.", url="/t/ours/usage")
    send_mail()
    send_mail()
    (one,) = sent.outbox
    assert one.subject == "[ML Platform] Ours now has 200 CPU cores. Enjoy." and one.to == ["nina@example.com"]
    assert "Ours now has 200 CPU cores.\nEnjoy." in str(one.body)
    assert "https://ml.example.com/t/ours/usage" in str(one.body)


def test_who_has_no_address_gets_no_mail_and_who_is_switched_off_is_not_told(nina: Any) -> None:
    people = get_user_model().objects
    users = [people.create_user("mute", password="x"), people.create_user("gone", password="x", is_active=False), nina]
    notify(users=[*users, nina], message="news")
    assert sorted(Notification.objects.values_list("user__username", flat=True)) == ["mute", "nina"]
    assert mail.send_due(timezone.now()) == 1


def test_a_server_that_is_down_is_tried_again_later_and_not_for_ever(
    nina: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def fail(self: Any, fail_silently: bool = False) -> int:
        tries.append(1)
        raise OSError("no route to the mail server")

    monkeypatch.setattr(sent.EmailMessage, "send", fail)
    notify(users=[nina], message="news")
    now = timezone.now()
    assert mail.send_due(now) == 0 and mail.send_due(now + timedelta(seconds=60)) == 0
    assert len(tries) == 1
    for _ in range(20):
        now += timedelta(hours=12)
        mail.send_due(now)
    assert len(tries) == mail.MOST_ATTEMPTS
    assert Notification.objects.get().mail_due_at is None


def test_one_bad_address_keeps_no_other_mail_back(nina: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = get_user_model().objects.create_user("bad", email="bad@example.com", password="x")
    real = sent.EmailMessage.send

    def send(self: Any, fail_silently: bool = False) -> int:
        if self.to == ["bad@example.com"]:
            raise ValueError("refused")
        return real(self)

    monkeypatch.setattr(sent.EmailMessage, "send", send)
    notify(users=[bad, nina], message="news")
    assert mail.send_due(timezone.now()) == 1 and sent.outbox[0].to == ["nina@example.com"]


def test_a_long_message_is_cut_for_the_portal_and_its_subject_for_the_mail(nina: Any) -> None:
    notify(users=[nina], message="x" * 3000)
    mail.send_due(timezone.now())
    assert len(Notification.objects.get().message) == 500 and len(sent.outbox[0].subject) < 140


def test_reading_is_one_s_own(nina: Any) -> None:
    other = get_user_model().objects.create_user("other", password="x")
    first, second = (notify(users=[nina], message=f"news {n}")[0] for n in (1, 2))
    now = timezone.now()
    assert notification_open(user=other, notification_id=first.pk, now=now) is None
    assert notifications_read(user=other, now=now) == 0
    assert notification_open(user=nina, notification_id=first.pk, now=now) == first
    first.refresh_from_db()
    assert first.read_at == now
    notification_open(user=nina, notification_id=first.pk, now=now + timedelta(days=1))
    first.refresh_from_db()
    assert first.read_at == now
    assert notifications_read(user=nina, now=now) == 1


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtps://u:p%40ss@mail.example.com", ("mail.example.com", 465, "u", "p@ss", False, True)),
        ("smtp+tls://u:p@mail.example.com:2525", ("mail.example.com", 2525, "u", "p", True, False)),
        ("smtp+tls://mail.example.com", ("mail.example.com", 587, "", "", True, False)),
        ("smtp://127.0.0.1", ("127.0.0.1", 25, "", "", False, False)),
    ],
)
def test_the_mail_server_is_read_from_one_address(url: str, server: tuple[Any, ...]) -> None:
    assert env.mail_server(url) == server


@pytest.mark.parametrize("url", ["mail.example.com", "http://mail.example.com", "smtp://", "smtp://a:b", "smtp://[x"])
def test_an_address_that_is_none_stops_the_start(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="EMAIL_URL"):
        env.mail_server(url)
