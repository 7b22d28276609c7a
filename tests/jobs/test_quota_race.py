"""Many processes submit at once to real PostgreSQL: never one job over the quota, and never one too few.

A trigger of the test's own looks at each commit: the sum over the jobs that hold quota, as the database has it at that moment.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from jobs import usage
from jobs.models import LIVE, Status, TrainingJob
from jobs.queue import tenant_admit
from tenants.models import QuotaUsage, Tenant
from tests.jobs.fake_cluster import FakeCluster
from tests.personas import Team
from tests.setup.running import ROOT

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
SMALL = {"compute": {"cpu_cores": 1, "memory_gb": 1}}


class Racer:
    """One process of the race."""

    def __init__(self, task: str, count: int, **told: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.jobs.race"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        database = connection.settings_dict["NAME"]
        self._tell({"task": task, "count": count, "database": database, "tenant": "ours", "payload": SMALL} | told)

    def _tell(self, what: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go(self) -> None:
        self._tell("go")


def race(racers: list[Racer]) -> Counter[str]:
    """All begin once all are ready; what became of every try."""
    with ExitStack() as ends:
        for one in racers:
            ends.callback(one.process.wait)
            ends.callback(one.process.kill)
        assert [one.hear() for one in racers] == ["ready"] * len(racers)
        for one in racers:
            one.go()
        return sum((Counter(json.loads(one.hear())) for one in racers), Counter())


@contextmanager
def never_over(sql: str) -> Iterator[None]:
    """The transaction that would commit more than the limit fails, and with it the test: ``sql`` says whether it is over."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION watch_quota() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF ({sql}) THEN RAISE EXCEPTION 'over the quota'; END IF; RETURN NULL; END $$;"
            "CREATE TRIGGER watch_quota AFTER UPDATE ON tenants_quotausage FOR EACH ROW EXECUTE FUNCTION watch_quota()"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER watch_quota ON tenants_quotausage; DROP FUNCTION watch_quota()")


def holding() -> int:
    return TrainingJob.objects.filter(status__in=LIVE, admitted_at__isnull=False).count()


def ended() -> int:
    """Two cancels may have met at one job, so rows are counted."""
    return TrainingJob.objects.filter(status=Status.CANCELLED).count()


@pytest.fixture(autouse=True)
def quiet(cluster: FakeCluster) -> None:
    """Nobody is woken."""


def test_of_200_submissions_at_once_exactly_as_many_are_accepted_as_fit(ours: Team) -> None:
    Tenant.objects.update(quota_cpu=37)
    found = race([Racer("submit", 25, prefix=f"p{number}") for number in range(8)])
    assert found == {"admitted": 37, "quota_exceeded": 163}
    assert (holding(), TrainingJob.objects.count()) == (37, 37)
    assert usage.usage_drift() == []


def test_of_200_submissions_at_once_that_may_wait_those_that_do_not_fit_wait(ours: Team) -> None:
    Tenant.objects.update(quota_memory_gib=41)
    found = race([Racer("submit", 25, prefix=f"p{number}", payload=SMALL | {"queue": True}) for number in range(8)])
    assert found == {"admitted": 41, "waits": 159} and holding() == 41
    row = QuotaUsage.objects.get(tenant=ours.tenant)
    assert (row.jobs, row.waiting) == (41, 159) and usage.usage_drift() == []
    # No one that was let in came after one that was told to wait.
    waiting = TrainingJob.objects.filter(admitted_at__isnull=True).order_by("created_at").first()
    last = TrainingJob.objects.filter(admitted_at__isnull=False).order_by("admitted_at").last()
    assert waiting is not None and last is not None and last.created_at <= waiting.created_at


def test_ends_and_submissions_at_once_never_overshoot_and_fill_what_they_free(ours: Team) -> None:
    Tenant.objects.update(quota_jobs=20)
    over = "NEW.jobs > 20 OR NEW.cpu > 100 OR NEW.jobs < 0"
    with never_over(over):
        found = race(
            [Racer("submit", 25, prefix=f"p{number}") for number in range(6)]
            + [Racer("end", 30, prefix="end"), Racer("end", 30, prefix="end")]
        )
    assert found["admitted"] + found["quota_exceeded"] == 150 and ended()
    assert holding() == found["admitted"] - ended() <= 20 <= found["admitted"] and usage.usage_drift() == []


def test_quotas_that_change_during_a_race_are_never_overrun_by_a_later_submission(ours: Team) -> None:
    """A submission counts against the quota as it is when it gets the lock, not as it was when the request began."""
    Tenant.objects.update(quota_jobs=5)
    over = "NEW.jobs > OLD.jobs AND NEW.jobs > (SELECT quota_jobs FROM tenants_tenant WHERE id = NEW.tenant_id)"
    with never_over(over):
        found = race(
            [Racer("submit", 25, prefix=f"p{number}") for number in range(6)]
            + [Racer("change", 40, prefix="quota", quotas=[3, 25, 10, 40]), Racer("end", 40, prefix="end")]
        )
    assert found["changed"] == 40 and found["admitted"] + found["quota_exceeded"] == 150
    assert 5 < found["admitted"] <= 40 + ended() and holding() == found["admitted"] - ended()
    assert usage.usage_drift() == []


def test_the_queue_is_worked_on_by_many_at_once_and_never_lets_one_too_many_go(ours: Team) -> None:
    Tenant.objects.update(quota_jobs=15)
    with never_over("NEW.jobs > 15"):
        found = race(
            [Racer("submit", 25, prefix=f"p{number}", payload=SMALL | {"queue": True}) for number in range(4)]
            + [Racer(task, 40, prefix=task, pause=0.1) for task in ("end", "admit", "admit")]
        )
        found[f"let go {len(tenant_admit(tenant_id=ours.tenant.pk, now=timezone.now()))}"] += 1
    let_go = sum(int(name.split()[-1]) * count for name, count in found.items() if name.startswith("let go"))
    assert found["admitted"] + found["waits"] == 100
    assert let_go and holding() == found["admitted"] + let_go - ended() == 15
    assert usage.usage_drift() == []
