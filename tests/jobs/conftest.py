"""Teams for the tests of jobs. Models are imported when they are needed: this file is read before Django is set up."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from jobs.reconciler import Reconciler
    from tests.jobs.fake_cluster import FakeCluster
    from tests.personas import Team


@pytest.fixture
def ours(db: None) -> "Team":
    from tests.personas import team

    return team("ours")


@pytest.fixture
def theirs(db: None) -> "Team":
    from tests.personas import team

    return team("theirs")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> "FakeCluster":
    """An empty cluster; nobody else is woken."""
    from platform_portal import wakeup
    from tests.jobs.fake_cluster import FakeCluster

    monkeypatch.setattr(wakeup, "notify", lambda: None)
    monkeypatch.setattr(wakeup, "task", lambda name, *args: None)
    return FakeCluster()


@pytest.fixture
def reconciler(cluster: "FakeCluster") -> Iterator["Reconciler"]:
    """Has the whole cluster in view."""
    from jobs.reconciler import Reconciler
    from tests.jobs.rounds import look

    one = Reconciler(cluster, workers=2)  # type: ignore[arg-type]
    look(one)
    yield one
    one._pool.shutdown()
