"""The team's own pages: who sees what, what they say when there is nothing and when there is much, and what a form refuses."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.every_page import check
from tests.pages.conftest import MakeJob
from tests.personas import Team

EVIL = '"><script>alert(1)</script>'
PAGES = ("usage", "members", "tokens", "audit", "settings")


def text(answer: Any) -> str:
    """What a reader sees of the page's main part."""
    main = answer.content.decode().partition("<main")[2].partition("</main>")[0]
    return " ".join(re.sub(r"<[^>]+>", " ", main).split())


def queries(client: Client, path: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


def people(ours: Team, count: int) -> None:
    from tenants.services import member_set

    for number in range(count):
        user = get_user_model().objects.create_user(f"person-{number:03}", password="x")
        member_set(tenant=ours.tenant, user=user, role="member")


def entries(ours: Team, count: int, **fields: Any) -> None:
    from tenants.models import AuditEntry

    base = {"actor": "ours-lead", "actor_kind": "user", "tenant_id": ours.tenant.pk, "tenant_slug": "ours"}
    base |= {"action": "member.add", "target": "somebody", "via": "page", "address": "192.0.2.7"}
    now = timezone.now()
    AuditEntry.objects.bulk_create(
        AuditEntry(**base | fields | {"at": now - timedelta(seconds=number)}) for number in range(count)
    )


# ---- the frame


def test_the_places_of_a_team_are_links_and_the_present_one_is_marked(ours: Team) -> None:
    client = ours.client("lead")
    for path, place in (("", "Dashboard"), ("jobs", "Jobs"), ("usage", "Usage"), ("members", "Team")):
        page = client.get(f"/t/ours/{path}").content.decode()
        nav = page.partition('class="places"')[2].partition("</nav>")[0]
        assert re.findall(r'aria-current="page">(\w+)<', nav) == [place]
    nav = client.get("/t/ours/audit").content.decode().partition('class="places"')[2].partition("</nav>")[0]
    assert re.findall(r'aria-current="true">(\w+)<', nav) == ["Team"]


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("/t/ours/", "/t/theirs/"),
        ("/t/ours/jobs", "/t/theirs/jobs"),
        ("/t/ours/jobs/new", "/t/theirs/jobs"),
        ("/t/ours/usage", "/t/theirs/usage"),
        ("/t/ours/members", "/t/theirs/members"),
        ("/t/ours/tokens", "/t/theirs/tokens"),
        ("/t/ours/settings", "/t/theirs/settings"),
        ("/t/ours/audit", "/t/theirs/members"),
        ("/notifications", "/t/theirs/"),
    ],
)
def test_who_switches_teams_stays_on_the_same_kind_of_page(ours: Team, theirs: Team, here: str, there: str) -> None:
    from tenants.services import member_set

    member_set(tenant=theirs.tenant, user=ours.people["lead"], role="viewer")
    client = ours.client("lead")
    page = client.get(here).content.decode()
    menu = page.partition('class="menu team"')[2].partition("</details>")[0]
    assert f'href="{there}"' in menu
    assert client.get(there).status_code == 200


def test_from_a_job_the_switch_leads_to_the_other_teams_jobs(ours: Team, theirs: Team, make_job: MakeJob) -> None:
    from tenants.services import member_set

    member_set(tenant=theirs.tenant, user=ours.people["lead"], role="lead")
    page = ours.client("lead").get(f"/t/ours/jobs/{make_job().pk}").content.decode()
    assert 'href="/t/theirs/jobs"' in page.partition('class="menu team"')[2].partition("</details>")[0]


def test_tabs_show_what_the_role_may_see(ours: Team) -> None:
    for role, has_audit in (("viewer", False), ("member", False), ("lead", True)):
        tabs = ours.client(role).get("/t/ours/members").content.decode()
        tabs = tabs.partition('class="tabs"')[2].partition("</nav>")[0]
        assert ("/t/ours/audit" in tabs) is has_audit and "/t/ours/settings" in tabs


def test_a_page_that_is_polled_counts_no_notifications(ours: Team, make_job: MakeJob) -> None:
    make_job()
    client = ours.client("lead")
    with CaptureQueriesContext(connection) as captured:
        client.get("/t/ours/jobs?poll=x")
    assert not [query for query in captured if "tenants_notification" in query["sql"]]


# ---- usage


def test_a_team_that_holds_nothing_says_so(ours: Team) -> None:
    page = text(ours.client("viewer").get("/t/ours/usage"))
    assert "CPU 0 of 100 cores" in page and "Nobody holds anything: the whole quota is free." in page
    assert "The team has not asked for more." in page and "Monthly budget none set" in page
    assert "Ask for more quota" not in page


def test_usage_shows_bars_people_work_queue_and_cost(ours: Team, make_job: MakeJob) -> None:
    from tenants.models import CostCenter, InstanceType, Tenant

    Tenant.objects.filter(pk=ours.tenant.pk).update(quota_gpu_types={"nvidia-a100": 4})
    InstanceType.objects.filter(name="gpu-1x-a100").update(price_per_hour="2.50")
    make_job("train", spec={"compute": "gpu-1x-a100"})
    make_job("prepare", role="lead", spec={"compute": {"type": "cpu", "cpu_cores": 80, "memory_gb": 8}})
    make_job("later", spec={"compute": {"type": "cpu", "cpu_cores": 60, "memory_gb": 8}, "queue": True})
    page = text(ours.client("viewer").get("/t/ours/usage"))
    assert "CPU 92 of 100 cores" in page and "8 left" in page
    assert "nvidia-a100 1 of 4 GPUs" in page and "Running jobs 2 of 100" in page
    assert "ours-lead 1 80 8 0" in page and "ours-member 1 12 80 1" in page
    assert re.search(r"train training job, pending ours-member 12 80 1 nvidia-a100", page)
    assert re.search(r"Waits for quota in this order .* later training job ours-member 60 8 0", page)
    assert "2.50 EUR an hour" in page and "1 825.00 EUR if it went on like this" in page.replace("\u202f", " ")
    assert "1 of 2 has no price" in page
    # A budget in another currency stays in it, and is compared with nothing.
    CostCenter.objects.update(currency="USD", monthly_budget=10)
    page = text(ours.client("viewer").get("/t/ours/usage"))
    assert "Monthly budget 10.00 USD" in page and "2.50 EUR an hour" in page and "over the budget" not in page
    assert "The budget is in USD, prices are in EUR; nothing is converted." in page
    CostCenter.objects.update(currency="EUR")
    page = text(ours.client("viewer").get("/t/ours/usage"))
    assert "over the budget" in page and "nothing is converted" not in page


def test_a_grant_that_ends_shows_when_and_what_is_left_then(ours: Team) -> None:
    from tenants.services import quota_request_create, quota_request_decide

    root = get_user_model().objects.create_superuser("root", password="x")
    asked = quota_request_create(ctx=ours.ctx, wanted={"cpu": 200}, reason="a sweep")
    until = timezone.now().date() + timedelta(days=9)
    quota_request_decide(by=root, request_id=asked.pk, granted={"cpu": 150}, until=until, note="Not all of it.")
    page = text(ours.client("viewer").get("/t/ours/usage"))
    assert f"CPU 0 of 150 cores 0 of 150 150 left 100 after {until:%Y-%m-%d}" in page
    assert "200 CPU cores Granted" in page and "root: Not all of it." in page
    assert f"Granted: 150 CPU cores, until the end of {until:%Y-%m-%d} (UTC)" in page


def test_a_lowered_limit_that_is_overrun_is_said(ours: Team, make_job: MakeJob) -> None:
    from tenants.models import Tenant

    make_job()
    Tenant.objects.filter(pk=ours.tenant.pk).update(quota_cpu=1)
    assert "over the limit: nothing new starts" in text(ours.client("viewer").get("/t/ours/usage"))


def test_usage_has_the_same_queries_for_five_jobs_and_for_fifty(ours: Team, make_job: MakeJob) -> None:
    client = ours.client("lead")
    small = {"compute": {"type": "cpu", "cpu_cores": 1, "memory_gb": 1}}
    for number in range(5):
        make_job(f"job-{number}", spec=small)
    few = queries(client, "/t/ours/usage")
    for number in range(5, 50):
        make_job(f"job-{number}", spec=small)
    assert queries(client, "/t/ours/usage") == few <= 15


def test_a_member_asks_for_more_and_takes_it_back(ours: Team) -> None:
    from tenants.models import QuotaRequest

    client = ours.client("member")
    answer = client.post("/t/ours/usage/requests", {"want-cpu": "200", "want-pods": "", "reason": "A big model"})
    assert answer.status_code == 302
    asked = QuotaRequest.objects.get()
    assert asked.wanted == {"cpu": 200} and asked.requested_by == ours.people["member"]
    page = text(client.get("/t/ours/usage"))
    assert "200 CPU cores Awaiting a decision" in page and "A big model" in page
    where = f"/t/ours/usage/requests/{asked.pk}/withdraw"
    assert "Withdraw the request?" in text(client.post(where))
    client.post(where, {"confirmed": "1"})
    assert "200 CPU cores Withdrawn" in text(client.get("/t/ours/usage"))
    assert "already" not in text(client.post(where, {"confirmed": "1"}, follow=True))


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"reason": "why"}, "at least one resource"),
        ({"want-cpu": "200"}, "Say what it is for"),
        ({"want-cpu": "100", "reason": "why"}, "Must be more than the present limit, 100."),
        ({"want-cpu": "many", "reason": "why"}, "Give a whole number."),
        ({"want-cpu": "9" * 30, "reason": "why"}, "Must be a whole number up to 1000000."),
    ],
)
def test_a_request_that_is_refused_says_why_beside_the_field(ours: Team, form: dict[str, str], says: str) -> None:
    answer = ours.client("member").post("/t/ours/usage/requests", form)
    assert answer.status_code == 400 and says in text(answer)
    assert "<details" in answer.content.decode() and " open" in answer.content.decode()


def test_the_same_wish_twice_is_told_above_the_form(ours: Team) -> None:
    client = ours.client("member")
    for _ in range(2):
        answer = client.post("/t/ours/usage/requests", {"want-cpu": "200", "reason": "why"})
    assert answer.status_code == 400 and "awaits its decision" in text(answer)


# ---- members


def test_everybody_sees_who_is_in_the_team_and_only_leads_see_how_to_change_it(ours: Team) -> None:
    for role in ("viewer", "member", "lead"):
        page = ours.client(role).get("/t/ours/members").content.decode()
        assert all(f"ours-{one}" in page for one in ("viewer", "member", "lead"))
        assert ("Add somebody" in page) is ("Remove" in page) is (role == "lead")


def test_a_lead_adds_changes_and_removes(ours: Team) -> None:
    from tenants.models import Membership

    get_user_model().objects.create_user("nina", email="nina@example.com", password="x")
    client = ours.client("lead")
    answer = client.post("/t/ours/members", {"who": "nina@example.com", "role": "viewer"}, follow=True)
    assert "nina is in the team now, as viewer." in text(answer)
    answer = client.post("/t/ours/members/role", {"username": "nina", "role": "member"}, follow=True)
    assert "nina is member now." in text(answer)
    assert Membership.objects.get(user__username="nina").role == "member"
    question = client.post("/t/ours/members/remove", {"username": "nina"})
    assert "Remove nina from Ours?" in text(question) and Membership.objects.filter(user__username="nina").exists()
    answer = client.post("/t/ours/members/remove", {"username": "nina", "confirmed": "1"}, follow=True)
    assert "nina is not in the team any more." in text(answer)


@pytest.mark.parametrize(
    ("form", "status", "why"),
    [
        ({"username": "nina", "role": "lead"}, 404, "member of this team"),
        ({"username": "nobody", "role": "lead"}, 404, "member of this team"),
        ({"username": "ours-viewer\x00", "role": "lead"}, 404, "member of this team"),
        ({"username": "ours-viewer", "role": "lead\x00"}, 400, "must be one of"),
        ({"username": "ours-viewer"}, 400, "must be one of"),
    ],
)
def test_a_change_of_role_adds_nobody_and_takes_no_other_role(
    ours: Team, form: dict[str, str], status: int, why: str
) -> None:
    from tenants.models import Membership

    get_user_model().objects.create_user("nina", password="x")
    before = set(Membership.objects.values_list("user__username", "role"))
    answer = ours.client("lead").post("/t/ours/members/role", form)
    assert answer.status_code == status and why in text(answer)
    assert set(Membership.objects.values_list("user__username", "role")) == before


def test_an_unknown_person_is_told_to_be_unknown_and_how_accounts_come_to_be(ours: Team) -> None:
    answer = ours.client("lead").post("/t/ours/members", {"who": "new@example.com", "role": "member"})
    assert answer.status_code == 400
    assert "There is no account new@example.com." in text(answer) and "not made by signing up" in text(answer)


@pytest.mark.parametrize("form", [{"role": "viewer"}, {}])
def test_the_last_lead_hears_why_they_stay(ours: Team, form: dict[str, str]) -> None:
    path = "/t/ours/members/role" if form else "/t/ours/members/remove"
    sent = {"username": "ours-lead", "confirmed": "1"} | form
    answer = ours.client("lead").post(path, sent, follow=True)
    assert answer.status_code == 200 and "This is the team's last lead." in text(answer).replace("&#x27;", "'")


def test_who_removes_themselves_is_led_out_of_the_team(ours: Team) -> None:
    from tenants.services import member_set

    member_set(tenant=ours.tenant, user=ours.people["member"], role="lead")
    answer = ours.client("lead").post(
        "/t/ours/members/remove", {"username": "ours-lead", "confirmed": "1"}, follow=True
    )
    assert "You are not in a team yet" in text(answer)


def test_what_a_group_gave_shows_its_source_and_no_buttons(ours: Team) -> None:
    from tenants.services import member_set

    member_set(tenant=ours.tenant, user=ours.people["viewer"], role="viewer", source="corp")
    page = ours.client("lead").get("/t/ours/members").content.decode()
    row = page.partition("<b>ours-viewer</b>")[2].partition("</tr>")[0]
    assert "group at corp" in row and "<form" not in row
    answer = ours.client("lead").post(
        "/t/ours/members/remove", {"username": "ours-viewer", "confirmed": "1"}, follow=True
    )
    assert "comes from a group at corp" in text(answer)


def test_members_have_the_same_queries_for_five_and_for_fifty(ours: Team) -> None:
    client = ours.client("lead")
    people(ours, 2)
    few = queries(client, "/t/ours/members")
    people_more = [f"more-{number}" for number in range(45)]
    for name in people_more:
        from tenants.services import member_set

        member_set(tenant=ours.tenant, user=get_user_model().objects.create_user(name, password="x"), role="viewer")
    assert queries(client, "/t/ours/members") == few <= 10


# ---- settings


def test_settings_say_what_the_team_is_and_only_an_admin_is_shown_the_way_to_change_it(ours: Team) -> None:
    from tenants.models import Tenant

    Tenant.objects.filter(pk=ours.tenant.pk).update(pod_security="restricted", artifact_root="s3://bucket/ours")
    page = text(ours.client("viewer").get("/t/ours/settings"))
    for found in ("Ours", "ml-ours", "cc-1", "s3://bucket/ours", "Restricted", "A platform admin changes these."):
        assert found in page
    admin = Client()
    admin.force_login(get_user_model().objects.create_superuser("root", password="x"))
    content = admin.get("/t/ours/settings").content.decode()
    where = re.search(r'href="(/admin/tenants/tenant/\d+/change/)"', content)
    assert where is not None and admin.get(where[1]).status_code == 200


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"is_active": False}, "what it has stays readable, and nothing new is submitted"),
        ({"deleting_at": timezone.now()}, "is being deleted with everything in it"),
        ({"apply_error": "quota refused <b>"}, "could not be brought to what is wanted"),
        ({"applied_at": timezone.now()}, "stands as wanted"),
        ({}, "is not there yet"),
    ],
)
def test_settings_tell_the_state_of_the_namespace(ours: Team, fields: dict[str, Any], says: str) -> None:
    from tenants.models import Tenant

    Tenant.objects.filter(pk=ours.tenant.pk).update(**fields)
    assert says in text(ours.client("viewer").get("/t/ours/settings"))


# ---- notifications


def test_the_bell_counts_what_is_unread_until_it_is_read(ours: Team) -> None:
    from tenants.services import notify

    client, person = ours.client("member"), ours.people["member"]
    assert "Nothing yet" in text(client.get("/notifications"))
    first, second = (notify(users=[person], message=f"news {n} <b>", url="/t/ours/usage")[0] for n in (1, 2))
    page = client.get("/t/ours/").content.decode()
    assert re.search(r'class="count">2<', page)
    answer = client.post(f"/notifications/{first.pk}")
    assert answer.status_code == 302 and answer["Location"] == "/t/ours/usage"
    assert re.search(r'class="count">1<', client.get("/t/ours/").content.decode())
    client.post("/notifications/read")
    page = client.get("/notifications").content.decode()
    assert 'class="count"' not in page and "news 2 &lt;b&gt;" in page and "Mark all as read" not in page


def test_a_notification_of_somebody_else_is_none_and_none_leads_elsewhere(ours: Team) -> None:
    from tenants.services import notify

    told = notify(users=[ours.people["lead"]], message="x", url="https://elsewhere.example/")[0]
    assert ours.client("member").post(f"/notifications/{told.pk}").status_code == 404
    assert ours.client("lead").post(f"/notifications/{told.pk}")["Location"] == "/notifications"


def test_many_unread_are_not_counted_one_by_one(ours: Team) -> None:
    from tenants.services import notify

    for number in range(120):
        notify(users=[ours.people["member"]], message=f"news {number}")
    page = ours.client("member").get("/notifications").content.decode()
    assert 'class="count">99+<' in page and page.count('class="unread"') == 100


# ---- all of them


def test_names_are_never_markup(ours: Team) -> None:
    from tenants.models import Membership, Tenant
    from tenants.services import quota_request_create, service_account_create, token_create

    Tenant.objects.filter(pk=ours.tenant.pk).update(name=EVIL, artifact_root="s3://b/" + EVIL, apply_error=EVIL)
    person = get_user_model().objects.create_user("evil", first_name=EVIL, email='"<script>"@example.com', password="x")
    Membership.objects.create(tenant=ours.tenant, user=person, role="member", source=EVIL)
    lead = ours.context("lead")
    token_create(ctx=lead, name=EVIL)
    service_account_create(ctx=lead, name="ci", description=EVIL)
    quota_request_create(ctx=ours.ctx, wanted={"cpu": 200}, reason=EVIL)
    entries(ours, 1, actor=EVIL, target=EVIL, action=EVIL[:50], before={EVIL: EVIL}, after={EVIL: EVIL})
    client = ours.client("lead")
    for path in PAGES:
        assert "<script>alert" not in check(client.get(f"/t/ours/{path}")), path
    for path in (f"audit?text={EVIL}&actor={EVIL}&action={EVIL}",):
        assert "<script>alert" not in check(client.get(f"/t/ours/{path}"))
    for path, form in (
        ("members", {"who": EVIL, "role": EVIL}),
        ("members/remove", {"username": EVIL}),
        ("tokens", {"name": EVIL, "holder": EVIL, "scopes": [EVIL]}),
        ("tokens/accounts", {"name": EVIL, "description": EVIL}),
        ("tokens/accounts/delete", {"account": EVIL}),
        ("usage/requests", {"want-cpu": EVIL, "reason": EVIL}),
    ):
        assert "<script>alert" not in check(client.post(f"/t/ours/{path}", form)), path


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("members", {"who": "a\x00b", "role": "member"}),
        ("members/role", {"username": "a\x00b", "role": "member"}),
        ("members/remove", {"username": "a\x00b", "confirmed": "1"}),
        ("tokens", {"name": "a\x00b", "holder": "personal", "scopes": ["read"], "days": "30"}),
        ("tokens/revoke", {"token": "a\x00b"}),
        ("tokens/accounts", {"name": "a\x00b"}),
        ("tokens/accounts/change", {"account": "a\x00b", "state": "off"}),
        ("tokens/accounts/delete", {"account": "a\x00b", "confirmed": "1"}),
        ("usage/requests", {"want-cpu": "200", "reason": "a\x00b"}),
        ("usage/requests/99999999999999999999/withdraw", {"confirmed": "1"}),
    ],
)
def test_what_no_database_keeps_is_refused_and_no_fault(ours: Team, path: str, form: dict[str, Any]) -> None:
    assert ours.client("lead").post(f"/t/ours/{path}", form, follow=True).status_code in (200, 400, 404)


@pytest.mark.parametrize(
    "path",
    ["members", "members/role", "members/remove", "tokens", "tokens/revoke", "tokens/accounts",
     "tokens/accounts/change", "tokens/accounts/delete", "usage/requests", "usage/requests/1/withdraw"],
)  # fmt: skip
def test_a_form_from_elsewhere_changes_nothing(ours: Team, path: str) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(ours.people["lead"])
    assert strict.post(f"/t/ours/{path}", {"confirmed": "1"}).status_code == 403
    assert strict.post("/notifications/read").status_code == 403
