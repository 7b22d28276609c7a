"""``manage.py tenant``: each command does, says that it is so already, or refuses with the reason."""

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tenants.models import AuditEntry, Tenant
from tests.personas import Team


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("tenant", *arguments, stdout=out)
    return out.getvalue().strip()


def test_a_team_is_made_changed_and_said_to_stand_so_already(ours: Team) -> None:
    made = ("create", "new", "--name", "New", "--cost-center", "cc-1", "--quota-cpu", "7", "--labels", '{"a": "b"}')
    assert run(*made) == "new is made; its namespace follows."
    tenant = Tenant.objects.get(slug="new")
    assert (tenant.name, tenant.cost_center_id, tenant.quota_cpu, tenant.labels) == ("New", "cc-1", 7, {"a": "b"})
    assert run(*made) == "new stands so already."
    assert run("update", "new", "--quota-gpus-per-job", "2") == "new is changed; its namespace follows."
    assert run("update", "new", "--quota-gpus-per-job", "2") == "new stands so already."
    line = AuditEntry.objects.get(action="tenant.change")
    assert (line.actor, line.via, line.before, line.after) == (
        "platform",
        "command",
        {"quota_gpus_per_job": 8},
        {"quota_gpus_per_job": 2},
    )


def test_teams_are_listed_with_their_state(ours: Team) -> None:
    Tenant.objects.update(apply_error="It is not ours.")
    assert run("list") == "ours  active  error  cc-1  It is not ours."


def test_deactivating_and_activating_may_be_repeated(ours: Team) -> None:
    for command, active in (("deactivate", False), ("activate", True)):
        for _ in range(2):
            run(command, "ours")
            assert Tenant.objects.get().is_active is active
        assert AuditEntry.objects.filter(action=f"tenant.{command}").count() == 1


def test_a_deletion_needs_the_slug_and_may_be_repeated(ours: Team) -> None:
    with pytest.raises(CommandError, match="confirm: must be the team's slug, ours"):
        run("delete", "ours", "--confirm", "our")
    for _ in range(2):
        assert run("delete", "ours", "--confirm", "ours").startswith("ours is being deleted")
    assert AuditEntry.objects.filter(action="tenant.delete").count() == 1


REFUSED: list[tuple[tuple[str, ...], str]] = [
    (("update", "nowhere", "--name", "x"), "There is no such team"),
    (("activate", "nowhere"), "There is no such team"),
    (("delete", "nowhere", "--confirm", "nowhere"), "There is no such team"),
    (("create", "Not OK", "--name", "x"), "slug: "),
    (("create", "new", "--name", "x", "--cost-center", "nowhere"), "there is no cost center nowhere"),
    (("update", "ours", "--labels", "{"), "is not JSON"),
    (("update", "ours", "--labels", "[" * 20_000), "nested too deeply"),
    (("update", "ours", "--quota-cpu", "-1"), "quota_cpu: "),
    (("update", "ours", "--quota-cpu", "many"), "invalid int value"),
    (("delete", "ours"), "--confirm"),
]


@pytest.mark.parametrize(("arguments", "why"), REFUSED, ids=[" ".join(row[0])[:60] for row in REFUSED])
def test_what_cannot_be_done_is_refused_with_the_reason(ours: Team, arguments: tuple[str, ...], why: str) -> None:
    with pytest.raises(CommandError, match=why):
        run(*arguments)
    assert Tenant.objects.count() == 1 and not AuditEntry.objects.filter(action="tenant.change").exists()


def test_nothing_is_changed_of_a_team_that_is_being_deleted(ours: Team) -> None:
    run("delete", "ours", "--confirm", "ours")
    for arguments in (("update", "ours", "--name", "x"), ("activate", "ours"), ("create", "ours", "--name", "x")):
        with pytest.raises(CommandError, match="is being deleted"):
            run(*arguments)


def test_a_save_of_a_row_read_before_takes_no_deletion_back(ours: Team) -> None:
    """An administrator's form that was open meanwhile writes what is wanted, and nothing of what was observed."""
    stale = Tenant.objects.get()
    run("delete", "ours", "--confirm", "ours")
    Tenant.objects.update(apply_error="held", namespace_uid="u", applied_digest="d")
    stale.name = "Renamed"
    stale.save()
    row: Any = Tenant.objects.get()
    assert row.name == "Renamed" and row.deleting_at is not None
    assert (row.apply_error, row.namespace_uid, row.applied_digest) == ("held", "u", "d")
