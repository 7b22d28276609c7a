"""Teams and cost centers over the API: what a platform admin does with them, and that nobody else can."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from tenants.models import ApiToken, AuditEntry, CostCenter, InstanceType, Tenant
from tenants.selectors import token_digest
from tests.personas import Team, api_client

Json = dict[str, Any]


def personal(team: Team, user: Any, *scopes: str) -> APIClient:
    """A client with a personal token of these scopes."""
    secret = f"personal-{user.pk}-{'-'.join(scopes)}"
    ApiToken.objects.create(
        tenant=team.tenant, user=user, name=secret, digest=token_digest(secret), scopes=list(scopes), prefix="x"
    )
    return api_client(secret)


@pytest.fixture
def root(ours: Team) -> Any:
    from django.contrib.auth import get_user_model

    return get_user_model().objects.create_superuser("root", password="x")


@pytest.fixture
def admin(ours: Team, root: Any) -> APIClient:
    return personal(ours, root, "read", "admin")


def made(admin: APIClient, **fields: Any) -> Json:
    answer = admin.post("/v1/tenants", {"slug": "new", "name": "New"} | fields, format="json")
    assert answer.status_code == 201, answer.content
    return dict(answer.json())


def lines(action: str) -> list[tuple[str, Any, Any]]:
    found = AuditEntry.objects.filter(action=action).order_by("id")
    return [(f"{line.actor} {line.via} {line.tenant_slug}", line.before, line.after) for line in found]


def test_a_team_is_made_with_what_is_given_and_shows_all_that_it_has(admin: APIClient, settings: Any) -> None:
    CostCenter.objects.create(code="cc-9", name="Nine")
    quota = {"cpu": 20, "gpu_types": {"nvidia-a100": 2}}
    body = made(admin, cost_center="cc-9", quota=quota, labels={"division": "r"}, pod_security="restricted")
    assert {key: body[key] for key in ("slug", "name", "cost_center", "is_active", "state", "error", "namespace")} == {
        "slug": "new",
        "name": "New",
        "cost_center": "cc-9",
        "is_active": True,
        "state": "creating",
        "error": None,
        "namespace": "ml-new",
    }
    whole = {
        "cpu": 20,
        "memory_gb": 200,
        "gpus": 10,
        "jobs": 100,
        "pods": 100,
        "pvcs": 50,
        "gpus_per_job": 8,
        "gpu_types": {"nvidia-a100": 2},
    }
    assert body["quota"] == body["limits"] == whole
    assert (body["labels"], body["pod_security"]) == ({"division": "r"}, "restricted")
    assert body["artifact_root"] == f"{settings.STORAGE_ROOT}/artifacts/new"
    [(who, before, after)] = [line for line in lines("tenant.create") if line[0].endswith(" new")]
    assert (who, before) == ("root api new", None)
    assert after["slug"] == "new" and after["quota_cpu"] == 20
    assert admin.get("/v1/tenants/new").json() == body


BAD: list[tuple[Json, list[str]]] = [
    ({"slug": "Not OK"}, ["slug"]),
    ({"slug": 7}, ["slug"]),
    ({"slug": "x" * 41}, ["slug"]),
    ({"name": ""}, ["name"]),
    ({"name": "a\x00b"}, ["name"]),
    ({"name": None}, ["name"]),
    ({"cost_center": "nowhere"}, ["cost_center"]),
    ({"quota": {"cpu": -1, "pods": 1.5, "jobs": True, "gpus": "8"}}, ["quota.cpu", "quota.gpus", "quota.jobs", "quota.pods"]),
    ({"quota": {"cpus": 1}}, ["quota.cpus"]),
    ({"quota": 7}, ["quota"]),
    ({"quota": {"gpu_types": {"nvidia a100": 1}}}, ["quota.gpu_types"]),
    ({"quota": {"cpu": 10**12}}, ["quota.cpu"]),
    ({"labels": {"tenant": "x"}}, ["labels"]),
    ({"labels": ["a"]}, ["labels"]),
    # What Django takes for empty, and so for right.
    ({"labels": []}, ["labels"]),
    ({"labels": ""}, ["labels"]),
    ({"quota": {"gpu_types": []}}, ["quota.gpu_types"]),
    ({"quota": {"gpu_types": ""}}, ["quota.gpu_types"]),
    ({"pod_security": "privileged"}, ["pod_security"]),
    ({"artifact_root": "https://example.com/x"}, ["artifact_root"]),
    ({"artifact_root": "s3://bucket/../x"}, ["artifact_root"]),
    ({"artifact_root": "s3://[::1"}, ["artifact_root"]),
    ({"artifact_root": "http://[::1"}, ["artifact_root"]),
    ({"is_active": "yes"}, ["is_active"]),
    ({"colour": "blue"}, ["colour"]),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "errors"), BAD, ids=[str(row[0])[:60] for row in BAD])
def test_what_is_not_valid_is_a_400_with_the_path_of_each_field_and_makes_nothing(
    admin: APIClient, fields: Json, errors: list[str]
) -> None:
    answer = admin.post("/v1/tenants", {"slug": "new", "name": "New"} | fields, format="json")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid"), answer.content
    if "quota" not in fields or len(errors) == 1:
        assert sorted(answer.json()["errors"]) == errors
    else:
        assert set(answer.json()["errors"]) <= set(errors)
    assert not Tenant.objects.filter(slug="new").exists() and lines("tenant.create")[1:] == []


def test_a_name_is_required(admin: APIClient) -> None:
    assert sorted(admin.post("/v1/tenants", {}, format="json").json()["errors"]) == ["name", "slug"]


def test_a_slug_that_is_taken_is_a_409(admin: APIClient) -> None:
    answer = admin.post("/v1/tenants", {"slug": "ours", "name": "x"}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "slug_taken")


def test_a_repeated_post_under_its_key_makes_one_team(admin: APIClient) -> None:
    body = {"slug": "new", "name": "New"}
    first = admin.post("/v1/tenants", body, format="json", headers={"idempotency-key": "k"})
    again = admin.post("/v1/tenants", body, format="json", headers={"idempotency-key": "k"})
    assert first.json() == again.json() and again.status_code == 201
    other = admin.post("/v1/tenants", body | {"name": "Other"}, format="json", headers={"idempotency-key": "k"})
    assert other.status_code == 409
    assert first["Location"] == "/v1/tenants/new"


def test_a_change_is_written_with_what_was_and_what_is(admin: APIClient) -> None:
    made(admin)
    answer = admin.patch("/v1/tenants/new", {"quota": {"cpu": 5}, "name": "New"}, format="json")
    assert (answer.status_code, answer.json()["quota"]["cpu"]) == (200, 5)
    assert lines("tenant.change") == [("root api new", {"quota_cpu": 100}, {"quota_cpu": 5})]
    version = Tenant.objects.get(slug="new").version
    assert admin.patch("/v1/tenants/new", {"quota": {"cpu": 5}}, format="json").status_code == 200
    assert Tenant.objects.get(slug="new").version == version and len(lines("tenant.change")) == 1
    assert admin.patch("/v1/tenants/new", {"slug": "other"}, format="json").json()["errors"] == {
        "slug": ["is not known"]
    }
    assert admin.patch("/v1/tenants/nowhere", {"name": "x"}, format="json").status_code == 404


def test_a_value_that_was_fine_when_it_was_given_does_not_stand_in_the_way_of_another(admin: APIClient) -> None:
    """A cost center that is out of use stays where it is, and is not given to anybody else."""
    CostCenter.objects.create(code="old", name="Old", is_active=True)
    made(admin, cost_center="old")
    CostCenter.objects.filter(code="old").update(is_active=False)
    assert admin.patch("/v1/tenants/new", {"name": "Renamed"}, format="json").status_code == 200
    refused = admin.patch("/v1/tenants/ours", {"cost_center": "old"}, format="json")
    assert refused.json()["errors"] == {"cost_center": ["the cost center old is not in use any more"]}


def test_deactivating_stops_submissions_and_keeps_history(admin: APIClient, ours: Team) -> None:
    job = {"name": "a", "compute": {"cpu_cores": 1, "memory_gb": 1}}
    assert ours.api.post("/v1/jobs/training", job, format="json").status_code == 201
    assert admin.patch("/v1/tenants/ours", {"is_active": False}, format="json").status_code == 200
    refused = ours.api.post("/v1/jobs/training", job | {"name": "b"}, format="json")
    assert (refused.status_code, refused.json()["code"]) == (403, "tenant_inactive")
    [still] = ours.api.get("/v1/jobs/training").json()
    assert (still["spec"]["name"], still["status"]) == ("a", "pending")
    assert admin.patch("/v1/tenants/ours", {"is_active": True}, format="json").status_code == 200
    assert ours.api.post("/v1/jobs/training", job | {"name": "b"}, format="json").status_code == 201


def test_null_is_what_a_team_has_by_default(admin: APIClient) -> None:
    made = admin.post(
        "/v1/tenants", {"slug": "new", "name": "New", "labels": None, "quota": {"gpu_types": None}}, format="json"
    )
    assert (made.status_code, made.json()["labels"], made.json()["quota"]["gpu_types"]) == (201, {}, {}), made.content
    admin.patch("/v1/tenants/new", {"labels": {"a": "b"}, "quota": {"gpu_types": {"nvidia-a100": 1}}}, format="json")
    changed = admin.patch("/v1/tenants/new", {"labels": None, "quota": {"gpu_types": None}}, format="json")
    assert (changed.status_code, changed.json()["labels"], changed.json()["quota"]["gpu_types"]) == (200, {}, {})


@pytest.mark.parametrize("confirm", ["", "New", "new ", 7, None])
def test_a_deletion_needs_the_slug_typed(admin: APIClient, confirm: Any) -> None:
    made(admin)
    answer = admin.delete("/v1/tenants/new", {"confirm": confirm}, format="json")
    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["confirm"])
    assert Tenant.objects.get(slug="new").deleting_at is None


def test_a_deletion_is_202_however_often_it_is_asked_for_and_written_down_once(admin: APIClient, theirs: Team) -> None:
    from jobs.models import TrainingJob

    job = {"name": "a", "compute": {"cpu_cores": 1, "memory_gb": 1}}
    for name in "abc":
        assert theirs.api.post("/v1/jobs/training", job | {"name": name}, format="json").status_code == 201
    TrainingJob.objects.filter(name="b").update(kubernetes_job_name="b-1", status="running")
    TrainingJob.objects.filter(name="c").update(kubernetes_job_name="c-1", status="succeeded", next_check_at=None)
    first = admin.delete("/v1/tenants/theirs?confirm=theirs")
    again = admin.delete("/v1/tenants/theirs", {"confirm": "theirs"}, format="json")
    assert [first.status_code, again.status_code] == [202, 202]
    assert again.json()["state"] == "deleting" and again.json()["deleting_at"] == first.json()["deleting_at"]
    assert len(lines("tenant.delete")) == 1
    # What nothing is known of in the cluster has ended; the rest is asked to.
    states = TrainingJob.objects.order_by("name").values_list("status", "reason", "cancelled_by")
    assert list(states) == [
        ("cancelled", "CancelledByUser", "root"),
        ("running", "Cancelling", "root"),
        ("succeeded", "Queued", ""),
    ]
    refused = theirs.api.post("/v1/jobs/training", job | {"name": "d"}, format="json")
    assert (refused.status_code, refused.json()["code"]) == (403, "tenant_inactive")
    change = admin.patch("/v1/tenants/theirs", {"name": "x"}, format="json")
    assert (change.status_code, change.json()["code"]) == (409, "tenant_deleting")


def test_a_machine_that_was_for_this_team_alone_does_not_become_everybody_s(
    admin: APIClient, theirs: Team, ours: Team
) -> None:
    own = InstanceType.objects.create(name="own", cpu_cores=1, memory_gb=1)
    own.tenants.add(theirs.tenant)
    shared = InstanceType.objects.create(name="shared", cpu_cores=1, memory_gb=1)
    shared.tenants.add(theirs.tenant, ours.tenant)
    admin.delete("/v1/tenants/theirs?confirm=theirs")
    assert list(
        InstanceType.objects.filter(name__in=["own", "shared"]).order_by("name").values_list("is_active", flat=True)
    ) == [
        False,
        True,
    ]


def test_all_teams_are_listed_by_pages(admin: APIClient, theirs: Team) -> None:
    made(admin)
    first = admin.get("/v1/tenants?limit=2")
    assert [one["slug"] for one in first.json()] == ["new", "ours"]
    following = first["Link"].split(">")[0].strip("<").removeprefix("http://testserver")
    second = admin.get(following)
    assert [one["slug"] for one in second.json()] == ["theirs"] and "Link" not in second


def test_listing_costs_the_same_however_many_teams_there_are(admin: APIClient) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as few:
        admin.get("/v1/tenants")
    for number in range(20):
        made(admin, slug=f"team-{number}")
    with CaptureQueriesContext(connection) as many:
        assert len(admin.get("/v1/tenants").json()) == 21
    assert len(many) <= len(few)


CALLS = [
    ("get", "/v1/tenants", None),
    ("post", "/v1/tenants", {"slug": "new", "name": "New"}),
    ("patch", "/v1/tenants/ours", {"name": "x"}),
    ("delete", "/v1/tenants/ours?confirm=ours", None),
    ("get", "/v1/tenants/theirs", None),
    ("get", "/v1/tenants/nowhere", None),
    ("get", "/v1/cost-centers", None),
    ("post", "/v1/cost-centers", {"code": "x", "name": "x"}),
    ("patch", "/v1/cost-centers/cc-1", {"name": "x"}),
]


@pytest.mark.parametrize(("method", "path", "body"), CALLS, ids=[f"{row[0]} {row[1]}" for row in CALLS])
def test_only_a_platform_admin_with_a_token_for_it_may(
    ours: Team, theirs: Team, root: Any, method: str, path: str, body: Any
) -> None:
    nobody = {
        "the team's token": ours.api,
        "a lead's personal token": personal(ours, ours.people["lead"], "read", "submit", "deploy", "admin"),
        "an admin's token that is not for this": personal(ours, root, "read", "submit", "deploy"),
    }
    for who, client in nobody.items():
        answer = getattr(client, method)(path, body, format="json")
        assert answer.status_code == 403, (who, answer.content)
    assert not Tenant.objects.filter(slug="new").exists() and Tenant.objects.filter(deleting_at=None).count() == 2
    assert lines("tenant.change") == lines("cost-center.create") == lines("cost-center.change") == []


def test_a_team_may_look_at_itself(ours: Team) -> None:
    assert ours.api.get("/v1/tenants/ours").json()["slug"] == "ours"


def test_cost_centers_are_made_listed_and_changed(admin: APIClient) -> None:
    body = {"code": "cc-5", "name": "Five", "monthly_budget": "1234.50", "currency": "USD"}
    answer = admin.post("/v1/cost-centers", body, format="json")
    assert (answer.status_code, answer.json()) == (201, body | {"is_active": True})
    assert body | {"is_active": True} in admin.get("/v1/cost-centers").json()
    answer = admin.patch("/v1/cost-centers/cc-5", {"monthly_budget": None, "name": "Five"}, format="json")
    assert answer.json()["monthly_budget"] is None
    assert [line[1:] for line in lines("cost-center.change")] == [
        ({"monthly_budget": "1234.50"}, {"monthly_budget": None})
    ]
    again = admin.post("/v1/cost-centers", body, format="json")
    assert (again.status_code, again.json()["code"]) == (409, "code_taken")


@pytest.mark.parametrize(
    "fields",
    [
        {"code": "Not OK"},
        {"name": ""},
        {"monthly_budget": -1},
        {"monthly_budget": "much"},
        {"monthly_budget": "NaN"},
        {"monthly_budget": "1e30"},
        {"monthly_budget": True},
        {"currency": "euro"},
        {"currency": "EUR\n"},
        {"is_active": None},
        {"colour": "blue"},
    ],
    ids=str,
)
def test_a_bad_cost_center_is_a_400_that_names_the_field(admin: APIClient, fields: Json) -> None:
    answer = admin.post("/v1/cost-centers", {"code": "cc-5", "name": "Five"} | fields, format="json")
    assert (answer.status_code, list(answer.json()["errors"])) == (400, list(fields)), answer.content
    assert not CostCenter.objects.filter(code="cc-5").exists()
