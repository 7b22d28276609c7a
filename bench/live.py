"""10,000 live jobs: from a change in the cluster to the row, the reconciler's memory, and its CPU when nothing changes.

The reference for the time is a bare watch with the official client in this process: what it takes to hear of the change at all.
"""

import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import psutil

from bench import report
from bench.stack import Stack

CHANGES = 200
IDLE_SECONDS = 30


def main(*, jobs: int = 10_000) -> None:
    with Stack("--no-kubelet", "--no-controllers", "--cpu", "100000", "--memory", "100000Gi") as stack:
        from bench.data import fill
        from jobs.models import TrainingJob
        from platform_portal.kube import client, cluster

        one = cluster.Cluster(client.load(stack.kubeconfig))
        fill("test", 0, jobs, kind="running")
        one.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ml-test"}})
        pods = _make(one, list(TrainingJob.objects.values_list("pk", "name")))
        reconciler = stack.start(stack.manage("reconcile"))
        process = psutil.Process(reconciler.pid)
        _wait(lambda: not TrainingJob.objects.filter(cluster_uid="").exists(), 300)
        _wait(lambda: _cpu_share(process, 3) < 0.2, 120)
        idle = _cpu_share(process, IDLE_SECONDS)
        memory = process.memory_info().rss / 2**20
        heard, written = _changes(stack, one, pods[:CHANGES])
    both = [[f"{report.ms(_percentile(times, share))}" for share in (0.5, 0.99)] for times in (heard, written)]
    ratio = statistics.median(written) / statistics.median(heard)
    report.table(
        f"{jobs:,} live jobs ({CHANGES} changes, one after the other)",
        ["from a change in the cluster", "p50", "p99"],
        [
            ["to a bare watch of the official client", *both[0]],
            ["to the row in PostgreSQL", *both[1]],
            ["**ratio**", f"**{ratio:.2f}**", ""],
        ],
    )
    report.table(
        "The reconciler over them",
        ["figure", "value"],
        [
            ["memory (RSS)", f"{memory:.0f} MiB"],
            [f"CPU while nothing changes ({IDLE_SECONDS} s)", f"{idle * 100:.2f} % of a core"],
        ],
    )


def _make(one: Any, rows: list[tuple[Any, str]]) -> list[tuple[str, str, str]]:
    """A running Job and pod for each row; returns (job id, Job's name, pod's name)."""
    from platform_portal import names

    def make(row: tuple[Any, str]) -> tuple[str, str, str]:
        job_id, name = row
        kube_name = names.training_job(name, job_id)
        labels = {"managed-by": names.MANAGED_BY, names.JOB_ID_LABEL: str(job_id)}
        template = {"metadata": {"labels": labels}, "spec": _pod_spec()}
        meta = {"name": kube_name, "namespace": "ml-test", "labels": labels}
        job = one.create(
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": meta,
                "spec": {"template": template, "backoffLimit": 0},
            },
            identity=names.JOB_ID_LABEL,
        )
        owner = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": kube_name,
            "uid": job["metadata"]["uid"],
            "controller": True,
        }
        pod_name = f"{kube_name}-x"
        meta = {"name": pod_name, "namespace": "ml-test", "labels": labels, "ownerReferences": [owner]}
        one.create(
            {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": _pod_spec()}, identity=names.JOB_ID_LABEL
        )
        _set_status(one, "Pod", pod_name, _running())
        return str(job_id), kube_name, pod_name

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(make, rows))


def _pod_spec() -> dict[str, Any]:
    container = {"name": "training", "image": "python:3.11-slim", "command": ["true"]}
    return {"restartPolicy": "Never", "containers": [container]}


def _running() -> dict[str, Any]:
    state = {"running": {"startedAt": _now()}}
    return {"phase": "Running", "containerStatuses": [_status(state, ready=True)]}


def _failed() -> dict[str, Any]:
    state = {"terminated": {"exitCode": 3, "reason": "Error", "startedAt": _now(), "finishedAt": _now()}}
    return {"phase": "Failed", "containerStatuses": [_status(state, ready=False)]}


def _status(state: dict[str, Any], *, ready: bool) -> dict[str, Any]:
    image = "python:3.11-slim"
    return {"name": "training", "image": image, "imageID": image, "ready": ready, "restartCount": 0, "state": state}


def _set_status(one: Any, kind: str, name: str, status: dict[str, Any]) -> None:
    from platform_portal.kube.resources import path

    one.client.request(
        "PATCH",
        path(kind, "ml-test", name, "status"),
        body={"status": status},
        content_type="application/merge-patch+json",
    )


def _changes(stack: Stack, one: Any, pods: list[tuple[str, str, str]]) -> tuple[list[float], list[float]]:
    """Fails one job after the other and notes when a bare watch and when the row knew."""
    from jobs.models import TrainingJob

    heard_at: dict[str, float] = {}
    stop = threading.Event()
    ready = threading.Event()
    thread = threading.Thread(target=_bare_watch, args=(stack.kubeconfig, heard_at, ready, stop), daemon=True)
    thread.start()
    ready.wait(60)
    heard, written = [], []
    for job_id, name, pod in pods:
        _set_status(one, "Pod", pod, _failed())
        condition = {
            "type": "Failed",
            "status": "True",
            "reason": "BackoffLimitExceeded",
            "message": "m",
            "lastTransitionTime": _now(),
        }
        began = time.perf_counter()
        _set_status(one, "Job", name, {"failed": 1, "conditions": [condition]})
        row = TrainingJob.objects.filter(pk=job_id, status="failed")
        deadline = began + 30
        while not row.exists():
            assert time.perf_counter() < deadline, f"the row of {name} did not follow"
            time.sleep(0.001)
        written.append(time.perf_counter() - began)
        while name not in heard_at and time.perf_counter() < deadline:
            time.sleep(0.001)
        heard.append(heard_at[name] - began)
    stop.set()
    return heard, written


def _bare_watch(kubeconfig: str, heard_at: dict[str, float], ready: threading.Event, stop: threading.Event) -> None:
    from kubernetes import client, config, watch

    configuration = client.Configuration()
    config.load_kube_config(kubeconfig, client_configuration=configuration)
    batch = client.BatchV1Api(client.ApiClient(configuration))
    version = batch.list_namespaced_job("ml-test", limit=1).metadata.resource_version
    ready.set()
    for event in watch.Watch().stream(
        batch.list_namespaced_job, "ml-test", resource_version=version, timeout_seconds=300
    ):
        if stop.is_set():
            return
        status = event["object"].status
        if status is not None and status.conditions:
            heard_at[event["object"].metadata.name] = time.perf_counter()


def _cpu_share(process: psutil.Process, seconds: float) -> float:
    before = process.cpu_times()
    time.sleep(seconds)
    after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / seconds


def _percentile(times: list[float], share: float) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _wait(done: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.5)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
