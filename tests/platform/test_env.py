"""Settings from the environment: typed, from files too, and never guessed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from platform_portal import env


@pytest.mark.parametrize(
    ("read", "given", "value"),
    [
        (env.text, None, ""),
        (env.text, "x", "x"),
        (env.flag, None, False),
        *((env.flag, given, True) for given in ("1", "true", "YES", "On")),
        *((env.flag, given, False) for given in ("0", "false", "NO", "off", "")),
        (lambda name: env.flag(name, True), None, True),
        (lambda name: env.number(name, 5), None, 5),
        (lambda name: env.number(name, 5), "-7", -7),
        (env.words, None, []),
        (env.words, " a, b ,,c,", ["a", "b", "c"]),
        (lambda name: env.words(name, "d"), None, ["d"]),
        (lambda name: env.currency(name, "EUR"), None, "EUR"),
        (lambda name: env.currency(name, "EUR"), "USD", "USD"),
    ],
)
def test_a_setting_is_read_as_its_type(
    read: Callable[[str], Any], given: str | None, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOME_SETTING", raising=False)
    if given is not None:
        monkeypatch.setenv("SOME_SETTING", given)
    assert read("SOME_SETTING") == value


@pytest.mark.parametrize(
    ("read", "given"),
    [
        (env.flag, "maybe"),
        (lambda name: env.number(name, 5), "five"),
        (lambda name: env.number(name, 5), ""),
        *((lambda name: env.currency(name, "EUR"), given) for given in ("", "eur", "EURO", "€", "EUR\n")),
    ],
)
def test_what_is_not_its_type_is_refused_by_name(
    read: Callable[[str], Any], given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_SETTING", given)
    with pytest.raises(ImproperlyConfigured, match="SOME_SETTING"):
        read("SOME_SETTING")


def test_a_file_holds_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("  s3cret\n")
    monkeypatch.setenv("SOME_SETTING", "ignored")
    monkeypatch.setenv("SOME_SETTING_FILE", str(tmp_path / "secret"))
    assert env.text("SOME_SETTING") == "s3cret"
    monkeypatch.setenv("SOME_SETTING_FILE", str(tmp_path / "missing"))
    with pytest.raises(ImproperlyConfigured, match="SOME_SETTING_FILE"):
        env.text("SOME_SETTING")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_a_database_url_becomes_django_s_words(scheme: str) -> None:
    entry = env.database(f"{scheme}://ann:p%40ss@db.example.com:5433/portal?sslmode=require&connect_timeout=3")
    assert {key: entry[key] for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT")} == {
        "NAME": "portal", "USER": "ann", "PASSWORD": "p@ss", "HOST": "db.example.com", "PORT": "5433",
    }  # fmt: skip
    assert entry["OPTIONS"]["sslmode"] == "require" and entry["OPTIONS"]["connect_timeout"] == "3"


def test_a_socket_is_a_host() -> None:
    assert env.database("postgresql://postgres@/postgres?host=/run/pg")["HOST"] == "/run/pg"


@pytest.mark.parametrize(
    "url", ["mysql://x/y", "host=x dbname=y", "sqlite:///x", "postgresql://x:notaport/y?nonsense=1", "postgresql://%"]
)
def test_another_database_is_refused(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL"):
        env.database(url)
