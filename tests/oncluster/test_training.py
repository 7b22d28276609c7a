"""From a submission to its end on a cluster: how jobs run, fail, wait and are cancelled, as users see it."""

import io
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.oncluster.conftest import Platform
from tests.setup.test_up import free_port


def archive(kind: str, files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as bundle:
            for name, content in files.items():
                bundle.writestr(name, content)
        return buffer.getvalue()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tarball:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tarball.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def repository(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A git server on loopback with one repository of two commits; its address and the first commit, by a space."""
    if request.config.getoption("--real-cluster"):
        pytest.skip("the pods of a real cluster cannot reach a git server on loopback")
    work, port = tmp_path / "served" / "project", free_port()

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        command = ["git", "-C", str(work), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    work.mkdir(parents=True)
    git("init", "-q")
    for number in (1, 2):
        (work / "train.py").write_text(f"print('commit number {number}')\n")
        git("add", ".")
        git("commit", "-qm", f"number {number}")
    daemon = subprocess.Popen(
        [
            "git",
            "daemon",
            "--reuseaddr",
            "--export-all",
            f"--base-path={work.parent}",
            "--listen=127.0.0.1",
            f"--port={port}",
        ],
        stderr=subprocess.DEVNULL,
    )
    yield f"git://127.0.0.1:{port}/project {git('rev-parse', 'HEAD~1')}"
    daemon.terminate()
    daemon.wait(10)


def test_a_script_is_trained_with_its_settings_and_leaves_log_timeline_and_times(platform: Platform) -> None:
    source = platform.upload(
        "train.py",
        b"import os, json\n"
        b"print('lr', os.environ['HYPERPARAM_LR'], json.loads(os.environ['HYPERPARAMETERS'])['layers'])\n"
        b"print('data', os.environ['DATA_PATH'], 'price', os.environ['PRICE'], os.environ['ML_PLATFORM_JOB_ID'])\n",
    )
    job = platform.submit(
        source=source,
        hyperparameters={"lr": 0.1, "layers": [1, 2]},
        data_path="s3://data/train.csv",
        env_vars={"PRICE": "$5 $(HOSTNAME) $$"},
    )
    done = platform.ended(job)
    assert (done["status"], done["reason"], done["attempts"], done["exit_code"]) == ("succeeded", "Completed", 1, 0)
    assert done["kubernetes_job_name"] == f"{job['spec']['name']}-{job['id'][:8]}"
    assert done["created_at"] <= done["completed_at"] and done["started_at"] <= done["completed_at"]
    log = platform.log(job)
    assert "lr 0.1 [1, 2]" in log
    assert f"data s3://data/train.csv price $5 $(HOSTNAME) $$ {job['id']}" in log
    told = platform.timeline(job)
    assert told[0] == "Queued"
    assert {"CreatedInCluster", "Scheduled", "Running", "Completed"} <= set(told)
    assert len([reason for reason in told if reason == "Running"]) == 1


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_is_unpacked_into_the_workspace(platform: Platform, kind: str) -> None:
    files = {"main.py": b"import lib.model\n", "lib/model.py": b"print('from a package in the archive')\n"}
    source = platform.upload(f"code.{kind}", archive(kind, files))
    job = platform.submit(source=source, entrypoint='cd "$WORKSPACE" && python3 main.py')
    assert platform.ended(job)["status"] == "succeeded", platform.log(job)
    assert "from a package in the archive" in platform.log(job)


def test_a_repository_is_cloned_at_its_commit(platform: Platform, repository: str) -> None:
    url, first = repository.split()
    newest, old = platform.submit(code_repo=url), platform.submit(code_repo=url, code_commit=first)
    assert platform.ended(newest)["status"] == platform.ended(old)["status"] == "succeeded"
    assert "commit number 2" in platform.log(newest)
    assert "commit number 1" in platform.log(old) and first in platform.log(old)


def test_a_repository_that_is_not_there_is_said_to_be_the_reason(platform: Platform) -> None:
    failed = platform.ended(platform.submit(code_repo=f"git://127.0.0.1:{free_port()}/nothing"))
    assert (failed["status"], failed["reason"]) == ("failed", "SourceFetchFailed")
    assert "unable to connect" in failed["error_message"] or "refused" in failed["error_message"]


def test_an_error_of_the_program_is_told_with_the_end_of_its_log(platform: Platform) -> None:
    failed = platform.ended(platform.submit(entrypoint="echo one; echo 'the loss is NaN' >&2; exit 3"))
    assert (failed["status"], failed["reason"], failed["exit_code"]) == ("failed", "UserCodeError", 3)
    assert "the loss is NaN" in failed["error_message"]


def test_an_entrypoint_that_is_not_there_is_told_apart(platform: Platform) -> None:
    failed = platform.ended(platform.submit(entrypoint="no-such-program --train"))
    assert (failed["status"], failed["reason"], failed["exit_code"]) == ("failed", "CommandNotFound", 127)


def test_too_much_memory_is_called_by_its_name(platform: Platform) -> None:
    code = "x = bytearray(3 << 30)\nfor i in range(0, 3 << 30, 4096): x[i] = 1\n"
    failed = platform.ended(platform.submit(entrypoint=f"exec python3 -c '{code}'"))
    assert (failed["status"], failed["reason"], failed["exit_code"]) == ("failed", "OutOfMemory", 137)


def test_a_job_that_no_machine_can_hold_waits_and_says_why(platform: Platform) -> None:
    job = platform.submit(
        compute={"type": "gpu", "gpu_count": 8, "gpu_type": "no-such-gpu", "cpu_cores": 1, "memory_gb": 1}
    )
    waiting = platform.until(job, reason="NoSuchMachine")
    assert waiting["status"] == "pending" and "nodes are available" in waiting["error_message"]
    assert platform.team.api.delete(f"/v1/jobs/training/{job['id']}").status_code == 204
    assert platform.ended(job)["status"] == "cancelled"


def test_an_image_that_cannot_be_pulled_is_said_to_be_the_reason(platform: Platform) -> None:
    job = platform.submit(docker_image="localcluster.invalid/no/such:image", entrypoint="true")
    assert platform.until(job, reason="ImagePullFailed")["error_message"]
    platform.team.api.delete(f"/v1/jobs/training/{job['id']}")
    assert platform.ended(job)["reason"] == "CancelledByUser"


def test_a_job_beyond_a_quota_of_the_cluster_waits_for_it(platform: Platform) -> None:
    """One that somebody else set: the platform's own it decides on before a job gets there."""
    assert platform.ended(platform.submit(entrypoint="true"))["status"] == "succeeded"
    meta = {"name": "theirs", "namespace": f"ml-{platform.team.tenant.slug}"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": {"hard": {"pods": "0"}}}
    platform.cluster.apply(quota)
    job = platform.submit(entrypoint="true")
    assert "exceeded quota" in platform.until(job, reason="QuotaExceeded")["error_message"]
    platform.cluster.delete("ResourceQuota", meta["namespace"], meta["name"])
    platform.patience = max(platform.patience, 60)
    assert platform.ended(job)["status"] == "succeeded"


def test_a_running_job_is_cancelled_and_leaves_its_log_and_nothing_in_the_cluster(platform: Platform) -> None:
    job = platform.submit(entrypoint="trap 'exit 0' TERM; echo it has begun; while :; do sleep 0.2; done")
    platform.until(job, status="running")
    while "it has begun" not in platform.log(job):
        pass
    assert platform.team.api.delete(f"/v1/jobs/training/{job['id']}").status_code == 204
    done = platform.ended(job)
    assert (done["status"], done["reason"]) == ("cancelled", "CancelledByUser")
    assert platform.cluster.get("Job", f"ml-{platform.team.tenant.slug}", done["kubernetes_job_name"]) is None
    assert platform.cluster.list("Pod", f"ml-{platform.team.tenant.slug}") == []
    assert "it has begun" in platform.log(job)
    assert platform.team.api.delete(f"/v1/jobs/training/{job['id']}").status_code == 204


def test_a_job_deleted_by_hand_is_told_so(platform: Platform) -> None:
    job = platform.submit(entrypoint="trap 'exit 0' TERM; while :; do sleep 0.2; done")
    running = platform.until(job, status="running")
    platform.cluster.delete("Job", f"ml-{platform.team.tenant.slug}", running["kubernetes_job_name"])
    failed = platform.ended(job)
    assert (failed["status"], failed["reason"]) == ("failed", "DeletedInCluster")


def test_a_namespace_deleted_by_hand_comes_back_with_the_next_job(platform: Platform) -> None:
    assert platform.ended(platform.submit(entrypoint="true"))["status"] == "succeeded"
    namespace = f"ml-{platform.team.tenant.slug}"
    platform.cluster.delete("Namespace", "", namespace)
    while platform.cluster.get("Namespace", None, namespace) is not None:
        pass
    platform.patience = max(platform.patience, 60)
    assert platform.ended(platform.submit(entrypoint="true"))["status"] == "succeeded"


def test_the_objects_of_the_contract_stand_in_the_namespace(platform: Platform) -> None:
    assert platform.ended(platform.submit(entrypoint="true"))["status"] == "succeeded"
    slug = platform.team.tenant.slug
    labels = {"tenant": slug, "cost-center": "cc-1", "managed-by": "ml-platform"}
    namespace = platform.cluster.get("Namespace", None, f"ml-{slug}")
    assert namespace is not None and labels.items() <= namespace["metadata"]["labels"].items()
    quota = platform.cluster.get("ResourceQuota", f"ml-{slug}", f"{slug}-quota")
    assert quota is not None
    assert quota["spec"]["hard"] == {
        "requests.cpu": "100",
        "limits.cpu": "100",
        "requests.memory": "200Gi",
        "limits.memory": "200Gi",
        "requests.nvidia.com/gpu": "10",
        "persistentvolumeclaims": "50",
        "pods": "100",
    }
    for kind, name in (
        ("LimitRange", f"{slug}-limits"),
        ("ServiceAccount", "ml-job-runner"),
        ("Role", "ml-job-role"),
        ("RoleBinding", "ml-job-binding"),
        ("NetworkPolicy", "tenant-isolation"),
    ):
        found = platform.cluster.get(kind, f"ml-{slug}", name)
        assert found is not None and labels.items() <= found["metadata"]["labels"].items(), kind


def test_a_team_that_asks_for_restricted_pods_gets_them(platform: Platform) -> None:
    type(platform.team.tenant).objects.update(pod_security="restricted")
    source = platform.upload("train.py", b"print('restricted and running')\n")
    job = platform.submit(source=source)
    assert platform.ended(job)["status"] == "succeeded", platform.log(job)
    assert "restricted and running" in platform.log(job)


def test_metrics_come_from_the_program_itself(platform: Platform) -> None:
    source = platform.upload(
        "train.py",
        b"import json, os, urllib.request\n"
        b"url = os.environ['ML_PLATFORM_URL'] + '/v1/jobs/training/' + os.environ['ML_PLATFORM_JOB_ID'] + '/metrics'\n"
        b"for step in range(3):\n"
        b"    body = json.dumps({'step': step, 'values': {'loss': 1 / (step + 1)}}).encode()\n"
        b"    headers = {'Authorization': 'Bearer ' + os.environ['ML_PLATFORM_JOB_TOKEN'], 'Content-Type': 'application/json'}\n"
        b"    urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=20)\n",
    )
    done = platform.ended(platform.submit(source=source))
    assert done["status"] == "succeeded", done
    assert done["metrics"] == {"loss": pytest.approx(1 / 3)}
