"""Server-side tables, as `kubectl get` prints them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from localcluster.objects import Obj, condition, is_deleting, name_of, parse_time
from localcluster.resources import Resource
from localcluster.store import Item

Cell = Callable[[Obj], Any]
Column = tuple[str, str, int, Cell]  # name, type, priority (0: always shown), value


def render(resource: Resource, items: list[Item], revision: int, include: str) -> Obj:
    columns = _COLUMNS.get(resource.bucket, _DEFAULT)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": str(revision)},
        "columnDefinitions": [
            {
                "name": name,
                "type": kind,
                "format": "name" if name == "Name" else "",
                "description": "",
                "priority": priority,
            }
            for name, kind, priority, _ in columns
        ],
        "rows": [
            {"cells": [cell(item.obj) for *_, cell in columns], "object": _included(item.obj, include)}
            for item in items
        ],
    }


def _included(obj: Obj, include: str) -> Obj | None:
    if include == "None":
        return None
    if include == "Object":
        return obj
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def age(text: str | None) -> str:
    """A duration since `text` in the short form of kubectl."""
    return "<unknown>" if not text else duration((datetime.now(UTC) - parse_time(text)).total_seconds())


def duration(seconds: float) -> str:
    total = int(max(seconds, 0))
    if total < 120:
        return f"{total}s"
    minutes, rest = divmod(total, 60)
    if minutes < 10:
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 8:
        return f"{hours}h{minutes}m" if minutes else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours}h" if days < 8 and hours else f"{days}d"


def pod_state(pod: Obj) -> str:
    """The STATUS column of a pod: the reason that says most about it."""
    status = pod.get("status") or {}
    text = status.get("reason") or status.get("phase") or "Unknown"
    inits = status.get("initContainerStatuses") or []
    for index, entry in enumerate(inits):
        state = entry.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting")
        if terminated and terminated.get("exitCode") == 0:
            continue
        if terminated:
            text = f"Init:{terminated.get('reason') or 'ExitCode:' + str(terminated.get('exitCode'))}"
        elif waiting and waiting.get("reason") not in (None, "", "PodInitializing"):
            text = f"Init:{waiting['reason']}"
        else:
            text = f"Init:{index}/{len(inits)}"
        break
    else:
        for entry in reversed(status.get("containerStatuses") or []):
            state = entry.get("state") or {}
            if (state.get("waiting") or {}).get("reason"):
                text = state["waiting"]["reason"]
            elif (state.get("terminated") or {}).get("reason") and not status.get("reason"):
                text = state["terminated"]["reason"]
    if is_deleting(pod) and status.get("phase") not in ("Succeeded", "Failed"):
        return "Terminating"
    return str(text)


def job_state(job: Obj) -> str:
    for kind in ("Complete", "Failed", "Suspended", "FailureTarget", "SuccessCriteriaMet"):
        entry = condition(job, kind)
        if entry is not None and entry["status"] == "True":
            return kind
    return "Terminating" if is_deleting(job) else "Running"


def _containers(field: str) -> Cell:
    def cell(obj: Obj) -> str:
        spec = obj["spec"].get("template", obj).get("spec") or {}
        return ",".join(str(container.get(field, "")) for container in spec.get("containers") or ())

    return cell


def _selector(obj: Obj) -> str:
    selector = obj["spec"].get("selector") or {}
    labels = selector.get("matchLabels", selector if "matchExpressions" not in selector else {})
    return ",".join(f"{key}={value}" for key, value in labels.items()) or "<none>"


def _status(path: str, missing: Any = 0) -> Cell:
    return lambda obj: (obj.get("status") or {}).get(path, missing)


def _pod_ready(obj: Obj) -> str:
    entries = (obj.get("status") or {}).get("containerStatuses") or []
    return f"{sum(bool(entry.get('ready')) for entry in entries)}/{len(obj['spec'].get('containers') or ())}"


def _pod_restarts(obj: Obj) -> str:
    entries = (obj.get("status") or {}).get("containerStatuses") or []
    return str(sum(entry.get("restartCount", 0) for entry in entries))


def _job_completions(obj: Obj) -> str:
    spec, done = obj["spec"], (obj.get("status") or {}).get("succeeded", 0)
    if spec.get("completions") is not None:
        return f"{done}/{spec['completions']}"
    return f"{done}/1 of {spec['parallelism']}" if spec.get("parallelism", 1) > 1 else f"{done}/1"


def _job_duration(obj: Obj) -> str:
    status = obj.get("status") or {}
    start, end = status.get("startTime"), status.get("completionTime")
    if not start:
        return ""
    return duration(((parse_time(end) if end else datetime.now(UTC)) - parse_time(start)).total_seconds())


def _service_ports(obj: Obj) -> str:
    return ",".join(f"{p['port']}/{p.get('protocol', 'TCP')}" for p in obj["spec"].get("ports") or ()) or "<none>"


def _quota(kind: str) -> Cell:
    def cell(obj: Obj) -> str:
        hard, used = (obj.get("status") or {}).get("hard") or {}, (obj.get("status") or {}).get("used") or {}
        names = [name for name in sorted(hard) if name.startswith("limits.") == (kind == "limits")]
        return ", ".join(f"{name}: {used.get(name, '0')}/{hard[name]}" for name in names)

    return cell


def _last_seen(obj: Obj) -> str:
    return age(obj.get("lastTimestamp") or obj.get("eventTime") or obj["metadata"].get("creationTimestamp"))


def _involved(obj: Obj) -> str:
    return f"{obj['involvedObject'].get('kind', '').lower()}/{obj['involvedObject'].get('name', '')}"


def _node_status(obj: Obj) -> str:
    ready = condition(obj, "Ready")
    text = "Ready" if ready and ready["status"] == "True" else "NotReady"
    return text + (",SchedulingDisabled" if (obj.get("spec") or {}).get("unschedulable") else "")


_NAME: Column = ("Name", "string", 0, name_of)
_AGE: Column = ("Age", "string", 0, lambda obj: age(obj["metadata"].get("creationTimestamp")))
_DEFAULT: list[Column] = [_NAME, _AGE]
_IMAGES: list[Column] = [
    ("Containers", "string", 1, _containers("name")),
    ("Images", "string", 1, _containers("image")),
    ("Selector", "string", 1, _selector),
]
_COLUMNS: dict[str, list[Column]] = {
    "pods": [
        _NAME,
        ("Ready", "string", 0, _pod_ready),
        ("Status", "string", 0, pod_state),
        ("Restarts", "string", 0, _pod_restarts),
        _AGE,
        ("IP", "string", 1, lambda obj: (obj.get("status") or {}).get("podIP") or "<none>"),
        ("Node", "string", 1, lambda obj: obj["spec"].get("nodeName") or "<none>"),
        ("Nominated Node", "string", 1, lambda obj: "<none>"),
        ("Readiness Gates", "string", 1, lambda obj: "<none>"),
    ],
    "jobs.batch": [
        _NAME,
        ("Status", "string", 0, job_state),
        ("Completions", "string", 0, _job_completions),
        ("Duration", "string", 0, _job_duration),
        _AGE,
        *_IMAGES,
    ],
    "deployments.apps": [
        _NAME,
        ("Ready", "string", 0, lambda obj: f"{_status('readyReplicas')(obj)}/{obj['spec'].get('replicas', 1)}"),
        ("Up-to-date", "integer", 0, _status("updatedReplicas")),
        ("Available", "integer", 0, _status("availableReplicas")),
        _AGE,
        *_IMAGES,
    ],
    "replicasets.apps": [
        _NAME,
        ("Desired", "integer", 0, lambda obj: obj["spec"].get("replicas", 1)),
        ("Current", "integer", 0, _status("replicas")),
        ("Ready", "integer", 0, _status("readyReplicas")),
        _AGE,
        *_IMAGES,
    ],
    "namespaces": [_NAME, ("Status", "string", 0, _status("phase", "Active")), _AGE],
    "nodes": [
        _NAME,
        ("Status", "string", 0, _node_status),
        ("Roles", "string", 0, lambda obj: "<none>"),
        _AGE,
        ("Version", "string", 0, lambda obj: obj["status"].get("nodeInfo", {}).get("kubeletVersion", "")),
    ],
    "services": [
        _NAME,
        ("Type", "string", 0, lambda obj: obj["spec"].get("type", "ClusterIP")),
        ("Cluster-IP", "string", 0, lambda obj: obj["spec"].get("clusterIP") or "<none>"),
        ("External-IP", "string", 0, lambda obj: "<none>"),
        ("Port(s)", "string", 0, _service_ports),
        _AGE,
        ("Selector", "string", 1, _selector),
    ],
    "secrets": [
        _NAME,
        ("Type", "string", 0, lambda obj: obj.get("type", "Opaque")),
        ("Data", "string", 0, lambda obj: str(len(obj.get("data") or {}))),
        _AGE,
    ],
    "configmaps": [_NAME, ("Data", "string", 0, lambda obj: str(len(obj.get("data") or {}))), _AGE],
    "resourcequotas": [
        _NAME,
        ("Request", "string", 0, _quota("requests")),
        ("Limit", "string", 0, _quota("limits")),
        _AGE,
    ],
    "events": [
        ("Last Seen", "string", 0, _last_seen),
        ("Type", "string", 0, lambda obj: obj.get("type", "")),
        ("Reason", "string", 0, lambda obj: obj.get("reason", "")),
        ("Object", "string", 0, _involved),
        ("Message", "string", 0, lambda obj: str(obj.get("message", "")).strip()),
        ("Name", "string", 1, name_of),
    ],
}  # fmt: skip
