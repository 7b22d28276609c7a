"""Pods: how they run, end and say why."""

from __future__ import annotations

import pytest

from .api import STRATEGIC_PATCH, Space, condition, container_status, terminated
from .objects import SLEEP, container, pod, python

SHARED = {"volumes": [{"name": "work", "emptyDir": {}}]}
MOUNT = [{"name": "work", "mountPath": "/workspace"}]

ENDINGS = [
    ("exit 0", "Succeeded", 0, "Completed"),
    ("exit 1", "Failed", 1, "Error"),
    ("exit 42", "Failed", 42, "Error"),
    ("exit 255", "Failed", 255, "Error"),
    # A child killed by a signal; the shell reports 128 + its number. ($$$$: Kubernetes halves the dollars.)
    ("sh -c 'kill -9 $$$$'; exit $?", "Failed", 137, "Error"),
]


@pytest.mark.parametrize(("script", "phase", "code", "reason"), ENDINGS, ids=[row[0] for row in ENDINGS])
def test_the_exit_code_decides_the_phase(space: Space, script: str, phase: str, code: int, reason: str) -> None:
    ended = space.run(pod("a", script))
    assert ended["status"]["phase"] == phase
    state = terminated(ended)
    assert (state["exitCode"], state["reason"]) == (code, reason)
    assert state["startedAt"] <= state["finishedAt"]
    assert container_status(ended)["restartCount"] == 0
    assert container_status(ended)["ready"] is False


def test_a_running_pod_says_where_and_since_when(space: Space) -> None:
    made = space.create(pod("a", SLEEP))
    assert made["status"]["phase"] == "Pending"
    running = space.running("a")
    status = running["status"]
    assert running["spec"]["nodeName"]
    assert status["podIP"]
    assert status["hostIP"]
    assert status["startTime"] >= running["metadata"]["creationTimestamp"]
    assert container_status(running)["state"]["running"]["startedAt"] >= status["startTime"]
    ready = space.wait("pods", "a", lambda obj: condition(obj, "Ready").get("status") == "True", "ready")
    for each in ("PodScheduled", "Initialized", "ContainersReady", "Ready"):
        assert condition(ready, each)["status"] == "True"
    assert container_status(ready)["ready"] is True
    assert container_status(ready)["started"] is True


def test_a_finished_pod_is_no_longer_ready(space: Space) -> None:
    ended = space.run(pod("a", "true"))
    assert condition(ended, "Ready")["status"] == "False"
    assert condition(ended, "Ready")["reason"] == "PodCompleted"
    assert condition(ended, "Initialized")["status"] == "True"


def test_the_command_and_args_are_run_as_given(space: Space) -> None:
    body = pod("a", ["python3", "-c"], args=["import sys; print(sys.argv[1:])", "one two", "*", "$HOME", ""])
    assert space.output(body) == "['one two', '*', '$HOME', '']\n"


def test_a_command_that_does_not_exist_fails_the_pod(space: Space) -> None:
    ended = space.run(pod("a", ["no-such-program"]))
    assert ended["status"]["phase"] == "Failed"
    state = terminated(ended)
    assert (state["reason"], state["exitCode"]) == ("StartError", 128)
    assert "no-such-program" in state["message"]


def test_the_end_of_the_log_is_the_message_of_a_failure_if_asked_for(space: Space) -> None:
    script = 'echo start; echo "ValueError: no such column" >&2; exit 1'
    ended = space.run(pod("a", script, terminationMessagePolicy="FallbackToLogsOnError"))
    assert terminated(ended)["message"] == "start\nValueError: no such column\n"


def test_the_message_of_a_failure_is_at_most_2_kib(space: Space) -> None:
    code = "for i in range(500): print(f'line {i} ' + 'x' * 40)\nraise SystemExit(1)"
    ended = space.run(pod("a", python(code), terminationMessagePolicy="FallbackToLogsOnError"))
    message = terminated(ended)["message"]
    assert len(message) <= 2048
    assert message.endswith("line 499 " + "x" * 40 + "\n")


def test_a_success_has_no_message(space: Space) -> None:
    ended = space.run(pod("a", "echo fine", terminationMessagePolicy="FallbackToLogsOnError"))
    assert not terminated(ended).get("message")


def test_too_much_memory_is_out_of_memory(space: Space) -> None:
    code = "import time; kept = b'x' * (512 << 20); time.sleep(60)"
    resources = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}}
    ended = space.run(pod("a", python(code), resources=resources))
    assert ended["status"]["phase"] == "Failed"
    state = terminated(ended)
    assert (state["reason"], state["exitCode"]) == ("OOMKilled", 137)


def test_memory_below_the_limit_is_fine(space: Space) -> None:
    resources = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}
    assert space.output(pod("a", python("kept = b'x' * (64 << 20); print('fits')"), resources=resources)) == "fits\n"


def test_init_containers_run_in_order_and_hand_files_over(space: Space) -> None:
    body = pod(
        "a",
        "cat /workspace/file",
        {
            **SHARED,
            "initContainers": [
                container("echo first > /workspace/file", "fetch", volumeMounts=MOUNT),
                container("echo second >> /workspace/file", "unpack", volumeMounts=MOUNT),
            ],
        },
        volumeMounts=MOUNT,
    )
    assert space.output(body) == "first\nsecond\n"
    done = space.get("pods", "a")
    for name in ("fetch", "unpack"):
        assert terminated(done, name)["exitCode"] == 0
        assert container_status(done, name)["ready"] is True


def test_while_init_runs_the_main_container_waits(space: Space) -> None:
    body = pod("a", "true", {"initContainers": [container(SLEEP, "fetch")]})
    space.create(body)
    waiting = space.wait(
        "pods", "a", lambda obj: "running" in container_status(obj, "fetch").get("state", {}), "fetching"
    )
    assert waiting["status"]["phase"] == "Pending"
    assert container_status(waiting)["state"]["waiting"]["reason"] == "PodInitializing"
    assert condition(waiting, "Initialized")["status"] == "False"
    assert condition(waiting, "Initialized")["reason"] == "ContainersNotInitialized"


def test_a_failed_init_container_fails_the_pod_and_nothing_else_runs(space: Space) -> None:
    body = pod("a", "echo must not run", {"initContainers": [container("exit 5", "fetch"), container("true", "next")]})
    ended = space.run(body)
    assert ended["status"]["phase"] == "Failed"
    assert terminated(ended, "fetch")["exitCode"] == 5
    assert "terminated" not in container_status(ended, "next")["state"]
    assert "terminated" not in container_status(ended)["state"]


def test_the_workspace_is_shared_by_the_containers_of_one_pod(space: Space) -> None:
    body = pod("a", "while [ ! -f /workspace/x ]; do sleep 0.05; done; cat /workspace/x", SHARED, volumeMounts=MOUNT)
    body["spec"]["containers"].append(container("echo hello > /workspace/x", "other", volumeMounts=MOUNT))
    assert space.run(body)["status"]["phase"] == "Succeeded"
    assert space.log("a", container="main") == "hello\n"


def test_a_pod_fails_if_one_of_its_containers_does(space: Space) -> None:
    body = pod("a", "true")
    body["spec"]["containers"].append(container("exit 3", "other"))
    ended = space.run(body)
    assert ended["status"]["phase"] == "Failed"
    assert terminated(ended)["exitCode"] == 0
    assert terminated(ended, "other")["exitCode"] == 3


def test_the_working_directory_may_be_a_volume(space: Space) -> None:
    body = pod(
        "a", "echo data > relative; cat /workspace/relative", SHARED, volumeMounts=MOUNT, workingDir="/workspace"
    )
    assert space.output(body) == "data\n"


def test_a_working_directory_below_a_volume_is_made(space: Space) -> None:
    script = "echo data > relative; cat /workspace/deep/er/relative"
    body = pod("a", script, SHARED, volumeMounts=MOUNT, workingDir="/workspace/deep/er")
    assert space.output(body) == "data\n"


def test_a_container_may_restart_on_failure_and_keeps_its_volumes(space: Space) -> None:
    script = "if [ -f /workspace/tried ]; then echo second; exit 0; fi; touch /workspace/tried; exit 9"
    ended = space.run(pod("a", script, {**SHARED, "restartPolicy": "OnFailure"}, volumeMounts=MOUNT))
    assert ended["status"]["phase"] == "Succeeded"
    assert container_status(ended)["restartCount"] == 1
    assert space.log("a") == "second\n"


def test_a_restarted_container_remembers_its_last_end_and_log(space: Space) -> None:
    script = "if [ ! -f /workspace/tried ]; then touch /workspace/tried; echo first; exit 9; fi; echo second; " + SLEEP
    space.create(pod("a", script, {**SHARED, "restartPolicy": "OnFailure"}, volumeMounts=MOUNT))
    space.wait_log("a", "second")
    again = space.wait("pods", "a", lambda obj: container_status(obj)["restartCount"] == 1, "restarted")
    assert "running" in container_status(again)["state"]
    last = container_status(again)["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (9, "Error")
    assert space.log("a", previous=True) == "first\n"


def test_a_container_that_keeps_failing_is_in_a_crash_loop(space: Space) -> None:
    made = space.create(pod("a", "exit 1", {"restartPolicy": "Always"}))
    looping = space.wait(
        "pods",
        "a",
        lambda obj: container_status(obj).get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff",
        "in a crash loop",
    )
    assert looping["status"]["phase"] == "Running"
    assert container_status(looping)["lastState"]["terminated"]["exitCode"] == 1
    assert "back-off" in container_status(looping)["state"]["waiting"]["message"]
    space.wait_event(made, "BackOff")


def test_a_pod_past_its_deadline_is_ended(space: Space) -> None:
    ended = space.run(pod("a", SLEEP, {"activeDeadlineSeconds": 1}))
    assert (ended["status"]["phase"], ended["status"]["reason"]) == ("Failed", "DeadlineExceeded")
    assert ended["status"]["message"] == "Pod was active on the node longer than the specified deadline"


def test_an_image_that_cannot_be_pulled_says_so(space: Space) -> None:
    made = space.create(pod("a", "true", image="localcluster.invalid/nothing:1"))
    waiting = space.wait(
        "pods",
        "a",
        lambda obj: container_status(obj).get("state", {}).get("waiting", {}).get("reason") == "ImagePullBackOff",
        "backing off",
    )
    assert waiting["status"]["phase"] == "Pending"
    assert "localcluster.invalid/nothing:1" in container_status(waiting)["state"]["waiting"]["message"]
    event = space.wait_event(made, "Failed")
    assert event["type"] == "Warning"
    assert "localcluster.invalid/nothing:1" in event["message"] or "ErrImagePull" in event["message"]


def test_the_first_failed_pull_is_err_image_pull(space: Space) -> None:
    path = space.path("pods")
    version = space.cluster.get(path)["metadata"]["resourceVersion"]
    space.create(pod("a", "true", image="localcluster.invalid/nothing:1"))
    reasons = []
    with space.cluster.watch(path, resourceVersion=version) as watch:
        for event in watch:
            reasons.append(container_status(event["object"]).get("state", {}).get("waiting", {}).get("reason"))
            if reasons[-1] == "ImagePullBackOff":
                break
    assert "ErrImagePull" in reasons


def test_a_pod_waiting_for_its_image_can_be_deleted(space: Space) -> None:
    space.create(pod("a", "true", image="localcluster.invalid/nothing:1"))
    space.wait("pods", "a", lambda obj: bool(container_status(obj)), "tried")
    space.delete("pods", "a")
    space.wait_gone("pods", "a")


def test_a_running_pods_command_cannot_be_changed(space: Space) -> None:
    space.create(pod("a", SLEEP))
    path = space.path("pods", "a")
    patch = {"spec": {"containers": [{"name": "main", "command": ["true"]}]}}
    status = space.cluster.refused(422, "Invalid", "PATCH", path, patch, content_type=STRATEGIC_PATCH)
    assert "pod updates may not change fields other than" in status["message"]


def test_labels_and_annotations_of_a_running_pod_can_be_changed(space: Space) -> None:
    space.create(pod("a", SLEEP))
    space.running("a")
    changed = space.patch("pods", "a", {"metadata": {"labels": {"x": "y"}, "annotations": {"n": "m"}}})
    assert changed["metadata"]["labels"]["x"] == "y"
    assert space.names("pods", labelSelector="x=y") == ["a"]


def test_a_pod_of_an_unknown_service_account_is_forbidden(space: Space) -> None:
    body = pod("a", "true", {"serviceAccountName": "nobody"})
    status = space.cluster.refused(403, "Forbidden", "POST", space.path("pods"), body)
    assert 'serviceaccount "nobody" not found' in status["message"]


def test_a_failed_liveness_probe_restarts_the_container(space: Space) -> None:
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    made = space.create(pod("a", SLEEP, {"restartPolicy": "Always"}, livenessProbe=probe))
    space.wait("pods", "a", lambda obj: container_status(obj).get("restartCount", 0) >= 1, "restarted")
    event = space.wait_event(made, "Unhealthy")
    assert event["type"] == "Warning"
    assert "Liveness probe failed" in event["message"]
    space.wait_event(made, "Killing")


def test_a_pod_is_ready_once_its_probe_succeeds(space: Space) -> None:
    probe = {"exec": {"command": ["test", "-f", "/workspace/ready"]}, "periodSeconds": 1}
    script = "sleep 1.5; touch /workspace/ready; " + SLEEP
    body = pod("a", script, SHARED, volumeMounts=MOUNT, readinessProbe=probe)
    made = space.create(body)
    running = space.wait("pods", "a", lambda obj: container_status(obj).get("started") is True, "started")
    assert condition(running, "Ready")["status"] == "False"
    assert condition(running, "Ready")["reason"] == "ContainersNotReady"
    space.wait("pods", "a", lambda obj: condition(obj, "Ready")["status"] == "True", "ready")
    assert "Readiness probe failed" in space.wait_event(made, "Unhealthy")["message"]


def test_the_restricted_security_context_runs(space: Space) -> None:
    context = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    body = pod("a", "echo written > /workspace/x && cat /workspace/x", {**SHARED, "securityContext": {"fsGroup": 1000}})
    body["spec"]["containers"][0].update(securityContext=context, volumeMounts=MOUNT)
    assert space.output(body) == "written\n"
