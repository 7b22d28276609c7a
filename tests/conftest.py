"""What every test stands on: laptop settings, a throw-away folder for state and a PostgreSQL of the run's own.

The run's first process starts the database and the folder; xdist's workers inherit both by environment and make a database
each (pytest-django's suffixes). ``DATABASE_URL`` names another server to use instead. Everything is gone when the run ends;
if the run is killed, the kernel ends the database with it.
"""

import os
import shutil
import tempfile
from pathlib import Path

import hypothesis
import pytest

from platform_portal import embedded_postgres

STATE = pytest.StashKey[Path]()
SERVER = pytest.StashKey[embedded_postgres.Server]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real-cluster", action="store_true", help="run tests/cluster against the cluster that KUBECONFIG names"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        _make_environment(config)
    os.environ["DJANGO_SETTINGS_MODULE"] = "platform_portal.settings"
    from django.conf import settings

    # Fast, and not what is tested: hashing that is meant to be slow, and file names that need a collectstatic first.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.WHITENOISE_AUTOREFRESH = True
    settings.WHITENOISE_USE_FINDERS = True


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that no worker is left with one at the end; the order within a file stays."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Bytes made at import, such as archives, may hold the time; xdist's workers must name a test alike."""
    return argname if isinstance(val, bytes) else None


# How long an example takes says something of the machine, which others may be using, and nothing of the code.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")


def pytest_unconfigure(config: pytest.Config) -> None:
    if server := config.stash.get(SERVER, None):
        server.stop()
    if state := config.stash.get(STATE, None):
        shutil.rmtree(state, ignore_errors=True)


def _make_environment(config: pytest.Config) -> None:
    state = config.stash[STATE] = Path(tempfile.mkdtemp(prefix="ml-platform-test-"))
    os.environ["PLATFORM_MODE"] = "laptop"
    os.environ["PLATFORM_VAR"] = str(state)
    # Tests ask as fast as they can, all of them from one address; those of the limits set their own.
    os.environ |= dict.fromkeys(
        ("RATE_LIMIT_ADDRESS", "RATE_LIMIT_TOKEN", "RATE_LIMIT_JOB_TOKEN", "RATE_LIMIT_AUTH_FAILURES"), ""
    )
    if not config.getoption("real_cluster"):
        os.environ.pop("KUBECONFIG", None)
    if "DATABASE_URL" in os.environ:
        return
    server = config.stash[SERVER] = embedded_postgres.Server(state / "postgres", throwaway=True)
    server.start()
    os.environ["DATABASE_URL"] = embedded_postgres.url(server.folder)
