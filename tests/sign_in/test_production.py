"""Cookies and headers as production sends them, from a process with production's settings; and what the sign-in page costs."""

import json
import os
import subprocess
import sys
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from tests.setup.running import ROOT

ASK = """
import json, django
django.setup()
from django.conf import settings
settings.CACHES["default"] = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
settings.STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
from django.contrib.auth import get_user_model
from django.db import transaction
from django.test import Client
client = Client(headers={"host": "ml.example.com", "x-forwarded-proto": "https"})
with transaction.atomic():
    get_user_model().objects.create_user("cookie-tester", password="a-good-old-password")
    page = client.get("/accounts/login/")
    done = client.post("/accounts/login/", {"login": "cookie-tester", "password": "a-good-old-password"})
    transaction.set_rollback(True)
plain = Client(headers={"host": "ml.example.com"}).get("/accounts/login/")
print(json.dumps({
    "page": dict(page.headers), "cookies": page.cookies.output(header="") + "\\n" + done.cookies.output(header=""),
    "status": done.status_code, "plain": [plain.status_code, plain.headers.get("Location")],
}))
"""


@pytest.fixture
def production(transactional_db: None) -> dict[str, Any]:
    database = connection.settings_dict
    env = {
        "PLATFORM_MODE": "production",
        "DJANGO_SETTINGS_MODULE": "platform_portal.settings",
        "SECRET_KEY": "k" * 64,
        "ALLOWED_HOSTS": "ml.example.com",
        "PLATFORM_URL": "https://ml.example.com",
        "STORAGE_ROOT": "s3://bucket/x",
        "CELERY_BROKER_URL": "redis://redis.example.com",
        "CACHE_URL": "redis://redis.example.com",
        "DATABASE_URL": urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{database['NAME']}").geturl(),
    }
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=os.environ | env, cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_cookies_and_headers_of_production(production: dict[str, Any]) -> None:
    assert production["status"] == 302
    cookies = SimpleCookie(production["cookies"])
    assert set(cookies) >= {"__Host-sessionid", "__Host-csrftoken"}
    session = cookies["__Host-sessionid"]
    assert (session["secure"], session["httponly"], session["samesite"], session["path"]) == (True, True, "Lax", "/")
    assert not session["domain"], "a __Host- cookie has none"
    assert not session["max-age"] and not session["expires"], "gone with the browser"
    assert cookies["__Host-csrftoken"]["secure"] and cookies["__Host-csrftoken"]["samesite"] == "Lax"
    headers = production["page"]
    policy = headers["Content-Security-Policy"]
    for directive in (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ):
        assert directive in policy
    assert "unsafe" not in policy
    assert headers["Strict-Transport-Security"].startswith("max-age=31536000; includeSubDomains")
    assert headers["X-Frame-Options"] == "DENY" and headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin" and headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "no-store" in headers["Cache-Control"], "a sign-in page is not kept"
    assert production["plain"] == [301, "https://ml.example.com/accounts/login/"]


def test_the_sign_in_page_and_the_sign_in_take_few_queries(db: None, client: Client, settings: Settings) -> None:
    """Under 15 each, the counts of failures aside: they are in Redis."""
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "queries"}}
    get_user_model().objects.create_user("ada", password="a-good-old-password")
    with CaptureQueriesContext(connection) as page:
        assert client.get("/accounts/login/").status_code == 200
    with CaptureQueriesContext(connection) as sign_in:
        answer = client.post("/accounts/login/", {"login": "ada", "password": "a-good-old-password"})
        assert answer.status_code == 302
    asked = [one["sql"] for one in sign_in if not one["sql"].startswith(("SAVEPOINT", "RELEASE SAVEPOINT"))]
    assert len(page) == 0, [one["sql"] for one in page]
    assert len(asked) < 15, "\n".join(asked)
