"""Training jobs on the admin site: found by id, name and submitter, and not counted."""

from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.admin.forms import Admin
from tests.personas import Team, team

LIST = "jobs/trainingjob/"


@pytest.fixture
def jobs(db: None) -> dict[str, Any]:
    from jobs.models import TrainingJob
    from jobs.services import job_submit

    ours: Team = team("ours")
    found = {}
    for name in ("alpha", "beta"):
        env = {"API_KEY": "not-for-others"}
        found[name] = job_submit(ctx=ours.ctx, payload={"name": name, "env_vars": env})
    TrainingJob.objects.filter(name="beta").update(status="succeeded")
    return found


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", {"alpha"}),
        ("state=all", {"alpha", "beta"}),
        ("state=ended", {"beta"}),
        ("state=succeeded", {"beta"}),
        ("state=waiting", set()),
        ("q=alp", {"alpha"}),
        ("q=beta", set()),
        ("q=ours-member&state=all", {"alpha", "beta"}),
    ],
)
def test_jobs_are_found(admin: Admin, jobs: dict[str, Any], query: str, names: set[str]) -> None:
    text = admin.text(f"{LIST}?{query}")
    assert {name for name in jobs if f">{name}<" in text} == names


def test_an_id_finds_its_job_in_whatever_state(admin: Admin, jobs: dict[str, Any]) -> None:
    assert ">beta<" in admin.text(f"{LIST}?q={jobs['beta'].pk}")
    assert ">alpha<" not in admin.text(f"{LIST}?q={uuid4()}")


def test_jobs_are_not_counted_and_their_environment_is_not_shown(admin: Admin, jobs: dict[str, Any]) -> None:
    with CaptureQueriesContext(connection) as queries:
        text = admin.text(LIST) + admin.text(f"{LIST}{jobs['alpha'].pk}/change/")
    assert not [one["sql"] for one in queries if "COUNT" in one["sql"] and "trainingjob" in one["sql"]]
    assert "not-for-others" not in text
    assert admin.post(f"{LIST}{jobs['alpha'].pk}/change/", {"name": "x"}).status_code == 403
