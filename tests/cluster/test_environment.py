"""What a container finds: its environment variables and its volumes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .api import Object, Space, container_status
from .objects import config_map, pod, python, secret

DUMP = python("import json, os; print(json.dumps(dict(os.environ)))")


def _environment(space: Space, **fields: Any) -> dict[str, str]:
    body = pod("a", DUMP, **fields)
    body["metadata"]["annotations"] = {"note": "hello"}
    found: dict[str, str] = json.loads(space.output(body))
    return found


VALUES = [
    ("empty", ""),
    ("spaces and quotes", " a 'b' \"c\" "),
    ("newlines", "one\ntwo\n"),
    ("unicode", "Grüße 你好 🙂"),
    ("shell", "$HOME `id` $(echo x) \\"),
    ("json of 64 KiB", json.dumps({"k": "v" * 65000})),
]


def test_values_arrive_unchanged(space: Space) -> None:
    found = _environment(space, env=[{"name": f"V{number}", "value": row[1]} for number, row in enumerate(VALUES)])
    assert [found[f"V{number}"] for number in range(len(VALUES))] == [row[1] for row in VALUES]


EXPANSIONS = [
    ("$(BASE)/path", "s3://bucket/path"),
    ("$(BASE)$(BASE)", "s3://buckets3://bucket"),
    ("$(NOT_SET)/path", "$(NOT_SET)/path"),
    ("$(LATER)", "$(LATER)"),
    ("$$(BASE)", "$(BASE)"),
    ("$$$(BASE)", "$s3://bucket"),
    ("$$HOME", "$HOME"),
    ("$HOME", "$HOME"),
    ("$$$$", "$$"),
    ("100$", "100$"),
    ("$(BASE", "$(BASE"),
    ("$$(date) $$((1+1))", "$(date) $((1+1))"),
]


def test_variables_expand_from_those_before_them(space: Space) -> None:
    env = [{"name": "BASE", "value": "s3://bucket"}]
    env += [{"name": f"V{number}", "value": row[0]} for number, row in enumerate(EXPANSIONS)]
    env += [{"name": "LATER", "value": "x"}]
    found = _environment(space, env=env)
    assert [(row[0], found[f"V{number}"]) for number, row in enumerate(EXPANSIONS)] == EXPANSIONS


def test_variables_expand_in_command_and_args(space: Space) -> None:
    body = pod(
        "a",
        ["python3", "-c", "import sys; print(sys.argv[1:], '$(NAME)')"],
        args=["$(NAME)", "$$(NAME)", "$(NONE)"],
        env=[{"name": "NAME", "value": "value"}],
    )
    assert space.output(body) == "['value', '$(NAME)', '$(NONE)'] value\n"


def test_the_pod_tells_its_container_about_itself(space: Space) -> None:
    fields = {
        "POD": "metadata.name",
        "SPACE": "metadata.namespace",
        "UID": "metadata.uid",
        "LABEL": "metadata.labels['app']",
        "NOTE": "metadata.annotations['note']",
        "NODE": "spec.nodeName",
        "IP": "status.podIP",
        "ACCOUNT": "spec.serviceAccountName",
    }
    found = _environment(
        space, env=[{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()]
    )
    obj = space.get("pods", "a")
    assert found["POD"] == "a"
    assert found["SPACE"] == space.name
    assert found["UID"] == obj["metadata"]["uid"]
    assert found["LABEL"] == "a"
    assert found["NOTE"] == "hello"
    assert found["NODE"] == obj["spec"]["nodeName"]
    assert found["IP"]
    assert found["ACCOUNT"] == "default"


def test_the_container_is_told_its_resources(space: Space) -> None:
    def reference(name: str, resource: str, divisor: str) -> Object:
        return {"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource, "divisor": divisor}}}

    found = _environment(
        space,
        resources={"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "1500m", "memory": "128Mi"}},
        env=[
            reference("CPUS", "limits.cpu", "1"),
            reference("MILLIS", "limits.cpu", "1m"),
            reference("MEBIBYTES", "limits.memory", "1Mi"),
            reference("REQUEST", "requests.memory", "1Mi"),
        ],
    )
    # Rounded up to whole units.
    assert (found["CPUS"], found["MILLIS"], found["MEBIBYTES"], found["REQUEST"]) == ("2", "1500", "128", "32")


def test_values_come_from_secrets_and_config_maps(space: Space) -> None:
    space.create(secret("s", {"token": "s3cr3t"}))
    space.create(config_map("c", {"url": "http://x"}))
    found = _environment(
        space,
        env=[
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}},
            {"name": "URL", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "url"}}},
            {"name": "BOTH", "value": "$(TOKEN)@$(URL)"},
            {"name": "NO_KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "none", "optional": True}}},
            {"name": "NO_MAP", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "x", "optional": True}}},
        ],
    )
    assert (found["TOKEN"], found["URL"], found["BOTH"]) == ("s3cr3t", "http://x", "s3cr3t@http://x")
    assert "NO_KEY" not in found
    assert "NO_MAP" not in found


def test_whole_secrets_and_config_maps_become_variables(space: Space) -> None:
    space.create(secret("s", {"TOKEN": "s3cr3t", "SAME": "secret"}))
    space.create(config_map("c", {"URL": "http://x", "SAME": "map"}))
    found = _environment(
        space,
        envFrom=[
            {"secretRef": {"name": "s"}},
            {"configMapRef": {"name": "c"}},
            {"configMapRef": {"name": "c"}, "prefix": "C_"},
            {"secretRef": {"name": "none", "optional": True}},
        ],
        env=[{"name": "URL", "value": "explicit"}],
    )
    assert (found["TOKEN"], found["C_URL"]) == ("s3cr3t", "http://x")
    assert found["SAME"] == "map"
    assert found["URL"] == "explicit"


MISSING: list[tuple[str, Object]] = [
    ("secret", {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k"}}}]}),
    ("configmap", {"envFrom": [{"configMapRef": {"name": "none"}}]}),
]


@pytest.mark.parametrize(("kind", "fields"), MISSING, ids=[row[0] for row in MISSING])
def test_a_missing_reference_keeps_the_container_waiting_and_says_why(space: Space, kind: str, fields: Object) -> None:
    space.create(pod("a", "true", **fields))
    waiting = space.wait(
        "pods",
        "a",
        lambda obj: (
            container_status(obj).get("state", {}).get("waiting", {}).get("reason") == "CreateContainerConfigError"
        ),
        "waiting for its configuration",
    )
    assert container_status(waiting)["state"]["waiting"]["message"] == f'{kind} "none" not found'
    assert waiting["status"]["phase"] == "Pending"


def test_a_container_starts_once_its_missing_secret_is_there(space: Space) -> None:
    space.create(pod("a", 'echo "$A"', env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]))
    space.wait("pods", "a", lambda obj: "waiting" in container_status(obj).get("state", {}), "waiting")
    space.create(secret("s", {"k": "late"}))
    assert space.ended("a")["status"]["phase"] == "Succeeded"
    assert space.log("a") == "late\n"


def test_the_environment_of_the_server_does_not_leak(space: Space) -> None:
    found = _environment(space)
    assert "PATH" in found
    assert "HOME" in found
    leaked = {"KUBECONFIG", "VIRTUAL_ENV", "DATABASE_URL", "PYTEST_CURRENT_TEST", "PYTHONPATH"}
    assert not leaked & set(found)


def test_secrets_and_config_maps_become_files(space: Space) -> None:
    space.create(secret("s", {"token": "s3cr3t"}))
    space.create(config_map("c", {"train.py": "print('hi')\n", "other": "x"}))
    body = pod(
        "a",
        "cat /etc/job/token; echo; cat /code/train.py; ls /code; cat /code2/sub/renamed; cat /one/file.txt",
        {
            "volumes": [
                {"name": "s", "secret": {"secretName": "s"}},
                {"name": "c", "configMap": {"name": "c"}},
                {"name": "i", "configMap": {"name": "c", "items": [{"key": "other", "path": "sub/renamed"}]}},
                {"name": "none", "secret": {"secretName": "none", "optional": True}},
            ]
        },
        volumeMounts=[
            {"name": "s", "mountPath": "/etc/job", "readOnly": True},
            {"name": "c", "mountPath": "/code"},
            {"name": "i", "mountPath": "/code2"},
            {"name": "c", "mountPath": "/one/file.txt", "subPath": "other"},
            {"name": "none", "mountPath": "/none"},
        ],
    )
    assert space.output(body) == "s3cr3t\nprint('hi')\nother\ntrain.py\nxx"


def test_a_sub_path_of_a_volume_is_mounted(space: Space) -> None:
    body = pod(
        "a",
        "echo in-sub > /outputs/file; cat /all/outputs/file",
        {"volumes": [{"name": "work", "emptyDir": {}}]},
        volumeMounts=[
            {"name": "work", "mountPath": "/outputs", "subPath": "outputs"},
            {"name": "work", "mountPath": "/all"},
        ],
    )
    assert space.output(body) == "in-sub\n"


def test_a_pod_waits_for_the_secret_of_its_volume(space: Space) -> None:
    body = pod(
        "a",
        "cat /late/k",
        {"volumes": [{"name": "late", "secret": {"secretName": "late"}}]},
        volumeMounts=[{"name": "late", "mountPath": "/late"}],
    )
    made = space.create(body)
    # A kubelet under load says first that it has not looked yet.
    space.wait_list(
        "events",
        lambda events: any('secret "late" not found' in event["message"] for event in events),
        "that say what is missing",
        fieldSelector=f"involvedObject.uid={made['metadata']['uid']},reason=FailedMount",
    )
    assert space.get("pods", "a")["status"]["phase"] == "Pending"
    space.create(secret("late", {"k": "v"}))
    assert space.ended("a")["status"]["phase"] == "Succeeded"


def test_mount_paths_inside_values_lead_to_the_volume(space: Space) -> None:
    # The platform names places inside its volumes in variables that the training code opens.
    body = pod(
        "a",
        'echo from-env > "$MODEL_OUTPUT_PATH/x" && cat /workspace/out/x && echo "$UNRELATED"',
        {
            "volumes": [{"name": "work", "emptyDir": {}}],
            "initContainers": [
                {
                    **pod("x", "mkdir -p /workspace/out")["spec"]["containers"][0],
                    "name": "prepare",
                    "volumeMounts": [{"name": "work", "mountPath": "/workspace"}],
                }
            ],
        },
        volumeMounts=[{"name": "work", "mountPath": "/workspace"}],
        env=[
            {"name": "MODEL_OUTPUT_PATH", "value": "/workspace/out"},
            {"name": "UNRELATED", "value": "/workspaces/out"},
        ],
    )
    assert space.output(body) == "from-env\n/workspaces/out\n"
