"""PURE: a training job as a Kubernetes ``batch/v1`` Job, from plain values to a plain dict.

One object per job: everything the pod needs is in it, so a create that was interrupted has left all or nothing. The name derives
from the row (``platform_portal.names``). Text that users wrote is escaped, because Kubernetes expands ``$(NAME)`` in commands and
environment values and the shell's ``$(command)`` must reach the shell.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from jobs.observed import CONTAINER
from jobs.spec import hyperparameter_env, hyperparameter_text
from platform_portal import names

Object = dict[str, Any]
WORKSPACE = "/workspace"
TTL_SECONDS = 24 * 3600
GRACE_SECONDS = 30
SERVICE_ACCOUNT = "ml-job-runner"
CREDENTIALS_SECRET = "ml-job-credentials"
TOKEN_VARIABLE = "ML_PLATFORM_JOB_TOKEN"
RUN_AS = 1000
FETCH_PROGRAM = (Path(__file__).parent / "fetch_source.py").read_text(encoding="utf-8")
CLONE_PROGRAM = """\
set -eu
export HOME=/tmp GIT_TERMINAL_PROMPT=0 GIT_ALLOW_PROTOCOL=https:http:ssh:git
cd "$WORKSPACE"
git clone --quiet -- "$CODE_REPO" .
if [ -n "$CODE_COMMIT" ]; then git -c advice.detachedHead=false checkout --quiet "$CODE_COMMIT" --; fi
echo "cloned $CODE_REPO at $(git rev-parse HEAD)"
"""


@dataclass(frozen=True)
class Source:
    sha256: str
    kind: str
    filename: str


@dataclass(frozen=True)
class JobWish:
    """Everything the manifest depends on."""

    job_id: UUID
    name: str
    tenant: str
    cost_center: str
    spec: dict[str, Any]
    output_path: str
    token: str
    platform_url: str
    restricted: bool = False
    source: Source | None = None
    fetch_image: str = "python:3.11-slim"
    git_image: str = "alpine/git:latest"
    gpu_resource: str = "nvidia.com/gpu"
    gpu_node_label: str = "cloud.google.com/gke-accelerator"
    tpu_resource: str = "google.com/tpu"
    # What the instance type adds: the kind of machine, and the taints it may stand.
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Object, ...] = ()

    @property
    def kubernetes_name(self) -> str:
        return names.training_job(self.name, self.job_id)


def training_job(wish: JobWish) -> Object:
    """The Job. It runs one pod; a pod that the cluster itself disrupts is replaced and does not count as a failure."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": wish.kubernetes_name,
            "namespace": names.namespace(wish.tenant),
            "labels": labels(wish),
        },
        "spec": {
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
            },
            "ttlSecondsAfterFinished": TTL_SECONDS,
            "template": {"metadata": {"labels": labels(wish)}, "spec": pod_spec(wish)},
        },
    }


def labels(wish: JobWish) -> dict[str, str]:
    return {
        "tenant": wish.tenant,
        "cost-center": wish.cost_center,
        "managed-by": names.MANAGED_BY,
        names.JOB_ID_LABEL: str(wish.job_id),
    }


def pod_spec(wish: JobWish) -> Object:
    pod: Object = {
        "restartPolicy": "Never",
        "serviceAccountName": SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": pod_security(wish),
        "volumes": [{"name": "workspace", "emptyDir": {}}],
        "containers": [training_container(wish)],
    }
    fetch = fetch_container(wish)
    if fetch is not None:
        pod["initContainers"] = [fetch]
    selector, tolerations = placement(wish)
    if selector:
        pod["nodeSelector"] = selector
    if tolerations:
        pod["tolerations"] = tolerations
    return pod


def placement(wish: JobWish) -> tuple[dict[str, str], list[Object]]:
    """Where the pod may run: machines with its accelerator, as its instance type narrows and widens that."""
    compute = wish.spec["compute"]
    selector: dict[str, str] = {}
    tolerations: list[Object] = []
    if compute["type"] == "gpu":
        if compute.get("gpu_type"):
            selector[wish.gpu_node_label] = compute["gpu_type"]
        tolerations.append({"key": wish.gpu_resource, "operator": "Exists", "effect": "NoSchedule"})
    elif compute["type"] == "tpu":
        tolerations.append({"key": wish.tpu_resource, "operator": "Exists", "effect": "NoSchedule"})
    tolerations += [one for one in wish.tolerations if one not in tolerations]
    return selector | dict(wish.node_selector), tolerations


def training_container(wish: JobWish) -> Object:
    return {
        "name": CONTAINER,
        "image": wish.spec["docker_image"],
        "command": ["/bin/sh", "-c", escape(wish.spec["entrypoint"])],
        "workingDir": WORKSPACE,
        "env": environment(wish),
        "envFrom": [{"secretRef": {"name": CREDENTIALS_SECRET, "optional": True}}],
        "resources": resources(wish),
        # The end of the log becomes the reason of a failure without reading the log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": container_security(),
        "volumeMounts": [{"name": "workspace", "mountPath": WORKSPACE}],
    }


def environment(wish: JobWish) -> list[Object]:
    """The variables of the contract, the platform's own after the user's so that they win."""
    spec = wish.spec
    env = dict(spec["env_vars"])
    env |= {hyperparameter_env(key): hyperparameter_text(value) for key, value in spec["hyperparameters"].items()}
    env |= {
        "HYPERPARAMETERS": json.dumps(spec["hyperparameters"], ensure_ascii=False),
        "DATA_PATH": spec.get("data_path") or "",
        "MODEL_OUTPUT_PATH": wish.output_path,
        "WORKSPACE": WORKSPACE,
        # A pipe makes Python keep its output back by the block; people watch the log live.
        "PYTHONUNBUFFERED": env.get("PYTHONUNBUFFERED", "1"),
    }
    env |= _platform_access(wish)
    return [{"name": name, "value": escape(value)} for name, value in env.items()]


def resources(wish: JobWish) -> Object:
    """Requests equal to limits: what is promised is what can be used."""
    compute = wish.spec["compute"]
    amounts = {"cpu": str(compute["cpu_cores"]), "memory": f"{compute['memory_gb']}Gi"}
    if compute["type"] == "gpu":
        amounts[wish.gpu_resource] = str(compute["gpu_count"])
    elif compute["type"] == "tpu":
        amounts[wish.tpu_resource] = "1"
    return {"requests": amounts, "limits": dict(amounts)}


def fetch_container(wish: JobWish) -> Object | None:
    """The init container that fills the workspace, or ``None`` when the image brings the code."""
    if wish.source is not None:
        env = _platform_access(wish) | {
            "SOURCE_SHA256": wish.source.sha256,
            "SOURCE_KIND": wish.source.kind,
            "SOURCE_NAME": wish.source.filename,
        }
        return _fetch(wish, "fetch-source", wish.fetch_image, ["python3", "-c", escape(FETCH_PROGRAM)], env)
    if wish.spec.get("code_repo"):
        env = {"CODE_REPO": wish.spec["code_repo"], "CODE_COMMIT": wish.spec.get("code_commit") or ""}
        return _fetch(wish, "clone-repository", wish.git_image, ["/bin/sh", "-c", escape(CLONE_PROGRAM)], env)
    return None


def pod_security(wish: JobWish) -> Object:
    security: Object = {"seccompProfile": {"type": "RuntimeDefault"}}
    if wish.restricted:
        security |= {"runAsNonRoot": True, "runAsUser": RUN_AS, "runAsGroup": RUN_AS, "fsGroup": RUN_AS}
    return security


def container_security() -> Object:
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def escape(text: str) -> str:
    """The text so that Kubernetes' expansion of ``$(NAME)`` and ``$$`` gives it back as it was."""
    return text.replace("$", "$$")


def redacted(manifest: Object) -> Object:
    """The manifest as people may see it: without the job's token."""
    shown = copy.deepcopy(manifest)
    pod = shown["spec"]["template"]["spec"]
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        for variable in container.get("env", []):
            if variable["name"] == TOKEN_VARIABLE:
                variable["value"] = "(hidden)"
    return shown


def _platform_access(wish: JobWish) -> dict[str, str]:
    return {"ML_PLATFORM_URL": wish.platform_url, "ML_PLATFORM_JOB_ID": str(wish.job_id), TOKEN_VARIABLE: wish.token}


def _fetch(wish: JobWish, name: str, image: str, command: list[str], env: dict[str, str]) -> Object:
    # As small as the smallest job, so that fetching never makes the pod ask for more than the job does.
    small = {"cpu": "1", "memory": "1Gi"}
    variables = [{"name": key, "value": escape(value)} for key, value in (env | {"WORKSPACE": WORKSPACE}).items()]
    return {
        "name": name,
        "image": image,
        "command": command,
        "workingDir": WORKSPACE,
        "env": variables,
        "resources": {"requests": small, "limits": dict(small)},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": container_security(),
        "volumeMounts": [{"name": "workspace", "mountPath": WORKSPACE}],
    }
