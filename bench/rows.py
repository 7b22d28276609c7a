"""Rows turned into Jobs in the cluster per second, against the official client creating the same Jobs with 8 threads."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench import report
from bench.stack import Stack

ROUNDS = 3


def main(*, kubeconfig: str = "", count: int = 400) -> None:
    with Stack("--no-kubelet", "--no-controllers", kubeconfig=kubeconfig) as stack:
        found = [_round(stack, number, count) for number in range(ROUNDS)]
    ours, theirs = (sorted(pair[side] for pair in found)[ROUNDS // 2] for side in (0, 1))
    ratio = sorted(pair[0] / pair[1] for pair in found)[ROUNDS // 2]
    report.table(
        f"Rows into Jobs ({count} of them, median of {ROUNDS} rounds)",
        ["by", "per second"],
        [
            ["reconciler", f"{ours:.0f}"],
            ["official client, 8 threads", f"{theirs:.0f}"],
            ["**ratio**", f"**{ratio:.2f}**"],
        ],
    )


def _round(stack: Stack, number: int, count: int) -> tuple[float, float]:
    from bench.data import fill
    from jobs.models import TrainingJob
    from jobs.reconciler import Reconciler
    from platform_portal.kube import client, cluster

    fill("test", number * count, count, kind="pending")
    one = cluster.Cluster(client.load(stack.kubeconfig))
    reconciler = Reconciler(one)
    reconciler.view.start()
    while not reconciler.view.synced:
        time.sleep(0.05)
    waiting = TrainingJob.objects.filter(cluster_uid="")
    began = time.perf_counter()
    while waiting.exists():
        reconciler.step()
    ours = count / (time.perf_counter() - began)
    reconciler.view.stop()
    made = [obj for obj in one.list("Job", "ml-test") if "bench-ref" not in obj["metadata"]["name"]]
    theirs = _official(stack.kubeconfig, made[-count:], number)
    return ours, theirs


def _official(kubeconfig: str, manifests: list[dict[str, Any]], number: int) -> float:
    from kubernetes import client, config

    configuration = client.Configuration()
    config.load_kube_config(kubeconfig, client_configuration=configuration)
    configuration.connection_pool_maxsize = 8
    batch = client.BatchV1Api(client.ApiClient(configuration))
    bodies = []
    for index, obj in enumerate(manifests):
        spec = dict(obj["spec"])
        # What the server filled in when the reconciler made the Job.
        for field in ("selector", "manualSelector", "completionMode", "suspend"):
            spec.pop(field, None)
        labels = dict(obj["metadata"]["labels"]) | {"managed-by": "bench"}
        template = {"metadata": {"labels": labels}, "spec": spec["template"]["spec"]}
        name = f"bench-ref-{number}-{index}"
        bodies.append(
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": name, "labels": labels},
                "spec": spec | {"template": template},
            }
        )
    began = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda body: batch.create_namespaced_job("ml-test", body), bodies))
    return len(bodies) / (time.perf_counter() - began)
