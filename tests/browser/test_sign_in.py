"""Signing in, in a real browser: with an OpenID Connect provider that is a process of its own, second factors and passkeys.

The portal is one of this file's own, because it is started with the providers.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time

from tests.browser.conftest import Page, _chromium, browser
from tests.browser.identity import IdentityProvider
from tests.setup.running import ROOT, Program

pytestmark = pytest.mark.browser
TEAM = "/t/team-ml-analytics"
RULES = """
from tenants.models import RoleRule, Tenant
team = Tenant.objects.get(slug="team-ml-analytics")
RoleRule.objects.create(provider="corp", group="ml", tenant=team, role="member")
RoleRule.objects.create(provider="*", group="ml-leads", tenant=team, role="lead")
RoleRule.objects.create(provider="corp", group="platform", platform_admin=True)
"""


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    _chromium()
    found = IdentityProvider()
    yield found
    found.close()


@pytest.fixture(scope="module")
def environment(provider: IdentityProvider, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    both = {"issuer": provider.issuer, "client_secret": "not checked by this provider"}
    providers = [
        {"id": "corp", "name": "Example Corp", "client_id": "ml", "allowed_domains": ["example.com"], **both},
        {"id": "lab", "name": "The Lab", "client_id": "ml-lab", "groups_claim": "realm_access.roles", **both},
    ]
    return {
        "PLATFORM_MODE": "laptop",
        "PLATFORM_VAR": str(tmp_path_factory.mktemp("portal")),
        "PORT": str(port),
        "DATABASE_URL": "",
        "OIDC_PROVIDERS": json.dumps(providers),
    }


@pytest.fixture(scope="module")
def portal(environment: dict[str, str]) -> Iterator[str]:
    """Overrides the one that all other browser tests share. Called localhost, since passkeys are for names."""
    program = Program("manage.py", "up", env=environment)
    try:
        program.wait_for("The platform is ready", seconds=120)
        _run(environment, RULES)
        yield f"http://localhost:{environment['PORT']}"
        assert program.terminate() == 0
    finally:
        program.kill()


def test_a_group_of_the_provider_opens_a_team_and_its_removal_closes_it(
    page: Page, provider: IdentityProvider, environment: dict[str, str]
) -> None:
    provider.person("grace-1", **claims("grace", ["ml"]))
    before = provider.verified
    sign_in_with(page, "corp", "grace-1")
    page.wait(lambda: f"{TEAM}/" in page.driver.current_url, "the team's dashboard")
    assert provider.verified == before + 1, "the provider has checked the PKCE verifier"
    assert page.text(".mine").startswith("Account: grace") or "grace" in page.text(".mine")
    assert memberships(environment, "grace") == [["team-ml-analytics", "member", "oidc:corp"]]
    sign_out(page)

    provider.person("grace-1", **claims("grace", ["ml", "ml-leads"]))
    sign_in_with(page, "corp", "grace-1")
    page.wait(lambda: f"{TEAM}/" in page.driver.current_url, "the team's dashboard")
    assert memberships(environment, "grace") == [["team-ml-analytics", "lead", "oidc:corp"]]
    sign_out(page)

    provider.person("grace-1", **claims("grace", []))
    sign_in_with(page, "corp", "grace-1")
    page.sees("team")
    assert memberships(environment, "grace") == []
    page.open(f"{TEAM}/")
    page.sees("There is nothing here")
    page.complaints()


def test_platform_administration_comes_and_goes_with_its_group(
    page: Page, provider: IdentityProvider, environment: dict[str, str]
) -> None:
    provider.person("hedy-1", **claims("hedy", ["platform"]))
    sign_in_with(page, "corp", "hedy-1")
    page.wait(lambda: "/t/" in page.driver.current_url, "a team")
    page.open("/admin/")
    page.wait(lambda: page.driver.current_url.endswith("/admin/"), "the administration")
    page.open("/")
    sign_out(page)
    provider.person("hedy-1", **claims("hedy", []))
    sign_in_with(page, "corp", "hedy-1")
    page.wait(lambda: page.driver.current_url == f"{page.base}/", "a page without teams")
    page.open("/admin/")
    page.wait(lambda: "403" in page.text("body") or "may not" in page.text("body"), "a refusal")
    page.complaints()


def test_an_address_of_another_domain_is_refused_with_the_remedy(page: Page, provider: IdentityProvider) -> None:
    provider.person("mallory-1", **claims("mallory", ["ml"], email="mallory@elsewhere.example"))
    sign_in_with(page, "corp", "mallory-1")
    page.sees("outside the domains that may sign in here: example.com")
    page.sees("ask an administrator")
    page.open("/")
    page.find("#id_login")
    page.complaints()


def test_an_address_that_nobody_has_verified_is_refused_where_domains_are_asked_for(
    page: Page, provider: IdentityProvider
) -> None:
    provider.person("eve-1", **claims("eve", ["ml"], email_verified=False))
    sign_in_with(page, "corp", "eve-1")
    page.sees("Verify your e-mail address there")
    page.complaints()


def test_every_provider_has_its_button_and_its_own_accounts(
    page: Page, provider: IdentityProvider, environment: dict[str, str]
) -> None:
    page.open("/accounts/login/")
    assert [one.text for one in page.all(".providers button")] == ["Sign in with Example Corp", "Sign in with The Lab"]
    # The same person of the same provider, by another client: another account, whose name is taken already.
    provider.person("ida-1", **claims("ada", [], email="", realm_access={"roles": ["ml-leads"]}))
    sign_in_with(page, "lab", "ida-1")
    page.wait(lambda: f"{TEAM}/" in page.driver.current_url, "the team's dashboard")
    assert memberships(environment, "ada-2") == [["team-ml-analytics", "lead", "oidc:lab"]]


def test_who_changes_their_mind_at_the_provider_is_not_signed_in(page: Page) -> None:
    page.open("/accounts/login/")
    page.click("form[action*='/oidc/corp/'] button")
    page.click("button[value=deny]")
    page.sees("You did not sign in")


def test_a_page_that_was_asked_for_is_where_signing_in_leads(page: Page, provider: IdentityProvider) -> None:
    provider.person("jean-1", **claims("jean", ["ml"]))
    page.open(f"{TEAM}/jobs?status=failed")
    sign_in_with(page, "corp", "jean-1", open_first=False)
    page.wait(lambda: page.driver.current_url == f"{page.base}{TEAM}/jobs?status=failed", "the page asked for")


def test_an_authenticator_app_is_set_up_and_asked_for(page: Page) -> None:
    page.sign_in("ben")
    page.open("/accounts/security/")
    page.click("#add-app")
    secret = page.script("return document.querySelector('#totp-secret').textContent")
    assert page.script("return document.querySelector('.qr').naturalWidth") > 0, "the QR code is drawn"
    page.type("#id_code", totp(secret))
    page.click("main form button[type=submit]")
    page.sees("They are not shown again.")
    codes = page.text("#recovery-codes").split()
    assert len(codes) == 10
    page.click("main a.btn-primary")
    page.sees("10 left")
    sign_out(page)

    page.open("/accounts/login/")
    credentials(page, "ben")
    page.sees("One more step")
    # Who has only the password is nowhere yet.
    page.open(f"{TEAM}/")
    page.sees("One more step")
    page.type("#id_code", "000000" if totp(secret) != "000000" else "111111")
    page.click("main form button[type=submit]")
    page.sees("Incorrect code")
    page.type("#id_code", codes[0])
    page.click("main form button[type=submit]")
    page.wait(lambda: "/t/" in page.driver.current_url, "the dashboard")
    page.open("/accounts/security/")
    page.sees("9 left")
    sign_out(page)

    credentials(page, "ben")
    page.sees("One more step")
    page.type("#id_code", totp(secret))
    page.click("main form button[type=submit]")
    page.wait(lambda: "/t/" in page.driver.current_url, "the dashboard")


def test_a_passkey_signs_in_by_itself(page: Page) -> None:
    from selenium.webdriver.common.virtual_authenticator import VirtualAuthenticatorOptions

    options = VirtualAuthenticatorOptions(has_resident_key=True, has_user_verification=True, is_user_verified=True)
    page.driver.add_virtual_authenticator(options)
    page.sign_in("vera")
    page.open("/accounts/security/")
    page.click("#add-key")
    page.type("#id_name", "my laptop")
    page.click("#add_key")
    page.sees("Recovery codes")
    page.open("/accounts/security/keys/")
    page.sees("my laptop")
    page.sees("Passkey")
    sign_out(page)
    page.open("/accounts/login/")
    page.click("#passkey_login")
    page.wait(lambda: "/t/" in page.driver.current_url, "the dashboard")
    assert "vera" in page.text(".mine")


def test_a_passkey_that_the_device_refuses_is_told_on_the_page(page: Page) -> None:
    from selenium.webdriver.common.virtual_authenticator import VirtualAuthenticatorOptions

    options = VirtualAuthenticatorOptions(has_resident_key=True, has_user_verification=True, is_user_verified=False)
    page.driver.add_virtual_authenticator(options)
    page.open("/accounts/login/")
    page.click("#passkey_login")
    page.wait(lambda: page.text("#passkey-problem"), "an explanation")


def test_signing_out_everywhere_ends_the_other_browser(page: Page, portal: str, tmp_path: Path) -> None:
    page.sign_in("ada")
    with browser(portal, tmp_path / "other") as other:
        other.sign_in("ada")
        other.open("/accounts/sessions/")
        other.sees("This browser")
        assert len(other.all(".entries li")) >= 2
        other.sees("Chrome on Linux")
        other.click("button[value=all]")
        other.sees("You are signed out everywhere.")
    page.open(f"{TEAM}/")
    page.find("#id_login")


def test_an_open_page_of_a_session_that_was_ended_goes_to_the_sign_in_page(
    page: Page, portal: str, tmp_path: Path
) -> None:
    page.sign_in("ada")
    page.open("/accounts/sessions/")
    with browser(portal, tmp_path / "other") as other:
        other.sign_in("ada")
        other.open("/accounts/sessions/")
        other.click("button[value=others]")
        other.sees("ended.")
        other.open(f"{TEAM}/")
        other.sees("ML Analytics", "header")
    page.open(f"{TEAM}/jobs")
    page.find("#id_login")


def test_too_many_failures_lock_the_account_and_say_until_when(page: Page) -> None:
    page.open("/accounts/login/")
    for _ in range(5):
        credentials(page, "admin", "wrong")
        page.find("#id_password")
        page.sees("not correct")
    credentials(page, "admin", "wrong")
    page.sees("Too many attempts")
    page.sees("Try again at")
    page.open("/accounts/login/")
    credentials(page, "admin", "admin-demo")
    page.sees("Too many attempts")
    page.complaints()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_fit_a_phone_and_can_be_read(page: Page, scheme: str) -> None:
    page.prefer(scheme)
    page.size(390, 844)
    page.open("/accounts/login/")
    fits(page)
    page.sign_in("ada")
    for path in (
        "security/",
        "security/app/add/",
        "security/keys/",
        "security/keys/add/",
        "sessions/",
        "password/change/",
    ):
        page.open(f"/accounts/{path}")
        page.find("h1")
        fits(page)
        assert page.script("return document.querySelectorAll('h1').length") == 1, path
        unnamed = page.script(
            "return [...document.querySelectorAll('main input:not([type=hidden])')].filter(one => !one.labels.length).length"
        )
        assert unnamed == 0, f"{path}: a field without a label"


def claims(name: str, groups: list[str], **more: Any) -> dict[str, Any]:
    return {
        "preferred_username": name,
        "name": name.title(),
        "email": f"{name}@example.com",
        "email_verified": True,
        "groups": groups,
    } | more


def sign_in_with(page: Page, provider: str, sub: str, open_first: bool = True) -> None:
    if open_first:
        page.open("/accounts/login/")
    page.click(f"form[action*='/oidc/{provider}/'] button")
    page.type("input[name=sub]", sub)
    page.click("form button[type=submit]")


def credentials(page: Page, name: str, password: str = "") -> None:
    page.type("#id_login", name)
    page.type("#id_password", password or f"{name}-demo")
    page.click(".local button[type=submit]")


def sign_out(page: Page) -> None:
    page.script("document.querySelector('form[action$=\"/logout/\"]').requestSubmit()")
    page.find("#id_login")


def fits(page: Page) -> None:
    wide = page.script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{page.driver.current_url} is {wide} px too wide"


def totp(secret: str) -> str:
    return str(format_hotp_value(hotp_value(secret, next(yield_hotp_counters_from_time()))))


def memberships(environment: dict[str, str], username: str) -> list[list[str]]:
    code = (
        "import json; from tenants.models import Membership; print(json.dumps(list(map(list, "
        f"Membership.objects.filter(user__username={username!r}).values_list('tenant__slug', 'role', 'source')))))"
    )
    found: list[list[str]] = json.loads(_run(environment, code).splitlines()[-1])
    return found


def _run(environment: dict[str, str], code: str) -> str:
    command = [sys.executable, "manage.py", "shell", "-v", "0", "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
