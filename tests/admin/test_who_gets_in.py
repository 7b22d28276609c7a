"""The admin site is for platform admins: an active account with both flags. Its pages' policy is loosened, and nobody else's."""

import re
from typing import Any

import pytest
from django.contrib import admin as django_admin
from django.contrib.auth import get_user_model
from django.test import Client, RequestFactory

from tests.admin.forms import Admin

FLAGS = ("is_active", "is_staff", "is_superuser")


@pytest.mark.parametrize("missing", [None, *FLAGS])
def test_all_three_flags_are_needed(db: None, missing: str | None) -> None:
    flags: Any = {flag: flag != missing for flag in FLAGS}
    user = get_user_model().objects.create_user("somebody", password="x", **flags)
    client = Client()
    client.force_login(user)
    for path in ("", "health/", "tenants/tenant/", "tenants/auditentry/export/", "auth/user/", "search/?s=a"):
        answer = client.get(f"/admin/{path}")
        assert (answer.status_code == 200) == (missing is None), path
        if missing is not None:
            assert answer.status_code == 302 and answer["Location"].startswith("/admin/login/"), path
            assert client.get(answer["Location"]).status_code in (302, 403)


def test_signing_in_is_the_portals_own(db: None) -> None:
    answer = Client().get("/admin/tenants/tenant/", follow=True)
    assert answer.redirect_chain[-1][0].startswith("/accounts/login/?next=")
    assert Client().post("/admin/login/", {"username": "root", "password": "x"}).status_code == 302


@pytest.mark.parametrize("path", ["", "health/", "tenants/tenant/", "tenants/tenant/add/", "tenants/tenant/import/"])
def test_the_admins_policy_allows_expressions_and_style_attributes_and_nothing_from_elsewhere(
    admin: Admin, path: str
) -> None:
    answer = admin.get(path)
    policy = dict(part.strip().split(" ", 1) for part in answer["Content-Security-Policy"].split(";"))
    assert policy["script-src"].split() == ["'self'", "'unsafe-eval'"]
    assert policy["style-src"] == "'self'" and policy["style-src-attr"].split() == ["'self'", "'unsafe-inline'"]
    assert (
        policy["default-src"] == "'none'"
        and policy["connect-src"] == "'self'"
        and policy["frame-ancestors"] == "'none'"
    )
    text = answer.content.decode()
    assert "<style" not in text and "http://" not in text.replace("http://www.w3.org", "") and "//cdn" not in text


@pytest.mark.parametrize("path", ["/accounts/login/", "/v1/health", "/v1/docs", "/nothing", "/admin/nothing/"])
def test_everything_else_keeps_the_strict_policy(admin: Admin, path: str) -> None:
    policy = admin.client.get(path)["Content-Security-Policy"]
    assert "unsafe" not in policy


def test_only_pages_that_write_the_audit_log_are_there(db: None) -> None:
    from tenants.admin.base import AuditedAdmin

    registered = django_admin.site._registry
    assert len(registered) == 15
    assert all(isinstance(options, AuditedAdmin) and options.kind for options in registered.values())


def test_the_navigation_leads_to_every_list_and_to_pages_that_are_there(admin: Admin, root: Any) -> None:
    from platform_portal.admin_theme import navigation

    links = {str(item["link"]) for group in navigation(RequestFactory().get("/admin/")) for item in group["items"]}
    assert all(admin.client.get(link).status_code == 200 for link in links)
    lists = {f"/admin/{model._meta.app_label}/{model._meta.model_name}/" for model in django_admin.site._registry}
    assert links == lists | {"/admin/", "/admin/health/"}


def test_the_badge_beside_requests_says_how_many_wait_and_is_not_there_when_none_does(admin: Admin) -> None:
    from tenants.models import QuotaRequest
    from tests.personas import team

    badge = re.compile(r'Requests for quota\s*</span>\s*(?:<span class="[^"]*bg-red-[^"]*">\s*(\d*)\s*</span>)?')
    found = badge.search(admin.text(""))
    assert found is not None and found[0].count("<span") == 0
    tenant = team("ours").tenant
    QuotaRequest.objects.bulk_create(QuotaRequest(tenant=tenant, wanted={"cpu": 1}, reason="x") for _ in range(2))
    found = badge.search(admin.text(""))
    assert found is not None and found[1] == "2"
