"""The rules of batch/v1 Jobs as pure functions: which pods failed, what a failure policy says, what is still to run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from localcluster.objects import Obj, condition_is_true, is_deleting, labels_of, name_of, namespace_of, parse_time

INDEX_KEY = "batch.kubernetes.io/job-completion-index"
TRACKING = "batch.kubernetes.io/job-tracking"
FIRST_BACKOFF = 10.0
LONGEST_BACKOFF = 600.0


@dataclass(frozen=True)
class Verdict:
    """What the failure policy says of one failed pod."""

    action: str  # FailJob, Ignore, Count
    message: str = ""


def phase(pod: Obj) -> str:
    return str((pod.get("status") or {}).get("phase", "Pending"))


def is_terminal(pod: Obj) -> bool:
    return phase(pod) in ("Succeeded", "Failed")


def is_active(pod: Obj) -> bool:
    return not is_terminal(pod) and not is_deleting(pod)


def is_terminating(pod: Obj) -> bool:
    return not is_terminal(pod) and is_deleting(pod)


def counts_as_failed(pod: Obj, job: Obj) -> bool:
    """A pod being deleted counts at once, unless the Job replaces pods only when they have really failed."""
    if phase(pod) == "Failed":
        return True
    if job["spec"].get("podReplacementPolicy") == "Failed" and not is_deleting(job):
        return False
    return is_terminating(pod)


def is_finished(job: Obj) -> bool:
    return condition_is_true(job, "Complete") or condition_is_true(job, "Failed")


def finish_time(job: Obj) -> datetime | None:
    for entry in (job.get("status") or {}).get("conditions") or ():
        if entry["type"] in ("Complete", "Failed") and entry["status"] == "True":
            return parse_time(entry["lastTransitionTime"])
    return None


def pod_finish_time(pod: Obj) -> datetime | None:
    """When the last container of a finished pod ended; when it is unknown, when the pod stopped being ready."""
    status = pod.get("status") or {}
    ends = [
        parse_time(state["finishedAt"])
        for entry in status.get("containerStatuses") or ()
        if (state := (entry.get("state") or {}).get("terminated")) and state.get("finishedAt")
    ]
    if ends:
        return max(ends)
    moments = [entry["lastTransitionTime"] for entry in status.get("conditions") or () if entry["type"] == "Ready"]
    moments += [pod["metadata"]["deletionTimestamp"]] if is_deleting(pod) else []
    return parse_time(moments[0]) if moments else None


def backoff_left(pods: Iterable[Obj], now: datetime) -> float:
    """Seconds until a replacement may start: 10 s after one failure since the last success, doubling to 10 minutes."""
    finished = [(moment, phase(pod)) for pod in pods if is_terminal(pod) and (moment := pod_finish_time(pod))]
    last_success = max((moment for moment, kind in finished if kind == "Succeeded"), default=None)
    failures = sorted(
        moment for moment, kind in finished if kind == "Failed" and (last_success is None or moment > last_success)
    )
    if not failures:
        return 0.0
    delay = min(FIRST_BACKOFF * 2 ** min(len(failures) - 1, 16), LONGEST_BACKOFF)
    return max((failures[-1] + timedelta(seconds=delay) - now).total_seconds(), 0.0)


def judge(job: Obj, pod: Obj) -> Verdict:
    """Apply spec.podFailurePolicy to a failed pod; the first rule that matches decides."""
    rules = (job["spec"].get("podFailurePolicy") or {}).get("rules") or ()
    for number, rule in enumerate(rules):
        what = _matches_exit_codes(rule, pod) if rule.get("onExitCodes") else _matches_conditions(rule, pod)
        if what:
            return Verdict(rule["action"], f"{what} matching {rule['action']} rule at index {number}")
    return Verdict("Count")


def _matches_exit_codes(rule: Obj, pod: Obj) -> str:
    wanted = rule["onExitCodes"]
    status = pod.get("status") or {}
    for entry in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        terminated = (entry.get("state") or {}).get("terminated")
        if not terminated or wanted.get("containerName") not in (None, "", entry["name"]):
            continue
        code = terminated["exitCode"]
        inside = code in (wanted.get("values") or ())
        if code != 0 and inside is (wanted["operator"] == "In"):
            return f"Container {entry['name']} for pod {namespace_of(pod)}/{name_of(pod)} failed with exit code {code}"
    return ""


def _matches_conditions(rule: Obj, pod: Obj) -> str:
    for pattern in rule.get("onPodConditions") or ():
        for entry in (pod.get("status") or {}).get("conditions") or ():
            if entry["type"] == pattern["type"] and entry["status"] == pattern.get("status", "True"):
                return f"Pod {namespace_of(pod)}/{name_of(pod)} has condition {entry['type']}"
    return ""


def is_indexed(job: Obj) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def index_of(pod: Obj) -> int | None:
    text = labels_of(pod).get(INDEX_KEY, "")
    return int(text) if text.isdigit() else None


def parse_indexes(text: str) -> set[int]:
    """ "0-2,5" as {0, 1, 2, 5}."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def render_indexes(indexes: Iterable[int]) -> str:
    """{0, 1, 2, 5} as "0-2,5"; two neighbours are a range too."""
    parts: list[list[int]] = []
    for index in sorted(indexes):
        if parts and parts[-1][-1] == index - 1:
            parts[-1].append(index)
        else:
            parts.append([index])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def wanted_active(job: Obj, active: int, succeeded: int) -> int:
    """How many pods should be running now."""
    parallelism, completions = job["spec"].get("parallelism", 1), job["spec"].get("completions")
    if completions is None:  # a work queue: the first success means that no more are needed
        return min(active, parallelism) if succeeded else int(parallelism)
    return int(min(completions - succeeded, parallelism))


def is_complete(job: Obj, active: int, succeeded: int) -> bool:
    completions = job["spec"].get("completions")
    if completions is None:
        return succeeded > 0 and active == 0
    return bool(succeeded >= completions)


def new_pod(job: Obj, index: int | None) -> Obj:
    """The pod of a Job, before it has a name; Indexed ones carry their index in label, annotation, hostname and env."""
    template = job["spec"]["template"]
    metadata = template.get("metadata") or {}
    pod: Obj = {
        "metadata": {
            "generateName": f"{name_of(job)}-",
            "labels": dict(metadata.get("labels") or {}),
            "finalizers": [*(metadata.get("finalizers") or ()), TRACKING],
        },
        "spec": dict(template["spec"]),
    }
    if metadata.get("annotations"):
        pod["metadata"]["annotations"] = dict(metadata["annotations"])
    if index is None:
        return pod
    pod["metadata"]["generateName"] = f"{name_of(job)}-{index}-"
    pod["metadata"]["labels"][INDEX_KEY] = str(index)
    pod["metadata"].setdefault("annotations", {})[INDEX_KEY] = str(index)
    pod["spec"].setdefault("hostname", f"{name_of(job)}-{index}")
    variable = {
        "name": "JOB_COMPLETION_INDEX",
        "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX_KEY}']"}},
    }
    for field in ("initContainers", "containers"):
        if field in pod["spec"]:
            pod["spec"][field] = [_with_variable(container, variable) for container in pod["spec"][field]]
    return pod


def _with_variable(container: Obj, variable: Obj) -> Obj:
    env = container.get("env") or []
    if any(entry["name"] == variable["name"] for entry in env):
        return container
    return {**container, "env": [*env, variable]}
