"""Every address of the portal × who asks × how: one table. An address that is not in it fails the test.

Pages are for people with a session, the API for tokens; neither opens the other's doors. Nothing here answers 5xx but
``/v1/ready``, which says so of a cluster that these tests do not have.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import URLResolver, get_resolver
from pytest_django import Settings

if TYPE_CHECKING:
    from jobs.models import TrainingJob
    from tests.personas import Team

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ROLES = (
    "anonymous",
    "viewer",
    "member",
    "lead",
    "outsider",
    "admin",
    "token",
    "other-token",
    "job-token",
    "other-job-token",
    # Personal tokens of the people above, a team's token that only reads, and a JWT made from the first.
    "member-token",
    "viewer-token",
    "admin-token",
    "read-token",
    "jwt",
)
PERSONAS = ("anonymous", "viewer", "member", "lead", "outsider", "admin")
SIGN_IN = "sign in"

# (who else, anonymous, viewer, member, lead, outsider, admin): a token is nobody to a page.
Row = dict[str, Any]


def page(anonymous: Any, viewer: Any, member: Any, lead: Any, outsider: Any, admin: Any) -> Row:
    row = {
        "anonymous": anonymous,
        "viewer": viewer,
        "member": member,
        "lead": lead,
        "outsider": outsider,
        "admin": admin,
    }
    return row | dict.fromkeys(set(ROLES) - set(PERSONAS), anonymous)


def api(
    token: Any,
    other_token: Any,
    job_token: Any = 401,
    other_job_token: Any = 401,
    *,
    member: Any = None,
    viewer: Any = None,
    reads: Any = None,
    admin: Any = None,
) -> Row:
    """What the tokens get; the personal ones as the team's where nothing else is said, one that reads as a viewer's."""
    row = dict.fromkeys(ROLES, 401)
    return row | {
        "token": token,
        "jwt": token,
        "other-token": other_token,
        "job-token": job_token,
        "other-job-token": other_job_token,
        "member-token": member or token,
        "viewer-token": viewer or member or token,
        "read-token": reads or viewer or member or token,
        "admin-token": admin or token,
    }


def all_of(answer: Any) -> Row:
    return dict.fromkeys(ROLES, answer)


READ = {"GET": page(SIGN_IN, 200, 200, 200, 404, 200)}
UNKNOWN = {method: all_of(405) for method in METHODS}
TEAM = api(405, 405)
JOB = api(401, 401, 405, 403)
API_UNKNOWN = dict.fromkeys(METHODS, TEAM)
JOB_API_UNKNOWN = dict.fromkeys(METHODS, JOB)
# The answers of django-allauth's own pages to people who have signed in, and to others.
PUBLIC = {"GET": all_of(200)}
CONFIRM = "/accounts/reauthenticate/?next="


def account(anonymous: Any, person: Any) -> Row:
    return page(anonymous, *[person] * 5)


def own(answer: Any) -> dict[str, Row]:
    """A page of one's own to read: whoever has not signed in is sent to do so before anything else is said."""
    return dict.fromkeys(METHODS, account(SIGN_IN, 405)) | {"GET": account(SIGN_IN, answer)}


TABLE: dict[str, dict[str, Row]] = {
    "home": dict.fromkeys(METHODS, page(SIGN_IN, "/t/ours/", "/t/ours/", "/t/ours/", "/t/theirs/", "/t/ours/")),
    "metrics": UNKNOWN | PUBLIC,
    # ---- pages of a team
    "jobs:dashboard": UNKNOWN | READ,
    "jobs:list": UNKNOWN | READ,
    "jobs:detail": UNKNOWN | READ,
    "jobs:log": UNKNOWN | READ,
    "jobs:log_part": UNKNOWN | {"GET": page(SIGN_IN, 204, 204, 204, 404, 204)},
    "jobs:log_download": UNKNOWN | READ,
    "jobs:metrics": UNKNOWN | READ,
    "jobs:timeline": UNKNOWN | READ,
    "jobs:files": UNKNOWN | READ,
    "jobs:file": UNKNOWN | {"GET": page(SIGN_IN, 404, 404, 404, 404, 404)},
    "jobs:spec": UNKNOWN | READ,
    "jobs:submit": UNKNOWN
    | {"GET": page(SIGN_IN, 403, 200, 200, 404, 200), "POST": page(SIGN_IN, 403, 400, 400, 404, 400)},
    "jobs:preview": UNKNOWN | {"POST": page(SIGN_IN, 200, 200, 200, 404, 200)},
    "jobs:quota": UNKNOWN | {"POST": page(SIGN_IN, 403, 200, 200, 404, 200)},
    "jobs:rerun_form": UNKNOWN | {"GET": page(SIGN_IN, 403, 200, 200, 404, 200)},
    "jobs:rerun": UNKNOWN | {"POST": page(SIGN_IN, 403, "/t/ours/jobs/", "/t/ours/jobs/", 404, "/t/ours/jobs/")},
    # Whatever does not confirm gets the question.
    "jobs:cancel": dict.fromkeys(METHODS, page(SIGN_IN, 403, 200, 200, 404, 200)),
    "jobs:cancel_many": UNKNOWN
    | {"POST": page(SIGN_IN, "/t/ours/jobs", "/t/ours/jobs", "/t/ours/jobs", 404, "/t/ours/jobs")},
    # ---- the team's own pages
    "tenants:usage": UNKNOWN | READ,
    "tenants:usage_request": UNKNOWN | {"POST": page(SIGN_IN, 403, 400, 400, 404, 400)},
    # Whatever does not confirm gets the question.
    "tenants:usage_withdraw": UNKNOWN | {"POST": page(SIGN_IN, 403, 200, 200, 404, 200)},
    "tenants:members": UNKNOWN | READ | {"POST": page(SIGN_IN, 403, 403, 400, 404, 400)},
    "tenants:member_role": UNKNOWN | {"POST": page(SIGN_IN, 403, 403, 400, 404, 400)},
    "tenants:member_remove": UNKNOWN | {"POST": page(SIGN_IN, 403, 403, 200, 404, 200)},
    "tenants:tokens": UNKNOWN | READ | {"POST": page(SIGN_IN, 400, 400, 400, 404, 400)},
    "tenants:tokens_revoke": UNKNOWN | {"POST": page(SIGN_IN, 404, 404, 404, 404, 404)},
    "tenants:tokens_account": UNKNOWN | {"POST": page(SIGN_IN, 403, 403, 400, 404, 400)},
    "tenants:tokens_account_change": UNKNOWN
    | {"POST": page(SIGN_IN, 403, 403, "/t/ours/tokens", 404, "/t/ours/tokens")},
    "tenants:tokens_account_delete": UNKNOWN | {"POST": page(SIGN_IN, 403, 403, 200, 404, 200)},
    "tenants:audit": UNKNOWN | {"GET": page(SIGN_IN, 403, 403, 200, 404, 200)},
    "tenants:audit_export": UNKNOWN | {"GET": page(SIGN_IN, 403, 403, 200, 404, 200)},
    "tenants:settings": UNKNOWN | READ,
    "notifications": UNKNOWN | {"GET": account(SIGN_IN, 200)},
    "notifications_read": UNKNOWN | {"POST": account(SIGN_IN, "/notifications")},
    "notification": UNKNOWN | {"POST": account(SIGN_IN, 404)},
    # ---- the API
    "api:health": UNKNOWN | PUBLIC,
    "api:ready": UNKNOWN | {"GET": all_of(503)},
    "api:schema": UNKNOWN | PUBLIC,
    "api:docs": UNKNOWN | PUBLIC,
    "api:training-jobs": API_UNKNOWN | {"GET": api(200, 200), "POST": api(400, 400, viewer=403)},
    "api:training-job-preview": API_UNKNOWN | {"POST": api(400, 400, viewer=403)},
    "api:quota": API_UNKNOWN | {"GET": api(200, 200)},
    "api:instance-types": API_UNKNOWN | {"GET": api(200, 200)},
    "api:training-job": API_UNKNOWN | {"GET": api(200, 403), "DELETE": api(204, 403, viewer=403)},
    "api:training-job-logs": API_UNKNOWN | {"GET": api(200, 403)},
    "api:training-job-events": API_UNKNOWN | {"GET": api(200, 403)},
    "api:training-job-files": API_UNKNOWN | {"GET": api(200, 403)},
    "api:training-job-file": API_UNKNOWN | {"GET": api(404, 403)},
    "api:training-job-metrics": JOB_API_UNKNOWN | {"POST": api(401, 401, 400, 403)},
    "api:training-job-source": JOB_API_UNKNOWN | {"GET": api(401, 401, 404, 403)},
    "api:sources": API_UNKNOWN | {"POST": api(400, 400)},
    # Teams and cost centers are for platform admins with a token for that (tests/tenants/test_tenants_api.py).
    "api:tenants": API_UNKNOWN | {"GET": api(403, 403, admin=200), "POST": api(403, 403, admin=400)},
    "api:tenant": API_UNKNOWN
    | {"GET": api(200, 403), "PATCH": api(403, 403, admin=200), "DELETE": api(403, 403, admin=400)},
    "api:cost-centers": API_UNKNOWN | {"GET": api(403, 403, admin=200), "POST": api(403, 403, admin=400)},
    "api:cost-center": API_UNKNOWN | {"PATCH": api(403, 403, admin=200)},
    "api:members": API_UNKNOWN | {"GET": api(200, 403)},
    "api:member": API_UNKNOWN | {"PUT": api(400, 403), "DELETE": api(404, 403, member=403)},
    "api:quota-requests": API_UNKNOWN | {"GET": api(200, 403), "POST": api(400, 403)},
    "api:quota-request": API_UNKNOWN | {"GET": api(404, 403), "DELETE": api(404, 403)},
    "api:quota-decision": API_UNKNOWN | {"POST": api(403, 403, admin=404)},
    "api:audit": API_UNKNOWN | {"GET": api(200, 403, member=403)},
    "api:auth-token": API_UNKNOWN | {"POST": api(200, 200) | {"jwt": 403}},
    "api:auth-whoami": API_UNKNOWN | {"GET": api(200, 200)},
    "api:auth-keys": UNKNOWN | PUBLIC,
    "well-known-keys": UNKNOWN | PUBLIC,
    "api:tokens": API_UNKNOWN | {"GET": api(200, 403), "POST": api(400, 403)},
    "api:token": API_UNKNOWN | {"DELETE": api(404, 403)},
    "api:service-accounts": API_UNKNOWN | {"GET": api(200, 403), "POST": api(400, 403)},
    "api:service-account": API_UNKNOWN
    | {"GET": api(404, 403), "PATCH": api(404, 403, member=403), "DELETE": api(404, 403, member=403)},
    # ---- accounts
    "account_login": {method: account(200, "/") for method in ("GET", "POST")},
    "account_logout": {
        "GET": account("/accounts/login/", 200),
        "POST": account("/accounts/login/", "/accounts/login/"),
    },
    "account_signup": UNKNOWN | PUBLIC,
    "account_inactive": UNKNOWN | PUBLIC,
    "account_reauthenticate": {method: account(SIGN_IN, 200) for method in ("GET", "POST")},
    "account_reauthenticate_provider": UNKNOWN | {"GET": account(SIGN_IN, "/accounts/reauthenticate/")},
    "account_sessions": UNKNOWN | {"GET": account(SIGN_IN, 200), "POST": account(SIGN_IN, "/accounts/sessions/")},
    "account_change_password": {method: account(SIGN_IN, 200) for method in ("GET", "POST")},
    "account_set_password": UNKNOWN | {"GET": account(SIGN_IN, "/accounts/password/change/")},
    # The laptop sends no mail, and says so.
    "account_reset_password": {method: all_of(200) for method in ("GET", "POST")},
    "account_reset_password_done": PUBLIC,
    "account_reset_password_from_key": {method: all_of(200) for method in ("GET", "POST")},
    "account_reset_password_from_key_done": PUBLIC,
    # ---- identity providers: none is configured here
    "openid_connect_login": {method: all_of(404) for method in ("GET", "POST")},
    "openid_connect_callback": UNKNOWN | {"GET": all_of(404)},
    "socialaccount_login_cancelled": UNKNOWN | PUBLIC,
    "socialaccount_signup": dict.fromkeys(METHODS, all_of(404)),
    # ---- second factors; changing them asks for the password first
    "mfa_index": own(200),
    "mfa_authenticate": {method: account("/accounts/login/", "/") for method in ("GET", "POST")},
    "mfa_reauthenticate": {method: account(SIGN_IN, "/accounts/reauthenticate/") for method in ("GET", "POST")},
    "mfa_activate_totp": {method: account("/accounts/login/", CONFIRM) for method in ("GET", "POST")},
    "mfa_deactivate_totp": {method: account(SIGN_IN, 404) for method in ("GET", "POST")},
    "mfa_view_recovery_codes": own(404),
    "mfa_generate_recovery_codes": {method: account("/accounts/login/", CONFIRM) for method in ("GET", "POST")},
    "mfa_download_recovery_codes": dict.fromkeys(METHODS, all_of(404)),
    "mfa_list_webauthn": own(200),
    "mfa_add_webauthn": {method: account("/accounts/login/", CONFIRM) for method in ("GET", "POST")},
    "mfa_login_webauthn": {method: account("/accounts/login/", "/") for method in ("GET", "POST")},
    "mfa_reauthenticate_webauthn": {
        method: account(SIGN_IN, "/accounts/reauthenticate/") for method in ("GET", "POST")
    },
    "mfa_remove_webauthn": {method: account("/accounts/login/", CONFIRM) for method in ("GET", "POST")},
    "mfa_edit_webauthn": {method: account("/accounts/login/", CONFIRM) for method in ("GET", "POST")},
}


def addresses() -> dict[str, str]:
    """Name with its namespace to pattern, of every address outside Django's admin; a name that is used twice is a mistake."""
    found: dict[str, str] = {}

    def walk(patterns: Any, prefix: str, space: str) -> None:
        for entry in patterns:
            route = prefix + str(entry.pattern)
            if isinstance(entry, URLResolver):
                walk(entry.url_patterns, route, f"{space}{entry.namespace}:" if entry.namespace else space)
            elif not space.startswith("admin:"):
                name = f"{space}{entry.name or route}"
                assert name not in found, name
                found[name] = route

    walk(get_resolver().url_patterns, "", "")
    return found


def url_of(route: str, job: "TrainingJob") -> str:
    values = {"tenant": "ours", "job_id": str(job.pk), "path": "model.bin", "key": "abc", "uidb36": "1"}
    values |= {"provider_id": "corp", "pk": "1", "slug": "ours", "code": "cc-1", "token_id": "0", "name": "none"}
    values |= {"request_id": "1", "notification_id": "1", "username": "nobody"}
    # The two regular expressions of django-allauth, then Django's own converters.
    route = re.sub(r"\(\?P<(\w+)>[^)]*\)", lambda found: values[found[1]], route).replace("^", "").replace("$", "")
    return "/" + re.sub(r"<(?:\w+:)?(\w+)>", lambda found: values[found[1]], route)


@pytest.fixture
def teams(db: None, settings: Settings) -> "dict[str, Team]":
    from tests.personas import team

    settings.ACCOUNT_RATE_LIMITS = settings.MFA_RATE_LIMITS = False
    return {"ours": team("ours"), "theirs": team("theirs")}


@pytest.fixture
def admin(db: None) -> Any:
    from django.contrib.auth import get_user_model

    return get_user_model().objects.create_superuser("root", password="x")


def test_every_address_is_in_the_table() -> None:
    missing, gone = addresses().keys() - TABLE.keys(), TABLE.keys() - addresses().keys()
    assert not missing, f"say in the table who may do what at {sorted(missing)}"
    assert not gone, f"there is no {sorted(gone)} any more"


def clients(
    teams: "dict[str, Team]", admin: Any, job: "TrainingJob", other: "TrainingJob"
) -> Iterator[tuple[str, Client]]:
    """(role, client); the job is a member's of our team."""
    from jobs import tokens

    people = dict(teams["ours"].people) | {"outsider": teams["theirs"].people["lead"], "admin": admin}
    secrets = {"token": teams["ours"].token, "other-token": teams["theirs"].token}
    secrets |= {"job-token": tokens.make(job.pk), "other-job-token": tokens.make(other.pk)} | keys(teams["ours"], admin)
    for role in ROLES:
        headers = {"authorization": f"Bearer {secrets[role]}"} if role in secrets else None
        client = Client(headers=headers, raise_request_exception=False)
        if role in people:
            client.force_login(people[role])
        yield role, client


def keys(ours: "Team", admin: Any) -> dict[str, str]:
    """The tokens that people and scripts make for themselves."""
    from tenants.context import TenantContext
    from tenants.models import Role
    from tenants.selectors import context_for_token
    from tenants.services import token_create, token_exchange

    people = {role: ours.context(role) for role in ("member", "viewer")}
    people["admin"] = TenantContext(ours.tenant, Role.LEAD, user=admin)
    made = {
        f"{who}-token": token_create(ctx=ctx, name="x", kind="personal", expires_in_days=1)[1]
        for who, ctx in people.items()
    }
    made["read-token"] = token_create(ctx=ours.context("lead"), name="x", scopes=["read"])[1]
    ctx = context_for_token(ours.token)
    assert ctx is not None
    return made | {"jwt": token_exchange(ctx=ctx).access_token}


@pytest.mark.parametrize("name", TABLE)
def test_who_may_do_what_at(name: str, teams: "dict[str, Team]", admin: Any) -> None:
    from jobs.services import job_submit

    route = addresses()[name]
    kind = "application/json" if route.startswith("v1/") else "application/x-www-form-urlencoded"
    wrong: list[str] = []
    for method, row in TABLE[name].items():
        # Small ones: all that the roles run again beside them have to fit the team's quota.
        job, other = (
            job_submit(ctx=teams["ours"].context("member"), payload={"name": f"job-{uuid4().hex}", "compute": "cpu-1x"})
            for _ in range(2)
        )
        for role, client in clients(teams, admin, job, other):
            answer = client.generic(method, url_of(route, job), b"", content_type=kind)
            if not _is(answer, row[role]):
                got = f"{answer.status_code} {answer.headers.get('Location', '')}"
                wrong.append(f"{method} by {role}: expected {row[role]}, got {got}")
    assert not wrong, "\n".join(wrong)


def _is(answer: Any, expected: Any) -> bool:
    if isinstance(expected, int):
        return bool(answer.status_code == expected)
    where = "/accounts/login/?next=" if expected == SIGN_IN else expected
    return bool(answer.status_code == 302 and answer["Location"].startswith(where))


@pytest.mark.parametrize("role", ["anonymous", "viewer", "lead", "token"])
def test_the_admin_is_for_administrators(role: str, teams: "dict[str, Team]", admin: Any) -> None:
    from jobs.services import job_submit

    job, other = (job_submit(ctx=teams["ours"].ctx, payload={"name": name}) for name in "ab")
    by_role = dict(clients(teams, admin, job, other))
    for path in (
        "",
        "tenants/tenant/",
        "tenants/apitoken/",
        "jobs/trainingjob/",
        f"jobs/trainingjob/{job.pk}/change/",
        "auth/user/",
    ):
        refused = by_role[role].get(f"/admin/{path}")
        assert refused.status_code == 302 and refused["Location"].startswith("/admin/login/"), path
        assert by_role["admin"].get(f"/admin/{path}").status_code == 200, path


@pytest.mark.parametrize(
    "path",
    ["nothing", "t/ours/nothing", "v1/nothing", "v1/jobs/training/not-an-id", "t/ours", "%ff", "\x00"],
)
def test_what_is_not_there_is_a_404_for_everybody(path: str, teams: "dict[str, Team]") -> None:
    for client in (
        Client(),
        teams["ours"].client("lead"),
        Client(headers={"authorization": f"Bearer {teams['ours'].token}"}),
    ):
        answer = client.get(f"/{path}")
        assert answer.status_code in ((404, 301) if path == "t/ours" else (404,)), path
