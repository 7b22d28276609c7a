"""What a job wrote: listed and read below its own output path, and nowhere else."""

from collections.abc import Iterator

from jobs.models import TrainingJob
from platform_portal import storage


def files(job: TrainingJob) -> tuple[list[storage.StoredFile], bool]:
    """The job's files by path, and whether there are more than are listed; empty when it has written nothing."""
    try:
        return storage.listing(job.output_path)
    except FileNotFoundError:
        return [], False


def content(job: TrainingJob, path: str) -> Iterator[bytes]:
    """A file's bytes; raises ``DomainError`` not_found for a path outside the job's own folder."""
    return storage.read(storage.inside(job.output_path, path))
