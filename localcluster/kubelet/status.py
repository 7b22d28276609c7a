"""The status of a pod, computed from the state of its containers. No side effects."""

from __future__ import annotations

from collections.abc import Sequence

from localcluster.kubelet.container import Container
from localcluster.objects import Obj, fresh, set_condition, uid_of


def pod_phase(
    restart_policy: str, inits: Sequence[Container], mains: Sequence[Container], *, over: bool, failed: bool
) -> str:
    """`over`: nothing runs and nothing will be started again. `failed`: ended for a reason of the pod itself."""
    if over:
        good = all(container.exit_code == 0 for container in (*inits, *mains)) and not failed
        return "Succeeded" if good else "Failed"
    if not all(container.exit_code == 0 for container in inits):
        return "Pending"
    if any(
        container.run is None or (container.running and not container.up and len(container.runs) == 1)
        for container in mains
    ):
        return "Pending"
    return "Running"


def is_over(restart_policy: str, inits: Sequence[Container], mains: Sequence[Container]) -> bool:
    """Whether the containers have ended for good, by themselves."""
    if restart_policy == "Never" and any(container.ended and container.exit_code != 0 for container in inits):
        return not any(container.running for container in (*inits, *mains))
    if restart_policy == "Always" or not mains:
        return False
    if not all(container.ended for container in mains):
        return False
    return restart_policy == "Never" or all(container.exit_code == 0 for container in mains)


def pod_status(
    pod: Obj,
    inits: Sequence[Container],
    mains: Sequence[Container],
    *,
    over: bool,
    failure: tuple[str, str] | None,
    now: str,
) -> Obj:
    spec = pod["spec"]
    status = fresh(pod.get("status") or {})
    phase = pod_phase(spec.get("restartPolicy", "Always"), inits, mains, over=over, failed=failure is not None)
    status["phase"] = phase
    status.setdefault("startTime", now)
    if failure is not None:
        status["reason"], status["message"] = failure
    status.update(hostIP="127.0.0.1", hostIPs=[{"ip": "127.0.0.1"}], podIP="127.0.0.1", podIPs=[{"ip": "127.0.0.1"}])
    status["containerStatuses"] = [container.status(uid_of(pod)) for container in mains]
    if inits:
        status["initContainerStatuses"] = [container.status(uid_of(pod)) for container in inits]
    _conditions(status, inits, mains, phase, now)
    if failure is not None and failure[0] == "Terminated":
        set_condition(status, "DisruptionTarget", "True", now, reason="TerminationByKubelet", message=failure[1])
    return status


def _conditions(status: Obj, inits: Sequence[Container], mains: Sequence[Container], phase: str, now: str) -> None:
    waiting = [container.name for container in inits if container.exit_code != 0]
    if waiting:
        message = f"containers with incomplete status: [{' '.join(waiting)}]"
        set_condition(status, "Initialized", "False", now, reason="ContainersNotInitialized", message=message)
    else:
        reason = "PodCompleted" if phase == "Succeeded" else None
        set_condition(status, "Initialized", "True", now, reason=reason)
    unready = [container.name for container in mains if not container.ready]
    for kind in ("Ready", "ContainersReady"):
        if phase == "Succeeded":
            set_condition(status, kind, "False", now, reason="PodCompleted")
        elif phase == "Failed":
            set_condition(status, kind, "False", now, reason="PodFailed")
        elif unready:
            message = f"containers with unready status: [{' '.join(unready)}]"
            set_condition(status, kind, "False", now, reason="ContainersNotReady", message=message)
        else:
            set_condition(status, kind, "True", now)
    order = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    status["conditions"].sort(key=lambda entry: order.index(entry["type"]) if entry["type"] in order else len(order))
