"""The team's pages of tokens and of the audit log: who sees and makes what, what is shown once, what an export holds."""

import csv
import io
import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests.pages.test_team_pages import entries, queries, text
from tests.personas import Team

# ---- tokens


def new_token(client: Client, **changes: Any) -> tuple[Any, dict[str, Any]]:
    page = client.get("/t/ours/tokens").content.decode()
    found = re.search(r'name="key" value="([^"]+)"', page)
    assert found is not None
    form = {"name": "notebook", "holder": "personal", "scopes": ["read", "submit"], "days": "30", "key": found[1]}
    form |= changes
    return client.post("/t/ours/tokens", form), form


def secret_of(answer: Any) -> str:
    found = re.search(r"<code>(mlp[a-z]?_[\w-]{20,})</code>", answer.content.decode())
    return found[1] if found else ""


def test_a_member_makes_a_token_sees_its_secret_once_and_uses_it(ours: Team) -> None:
    client = ours.client("member")
    answer, form = new_token(client)
    secret = secret_of(answer)
    assert answer.status_code == 200 and secret and "no-store" in answer["Cache-Control"]
    assert Client(headers={"authorization": f"Bearer {secret}"}).get("/v1/jobs/training").status_code == 200
    again = client.post("/t/ours/tokens", form)
    assert "was made before" in text(again) and not secret_of(again) and secret not in again.content.decode()
    later = client.get("/t/ours/tokens").content.decode()
    assert secret not in later and "notebook" in later and later.count("Revoke<span") == 1


def test_a_revoked_token_is_refused_at_once(ours: Team) -> None:
    from tenants.models import ApiToken

    client = ours.client("member")
    secret = secret_of(new_token(client)[0])
    token = ApiToken.objects.get(name="notebook")
    script = Client(headers={"authorization": f"Bearer {secret}"})
    assert script.get("/v1/jobs/training").status_code == 200
    assert "Revoke notebook?" in text(client.post("/t/ours/tokens/revoke", {"token": token.pk}))
    assert script.get("/v1/jobs/training").status_code == 200
    page = text(client.post("/t/ours/tokens/revoke", {"token": token.pk, "confirmed": "1"}, follow=True))
    assert "notebook is revoked." in page
    assert script.get("/v1/jobs/training").status_code == 401


def test_a_token_of_somebody_else_is_not_there_to_revoke(ours: Team) -> None:
    from tenants.models import ApiToken

    new_token(ours.client("lead"), name="other-key")
    token = ApiToken.objects.get(name="other-key")
    answer = ours.client("member").post("/t/ours/tokens/revoke", {"token": token.pk, "confirmed": "1"})
    token.refresh_from_db()
    assert answer.status_code == 404 and token.revoked_at is None
    assert "other-key" not in text(ours.client("member").get("/t/ours/tokens"))


@pytest.mark.parametrize(
    ("role", "changes", "says"),
    [
        ("member", {"name": ""}, "Say what it is for"),
        ("member", {"scopes": []}, "Choose at least one."),
        ("member", {"scopes": ["admin"]}, "admin is not one of the available choices"),
        ("member", {"holder": "team"}, "team is not one of the available choices"),
        ("member", {"days": "100000"}, "not one of the available choices"),
        ("lead", {"holder": "service:none"}, "not one of the available choices"),
        ("viewer", {"scopes": ["submit"]}, "submit is not one of the available choices"),
    ],
)
def test_nobody_gets_a_token_that_may_more_than_they(ours: Team, role: str, changes: dict[str, Any], says: str) -> None:
    from tenants.models import ApiToken

    answer, _ = new_token(ours.client(role), **changes)
    assert answer.status_code == 400 and says in text(answer)
    assert not ApiToken.objects.filter(name="notebook").exists()


def test_a_lead_manages_service_accounts_and_their_tokens(ours: Team) -> None:
    from tenants.models import ServiceAccount

    client = ours.client("lead")
    answer = client.post("/t/ours/tokens/accounts", {"name": "ci", "role": "member", "description": "x"}, follow=True)
    assert "The service account ci is there" in text(answer)
    secret = secret_of(new_token(client, holder="service:ci")[0])
    script = Client(headers={"authorization": f"Bearer {secret}"})
    assert script.get("/v1/jobs/training").status_code == 200
    client.post("/t/ours/tokens/accounts/change", {"account": "ci", "role": "viewer"})
    client.post("/t/ours/tokens/accounts/change", {"account": "ci", "state": "off"})
    account = ServiceAccount.objects.get()
    assert (account.role, account.is_active) == ("viewer", False)
    assert script.get("/v1/jobs/training").status_code == 401
    assert "Delete the service account ci?" in text(client.post("/t/ours/tokens/accounts/delete", {"account": "ci"}))
    client.post("/t/ours/tokens/accounts/delete", {"account": "ci", "confirmed": "1"})
    assert not ServiceAccount.objects.exists()
    taken = client.post("/t/ours/tokens/accounts", {"name": "Not A Name", "role": "member"})
    assert taken.status_code == 400 and "No account was made" in text(taken)


def test_tokens_have_the_same_queries_for_five_and_for_fifty(ours: Team) -> None:
    from tenants.services import service_account_create, token_create

    client = ours.client("lead")

    def more(first: int, last: int) -> None:
        for number in range(first, last):
            service_account_create(ctx=ours.context("lead"), name=f"account-{number}")
            kind = ("personal", "team")[number % 2]
            token_create(ctx=ours.context("lead"), name=f"token-{number}", kind=kind)

    more(0, 5)
    few = queries(client, "/t/ours/tokens")
    more(5, 50)
    assert queries(client, "/t/ours/tokens") == few <= 12


# ---- audit


def test_the_log_is_searched_by_text_actor_action_and_day(ours: Team) -> None:
    client = ours.client("lead")
    entries(ours, 1, target="needle", actor="zoe", action="quota.grant", after={"note": "für später"})
    for query in ("text=needle", "text=später zoe", "text=192.0.2.7 needle", "actor=ZO", "action=quota.grant"):
        page = text(client.get(f"/t/ours/audit?{query}"))
        assert "needle" in page and "member.add" not in page.partition("From")[2].partition("When (UTC)")[2], query
    today = timezone.now().date()
    assert "needle" in text(client.get(f"/t/ours/audit?since={today}&until={today}"))
    for query in (f"until={today - timedelta(days=2)}", f"since={today + timedelta(days=2)}", "text=nowhere"):
        assert "No line matches" in text(client.get(f"/t/ours/audit?{query}")), query
    for query in ("since=yesterday", "cursor=nonsense", "text=%00", "until=9999-12-31", f"actor={'x' * 5000}"):
        assert client.get(f"/t/ours/audit?{query}", follow=True).status_code == 200, query


def test_a_change_reads_as_old_and_new(ours: Team) -> None:
    from tenants.services import member_put

    member_put(ctx=ours.context("lead"), username="ours-viewer", role="member")
    assert "role viewer → member" in text(ours.client("lead").get("/t/ours/audit?action=member.change"))


def test_the_log_is_paged_by_place_and_every_line_comes_once(ours: Team) -> None:
    entries(ours, 120)
    client, seen, path = ours.client("lead"), 0, "/t/ours/audit?text=somebody"
    for page_of in (50, 50, 20):
        page = client.get(path).content.decode()
        assert page.count("<b>member.add</b>") == page_of
        seen += page_of
        older = re.search(r'href="(\?[^"]*)" rel="next"', page)
        path = "/t/ours/audit" + older[1].replace("&amp;", "&") if older else ""
    assert seen == 120 and not path


def test_the_log_has_the_same_queries_for_five_lines_and_for_fifty(ours: Team) -> None:
    client = ours.client("lead")
    entries(ours, 5)
    few = queries(client, "/t/ours/audit")
    entries(ours, 45)
    assert queries(client, "/t/ours/audit") == few <= 10


def test_another_teams_lines_are_not_in_the_log_nor_in_its_export(ours: Team, theirs: Team) -> None:
    entries(theirs, 3, target="their secret")
    client = ours.client("lead")
    for path in ("", "/export?format=csv", "/export?format=jsonl"):
        answer = client.get(f"/t/ours/audit{path}")
        content = answer.getvalue() if answer.streaming else answer.content
        assert answer.status_code == 200 and b"their secret" not in content


def test_the_export_is_whole_as_csv_and_as_json_lines(ours: Team) -> None:
    entries(ours, 1100, before={"role": "viewer"}, after={"role": "lead"})
    client = ours.client("lead")
    answer = client.get("/t/ours/audit/export?format=csv&text=somebody")
    assert answer.streaming and answer["Content-Type"].startswith("text/csv")
    assert re.fullmatch(r'attachment; filename="audit-ours-[\d-]+\.csv"', answer["Content-Disposition"])
    rows = list(csv.DictReader(io.StringIO(answer.getvalue().decode())))
    assert len(rows) == 1100 and len({row["id"] for row in rows}) == 1100
    assert rows[0]["after"] == '{"role":"lead"}' and rows[0]["address"] == "192.0.2.7"
    lines = client.get("/t/ours/audit/export?format=jsonl&text=somebody").getvalue().decode().splitlines()
    told = [json.loads(line) for line in lines]
    assert len(told) == 1100 and told[0]["after"] == {"role": "lead"} and told[0]["at"].endswith("Z")
    assert client.get("/t/ours/audit/export?since=nonsense").status_code == 400


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r", " =", "＝", "|"])
def test_no_cell_of_the_csv_begins_like_a_formula(ours: Team, start: str) -> None:
    entries(ours, 1, actor=f"{start}cmd|' /C calc'!A0", target=f"{start}1+1", action="evil.name")
    content = ours.client("lead").get("/t/ours/audit/export?format=csv&action=evil").getvalue().decode()
    row = next(csv.DictReader(io.StringIO(content, newline="")))
    assert row["actor"].startswith("'") and row["target"].startswith("'")
    assert row["actor"][1:] == f"{start}cmd|' /C calc'!A0"
