"""Bad production settings: each has its id and a hint, and stops every program before it serves."""

import subprocess
import sys

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

from platform_portal import checks, oidc
from tenants.models import ApiToken
from tests.setup.running import ROOT

PRODUCTION = {
    "LAPTOP": False,
    "SECRET_KEY": "k" * 64,
    "ALLOWED_HOSTS": ["ml.example.com"],
    "DATABASE_URL": "postgresql://portal@db.example.com/portal",
    "CELERY_BROKER_URL": "rediss://redis.example.com:6379/0",
    "PLATFORM_URL": "https://ml.example.com",
    "KUBECONFIG": "",
    "STORAGE_ROOT": "s3://bucket/ml-platform",
    "CACHE_URL": "rediss://redis.example.com:6379/1",
    "SESSION_IDLE_SECONDS": 1800,
    "SESSION_MAX_SECONDS": 43200,
    "RATE_LIMIT_STORAGE_URL": "rediss://redis.example.com:6379/1",
}
KUBECONFIG = "apiVersion: v1\nkind: Config\nclusters: [{name: %s, cluster: {server: 'https://10.0.0.1'}}]\n"


@pytest.fixture
def production(settings, monkeypatch):
    """Settings of a good production start; a test spoils one."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    for name, value in PRODUCTION.items():
        setattr(settings, name, value)
    return settings


def found() -> list[str | None]:
    return [message.id for message in checks.check_settings(None)]


def test_a_good_production_start_is_not_stopped(production):
    assert found() == []


@pytest.mark.parametrize(
    ("name", "value", "number"),
    [
        ("SECRET_KEY", "", 1),
        ("SECRET_KEY", "k" * 49, 1),
        ("SECRET_KEY", "laptop-only-key-never-used-in-production-0123456789abcdef", 1),
        ("ALLOWED_HOSTS", [], 3),
        ("ALLOWED_HOSTS", ["ml.example.com", "*"], 3),
        ("DATABASE_URL", "", 4),
        ("CELERY_BROKER_URL", "", 5),
        ("CELERY_BROKER_URL", "filesystem://", 5),
        ("CELERY_BROKER_URL", "memory://", 5),
        ("PLATFORM_URL", "", 6),
        ("PLATFORM_URL", "http://ml.example.com", 6),
        ("KUBECONFIG", "/does/not/exist", 7),
        ("STORAGE_ROOT", "", 8),
        ("STORAGE_ROOT", "var/storage", 8),
        ("STORAGE_ROOT", "ftp://files.example.com", 8),
        ("CACHE_URL", "", 10),
        ("CACHE_URL", "memcached://127.0.0.1", 10),
        ("SESSION_IDLE_SECONDS", 59, 11),
        ("SESSION_MAX_SECONDS", 1799, 11),
        ("RATE_LIMIT_STORAGE_URL", "", 12),
        ("RATE_LIMIT_STORAGE_URL", "memory://", 12),
        ("TOKEN_MAX_DAYS", 0, 13),
        ("JWT_KEY_DAYS", 0, 13),
    ],
)
def test_a_bad_setting_is_named_with_a_hint(production, name, value, number):
    setattr(production, name, value)
    messages = checks.check_settings(None)
    assert [message.id for message in messages] == [f"platform.E{number:03}"]
    assert name in messages[0].msg
    assert messages[0].hint


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (KUBECONFIG % "gke-production", []),
        (KUBECONFIG % "localcluster", ["platform.E007"]),
        ("clusters: [", ["platform.E007"]),
        ("", ["platform.E007"]),
    ],
)
def test_production_refuses_localcluster_and_a_broken_kubeconfig(production, tmp_path, content, expected):
    file = tmp_path / "kubeconfig"
    file.write_text(content)
    production.KUBECONFIG = str(file)
    assert found() == expected


@pytest.mark.parametrize("laptop", [True, False])
def test_a_provider_that_cannot_be_read_stops_the_laptop_as_well(production, laptop):
    production.LAPTOP = laptop
    production.OIDC, production.OIDC_PROBLEMS = oidc.read('[{"id": "corp"}]')
    assert found() == ["platform.E009", "platform.E009"]


@pytest.mark.parametrize(
    ("issuer", "expected"), [("http://id.example.com", ["platform.E009"]), ("https://id.example.com", [])]
)
def test_an_issuer_without_tls_is_for_the_laptop_only(production, issuer, expected):
    production.OIDC, production.OIDC_PROBLEMS = oidc.read(
        f'[{{"id": "corp", "issuer": "{issuer}", "client_id": "ml"}}]'
    )
    assert found() == expected
    production.LAPTOP = True
    assert found() == []


def test_production_outside_a_cluster_needs_a_kubeconfig(production, monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    assert found() == ["platform.E007"]


def test_everything_that_is_wrong_is_said_at_once(production, monkeypatch):
    monkeypatch.setattr(checks, "demo_data", list)
    production.PLATFORM_URL = production.STORAGE_ROOT = ""
    with pytest.raises(ImproperlyConfigured, match=r"(?s)E006.*HINT.*E008.*HINT"):
        checks.refuse_bad_start()


def test_the_laptop_is_never_stopped(production):
    production.LAPTOP = True
    production.SECRET_KEY = ""
    assert found() == []


@pytest.mark.django_db
def test_production_refuses_demo_tokens_and_demo_passwords(settings):
    call_command("demo")
    settings.LAPTOP = False
    messages = checks.check_demo_data(None, databases=["default"])
    assert [message.id for message in messages] == ["platform.E002", "platform.E002"]
    assert "ada, admin, ben, vera" in messages[1].msg


@pytest.mark.django_db
def test_a_namesake_of_a_demo_user_and_a_revoked_token_are_no_reason_to_refuse(settings):
    call_command("demo")
    ApiToken.objects.all().delete()
    for user in get_user_model().objects.all():
        user.set_password("a password of their own")
        user.save()
    settings.LAPTOP = False
    assert checks.check_demo_data(None, databases=["default"]) == []


@pytest.mark.parametrize(
    "command",
    [
        ["manage.py", "check"],
        ["manage.py", "reconcile"],
        ["-m", "gunicorn", "platform_portal.wsgi", "--bind", "127.0.0.1:0", "--no-control-socket"],
        ["-m", "celery", "--app", "platform_portal", "worker", "--pool", "threads"],
        ["-m", "celery", "--app", "platform_portal", "beat"],
        ["manage.py", "up"],
    ],
    ids=["check", "reconcile", "gunicorn", "celery worker", "celery beat", "up"],
)
def test_no_program_starts_in_production_without_its_settings(command, tmp_path):
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PLATFORM_VAR": str(tmp_path / "var")}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert ("refuses production settings" if command[-1] == "up" else "platform.E008") in said
