"""What a job wrote: listed and read below its own output path, and nowhere else.

The portal reads with its own credentials, so it opens only what lies below the team's artifact root: a job that names another
place to write to must not make the portal read that place for it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from jobs.models import TrainingJob
from platform_portal import storage
from platform_portal.errors import not_found
from tenants.wishes import artifact_root


@dataclass(frozen=True)
class Listing:
    """``truncated``: there are more than are listed. ``note``: why nothing can be listed, for people."""

    files: list[storage.StoredFile]
    truncated: bool = False
    note: str = ""


def files(job: TrainingJob) -> Listing:
    """The job's files by path; empty when it has written nothing."""
    if not _readable(job):
        return Listing(
            [], note=f"The platform opens files only below the team's artifact root, {artifact_root(job.tenant)}."
        )
    return Listing(*storage.listing(job.output_path))


def content(job: TrainingJob, path: str) -> Iterator[bytes]:
    """A file's bytes; raises ``DomainError`` not_found for a path outside the job's own folder."""
    if not _readable(job):
        raise not_found("file")
    return storage.read(storage.inside(job.output_path, path))


def _readable(job: TrainingJob) -> bool:
    path, root = job.output_path.rstrip("/") + "/", artifact_root(job.tenant).rstrip("/") + "/"
    if ".." in PurePosixPath(path).parts:
        return False
    return path.startswith(root)
