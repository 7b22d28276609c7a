"""System checks: a bad production setting stops the start with an id, a sentence and a hint.

``manage.py`` runs those of the settings before every command; ``refuse_bad_start`` runs all of them for programs that do not go
through it: the web server, the Celery worker and beat. On the laptop they find only what cannot be read at all.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.db.models import Q

from tenants.demo import DEMO_TOKENS, DEMO_USERS
from tenants.models import ApiToken
from tenants.selectors import token_digest

SECRET_KEY_MIN = 50
SESSION_MIN = 60
LAPTOP_BROKERS = {"filesystem", "memory"}
STORAGE_SCHEMES = {"s3", "gs", "az", "abfs", "file"}
LOCALCLUSTER = "localcluster"
Found = Iterable[CheckMessage]


def secret_key() -> Found:
    try:
        key = settings.SECRET_KEY
    except ImproperlyConfigured:  # how Django answers when it is empty
        key = ""
    if not key:
        yield _error(
            1, "SECRET_KEY is not set.", "Set SECRET_KEY or SECRET_KEY_FILE to a random text of 50 characters or more."
        )
    elif key.startswith("laptop-only") or len(key) < SECRET_KEY_MIN:
        what = "the laptop's" if key.startswith("laptop-only") else f"shorter than {SECRET_KEY_MIN} characters"
        yield _error(
            1, f"SECRET_KEY is {what}.", "Make a new one: python -c 'import secrets; print(secrets.token_urlsafe(64))'"
        )


def demo_data() -> Found:
    """Asks the database; one that does not answer is not this check's matter."""
    try:
        tokens = ApiToken.objects.filter(
            Q(is_demo=True) | Q(digest__in=[token_digest(token) for token in DEMO_TOKENS]), revoked_at=None
        ).exists()
        passwords = {demo.username: demo.password for demo in DEMO_USERS}
        people = get_user_model().objects.filter(username__in=passwords, is_active=True)
        names = [user.username for user in people if user.check_password(passwords[user.username])]
    except DatabaseError:
        return
    if tokens:
        yield _error(
            2, "The database holds demo tokens, which everybody knows.", "Use a new database, or delete these tokens."
        )
    if names:
        hint = "Use a new database, or give these users other passwords: manage.py changepassword NAME"
        yield _error(2, f"Demo users still have their published passwords: {', '.join(sorted(names))}.", hint)


def allowed_hosts() -> Found:
    if not settings.ALLOWED_HOSTS:
        yield _error(3, "ALLOWED_HOSTS is empty.", "Set it to the portal's host names, separated by commas.")
    elif "*" in settings.ALLOWED_HOSTS:
        yield _error(3, "ALLOWED_HOSTS allows every host name.", "Name the portal's own: ALLOWED_HOSTS=ml.example.com")


def database() -> Found:
    if not settings.DATABASE_URL:
        yield _error(
            4, "DATABASE_URL is not set.", "Set it to postgresql://user:password@host/name, or use DATABASE_URL_FILE."
        )


def broker() -> Found:
    scheme = urlsplit(settings.CELERY_BROKER_URL).scheme
    if not scheme:
        yield _error(5, "CELERY_BROKER_URL is not set.", "Set it to redis://host:6379/0 (rediss:// for TLS).")
    elif scheme in LAPTOP_BROKERS:
        yield _error(
            5, f"CELERY_BROKER_URL uses {scheme}://, which one machine alone can read.", "Use redis:// or rediss://."
        )


def platform_url() -> Found:
    parts = urlsplit(settings.PLATFORM_URL)
    if not parts.hostname:
        yield _error(
            6, "PLATFORM_URL is not set.", "Set it to the address that people type, such as https://ml.example.com"
        )
    elif parts.scheme != "https":
        hint = (
            "Passwords and tokens pass there: serve it over https. Pods may use another way in: PLATFORM_INTERNAL_URL."
        )
        yield _error(6, f"PLATFORM_URL is {settings.PLATFORM_URL}, without https.", hint)


def cluster() -> Found:
    if not settings.KUBECONFIG:
        if "KUBERNETES_SERVICE_HOST" not in os.environ:
            yield _error(
                7, "No Kubernetes cluster is named.", "Set KUBECONFIG, or run in a pod with a service account."
            )
        return
    try:
        config = yaml.safe_load(Path(settings.KUBECONFIG).read_text()) or {}
        names = {entry["name"] for entry in config["clusters"]}
    except (OSError, yaml.YAMLError, KeyError, TypeError) as problem:
        yield _error(7, f"KUBECONFIG cannot be read: {problem}", "Name a kubeconfig file that this user may read.")
        return
    if LOCALCLUSTER in names:
        yield _error(
            7, "KUBECONFIG names localcluster, which is for one trusted user.", "Name a real cluster's kubeconfig."
        )


def storage() -> Found:
    scheme = urlsplit(settings.STORAGE_ROOT).scheme
    if not settings.STORAGE_ROOT:
        yield _error(8, "STORAGE_ROOT is not set.", "Set it to where files go, such as s3://bucket/ml-platform")
    elif scheme not in STORAGE_SCHEMES:
        known = ", ".join(f"{name}://" for name in sorted(STORAGE_SCHEMES))
        yield _error(8, f"STORAGE_ROOT is {settings.STORAGE_ROOT!r}, which is no known address.", f"Use one of {known}")


def identity_providers() -> Found:
    """What cannot be read holds on the laptop too: a provider that is silently missing helps nobody."""
    for what, remedy in settings.OIDC_PROBLEMS:
        yield _error(9, what, remedy)


def issuers_without_tls() -> Found:
    for provider in settings.OIDC:
        if urlsplit(provider.issuer).scheme != "https":
            hint = "Who can change what passes between the two can sign in as anybody: use an https:// issuer."
            yield _error(9, f'OIDC_PROVIDERS: the issuer of "{provider.id}" is {provider.issuer}, without https.', hint)


def shared_cache() -> Found:
    scheme = urlsplit(settings.CACHE_URL).scheme
    if scheme not in ("redis", "rediss"):
        what = f"uses {scheme}://" if scheme else "is not set"
        hint = "Failed sign-ins are counted there, by all web processes together: use redis:// or rediss://."
        yield _error(10, f"CACHE_URL {what}.", hint)


def session_ages() -> Found:
    idle, most = settings.SESSION_IDLE_SECONDS, settings.SESSION_MAX_SECONDS
    if idle < SESSION_MIN or most < idle:
        hint = (
            f"A session ends after SESSION_IDLE_SECONDS (at least {SESSION_MIN}) without activity, "
            "and after SESSION_MAX_SECONDS, which is no less, in any case."
        )
        yield _error(11, f"SESSION_IDLE_SECONDS is {idle} and SESSION_MAX_SECONDS is {most}.", hint)


def rate_limits() -> Found:
    scheme = urlsplit(settings.RATE_LIMIT_STORAGE_URL).scheme
    if scheme not in ("redis", "rediss"):
        what = f"uses {scheme}://" if scheme else "is not set"
        hint = "The API's requests are counted there, by all web processes together: use redis:// or rediss://."
        yield _error(12, f"RATE_LIMIT_STORAGE_URL {what}.", hint)


def keys_for_scripts() -> Found:
    for name in ("TOKEN_MAX_DAYS", "JWT_KEY_DAYS"):
        if getattr(settings, name) < 1:
            yield _error(13, f"{name} is {getattr(settings, name)}.", "Set it to a number of days, at least 1.")


OF_SETTINGS: tuple[Callable[[], Found], ...] = (
    secret_key,
    allowed_hosts,
    database,
    broker,
    platform_url,
    cluster,
    storage,
    identity_providers,
    issuers_without_tls,
    shared_cache,
    session_ages,
    rate_limits,
    keys_for_scripts,
)


@register(Tags.security)
def check_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if settings.LAPTOP:
        return list(identity_providers())
    return [message for check in OF_SETTINGS for message in check()]


@register(Tags.database)
def check_demo_data(app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    if settings.LAPTOP or not settings.DATABASE_URL or "default" not in (databases or ()):
        return []
    return list(demo_data())


def refuse_bad_start() -> None:
    """Raise ``ImproperlyConfigured`` with everything that is wrong, each with its hint."""
    found = check_settings(None) + check_demo_data(None, databases=["default"])
    connection.close()  # the thread that starts a program is not one that serves
    if found:
        raise ImproperlyConfigured(
            "the platform does not start like this:\n" + "\n".join(str(message) for message in found)
        )


def _error(number: int, message: str, hint: str) -> Error:
    return Error(message, hint=hint, id=f"platform.E{number:03}")
