"""PURE: the tokens that say why a job is as it is, and the sentences that people read.

A token is stored and may be compared by scripts; its sentence is made when it is shown. ``never`` marks what will not go
away by waiting.
"""

from typing import NamedTuple

QUEUED_FOR_QUOTA, EXCEEDS_QUOTA = "QueuedForQuota", "ExceedsQuota"


class Reason(NamedTuple):
    sentence: str
    never: bool = False
    remedy: str = ""


REASONS: dict[str, Reason] = {
    # pending
    "Queued": Reason("Accepted; it will be handed to the cluster in a moment."),
    QUEUED_FOR_QUOTA: Reason(
        "It waits in the team's queue for room in the team's quota, and starts in its turn: by priority, then by age."
    ),
    EXCEEDS_QUOTA: Reason(
        "It asks for more than the team's quota now holds in all; it waits in the team's queue and stands in nobody's way.",
        True,
        "Ask for more quota, or cancel it and ask for less.",
    ),
    "Submitted": Reason("The cluster has the job; no machine has been chosen yet."),
    "Suspended": Reason("The job is held in the cluster."),
    "Unschedulable": Reason("No machine has room for it at the moment; it starts as soon as one does."),
    "NoSuchMachine": Reason(
        "The cluster has no machine of the kind that the job asks for; it starts if one is added.",
        False,
        "Unless one is coming, choose another machine type.",
    ),
    "QuotaExceeded": Reason("The team's quota is in use; it starts when other work of the team ends."),
    "ImagePullFailed": Reason(
        "The container image cannot be pulled.",
        True,
        "Check the image's name and tag, and that the cluster may pull it.",
    ),
    "InvalidImage": Reason(
        "The container image's name is not valid.", True, "Correct the image and run the job again."
    ),
    "ContainerConfigError": Reason(
        "The container cannot be set up as the job asks.", True, "See the timeline for what is missing."
    ),
    "Pulling": Reason("The machine is pulling the container image."),
    "Starting": Reason("A machine was chosen; the container is being set up."),
    "FetchingSource": Reason("The code is being fetched into the workspace."),
    "PodRefused": Reason("The cluster refuses the job's pod.", True, "See the timeline for the rule it breaks."),
    "ClusterRefused": Reason("The cluster does not let the platform create the job; an administrator has to look."),
    # running
    "Running": Reason("The program is running."),
    "Finishing": Reason("The program has ended; the cluster is recording how."),
    "Restarting": Reason("The cluster took its machine away; it is being started again."),
    "Cancelling": Reason("It was cancelled; the cluster is ending it."),
    # succeeded
    "Completed": Reason("The program ended with exit code 0."),
    # failed
    "OutOfMemory": Reason(
        "It used more memory than it had asked for and was ended.", True, "Run it again with more memory."
    ),
    "UserCodeError": Reason("The program ended with an error.", True, "Read the end of the log."),
    "Killed": Reason("The program was ended by a signal.", True, "Read the end of the log."),
    "CommandNotFound": Reason(
        "The entrypoint could not be run.", True, "Check the entrypoint and what the image contains."
    ),
    "SourceFetchFailed": Reason(
        "The code could not be fetched into the workspace.", True, "Check the repository, commit or archive."
    ),
    "DeadlineExceeded": Reason("It ran longer than it was allowed to.", True),
    "Evicted": Reason("The machine ended it to protect itself, for instance when its disk was full."),
    "Preempted": Reason("It had to make room for more important work."),
    "NodeLost": Reason("The machine it ran on went away."),
    "DeletedInCluster": Reason("Its objects were deleted in the cluster by somebody else.", True, "Run it again."),
    "RejectedByCluster": Reason("The cluster does not accept the job as it is.", True, "See the error message."),
    "NameConflict": Reason(
        "An object of the same name, not made by this job, stands in the cluster.", True, "Use another name."
    ),
    "Failed": Reason("It failed."),
    # cancelled
    "CancelledByUser": Reason("It was cancelled."),
    # timeline only
    "Admitted": Reason("The team's quota has room for it; it left the team's queue."),
    "CancelRequested": Reason("Somebody asked to cancel it."),
    "CreatedInCluster": Reason("The job was created in the cluster."),
    "LogTruncated": Reason("The log is longer than what is kept; its middle was left out."),
}


def sentence(token: str) -> str:
    """What ``token`` means; an unknown token is shown as it is, split into words."""
    known = REASONS.get(token)
    if known is not None:
        return known.sentence
    words = "".join(f" {char.lower()}" if char.isupper() else char for char in token).strip()
    return f"{words.capitalize()}." if words else ""


def remedy(token: str) -> str:
    known = REASONS.get(token)
    return known.remedy if known else ""


def is_permanent(token: str) -> bool:
    """Whether waiting will not help."""
    known = REASONS.get(token)
    return bool(known and known.never)
