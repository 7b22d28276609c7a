"""What happens to pods when the server is killed, stopped, started again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster.testing import LocalCluster

from .conftest import Api, until

COUNT = 'i=0; while [ $i -lt 1000 ]; do echo "line $i"; i=$((i+1)); sleep 0.05; done'


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalCluster]:
    with LocalCluster(tmp_path / "cluster") as started:
        yield started


def processes(marker: str) -> list[int]:
    """Processes whose command line contains the marker, without this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if marker.encode() in line:
            found.append(int(entry.name))
    return found


def test_a_container_goes_on_while_the_server_is_killed_and_is_adopted(server: LocalCluster, tmp_path: Path) -> None:
    api = Api(server.kubeconfig)
    api.job("a", f"echo start >> {tmp_path}/starts; sleep 2; echo done; exit 7")
    until(lambda: api.phase("a") == ["Running"])
    name = api.pods("a")[0].metadata.name
    server.kill9()
    assert (tmp_path / "starts").read_text() == "start\n"
    server.start()
    api = Api(server.kubeconfig)
    until(lambda: api.finished("a") == "Failed")
    (pod,) = api.pods("a")
    assert pod.metadata.name == name
    assert pod.status.container_statuses[0].state.terminated.exit_code == 7
    assert api.log("a") == "done\n"
    assert (tmp_path / "starts").read_text() == "start\n"


def test_an_end_while_the_server_is_away_is_seen_at_the_next_start(server: LocalCluster, tmp_path: Path) -> None:
    api = Api(server.kubeconfig)
    api.job("a", f"echo x >> {tmp_path}/starts; sleep 1; echo out; touch {tmp_path}/over")
    until(lambda: api.phase("a") == ["Running"])
    server.kill9()
    until((tmp_path / "over").exists)
    server.start()
    api = Api(server.kubeconfig)
    until(lambda: api.finished("a") == "Complete")
    assert api.log("a") == "out\n"
    assert (tmp_path / "starts").read_text() == "x\n"
    assert api.batch.read_namespaced_job("a", "default").status.succeeded == 1


def test_jobs_survive_the_server_being_killed_again_and_again(server: LocalCluster, tmp_path: Path) -> None:
    """Each of these runs exactly once, whenever the server dies."""
    names = [f"job-{number}" for number in range(6)]
    for name in names:
        Api(server.kubeconfig).job(name, f"echo {name} >> {tmp_path}/ran; sleep 0.4")
        server.kill9()
        server.start()
    api = Api(server.kubeconfig)
    until(lambda: all(api.finished(name) == "Complete" for name in names), 40)
    assert sorted((tmp_path / "ran").read_text().split()) == names


def test_a_machine_that_rebooted_is_reported_honestly(server: LocalCluster) -> None:
    api = Api(server.kubeconfig)
    api.job("a", "sleep 77123")
    until(lambda: api.phase("a") == ["Running"])
    server.kill9()
    for record in server.folder.glob("pods/*/containers/main/0/started"):
        shim, container, *_ = record.read_text().split()
        os.kill(int(shim), signal.SIGKILL)
        os.killpg(int(container), signal.SIGKILL)
    server.start()
    api = Api(server.kubeconfig)
    until(lambda: api.finished("a") == "Failed")
    state = api.pods("a")[0].status.container_statuses[0].state.terminated
    assert (state.exit_code, state.reason) == (137, "ContainerStatusUnknown")


def test_a_graceful_stop_ends_every_process_and_says_why(server: LocalCluster) -> None:
    api = Api(server.kubeconfig)
    api.job("a", "sleep 77124 & sleep 77124; wait", terminationGracePeriodSeconds=2)
    until(lambda: api.phase("a") == ["Running"])
    assert processes("77124")
    assert server.stop() == 0
    assert processes("77124") == []
    server.start()
    api = Api(server.kubeconfig)
    (pod,) = api.pods("a")
    assert (pod.status.phase, pod.status.reason) == ("Failed", "Terminated")
    (disruption,) = [entry for entry in pod.status.conditions if entry.type == "DisruptionTarget"]
    assert (disruption.status, disruption.reason) == ("True", "TerminationByKubelet")


def test_a_job_that_ignores_disruptions_starts_afresh_after_a_stop(server: LocalCluster) -> None:
    rule = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    api = Api(server.kubeconfig)
    api.job("a", "sleep 77125", podFailurePolicy={"rules": [rule]}, terminationGracePeriodSeconds=1)
    until(lambda: api.phase("a") == ["Running"])
    server.stop()
    server.start()
    api = Api(server.kubeconfig)
    until(lambda: api.phase("a") == ["Failed", "Running"], 30)
    status = api.batch.read_namespaced_job("a", "default").status
    assert (status.failed, status.active) == (None, 1)
    assert not api.finished("a")


def test_a_log_has_no_gap_when_the_server_was_away(server: LocalCluster) -> None:
    api = Api(server.kubeconfig)
    api.job("a", "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.25; done")
    until(lambda: "1" in (api.log("a") if api.phase("a") == ["Running"] else ""))
    server.kill9()
    server.start()
    api = Api(server.kubeconfig)
    until(lambda: api.finished("a") == "Complete")
    assert api.log("a").split() == [str(number) for number in range(1, 9)]


def test_the_memory_limit_holds_without_the_server(server: LocalCluster, tmp_path: Path) -> None:
    script = (
        f"import os, time\nwhile not os.path.exists('{tmp_path}/go'): time.sleep(0.05)\n"
        "x = b'x' * 300_000_000\ntime.sleep(30)"
    )
    container = {"command": ["python", "-c", script], "resources": {"limits": {"memory": "100Mi"}}}
    api = Api(server.kubeconfig)
    api.job("a", "", container=container)
    until(lambda: api.phase("a") == ["Running"])
    server.kill9()
    (tmp_path / "go").touch()
    (record,) = server.folder.glob("pods/*/containers/main/0")
    until((record / "exit").exists)
    server.start()
    api = Api(server.kubeconfig)
    until(lambda: api.finished("a") == "Failed")
    state = api.pods("a")[0].status.container_statuses[0].state.terminated
    assert (state.exit_code, state.reason) == (137, "OOMKilled")


def test_a_second_server_on_the_same_folder_is_refused(server: LocalCluster) -> None:
    with pytest.raises(RuntimeError, match="another localcluster uses"):
        LocalCluster(server.folder).start()


def test_a_restart_keeps_the_port_and_the_credentials(server: LocalCluster) -> None:
    url, kubeconfig = server.url, server.kubeconfig.read_bytes()
    server.stop()
    server.start()
    assert (server.url, server.kubeconfig.read_bytes()) == (url, kubeconfig)
    assert server.kubeconfig.stat().st_mode & 0o777 == 0o600


def test_a_pod_force_deleted_leaves_no_process(server: LocalCluster) -> None:
    api = Api(server.kubeconfig)
    api.job("a", "(sleep 77126; true) & sleep 77126")
    until(lambda: api.phase("a") == ["Running"])
    (pod,) = api.pods("a")
    api.core.delete_namespaced_pod(pod.metadata.name, "default", grace_period_seconds=0)
    until(lambda: not processes("77126"))
