"""The examples of docs/tokens.md, run as they stand there."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django.live_server_helper import LiveServer

from tenants import issuers
from tenants.models import ApiToken, IssuerRule, ServiceAccount, TrustedIssuer
from tests.personas import Team, team
from tests.tenants.issuer import Issuer

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "tokens.md"
EXAMPLES = dict(re.findall(r"<!-- example: (.+?) -->\n```sh\n(.*?)```", PAGE.read_text(), re.DOTALL))


@pytest.fixture
def shell(transactional_db: None, live_server: LiveServer) -> "Shell":
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    return Shell(live_server.url, team("ours"))


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuers.forget()
    server = Issuer()
    yield server
    server.stop()
    issuers.forget()


class Shell:
    def __init__(self, url: str, ours: Team) -> None:
        self.ours = ours
        self.environment = {"ML_PLATFORM_URL": url, "ML_PLATFORM_TOKEN": ours.token, "TEAM": "ours"}

    def run(self, name: str, **environment: str) -> list[Any]:
        """The JSON answers of the example's calls."""
        done = subprocess.run(
            ["sh", "-e", "-c", EXAMPLES[name]],
            env={"PATH": os.environ["PATH"]} | self.environment | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        decoder, text, found = json.JSONDecoder(), done.stdout.strip(), []
        while text:
            answer, end = decoder.raw_decode(text)
            found.append(answer)
            text = text[end:].strip()
        return found


def test_every_example_is_run_here() -> None:
    assert set(EXAMPLES) == {"team token", "whoami", "service account", "exchange", "federation"}


def test_tokens_service_accounts_and_jwts(shell: Shell) -> None:
    (made,) = shell.run("team token")
    assert made["scopes"] == ["read", "submit"]
    (me,) = shell.run("whoami", ML_PLATFORM_TOKEN=made["secret"])
    assert (me["tenant"], me["actor"]) == ("ours", "token nightly training")
    account, key = shell.run("service account")
    assert (account["name"], key["for"]) == ("ci", "ci")
    (me,) = shell.run("whoami", ML_PLATFORM_TOKEN=key["secret"])
    assert (me["actor"], me["scopes"]) == ("service account ci", ["read", "submit", "deploy"])
    (short,) = shell.run("exchange", ML_PLATFORM_TOKEN=made["secret"])
    (me,) = shell.run("whoami", ML_PLATFORM_TOKEN=short["access_token"])
    assert (short["expires_in"], me["expires_at"]) == (600, short["expires_at"])
    assert ApiToken.objects.get(name="nightly training").last_used_at is not None


def test_a_ci_system_s_jwt(shell: Shell, issuer: Issuer) -> None:
    account = ServiceAccount.objects.create(tenant=shell.ours.tenant, name="ci")
    row = TrustedIssuer.objects.create(name="forge", issuer=issuer.url, audience="ml-platform")
    IssuerRule.objects.create(issuer=row, service_account=account, claims={"sub": "repo:org/app:*"})
    (made,) = shell.run("federation", CI_JWT=issuer.token())
    (me,) = shell.run("whoami", ML_PLATFORM_TOKEN=made["access_token"])
    assert (made["expires_in"], me["actor"]) == (3600, "service account ci")
