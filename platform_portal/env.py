"""Typed reading of settings from the environment.

Every name may also be given as ``NAME_FILE``, the path of a file that holds the value (how Kubernetes mounts secrets).
A value that cannot be read as its type raises ``ImproperlyConfigured`` and names the variable; nothing is guessed.
"""

import ipaddress
import os
import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import limits
from django.core.exceptions import ImproperlyConfigured
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off", ""}


def text(name: str, default: str = "") -> str:
    """The variable's value, or the content of the file its ``_FILE`` twin names, or ``default``."""
    path = os.environ.get(f"{name}_FILE")
    if path:
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as exc:
            raise ImproperlyConfigured(f"{name}_FILE names a file that cannot be read: {exc}") from exc
    return os.environ.get(name, default)


def flag(name: str, default: bool = False) -> bool:
    value = text(name, "1" if default else "0").lower()
    if value in TRUE:
        return True
    if value in FALSE:
        return False
    raise ImproperlyConfigured(f"{name} must be one of true, false, 1, 0, yes, no, on, off; it is {value!r}.")


def number(name: str, default: int) -> int:
    value = text(name, str(default))
    try:
        return int(value)
    except ValueError as exc:
        raise ImproperlyConfigured(f"{name} must be a whole number; it is {value!r}.") from exc


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated list, without empty items."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def currency(name: str, default: str) -> str:
    """A currency's code of ISO 4217: three capital letters."""
    value = text(name, default)
    if not re.fullmatch(r"[A-Z]{3}", value):
        raise ImproperlyConfigured(f"{name} must be three letters of ISO 4217, such as EUR; it is {value!r}.")
    return value


def networks(name: str, values: list[str]) -> tuple[str, ...]:
    """IP networks such as 10.0.0.0/8, in the one spelling that Kubernetes gives back."""
    try:
        return tuple(str(ipaddress.ip_network(value)) for value in values)
    except ValueError as exc:
        raise ImproperlyConfigured(f"{name} must hold networks such as 10.0.0.0/8: {exc}") from exc


def rates(name: str, default: str) -> str:
    """Rates such as ``600/minute`` or ``10/second;300/minute``; empty for none."""
    value = text(name, default).strip()
    try:
        if value:
            limits.parse_many(value)
    except ValueError as exc:
        raise ImproperlyConfigured(f"{name} must be such as 600/minute, or empty; it is {value!r}.") from exc
    return value


def database(url: str) -> dict[str, Any]:
    """Django's ``DATABASES`` entry for a libpq connection string (``postgresql://…``, sockets included)."""
    try:
        parts = conninfo_to_dict(url)
    except ProgrammingError as exc:
        raise ImproperlyConfigured(f"DATABASE_URL is not a PostgreSQL connection string: {exc}") from exc
    if not url.startswith(("postgres://", "postgresql://")):
        raise ImproperlyConfigured("DATABASE_URL must begin with postgresql:// — PostgreSQL is the only database.")
    known = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    entry: dict[str, Any] = {"ENGINE": "platform_portal.postgresql"}
    entry |= {django: str(parts.get(libpq) or "") for libpq, django in known.items()}
    entry["OPTIONS"] = {key: value for key, value in parts.items() if key not in known}
    return entry


class MailServer(NamedTuple):
    host: str
    port: int
    user: str
    password: str
    starttls: bool
    tls: bool


def mail_server(url: str) -> MailServer:
    """``smtps://user:password@host`` (TLS at once), ``smtp+tls://`` (STARTTLS) or ``smtp://`` (in the clear)."""
    ports = {"smtps": 465, "smtp+tls": 587, "smtp": 25}
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise ImproperlyConfigured(
            "EMAIL_URL is no address such as smtp+tls://user:password@mail.example.com."
        ) from exc
    if parts.scheme not in ports or not host:
        raise ImproperlyConfigured("EMAIL_URL must be smtps://, smtp+tls:// or smtp:// with a host.")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return MailServer(
        host, port or ports[parts.scheme], user, password, parts.scheme == "smtp+tls", parts.scheme == "smtps"
    )
