"""What a deletion means for an object: grace period, finalizers, propagation, preconditions. Pure functions."""

from __future__ import annotations

from datetime import datetime, timedelta

from localcluster import errors
from localcluster.errors import bad_request
from localcluster.objects import Obj, fresh, is_deleting, name_of, timestamp
from localcluster.resources import Resource

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
DEFAULT_POD_GRACE = 30


def check_preconditions(resource: Resource, obj: Obj, options: Obj) -> None:
    wanted = options.get("preconditions") or {}
    for field, label in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        if wanted.get(field) and wanted[field] != obj["metadata"][field]:
            why = (
                f"Precondition failed: {label} in precondition: {wanted[field]}, "
                f"{label} in object meta: {obj['metadata'][field]}"
            )
            raise errors.conflict(resource, name_of(obj), why)


def marked(resource: Resource, obj: Obj, options: Obj, now: datetime) -> Obj:
    """A copy of `obj` in the state a delete request puts it in."""
    copy = fresh(obj)
    metadata = copy["metadata"]
    grace = _grace(resource, obj, options)
    if is_deleting(obj):
        grace = min(grace, metadata.get("deletionGracePeriodSeconds", 0))
        if grace == metadata.get("deletionGracePeriodSeconds", 0):
            _set_finalizer(copy, resource, options)
            return copy
    metadata["deletionTimestamp"] = timestamp(now + timedelta(seconds=grace))
    metadata["deletionGracePeriodSeconds"] = grace
    if "generation" in metadata:
        metadata["generation"] += 1
    _set_finalizer(copy, resource, options)
    if resource.bucket == "namespaces":
        copy.setdefault("status", {})["phase"] = "Terminating"
    return copy


def is_finished(resource: Resource, obj: Obj) -> bool:
    """Whether nothing holds a marked object back any more."""
    metadata = obj["metadata"]
    if "deletionTimestamp" not in metadata or metadata.get("finalizers"):
        return False
    if resource.bucket == "namespaces" and (obj.get("spec") or {}).get("finalizers"):
        return False
    return not metadata.get("deletionGracePeriodSeconds")


def propagation(resource: Resource, options: Obj) -> str:
    policy = options.get("propagationPolicy")
    if policy is None and options.get("orphanDependents") is not None:
        policy = "Orphan" if options["orphanDependents"] else "Background"
    if policy is None:
        # batch/v1 keeps the pods of a deleted Job unless told otherwise.
        return "Orphan" if resource.bucket == "jobs.batch" else "Background"
    if policy not in ("Orphan", "Background", "Foreground"):
        raise bad_request(f'invalid propagationPolicy: "{policy}"')
    return str(policy)


def _grace(resource: Resource, obj: Obj, options: Obj) -> int:
    if resource.bucket != "pods":
        return 0
    given = options.get("gracePeriodSeconds")
    spec, status = obj["spec"], obj.get("status") or {}
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    if given is None:
        given = spec.get("terminationGracePeriodSeconds", DEFAULT_POD_GRACE)
    return max(int(given), 0)


def _set_finalizer(obj: Obj, resource: Resource, options: Obj) -> None:
    if resource.bucket == "namespaces":
        return
    metadata = obj["metadata"]
    explicit = options.get("propagationPolicy") is not None or options.get("orphanDependents") is not None
    if is_deleting(obj) and not explicit and {FOREGROUND, ORPHAN} & set(metadata.get("finalizers") or ()):
        return
    wanted = {"Foreground": FOREGROUND, "Orphan": ORPHAN}.get(propagation(resource, options))
    kept = [entry for entry in metadata.get("finalizers") or () if entry not in (FOREGROUND, ORPHAN)]
    if wanted:
        kept.append(wanted)
    if kept:
        metadata["finalizers"] = kept
    else:
        metadata.pop("finalizers", None)
