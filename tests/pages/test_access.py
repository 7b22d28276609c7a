"""Who may see and do what on the pages: one table of address × role."""

import pytest

from jobs.models import TrainingJob
from tests.pages.conftest import MakeJob
from tests.personas import Team

PAGES = ["", "jobs", "jobs/{id}", "jobs/{id}/logs", "jobs/{id}/logs/download", "jobs/{id}/metrics", "jobs/{id}/timeline",
         "jobs/{id}/files", "jobs/{id}/spec"]  # fmt: skip
FORMS = ["jobs/new", "jobs/{id}/edit"]
POSTS = ["jobs/new", "jobs/new/preview", "jobs/new/quota", "jobs/cancel", "jobs/{id}/cancel", "jobs/{id}/rerun"]


def address(path: str, job: TrainingJob) -> str:
    return f"/t/{job.tenant.slug}/" + path.replace("{id}", str(job.pk))


@pytest.mark.parametrize("path", [*PAGES, *FORMS, *POSTS])
def test_a_stranger_is_asked_to_sign_in(client, make_job: MakeJob, path: str) -> None:
    for answer in (client.get(address(path, make_job())), client.post(address(path, make_job("beta")))):
        if answer.status_code != 405:
            assert answer.status_code == 302
            assert answer["Location"].startswith("/accounts/login/")


@pytest.mark.parametrize("path", [*PAGES, *FORMS])
def test_a_team_one_has_no_part_in_looks_like_none(theirs: Team, make_job: MakeJob, path: str) -> None:
    assert theirs.client("lead").get(address(path, make_job())).status_code == 404


@pytest.mark.parametrize("path", POSTS)
def test_an_outsider_changes_nothing(theirs: Team, make_job: MakeJob, path: str) -> None:
    job = make_job()
    assert theirs.client("lead").post(address(path, job), {"confirmed": "1", "job": str(job.pk)}).status_code == 404
    assert TrainingJob.objects.get().cancel_requested_at is None


def test_another_teams_job_is_not_found_under_the_own_teams_address(theirs: Team, make_job: MakeJob) -> None:
    job = make_job()
    client = theirs.client("lead")
    for path in ("", "/logs", "/logs/part", "/files/x", "/spec", "/edit"):
        assert client.get(f"/t/theirs/jobs/{job.pk}{path}").status_code == 404
    for path in ("/cancel", "/rerun"):
        assert client.post(f"/t/theirs/jobs/{job.pk}{path}", {"confirmed": "1"}).status_code == 404


@pytest.mark.parametrize("role", ["viewer", "member", "lead"])
@pytest.mark.parametrize("path", PAGES)
def test_every_member_reads_every_page(ours: Team, make_job: MakeJob, role: str, path: str) -> None:
    assert ours.client(role).get(address(path, make_job())).status_code == 200


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("member", 200), ("lead", 200)])
@pytest.mark.parametrize("path", FORMS)
def test_viewers_do_not_get_the_form(ours: Team, make_job: MakeJob, role: str, status: int, path: str) -> None:
    assert ours.client(role).get(address(path, make_job())).status_code == status


@pytest.mark.parametrize(
    ("role", "owner", "status"),
    [
        ("viewer", "member", 403),
        ("member", "member", 302),
        ("member", "lead", 403),
        ("lead", "member", 302),
    ],
)
def test_members_cancel_their_own_and_leads_all(
    ours: Team, make_job: MakeJob, role: str, owner: str, status: int
) -> None:
    job = make_job(role=owner)
    answer = ours.client(role).post(address("jobs/{id}/cancel", job), {"confirmed": "1"})
    assert answer.status_code == status
    assert (TrainingJob.objects.get().cancel_requested_at is not None) is (status == 302)


def test_a_viewer_is_shown_no_actions(ours: Team, make_job: MakeJob) -> None:
    job = make_job()
    viewer = ours.client("viewer")
    for path in ("", "jobs", "jobs/{id}"):
        page = viewer.get(address(path, job)).content.decode()
        shown = [action for action in ('/cancel"', '/rerun"', '/edit"', '/jobs/new"') if action in page]
        assert shown == [], path


def test_a_refusal_is_a_page_that_says_whom_to_ask(ours: Team) -> None:
    answer = ours.client("viewer").get("/t/ours/jobs/new")
    assert answer.status_code == 403
    assert "Ask a lead of the team" in answer.content.decode()


@pytest.mark.parametrize("path", ["jobs/cancel", "jobs/{id}/rerun", "jobs/new/preview", "jobs/new/quota"])
def test_what_changes_something_is_never_a_get(ours: Team, make_job: MakeJob, path: str) -> None:
    assert ours.client("lead").get(address(path, make_job())).status_code == 405


def test_posts_without_the_csrf_token_are_refused(ours: Team, make_job: MakeJob) -> None:
    from django.test import Client

    job = make_job()
    client = Client(enforce_csrf_checks=True)
    client.force_login(ours.people["lead"])
    for path in POSTS:
        answer = client.post(address(path, job), {"confirmed": "1"})
        assert answer.status_code == 403, path
        assert "expired" in answer.content.decode()
    assert TrainingJob.objects.get().cancel_requested_at is None


def test_the_way_back_never_leaves_the_team(ours: Team, make_job: MakeJob) -> None:
    for number, bad in enumerate(["https://evil.example/t/ours/", "//evil.example", "/t/theirs/jobs", "/admin/"]):
        job = make_job(f"job-{number}")
        answer = ours.client("lead").post(address("jobs/{id}/cancel", job), {"confirmed": "1", "next": bad})
        assert answer["Location"] == f"/t/ours/jobs/{job.pk}"
    job = make_job("good")
    answer = ours.client("lead").post(
        address("jobs/{id}/cancel", job), {"confirmed": "1", "next": "/t/ours/jobs?status=live"}
    )
    assert answer["Location"] == "/t/ours/jobs?status=live"
