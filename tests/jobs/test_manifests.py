"""A training job's Kubernetes object, whole, and what its process will find."""

import copy
import json
import re
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import manifests
from jobs.manifests import JobWish, Source, escape, redacted, training_job
from jobs.observed import pod_view
from jobs.spec import Rules, clean, hyperparameter_env
from platform_portal import names
from tests.jobs.kubernetes_expansion import expand, process_of
from tests.jobs.machines import MACHINES
from tests.kubernetes_schema import problems
from tests.platform.test_safejson import ANY_JSON

JOB = UUID("3f2c8a8e-0d7c-4f2b-9f0e-6d8a4d3b2c11")
LABELS = {"tenant": "ours", "cost-center": "cc-1", "managed-by": "ml-platform", "ml-platform/job-id": str(JOB)}
RULES = Rules(tenant="ours", default_image="python:3.11-slim", local_files=True, instance_types=MACHINES)
CONTAINER_SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
MOUNT = [{"name": "workspace", "mountPath": "/workspace"}]


def wish(*, restricted: bool = False, source: Source | None = None, **fields: Any) -> JobWish:
    spec, errors = clean({"name": "my-model"} | fields, RULES)
    assert not errors, errors
    return JobWish(
        job_id=JOB,
        name=spec["name"],
        tenant="ours",
        cost_center="cc-1",
        spec=spec,
        output_path=f"s3://bucket/ours/{JOB}/",
        token="mlpjob.token",
        platform_url="http://portal:8000",
        restricted=restricted,
        source=source,
    )


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    return job["spec"]["template"]["spec"]


CPU = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "my-model-3f2c8a8e", "namespace": "ml-ours", "labels": LABELS},
    "spec": {
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
        },
        "ttlSecondsAfterFinished": 86400,
        "template": {
            "metadata": {"labels": LABELS},
            "spec": {
                "restartPolicy": "Never",
                "serviceAccountName": "ml-job-runner",
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": 30,
                "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                "volumes": [{"name": "workspace", "emptyDir": {}}],
                "containers": [
                    {
                        "name": "training",
                        "image": "python:3.11-slim",
                        "command": ["/bin/sh", "-c", "python train.py"],
                        "workingDir": "/workspace",
                        "env": [
                            {"name": "HYPERPARAMETERS", "value": "{}"},
                            {"name": "DATA_PATH", "value": ""},
                            {"name": "MODEL_OUTPUT_PATH", "value": f"s3://bucket/ours/{JOB}/"},
                            {"name": "WORKSPACE", "value": "/workspace"},
                            {"name": "PYTHONUNBUFFERED", "value": "1"},
                            {"name": "ML_PLATFORM_URL", "value": "http://portal:8000"},
                            {"name": "ML_PLATFORM_JOB_ID", "value": str(JOB)},
                            {"name": "ML_PLATFORM_JOB_TOKEN", "value": "mlpjob.token"},
                        ],
                        "envFrom": [{"secretRef": {"name": "ml-job-credentials", "optional": True}}],
                        "resources": {
                            "requests": {"cpu": "4", "memory": "16Gi"},
                            "limits": {"cpu": "4", "memory": "16Gi"},
                        },
                        "terminationMessagePolicy": "FallbackToLogsOnError",
                        "securityContext": CONTAINER_SECURITY,
                        "volumeMounts": MOUNT,
                    }
                ],
            },
        },
    },
}


def test_a_cpu_job_whole() -> None:
    assert training_job(wish()) == CPU


def test_a_gpu_job_asks_for_its_kind_of_machine() -> None:
    expected = copy.deepcopy(CPU)
    pod = pod_of(expected)
    pod["nodeSelector"] = {"cloud.google.com/gke-accelerator": "nvidia-tesla-v100"}
    pod["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    amounts = {"cpu": "8", "memory": "48Gi", "nvidia.com/gpu": "1"}
    pod["containers"][0]["resources"] = {"requests": amounts, "limits": amounts}
    assert training_job(wish(compute="gpu-1x-v100")) == expected


def test_a_gpu_of_any_kind_selects_no_machine() -> None:
    pod = pod_of(training_job(replace(wish(compute={"type": "gpu", "gpu_count": 2}), gpu_resource="amd.com/gpu")))
    assert "nodeSelector" not in pod and pod["tolerations"][0]["key"] == "amd.com/gpu"
    assert pod["containers"][0]["resources"]["limits"]["amd.com/gpu"] == "2"


def test_a_tpu_job_asks_for_one() -> None:
    pod = pod_of(training_job(wish(compute={"type": "tpu"})))
    assert pod["tolerations"] == [{"key": "google.com/tpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert pod["containers"][0]["resources"]["requests"]["google.com/tpu"] == "1"


def test_an_instance_type_narrows_the_machines_and_widens_what_they_may_be_tainted_with() -> None:
    taint = {"key": "team", "operator": "Equal", "value": "ours", "effect": "NoSchedule"}
    pod = pod_of(training_job(replace(wish(), node_selector={"pool": "fast"}, tolerations=(taint,))))
    assert (pod["nodeSelector"], pod["tolerations"]) == ({"pool": "fast"}, [taint])
    gpu = wish(compute="gpu-1x-t4")
    pod = pod_of(training_job(replace(gpu, node_selector={"pool": "fast"}, tolerations=(taint,))))
    assert pod["nodeSelector"] == {"cloud.google.com/gke-accelerator": "nvidia-tesla-t4", "pool": "fast"}
    assert [one["key"] for one in pod["tolerations"]] == ["nvidia.com/gpu", "team"]
    # What the type says of the accelerator's label wins, and nothing is tolerated twice.
    own = {"cloud.google.com/gke-accelerator": "t4-shared"}
    same = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    pod = pod_of(training_job(replace(gpu, node_selector=own, tolerations=(same,))))
    assert (pod["nodeSelector"], pod["tolerations"]) == (own, [same])


def test_a_gigabyte_of_a_job_is_one_of_its_team_s_quota() -> None:
    """The quota is decided in the spec's numbers, and the cluster counts in the manifests' units: both are Gi."""
    from tenants.manifests import TenantWish, resource_quota

    team = TenantWish(
        slug="ours", cost_center="cc-1", pod_security="baseline", cpu=7, memory_gib=33, gpus=2, pvcs=1, pods=1
    )
    hard = resource_quota(team)["spec"]["hard"]
    asked = pod_of(training_job(wish(compute={"cpu_cores": 7, "memory_gb": 33})))["containers"][0]["resources"][
        "requests"
    ]
    assert (asked["cpu"], asked["memory"]) == (hard["requests.cpu"], hard["requests.memory"]) == ("7", "33Gi")


def fetching(name: str, image: str, command: list[str], env: dict[str, str]) -> dict[str, Any]:
    small = {"cpu": "1", "memory": "1Gi"}
    return {
        "name": name,
        "image": image,
        "command": command,
        "workingDir": "/workspace",
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "resources": {"requests": small, "limits": small},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": MOUNT,
    }


def test_a_job_with_a_source_fetches_it_with_its_own_token() -> None:
    expected = copy.deepcopy(CPU)
    env = {
        "ML_PLATFORM_URL": "http://portal:8000",
        "ML_PLATFORM_JOB_ID": str(JOB),
        "ML_PLATFORM_JOB_TOKEN": "mlpjob.token",
        "SOURCE_SHA256": "abc",
        "SOURCE_KIND": "zip",
        "SOURCE_NAME": "$$(code).zip",
        "WORKSPACE": "/workspace",
    }
    program = manifests.FETCH_PROGRAM.replace("$", "$$")
    pod_of(expected)["initContainers"] = [fetching("fetch-source", "python:3.11-slim", ["python3", "-c", program], env)]
    assert training_job(wish(source=Source("abc", "zip", "$(code).zip"))) == expected


def test_a_job_with_a_repository_clones_it_without_any_token() -> None:
    expected = copy.deepcopy(CPU)
    env = {"CODE_REPO": "https://h/x.git", "CODE_COMMIT": "v1", "WORKSPACE": "/workspace"}
    program = manifests.CLONE_PROGRAM.replace("$", "$$")
    init = fetching("clone-repository", "alpine/git:latest", ["/bin/sh", "-c", program], env)
    pod_of(expected)["initContainers"] = [init]
    assert training_job(wish(code_repo="https://h/x.git", code_commit="v1")) == expected


def test_a_restricted_tenant_s_pod_runs_as_nobody_special() -> None:
    expected = copy.deepcopy(CPU)
    pod_of(expected)["securityContext"] |= {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "fsGroup": 1000,
    }
    assert training_job(wish(restricted=True)) == expected


EVERY_KIND = [
    wish(),
    wish(compute="gpu-8x-a100"),
    wish(compute={"type": "tpu"}),
    wish(source=Source("abc", "py", "train.py")),
    wish(code_repo="git@h:x"),
    wish(restricted=True, source=Source("abc", "tar.gz", "a.tgz"), compute="gpu-1x-t4"),
    wish(hyperparameters={"a": 1}, env_vars={"B": "2"}, data_path="s3://b/x"),
]


@pytest.mark.parametrize("wanted", EVERY_KIND)
def test_kubernetes_knows_every_field_of_it(wanted: JobWish) -> None:
    assert problems(training_job(wanted)) == []


@pytest.mark.parametrize("wanted", EVERY_KIND)
def test_it_passes_pod_security_restricted_where_asked_and_baseline_always(wanted: JobWish) -> None:
    pod = pod_of(training_job(wanted))
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys() and all(
        set(v) <= {"name", "emptyDir"} for v in pod["volumes"]
    )
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        assert container["securityContext"] == CONTAINER_SECURITY
        assert container["resources"]["requests"] == container["resources"]["limits"]


def test_the_code_s_fetching_never_asks_for_more_than_the_job() -> None:
    pod = pod_of(training_job(wish(source=Source("a", "py", "a.py"), compute={"cpu_cores": 1, "memory_gb": 1})))
    assert pod["initContainers"][0]["resources"] == pod["containers"][0]["resources"]


def test_its_own_pods_are_known_again() -> None:
    template = training_job(wish())["spec"]["template"]
    meta = template["metadata"] | {
        "uid": "u",
        "name": "p",
        "namespace": "ml-ours",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    view = pod_view({"metadata": meta, "spec": template["spec"]})
    assert view is not None and view.job_id == str(JOB) and view.step == "training"


# ---- what the process finds


def env_of(wanted: JobWish) -> dict[str, str]:
    return process_of(pod_of(training_job(wanted))["containers"][0])[1]


def test_the_process_finds_what_the_contract_names() -> None:
    env = env_of(
        wish(data_path="s3://b/x", hyperparameters={"lr": 0.1, "name": "é $(X)"}, env_vars={"MINE": "$(date) $$HOME"})
    )
    assert env == {
        "MINE": "$(date) $$HOME",
        "HYPERPARAM_LR": "0.1",
        "HYPERPARAM_NAME": "é $(X)",
        "HYPERPARAMETERS": '{"lr": 0.1, "name": "é $(X)"}',
        "DATA_PATH": "s3://b/x",
        "MODEL_OUTPUT_PATH": f"s3://bucket/ours/{JOB}/",
        "WORKSPACE": "/workspace",
        "PYTHONUNBUFFERED": "1",
        "ML_PLATFORM_URL": "http://portal:8000",
        "ML_PLATFORM_JOB_ID": str(JOB),
        "ML_PLATFORM_JOB_TOKEN": "mlpjob.token",
    }


def test_whoever_wants_a_buffer_gets_one() -> None:
    assert env_of(wish(env_vars={"PYTHONUNBUFFERED": ""}))["PYTHONUNBUFFERED"] == ""


DOLLARS = st.text(st.sampled_from("$()AB_x '\"\\{}\n"), max_size=30) | st.text(
    st.characters(exclude_characters="\x00"), max_size=20
)


@given(DOLLARS, st.dictionaries(st.sampled_from(["A", "B", "AB", ""]), DOLLARS, max_size=3))
def test_escaped_text_survives_kubernetes(text: str, known: dict[str, str]) -> None:
    text = text.encode("utf-8", "ignore").decode()
    assert expand(escape(text), known) == text


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("$(B)", "$(B)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A $ $", "$A $ $"),
        ("$(A", "$(A"),
        ("a$$b", "a$b"),
    ],
)
def test_the_reference_expands_as_documented(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1"}) == expanded


@given(
    st.dictionaries(st.sampled_from(["A", "B", "_C1"]), DOLLARS, max_size=3),
    st.dictionaries(st.text(max_size=5), ANY_JSON | DOLLARS, max_size=3),
    DOLLARS.filter(str.strip),
)
def test_what_the_user_wrote_reaches_the_process_to_the_letter(
    env_vars: dict[str, str], hyperparameters: dict[str, Any], entrypoint: str
) -> None:
    payload = {"name": "a", "env_vars": env_vars, "hyperparameters": hyperparameters, "entrypoint": entrypoint}
    cleaned, errors = clean(payload, RULES)
    if errors:
        return
    command, env = process_of(pod_of(training_job(replace(wish(), spec=cleaned)))["containers"][0])
    assert command == ["/bin/sh", "-c", entrypoint]
    assert all(env[name] == value for name, value in env_vars.items())
    assert json.loads(env["HYPERPARAMETERS"]) == hyperparameters
    for key, value in hyperparameters.items():
        shown = env[hyperparameter_env(key)]
        assert shown == value if isinstance(value, str) else json.loads(shown) == value
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) for name in env)


# ---- names

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@given(st.from_regex(LABEL, fullmatch=True).filter(lambda name: len(name) <= 50), st.uuids(), st.integers(1, 99))
def test_every_allowed_name_makes_a_valid_object_s_name(name: str, job_id: UUID, attempt: int) -> None:
    made = names.training_job(name, job_id, attempt)
    assert LABEL.fullmatch(made) and len(made) <= 63
    assert made.startswith(f"{name}-{job_id.hex[:8]}")
    assert made.endswith(f"-{attempt}") or attempt == 1


def test_the_longest_name_fits() -> None:
    assert len(names.training_job("a" * 50, JOB, 999)) == 63


# ---- what people see


@pytest.mark.parametrize("wanted", EVERY_KIND)
def test_nobody_sees_the_token(wanted: JobWish) -> None:
    secret = "mlpjob.verysecret"
    manifest = training_job(replace(wanted, token=secret))
    shown = redacted(manifest)
    assert secret in json.dumps(manifest) and secret not in json.dumps(shown)
    assert json.dumps(shown).count("(hidden)") == json.dumps(manifest).count(secret)
    assert shown["metadata"] == manifest["metadata"]
