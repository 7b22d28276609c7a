"""Members, quota requests and the audit log over the API: shapes, who may, what is refused, and other teams' addresses."""

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone
from rest_framework.test import APIClient

from tenants.models import AuditEntry, Membership, QuotaRequest, Tenant
from tenants.services import member_set, token_create
from tests.personas import Team, api_client, team

OURS = "/v1/tenants/ours"


@pytest.fixture
def ours(db: None) -> Team:
    return team("ours")


@pytest.fixture
def theirs(db: None) -> Team:
    return team("theirs")


@pytest.fixture
def root(ours: Team) -> APIClient:
    """A platform admin with a personal token for administration in our team."""
    admin = get_user_model().objects.create_superuser("root", password="x")
    ctx = ours.context("lead")
    _, secret = token_create(ctx=type(ctx)(tenant=ctx.tenant, role="lead", user=admin), name="root", kind="personal")
    return api_client(secret)


def personal(ours: Team, role: str, *scopes: str) -> APIClient:
    _, secret = token_create(ctx=ours.context(role), name="mine", kind="personal", scopes=scopes or None)
    return api_client(secret)


# ---- members


def test_members_are_listed_with_role_and_source(ours: Team) -> None:
    member_set(tenant=ours.tenant, user=ours.people["viewer"], role="viewer", source="corp")
    told = personal(ours, "viewer").get(f"{OURS}/members").json()
    assert [(one["username"], one["role"], one["source"]) for one in told] == [
        ("ours-lead", "lead", None),
        ("ours-member", "member", None),
        ("ours-viewer", "viewer", "corp"),
    ]
    assert set(told[0]) == {"username", "name", "email", "role", "is_active", "source"}


def test_a_lead_s_token_puts_and_removes_members(ours: Team) -> None:
    get_user_model().objects.create_user("nina@example.com", password="x")
    api = personal(ours, "lead")
    where = f"{OURS}/members/nina@example.com"
    for role in ("viewer", "member", "member"):
        answer = api.put(where, {"role": role}, format="json")
        assert answer.status_code == 200 and answer.json()["role"] == role
    for status in (204, 404):
        assert api.delete(where).status_code == status
    assert AuditEntry.objects.filter(target="nina@example.com", via="api").count() == 3


@pytest.mark.parametrize("body", [{}, {"role": "king"}, {"role": 3}, {"role": None}, {"role": "lead", "more": 1}, []])
def test_a_role_that_is_none_is_a_400(ours: Team, body: Any) -> None:
    answer = personal(ours, "lead").put(f"{OURS}/members/ours-member", body, format="json")
    assert answer.status_code == 400 and answer.json()["errors"]


def test_the_last_lead_and_a_groups_member_are_conflicts(ours: Team) -> None:
    member_set(tenant=ours.tenant, user=ours.people["viewer"], role="viewer", source="corp")
    api = personal(ours, "lead")
    for who, code in (("ours-lead", "last_lead"), ("ours-viewer", "managed_by_groups")):
        for answer in (
            api.put(f"{OURS}/members/{who}", {"role": "member"}, format="json"),
            api.delete(f"{OURS}/members/{who}"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (409, code)


@pytest.mark.parametrize("scopes", [("read",), ("read", "submit", "deploy")])
def test_a_token_without_the_admin_scope_changes_no_members(ours: Team, scopes: tuple[str, ...]) -> None:
    api = personal(ours, "lead", *scopes)
    assert api.get(f"{OURS}/members").status_code == 200
    answer = api.put(f"{OURS}/members/ours-member", {"role": "viewer"}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    assert api.delete(f"{OURS}/members/ours-member").status_code == 403


@pytest.mark.parametrize("who", ["nobody", "a%00b", "x" * 300])
def test_an_unknown_person_is_a_404(ours: Team, who: str) -> None:
    assert ours.api.put(f"{OURS}/members/{who}", {"role": "member"}, format="json").status_code == 404
    assert ours.api.delete(f"{OURS}/members/{who}").status_code == 404


# ---- other teams


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "members"),
        ("put", "members/theirs-member"),
        ("delete", "members/theirs-member"),
        ("get", "quota-requests"),
        ("post", "quota-requests"),
        ("get", "quota-requests/1"),
        ("delete", "quota-requests/1"),
        ("post", "quota-requests/1/decision"),
        ("get", "audit"),
        ("get", "audit?format=csv"),
    ],
)
@pytest.mark.parametrize("slug", ["theirs", "there-is-no-such-team"])
def test_another_teams_address_is_a_403_whether_it_exists_or_not(
    ours: Team, theirs: Team, method: str, path: str, slug: str
) -> None:
    answer = getattr(ours.api, method)(f"/v1/tenants/{slug}/{path}")
    assert (answer.status_code, answer.json()["code"]) == (403, "tenant_mismatch")


# ---- quota requests


def ask(api: APIClient, **headers: str) -> Any:
    body = {"wanted": {"cpu": 200, "gpus": 16}, "reason": "A sweep"}
    return api.post(f"{OURS}/quota-requests", body, format="json", headers=headers)


def test_a_request_is_made_looked_at_and_withdrawn(ours: Team) -> None:
    api = personal(ours, "member")
    answer = ask(api)
    made = answer.json()
    assert answer.status_code == 201 and answer["Location"] == f"{OURS}/quota-requests/{made['id']}"
    assert made | {"id": 0, "created_at": ""} == {
        "id": 0,
        "wanted": {"cpu": 200, "gpus": 16},
        "current": {"cpu": 100, "gpus": 10},
        "reason": "A sweep",
        "requested_by": "ours-member",
        "created_at": "",
        "status": "pending",
        "granted": None,
        "until": None,
        "decided_by": None,
        "decided_at": None,
        "note": "",
    }
    assert api.get(f"{OURS}/quota-requests").json() == [made] == [api.get(answer["Location"]).json()]
    for _ in range(2):
        assert api.delete(answer["Location"]).status_code == 204
    assert api.get(answer["Location"]).json()["status"] == "withdrawn"


def test_the_same_key_makes_one_request(ours: Team) -> None:
    first, again = (ask(ours.api, **{"Idempotency-Key": "k"}) for _ in range(2))
    assert first.status_code == again.status_code == 201 and first.json() == again.json()
    assert QuotaRequest.objects.count() == 1
    assert ask(ours.api).json()["code"] == "already_requested"


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"wanted", "reason"}),
        ({"wanted": [], "reason": 3}, {"wanted", "reason"}),
        ({"wanted": {}, "reason": "x"}, {"wanted"}),
        ({"wanted": {"cpu": 1, "disks": 2}, "reason": ""}, {"wanted.cpu", "wanted.disks", "reason"}),
        ({"wanted": {"cpu": 200}, "reason": "x", "until": "2027-01-01"}, {"until"}),
    ],
)
def test_every_bad_field_is_named(ours: Team, body: Any, fields: set[str]) -> None:
    answer = ours.api.post(f"{OURS}/quota-requests", body, format="json")
    assert answer.status_code == 400 and set(answer.json()["errors"]) == fields


def test_a_viewer_s_token_reads_requests_and_makes_none(ours: Team) -> None:
    api = personal(ours, "viewer")
    assert api.get(f"{OURS}/quota-requests").json() == []
    assert ask(api).status_code == 403


def test_a_platform_admin_grants_by_the_api_all_of_it_by_default(ours: Team, root: APIClient) -> None:
    where = ask(ours.api)["Location"] + "/decision"
    until = (timezone.now() + timedelta(days=3)).date().isoformat()
    answer = root.post(where, {"decision": "grant", "until": until}, format="json")
    told = answer.json()
    assert answer.status_code == 200
    assert (told["status"], told["granted"], told["until"]) == ("granted", {"cpu": 200, "gpus": 16}, until)
    assert told["decided_by"] == "root" and Tenant.objects.get(slug="ours").quota_cpu == 100
    assert root.post(where, {"decision": "decline", "note": "no"}, format="json").json()["code"] == "already_decided"


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"decision"}),
        ({"decision": "perhaps"}, {"decision"}),
        ({"decision": "decline"}, {"note"}),
        ({"decision": "grant", "granted": {"cpu": 500}}, {"granted.cpu"}),
        ({"decision": "grant", "granted": []}, {"granted"}),
        ({"decision": "grant", "until": "tomorrow"}, {"until"}),
        ({"decision": "grant", "until": "2001-01-01"}, {"until"}),
    ],
)
def test_a_decision_that_is_none_is_a_400(ours: Team, root: APIClient, body: Any, fields: set[str]) -> None:
    answer = root.post(ask(ours.api)["Location"] + "/decision", body, format="json")
    assert answer.status_code == 400 and set(answer.json()["errors"]) == fields


def test_nobody_else_decides(ours: Team, root: APIClient) -> None:
    where = ask(ours.api)["Location"] + "/decision"
    for api in (ours.api, personal(ours, "lead")):
        assert api.post(where, {"decision": "grant"}, format="json").status_code == 403
    assert Tenant.objects.get(slug="ours").quota_cpu == 100


def test_a_platform_admin_works_in_any_team_with_a_token_of_one(ours: Team, theirs: Team, root: APIClient) -> None:
    body = {"wanted": {"cpu": 200}, "reason": "A sweep"}
    asked = theirs.api.post("/v1/tenants/theirs/quota-requests", body, format="json").json()
    assert (
        root.post(f"{OURS}/quota-requests/{asked['id']}/decision", {"decision": "grant"}, format="json").status_code
        == 404
    )
    where = f"/v1/tenants/theirs/quota-requests/{asked['id']}/decision"
    assert root.post(where, {"decision": "grant"}, format="json").status_code == 200
    assert root.put("/v1/tenants/theirs/members/ours-lead", {"role": "viewer"}, format="json").status_code == 200
    assert Membership.objects.filter(tenant=theirs.tenant, user=ours.people["lead"]).exists()
    assert Tenant.objects.get(slug="theirs").quota_cpu == 200


# ---- audit


def test_the_log_is_a_lead_s(ours: Team) -> None:
    for role, status in (("viewer", 403), ("member", 403), ("lead", 200)):
        assert personal(ours, role).get(f"{OURS}/audit").status_code == status
    assert personal(ours, "lead", "read").get(f"{OURS}/audit").status_code == 403


def test_the_log_is_paged_by_link_and_every_line_comes_once(ours: Team) -> None:
    for name in ("ours-viewer", "ours-member"):
        for role in ("viewer", "member"):
            ours.api.put(f"{OURS}/members/{name}", {"role": role}, format="json")
    whole = ours.api.get(f"{OURS}/audit?limit=200").json()
    seen, path = [], f"{OURS}/audit?limit=2"
    while path:
        answer = ours.api.get(path)
        seen += answer.json()
        path = answer["Link"].partition(">")[0][1:] if "Link" in answer else ""
    assert seen == whole and len({line["id"] for line in seen}) == len(seen) > 5
    line = next(one for one in whole if one["action"] == "member.change")
    assert set(line) == {"id", "at", "actor", "actor_kind", "action", "target", "target_id", "before", "after",
                         "via", "address", "tenant"}  # fmt: skip
    assert (line["actor_kind"], line["via"], line["address"], line["tenant"]) == ("token", "api", "127.0.0.1", "ours")


@pytest.mark.parametrize("query", ["since=soon", "until=2026-13-01", "cursor=x", "limit=0", "limit=many"])
def test_a_bad_query_is_a_400(ours: Team, query: str) -> None:
    answer = ours.api.get(f"{OURS}/audit?{query}")
    assert answer.status_code == 400 and set(answer.json()["errors"]) == {query.partition("=")[0]}


@pytest.mark.parametrize("by_header", [True, False])
def test_the_log_is_exported_as_csv_and_json_lines(ours: Team, by_header: bool) -> None:
    ours.api.put(f"{OURS}/members/ours-viewer", {"role": "member"}, format="json")

    def export(kind: str, media: str) -> str:
        path = f"{OURS}/audit?action=member.change" + ("" if by_header else f"&format={kind}")
        answer = ours.api.get(path, headers={"accept": media} if by_header else {})
        assert answer.status_code == 200 and answer["Content-Type"].startswith(media)
        return answer.getvalue().decode()

    row = next(csv.DictReader(io.StringIO(export("csv", "text/csv"))))
    line = json.loads(export("jsonl", "application/x-ndjson"))
    assert row["action"] == line["action"] == "member.change"
    assert json.loads(row["after"]) == line["after"] == {"role": "member"}


def test_an_error_of_an_export_is_json(ours: Team) -> None:
    answer = ours.api.get(f"{OURS}/audit?format=csv&since=soon")
    assert answer.status_code == 400 and answer["Content-Type"].startswith("application/json")
    assert answer.json()["code"] == "invalid"
