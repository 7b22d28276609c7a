"""What holds for every page: it renders in every state, keeps the content policy, and no template is left unseen."""

import pytest
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.test import Client, RequestFactory
from django.utils import timezone
from django.views.defaults import permission_denied

from jobs import metrics
from jobs.models import JobEvent, Status, TrainingJob
from jobs.reasons import REASONS
from tests.every_page import check, seeing, unseen
from tests.pages.conftest import MakeJob
from tests.personas import Team

TABS = ("", "/logs", "/metrics", "/timeline", "/files", "/spec")


def test_every_template_is_rendered_and_every_page_keeps_the_content_policy(
    ours: Team, theirs: Team, make_job: MakeJob, client: Client, settings
) -> None:
    settings.ROOT_URLCONF = "tests.pages.broken_urls"
    with seeing() as seen:
        open_every_page(ours, make_job, client)
    assert not unseen(seen)


def open_every_page(ours: Team, make_job: MakeJob, client: Client) -> None:
    lead = ours.client("lead")
    for path in ("/accounts/login/", "/accounts/signup/", "/accounts/password/reset/", "/nowhere", "/v1/docs"):
        check(client.get(path))
    check(client.post("/accounts/login/", {"login": "nobody", "password": "wrong"}))
    assert Client().post("/accounts/login/", {"login": "ours-lead", "password": "x"}).status_code == 302
    for path in ("/t/ours/", "/t/ours/jobs", "/accounts/password/change/", "/accounts/logout/", "/t/ours/nowhere"):
        check(lead.get(path))
    job = make_job(spec={"hyperparameters": {"lr": 0.1}}, metrics={"loss": 0.5})
    metrics.metrics_record(
        job=job, points=metrics.parse({"points": [{"step": n, "values": {"loss": n}} for n in (1, 2)]})
    )
    for path in ("/t/ours/", "/t/ours/jobs", "/t/ours/jobs?name=none", "/t/ours/jobs/new"):
        check(lead.get(path))
    for tab in (*TABS, "/edit", "/cancel"):
        check(lead.get(f"/t/ours/jobs/{job.pk}{tab}"))
    check(lead.get(f"/t/ours/jobs/{job.pk}?poll=x"))
    check(lead.post("/t/ours/jobs/new", {"name": "Bad Name", "source_kind": "upload"}))
    check(lead.post("/t/ours/jobs/new/preview", {"name": "x"}))
    check(lead.post("/t/ours/jobs/new/quota", {"instance_type": "cpu-1x"}))
    check(lead.post("/t/ours/jobs/cancel", {"job": str(job.pk)}))
    check(ours.client("viewer").get("/t/ours/jobs/new"))
    for path in ("usage", "members", "tokens", "audit", "settings"):
        check(lead.get(f"/t/ours/{path}"))
    check(lead.get("/notifications"))
    check(lead.post("/t/ours/members", {"who": "nobody", "role": "member"}))
    check(lead.post("/t/ours/members/remove", {"username": "ours-member"}))
    alone = Client()
    alone.force_login(_person_without_team())
    check(alone.get("/", follow=True))
    for broken, status in (("/broken/500", 500), ("/broken/403", 403), ("/broken/400", 400)):
        answer = Client(raise_request_exception=False).get(broken)
        assert answer.status_code == status
        check(answer)
    # Views' refusals are rendered as a DomainError; Django's own template stands behind what refuses before a view.
    assert b"permission" in permission_denied(RequestFactory().get("/"), PermissionDenied()).content
    strict = Client(enforce_csrf_checks=True)
    check(strict.post("/accounts/login/", {}))


@pytest.mark.parametrize("reason", [*REASONS, "NeverHeardOf"])
def test_every_reason_reads_as_a_sentence_on_list_page_and_dashboard(
    ours: Team, make_job: MakeJob, reason: str
) -> None:
    now = timezone.now()
    for number, status in enumerate(Status):
        ended = now if status not in ("pending", "running") else None
        make_job(
            f"job-{number}",
            status=status,
            reason=reason,
            started_at=now,
            completed_at=ended,
            error_message="<b>boom</b>",
        )
    client = ours.client("lead")
    for path in ("/t/ours/", "/t/ours/jobs"):
        page = check(client.get(path))
        assert "<b>boom" not in page
    for job in TrainingJob.objects.all():
        page = check(client.get(f"/t/ours/jobs/{job.pk}"))
        assert "&lt;b&gt;boom" in page


def test_what_people_typed_is_never_markup(ours: Team, make_job: MakeJob, write_log) -> None:
    evil = "</textarea></pre><script>alert(1)</script>"
    job = make_job(
        spec={"hyperparameters": {"x": evil}, "entrypoint": evil, "env_vars": {"E": evil}}, metrics={evil: 1.0}
    )
    JobEvent.objects.create(job=job, key="k", source="kubernetes", reason=evil, message=evil)
    write_log(job, evil.encode() + b"\n")
    client = ours.client("lead")
    for tab in (*TABS, "/edit", f"/logs?q={evil}"):
        check(client.get(f"/t/ours/jobs/{job.pk}{tab}"))
    check(client.get("/t/ours/jobs", {"name": evil, "owner": evil}))
    check(
        client.post(
            "/t/ours/jobs/new", {"name": evil, "hyperparameters": evil, "source_kind": "git", "code_repo": evil}
        )
    )


def test_the_sign_in_page_shows_demo_users_on_the_laptop_only(client: Client, db: None, settings) -> None:
    assert b"ada-demo" in client.get("/accounts/login/").content
    settings.LAPTOP = False
    assert b"ada-demo" not in client.get("/accounts/login/").content


def test_the_frame_offers_the_other_teams(ours: Team, theirs: Team) -> None:
    from tenants.models import Role
    from tenants.services import member_set

    member_set(tenant=theirs.tenant, user=ours.people["member"], role=Role.VIEWER)
    page = ours.client("member").get("/t/ours/").content.decode()
    assert 'href="/t/theirs/"' in page
    assert 'href="/t/theirs/"' not in ours.client("lead").get("/t/ours/").content.decode()


def test_pages_are_not_kept_by_caches(ours: Team) -> None:
    assert "no-store" in ours.client("lead").get("/t/ours/jobs")["Cache-Control"]


def test_the_laptop_runs_with_the_policy_that_production_has() -> None:
    directives = settings.CONTENT_SECURITY_POLICY["DIRECTIVES"]
    assert not any("unsafe" in value for values in directives.values() for value in values)


def _person_without_team():
    from django.contrib.auth import get_user_model

    return get_user_model().objects.create_user("alone", password="x")
