"""The verbs of kubectl that an operator uses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .api import Space, holds
from .objects import SLEEP, config_map, deployment, job, pod

Kubectl = Callable[..., str]


@pytest.fixture
def kubectl(space: Space, tmp_path: Path) -> Kubectl:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not on PATH")

    def run(*words: str, input: str | None = None) -> str:
        # Its discovery cache would otherwise outlive the cluster.
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "KUBECONFIG": str(space.cluster.kubeconfig),
        }
        done = subprocess.run(
            [program, "--namespace", space.name, *words],
            input=input,
            env=environment,
            capture_output=True,
            text=True,
            timeout=space.cluster.patience,
            check=False,
        )
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    return run


def test_get_lists_in_columns(space: Space, kubectl: Kubectl) -> None:
    space.create(job("a", "true"))
    space.wait("jobs", "a", holds("Complete"), "complete")
    header, row = kubectl("get", "jobs").splitlines()
    assert header.split() == ["NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE"]
    assert row.split()[:3] == ["a", "Complete", "1/1"]
    header, row = kubectl("get", "pods").splitlines()
    assert header.split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert row.split()[1:4] == ["0/1", "Completed", "0"]


def test_get_shows_deployments_and_namespaces(space: Space, kubectl: Kubectl) -> None:
    space.create(deployment("d", 0))
    header, row = kubectl("get", "deployments").splitlines()
    assert header.split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert row.split()[:2] == ["d", "0/0"]
    assert kubectl("get", "namespace", space.name).splitlines()[1].split()[:2] == [space.name, "Active"]


def test_get_answers_json_names_and_short_names(space: Space, kubectl: Kubectl) -> None:
    space.create(config_map("a", {"k": "v"}, labels={"mine": "yes"}))
    assert json.loads(kubectl("get", "configmap", "a", "-o", "json"))["data"] == {"k": "v"}
    assert kubectl("get", "cm", "-l", "mine=yes", "-o", "name") == "configmap/a\n"


def test_describe_tells_about_a_pod_with_its_events(space: Space, kubectl: Kubectl) -> None:
    made = space.run(pod("a", "exit 3"))
    space.wait_event(made, "Started")
    text = kubectl("describe", "pod", "a")
    assert "Exit Code:    3" in text
    assert "Started container main" in text or "Container started" in text


def test_describe_tells_about_a_job(space: Space, kubectl: Kubectl) -> None:
    made = space.create(job("a", "true"))
    space.wait_event(made, "Completed")
    text = kubectl("describe", "job", "a")
    assert "1 Succeeded" in text
    assert "Job completed" in text


def test_logs_follow_a_job_to_its_end(space: Space, kubectl: Kubectl) -> None:
    space.create(job("a", "echo one; sleep 1; echo two"))
    space.wait_list("pods", lambda found: any(each["status"]["phase"] != "Pending" for each in found), "started")
    assert kubectl("logs", "-f", "job/a") == "one\ntwo\n"
    assert kubectl("logs", "job/a", "--tail=1") == "two\n"


def test_apply_server_side_creates_updates_and_says_so(space: Space, kubectl: Kubectl) -> None:
    first = kubectl("apply", "--server-side", "-f", "-", input=json.dumps(config_map("a", {"k": "1", "l": "2"})))
    assert first == "configmap/a serverside-applied\n"
    kubectl("apply", "--server-side", "-f", "-", input=json.dumps(config_map("a", {"k": "2"})))
    assert space.get("configmaps", "a")["data"] == {"k": "2"}


def test_apply_server_side_makes_a_job(space: Space, kubectl: Kubectl) -> None:
    text = kubectl("apply", "--server-side", "-f", "-", input=json.dumps(job("a", "true")))
    assert text == "job.batch/a serverside-applied\n"
    space.wait("jobs", "a", holds("Complete"), "complete")


def test_apply_on_the_client_works_too(space: Space, kubectl: Kubectl) -> None:
    body = json.dumps(config_map("a", {"k": "1"}))
    assert kubectl("apply", "-f", "-", input=body) == "configmap/a created\n"
    assert kubectl("apply", "-f", "-", input=body) == "configmap/a unchanged\n"


def test_delete_waits_until_the_job_and_its_pods_are_gone(space: Space, kubectl: Kubectl) -> None:
    space.create(job("a", SLEEP))
    space.wait("jobs", "a", lambda obj: obj["status"].get("ready") == 1, "running")
    assert kubectl("delete", "job", "a", "--cascade=foreground").startswith('job.batch "a" deleted')
    space.cluster.refused(404, "NotFound", "GET", space.path("jobs", "a"))
    assert space.list("pods", labelSelector="job-name=a") == []


def test_wait_returns_when_the_job_is_complete(space: Space, kubectl: Kubectl) -> None:
    space.create(job("a", "true"))
    assert kubectl("wait", "--for=condition=complete", "job/a", "--timeout=60s") == "job.batch/a condition met\n"


def test_rollout_status_waits_for_a_deployment(space: Space, kubectl: Kubectl) -> None:
    space.create(deployment("d"))
    assert 'deployment "d" successfully rolled out' in kubectl("rollout", "status", "deployment/d", "--timeout=60s")
