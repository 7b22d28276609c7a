"""The reference for submissions: a service that keeps jobs in memory and creates the Kubernetes Job inside the request.

What a first version of such a platform looks like: no database, no reconciler, the official client's models. It validates next to
nothing. Its memory is one process's, so it runs as one worker with threads.
"""

import json
import os
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from kubernetes import client, config

config.load_kube_config(os.environ["KUBECONFIG"])
batch = client.BatchV1Api()
jobs: dict[str, dict[str, Any]] = {}
NAMESPACE = "ml-bench-reference"


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    spec = json.loads(environ["wsgi.input"].read(length))
    job_id = str(uuid.uuid4())
    name = f"{spec['name']}-{job_id[:8]}"
    batch.create_namespaced_job(NAMESPACE, manifest(name, spec))
    jobs[job_id] = {"id": job_id, "spec": spec, "status": "pending", "kubernetes_job_name": name}
    body = json.dumps(jobs[job_id]).encode()
    start_response("201 Created", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def manifest(name: str, spec: dict[str, Any]) -> client.V1Job:
    amounts = {"cpu": "1", "memory": "1Gi"}
    container = client.V1Container(
        name="training",
        image="python:3.11-slim",
        command=["/bin/sh", "-c", spec.get("entrypoint", "true")],
        env=[client.V1EnvVar(name="MODEL_OUTPUT_PATH", value=f"s3://models/{name}/")],
        resources=client.V1ResourceRequirements(requests=amounts, limits=amounts),
    )
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels={"job": name}),
        # No node has it: the job is accepted and waits.
        spec=client.V1PodSpec(restart_policy="Never", containers=[container], node_selector={"bench": "none"}),
    )
    return client.V1Job(
        api_version="batch/v1",
        kind="Job",
        metadata=client.V1ObjectMeta(name=name),
        spec=client.V1JobSpec(template=template, backoff_limit=0, ttl_seconds_after_finished=86400),
    )
