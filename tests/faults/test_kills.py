"""``kill -9`` of each part in the middle of a stream of submissions: nothing is lost, nothing is made or run twice.

Contract 1, ``Idempotency-Key``, and contract 2: a create that is repeated finds its own object and nothing runs twice.
"""

from collections.abc import Iterator

import pytest

from tests.faults.parts import Parts, Submissions

pytestmark = pytest.mark.slow
# Without these a submission cannot be answered; without the others the portal goes on accepting.
ANSWERING = ("web", "PostgreSQL")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with Parts(tmp_path_factory.mktemp("kills"), kube_timeout=2) as found:
        found.start("localcluster")
        found.begin()
        yield found


@pytest.mark.parametrize("part", ["web", "reconciler", "worker", "localcluster", "PostgreSQL"])
def test_each_accepted_job_exists_and_runs_exactly_once_though_a_part_is_killed(parts: Parts, part: str) -> None:
    prefix = f"kill-{part.lower()}"
    stream = Submissions(parts, prefix)
    parts.until(lambda: len(stream.ids) == stream.half, "the first half to be accepted")
    # In the middle of everything: some programs run, some logs are copied, and more is coming.
    parts.until(lambda: _jobs_with_log(parts, prefix), "the first log to be copied")
    stream.go_on()
    parts.until(lambda: len(stream.ids) > stream.half, "the second half to begin")
    parts.kill(part)
    if part in ANSWERING:
        parts.until(lambda: stream.broken, "a submission to break off")
    else:
        stream.join()
    parts.start(part)
    stream.join()
    parts.expire_log_leases()
    parts.assert_each_succeeded_once(stream.ids)

    for name, job_id in stream.ids.items():
        # The first answer again, and nothing new.
        assert parts.accepted(name) == job_id
    assert parts.rows("SELECT count(*) FROM jobs_trainingjob WHERE name LIKE %s", f"{prefix}-%") == [(stream.COUNT,)]
    parts.assert_counted_once()


def _jobs_with_log(parts: Parts, prefix: str) -> int:
    [(count,)] = parts.rows(
        "SELECT count(*) FROM jobs_joblog AS log JOIN jobs_trainingjob AS job ON job.id = log.job_id"
        " WHERE log.size > 0 AND job.name LIKE %s",
        f"{prefix}-%",
    )
    return int(count)
