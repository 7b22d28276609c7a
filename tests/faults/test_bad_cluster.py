"""A cluster that is down, slow, answers with errors or cuts its watches: the portal goes on, and in the end all is as wanted.

Architecture, rules: when the cluster cannot be reached, neither a row's state nor its ``observed_at`` changes.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.parts import Parts
from tests.faults.proxy import AtRandom, CutWatches, Proxy, Slow, forward

pytestmark = pytest.mark.slow
JOBS = 12
SEED = 7


@pytest.fixture(scope="module")
def path_to_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Parts, Proxy]]:
    """The platform with the proxy between every part of it and the cluster, and the team's namespace there."""
    folder = tmp_path_factory.mktemp("bad-cluster")
    with Parts(folder, kube_timeout=1) as parts:
        parts.start("localcluster")
        with Proxy(parts.localcluster.kubeconfig) as proxy:
            parts.kubeconfig = proxy.write_kubeconfig(folder / "kubeconfig")
            parts.begin()
            parts.until_row(parts.accepted("first", middle=":"), "succeeded")
            yield parts, proxy


@pytest.fixture
def parts(path_to_cluster: tuple[Parts, Proxy]) -> Parts:
    return path_to_cluster[0]


@pytest.fixture
def proxy(path_to_cluster: tuple[Parts, Proxy]) -> Iterator[Proxy]:
    """The proxy of a cluster that is well, and whose portal has got over the test before."""
    parts, proxy = path_to_cluster
    parts.until(lambda: parts.answers("/v1/ready"), "the portal to be ready")
    yield proxy
    proxy.fault = forward
    proxy.up()


def test_while_the_cluster_is_down_jobs_are_accepted_and_nothing_is_claimed_about_it(
    parts: Parts, proxy: Proxy, tmp_path: Path
) -> None:
    ends, cancelled = _held(parts, "down-ends", tmp_path), _held(parts, "down-cancelled", tmp_path / "never")
    before = {job: parts.row(job) for job in (ends, cancelled)}
    proxy.down()
    _assert_only_the_cluster_is_not_ready(parts)
    [(down_at,)] = parts.rows("SELECT now()")

    waiting = {f"down-{number}": parts.accepted(f"down-{number}") for number in range(JOBS)}
    assert parts.ask("DELETE", f"/v1/jobs/training/{cancelled}")[0] == 204
    (tmp_path / "go").touch()
    parts.until(lambda: _is_complete(parts, ends), "the end of the program in the cluster")
    # The reconciler has tried, and has noticed that nobody answers: then it leaves the cluster alone, whatever is wanted.
    parts.until(lambda: any(_failures(parts, job) for job in (*waiting.values(), cancelled)), "an attempt to act")

    assert parts.row(ends) == before[ends] and before[ends][0] == "running"
    assert parts.row(cancelled) == ("running", "Cancelling", before[cancelled][2])
    assert {parts.row(job) for job in waiting.values()} == {("pending", "Queued", None)}
    assert parts.rows("SELECT seen_at < %s FROM tenants_clustercontact", down_at) == [(True,)]
    assert parts.job_in_cluster(cancelled) is not None

    proxy.up()
    parts.assert_each_succeeded_once(waiting | {"down-ends": ends})
    _assert_cancelled(parts, cancelled)
    assert parts.answers("/v1/ready")
    parts.assert_counted_once()


def test_answers_later_than_the_time_limit_make_nothing_twice(parts: Parts, proxy: Proxy, tmp_path: Path) -> None:
    cancelled, runs = _held(parts, "slow-cancelled", tmp_path), _held(parts, "slow-runs", tmp_path)
    before = parts.row(runs)
    # Longer than the reconciler's and than the probe's own limit.
    slow = proxy.fault = Slow(3)
    ids = {f"slow-{number}": parts.accepted(f"slow-{number}") for number in range(JOBS)}
    _assert_only_the_cluster_is_not_ready(parts)
    assert parts.ask("DELETE", f"/v1/jobs/training/{cancelled}")[0] == 204
    parts.until(lambda: slow.answered_late["POST"] >= 3, "creates that are answered too late")
    parts.until(lambda: any(_failures(parts, job) for job in ids.values()), "a create to be given up")
    assert parts.row(runs) == before and before[0] == "running"

    (tmp_path / "go").touch()
    proxy.fault = forward
    parts.assert_each_succeeded_once(ids | {"slow-runs": runs})
    _assert_cancelled(parts, cancelled)
    parts.assert_counted_once()


def test_jobs_come_to_their_ends_while_every_fourth_answer_is_an_error(
    parts: Parts, proxy: Proxy, tmp_path: Path
) -> None:
    cancelled = _held(parts, "errors-cancelled", tmp_path)
    errors = proxy.fault = AtRandom(SEED, part=0.25)
    ids = {f"errors-{number}": parts.accepted(f"errors-{number}") for number in range(JOBS)}
    assert parts.ask("DELETE", f"/v1/jobs/training/{cancelled}")[0] == 204
    parts.assert_each_succeeded_once(ids)
    _assert_cancelled(parts, cancelled)
    assert {*AtRandom.READS, *AtRandom.WRITES} <= set(errors.given), errors.given
    parts.assert_counted_once()


def test_jobs_come_to_their_ends_while_every_watch_is_cut_in_the_middle(
    parts: Parts, proxy: Proxy, tmp_path: Path
) -> None:
    cancelled = _held(parts, "cut-cancelled", tmp_path)
    cutting = proxy.fault = CutWatches(SEED)
    ids = {f"cut-{number}": parts.accepted(f"cut-{number}") for number in range(JOBS)}
    assert parts.ask("DELETE", f"/v1/jobs/training/{cancelled}")[0] == 204
    parts.assert_each_succeeded_once(ids)
    _assert_cancelled(parts, cancelled)
    assert cutting.cuts >= JOBS
    parts.assert_counted_once()


def _held(parts: Parts, name: str, folder: Path) -> str:
    """A job that is seen running, and goes on until a file ``go`` stands in the folder."""
    job_id = parts.accepted(name, middle=f"while [ ! -e {folder}/go ]; do sleep 0.1; done")
    parts.until_row(job_id, "running")
    sql = "SELECT 1 FROM jobs_trainingjob WHERE id = %s AND lease_until IS NULL AND next_check_at IS NULL"
    parts.until(lambda: parts.rows(sql, job_id), f"{name} to be left alone")
    return job_id


def _assert_only_the_cluster_is_not_ready(parts: Parts) -> None:
    status, answer = parts.ask("GET", "/v1/ready")
    assert (status, answer["code"], list(answer["problems"])) == (503, "not_ready", ["cluster"])
    assert "cluster" in answer["detail"]


def _assert_cancelled(parts: Parts, job_id: str) -> None:
    parts.until_row(job_id, "cancelled")
    assert parts.job_in_cluster(job_id) is None
    assert parts.ask("GET", f"/v1/jobs/training/{job_id}")[1]["reason"] == "CancelledByUser"


def _is_complete(parts: Parts, job_id: str) -> bool:
    job = parts.job_in_cluster(job_id)
    conditions = ((job or {}).get("status") or {}).get("conditions") or []
    return any(one["type"] == "Complete" and one["status"] == "True" for one in conditions)


def _failures(parts: Parts, job_id: str) -> int:
    [(count,)] = parts.rows("SELECT failures FROM jobs_trainingjob WHERE id = %s", job_id)
    return int(count)
