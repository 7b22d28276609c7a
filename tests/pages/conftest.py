"""Two teams with people in every role, and jobs in every state. Models are imported when they are needed."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from jobs.models import TrainingJob
    from tests.personas import Team

MakeJob = Callable[..., "TrainingJob"]


@pytest.fixture
def ours(db: None) -> "Team":
    from tests.personas import team

    return team("ours")


@pytest.fixture
def theirs(db: None) -> "Team":
    from tests.personas import team

    return team("theirs")


@pytest.fixture
def make_job(ours: "Team") -> MakeJob:
    """A submitted job of our member (or another role), with fields as if the reconciler had written them."""

    def make(
        name: str = "alpha", *, role: str = "member", spec: dict[str, Any] | None = None, **fields: Any
    ) -> "TrainingJob":
        from jobs import services
        from jobs.models import TrainingJob

        job = services.job_submit(ctx=ours.context(role), payload={"name": name, "compute": "cpu-2x"} | (spec or {}))
        if fields:
            TrainingJob.objects.filter(pk=job.pk).update(**fields)
        return TrainingJob.objects.select_related("tenant", "source").get(pk=job.pk)

    return make


@pytest.fixture
def write_log() -> Callable[..., None]:
    """Puts bytes into a job's kept log, in the pieces given."""

    def write(job: "TrainingJob", *pieces: bytes, complete: bool = True, start: int = 0) -> None:
        from jobs.models import JobLog, JobLogChunk

        at = start
        for data in pieces:
            JobLogChunk.objects.create(job=job, offset=at, data=data)
            at += len(data)
        JobLog.objects.update_or_create(job=job, defaults={"size": at, "complete": complete})

    return write
