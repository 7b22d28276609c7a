"""The contract's section 1, rule by rule, each with the path that its error carries."""

import json
import time
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobs import spec
from jobs.spec import Rules, clean, hyperparameter_env, hyperparameter_text
from tests.jobs.machines import MACHINES
from tests.platform.test_safejson import ANY_JSON, ANY_TEXT

RULES = Rules(tenant="ours", default_image="python:3.11-slim", local_files=True, instance_types=MACHINES)
REMOTE = replace(RULES, local_files=False)
SOURCE = "3f2c8a8e-0d7c-4f2b-9f0e-6d8a4d3b2c11"
EMOJI = "\U0001f600"


def errors_of(payload: dict[str, Any], rules: Rules = RULES) -> dict[str, list[str]]:
    return clean({"name": "a"} | payload, rules)[1]


def test_the_defaults_are_those_of_the_contract() -> None:
    assert clean({"name": "my-model"}, RULES) == (
        {
            "name": "my-model",
            "tenant_id": "ours",
            "docker_image": "python:3.11-slim",
            "entrypoint": "python train.py",
            "source": None,
            "code_repo": None,
            "code_commit": None,
            "data_path": None,
            "compute": {"type": "cpu", "cpu_cores": 4, "memory_gb": 16},
            "hyperparameters": {},
            "env_vars": {},
            "model_output_path": None,
            "queue": False,
            "priority": 0,
        },
        {},
    )


def test_null_is_the_same_as_nothing() -> None:
    everything = {field: None for field in spec.FIELDS if field != "name"}
    assert clean({"name": "a"} | everything, RULES) == clean({"name": "a"}, RULES)
    nulls = dict.fromkeys(spec.COMPUTE_FIELDS)
    assert clean({"name": "a", "compute": nulls}, RULES) == clean({"name": "a"}, RULES)


GOOD: list[tuple[str, Any]] = [
    ("name", "a"), ("name", "0"), ("name", "a-b-1"), ("name", "a" * 50), ("name", "1a--b"),
    ("tenant_id", "ours"), ("tenant_id", "another-one"), ("tenant_id", ""),
    ("entrypoint", "echo $(date) && python -m x"), ("entrypoint", "e" * 8192), ("entrypoint", "ü\n" + EMOJI),
    ("source", SOURCE), ("source", SOURCE.upper()),
    ("code_repo", "https://git.example.com/team/project.git"), ("code_repo", "git@git.example.com:team/project.git"),
    ("code_repo", "ssh://git@git.example.com:22/x"), ("code_repo", "http://localhost:3000/x"), ("code_repo", "git://h/x"),
    ("code_repo", "https://user@h/x"),
    ("data_path", "s3://bucket/key"), ("data_path", "gs://bucket"), ("data_path", "az://container/x"),
    ("data_path", "https://h/x?y=z#f"), ("data_path", "file:///data/x.csv"), ("data_path", "file://host/share"),
    ("data_path", "s3://bucket/" + "k" * 1988), ("data_path", "https://[::1]:8080/x"),
    ("model_output_path", "s3://bucket/out/"), ("model_output_path", "file:///out"),
    ("compute", {}), ("compute", {"type": "tpu"}), ("compute", {"type": "gpu", "gpu_count": 8, "gpu_type": "nvidia-a100"}),
    ("compute", {"type": "cpu", "gpu_count": 0, "gpu_type": ""}), ("compute", {"cpu_cores": 1, "memory_gb": 1}),
    ("compute", {"cpu_cores": 96, "memory_gb": 768}), ("compute", {"type": "gpu", "gpu_type": "g" * 63}),
    *(("compute", name) for name in MACHINES),
    ("hyperparameters", {"lr": 0.1, "layers": [1, 2], "nested": {"a": None}, "ü": True, "a b": "x", "b.c": ""}),
    ("hyperparameters", {"x" * 253: 1}), ("hyperparameters", {"a": "x" * (64 * 1024 - 9)}),
    ("env_vars", {"A": "", "_x1": "ü" + EMOJI, "PATH": "/x", "HOME": "/", "PYTHONUNBUFFERED": "0"}),
    ("env_vars", {"A" * 253: "x"}), ("env_vars", {"A": "x" * 32768}),
    ("env_vars", {f"V{number}": "" for number in range(200)}),
    ("queue", True), ("queue", False), ("priority", -10), ("priority", 0), ("priority", 10),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), GOOD, ids=lambda value: str(value)[:40])
def test_good(field: str, value: Any) -> None:
    assert errors_of({field: value} | ({"code_repo": "https://h/x"} if field == "code_commit" else {})) == {}


@pytest.mark.parametrize("commit", ["main", "v1.2.3", "feature/x", "0" * 40, "a" * 255])
def test_a_good_commit(commit: str) -> None:
    assert errors_of({"code_repo": "https://h/x", "code_commit": commit}) == {}


OBJECT = "must be an object"
BAD_KINDS: tuple[Any, ...] = ("GPU", "", 5, [], {}, True)
NO_NUMBERS: tuple[Any, ...] = (0, -1, 1.5, 2.0, "4", True, [], 10**400)
NO_FLAGS: tuple[Any, ...] = (0, 1, "true", [], {})
NO_PRIORITIES: tuple[Any, ...] = (-11, 11, 1.0, "1", True, [], 10**400)
NO_TEXT: tuple[Any, ...] = (1, None, True, [], {})
BAD: list[tuple[Any, str, str]] = [
    # name: a DNS-1123 label of at most 50 characters
    ({"name": None}, "name", "is required"), ({"name": ""}, "name", "is required"), ({"name": 5}, "name", "must be text"),
    *(({"name": bad}, "name", "lower-case letters") for bad in ("A", "-a", "a-", "a_b", "a.b", " a", "a\n", "ä", "a b", "١")),
    ({"name": "a" * 51}, "name", "at most 50 characters long; it has 51"), ({"name": "a\x00"}, "name", "NUL"),
    ({"name": "\ud800"}, "name", "surrogate"),
    # unknown fields, by name
    ({"nonsense": 1}, "nonsense", "is not a field"), ({"n\x00\ud800": 1}, "n��", "is not a field"), ({"": 1}, "",
    "is not a field"),
    ({"x" * 100: 1}, "x" * 80, "is not a field"), ({"compute": {"cores": 1}}, "compute.cores", "is not a field of compute"),
    # queue and priority
    *(({"queue": bad}, "queue", "must be true or false") for bad in NO_FLAGS),
    *(({"priority": bad}, "priority", "must be a whole number from -10 to 10") for bad in NO_PRIORITIES),
    # text
    ({"tenant_id": 1}, "tenant_id", "must be text"), ({"tenant_id": "x" * 254}, "tenant_id", "at most 253"),
    ({"entrypoint": ""}, "entrypoint", "must not be empty"), ({"entrypoint": " \n"}, "entrypoint", "must not be empty"),
    ({"entrypoint": "e" * 8193}, "entrypoint", "at most 8192"), ({"entrypoint": "a\x00"}, "entrypoint", "NUL"),
    ({"entrypoint": ["python"]}, "entrypoint", "must be text"),
    # source or code_repo
    ({"source": "x"}, "source", "must be the id"), ({"source": ""}, "source", "must be the id"), ({"source": 5}, "source",
    "text"),
    ({"source": SOURCE, "code_repo": "https://h/x"}, "source", "not both"),
    ({"code_commit": "main"}, "code_commit", "needs code_repo"),
    *(
        ({"code_repo": bad}, "code_repo", "must be a git URL")
        for bad in ("x", "/local/path", "file:///x", "ftp://h/x", "https://", "https:///x", "https://h/a b", "https://h/\n",
                    "ext::sh -c id", "-oProxyCommand=x", "https://[", "git@h", "git@h:", "git@h: x")
    ),
    ({"code_repo": ""}, "code_repo", "must not be empty"), ({"code_repo": "https://u:secret@h/x"}, "code_repo", "password"),
    ({"code_repo": "https://h/" + "x" * 1991}, "code_repo", "at most 2000"),
    *(
        ({"code_repo": "https://h/x", "code_commit": bad}, "code_commit", "must be a commit")
        for bad in ("-b", "a b", "a..b", "$(id)", "a;b", "a\n", "~1", "@{u}", "/x")
    ),
    ({"code_repo": "https://h/x", "code_commit": "a" * 256}, "code_commit", "at most 255"),
    # data_path and model_output_path
    *(
        ({field: bad}, field, sentence)
        for field in ("data_path", "model_output_path")
        for bad, sentence in (
            ("ftp://x/y", "must begin with one of s3://, gs://, az://, https://, file://"), ("/x", "must begin with"),
            ("http://h/x", "must begin with"), ("s3://", "must name a bucket"), ("s3:///x", "must name a bucket"),
            ("s3:bucket", "must name a bucket"), ("file://", "must name a bucket"), ("s3://b/a b", "white space"),
            ("s3://b/a\tb", "white space"), ("s3://b/\x7f", "white space"), ("https://u:p@h/x", "password"), ("",
            "must not be empty"),
            ("s3://b/" + "x" * 1994, "at most 2000"), ("s3://b/\x00", "NUL"), (5, "must be text"), ("https://[",
            "must begin with"),
        )
    ),
    # compute
    ({"compute": "gpu-1x-unknown"}, "compute", "names no instance type"), ({"compute": 4}, "compute",
    "must be an object or the name"),
    ({"compute": []}, "compute", "must be an object or the name"), ({"compute": ""}, "compute", "names no instance type"),
    *(({"compute": {"type": bad}}, "compute.type", "must be cpu, gpu or tpu") for bad in BAD_KINDS),
    *(
        ({"compute": {"type": "gpu", field: bad}}, f"compute.{field}", f"must be a whole number from 1 to {most}")
        for field, most in (("cpu_cores", 96), ("memory_gb", 768), ("gpu_count", 8))
        for bad in (*NO_NUMBERS, most + 1)
    ),
    ({"compute": {"gpu_count": 1}}, "compute.gpu_count", 'only for compute.type "gpu"'),
    ({"compute": {"type": "tpu", "gpu_type": "x"}}, "compute.gpu_type", 'only for compute.type "gpu"'),
    *(({"compute": {"type": "gpu", "gpu_type": bad}}, "compute.gpu_type", "must be a name") for bad in ("", "a b", "-a",
    "a/b", "ä")),
    ({"compute": {"type": "gpu", "gpu_type": "g" * 64}}, "compute.gpu_type", "at most 63"),
    # hyperparameters: string keys, JSON values, 64 KiB in all
    ({"hyperparameters": []}, "hyperparameters", OBJECT), ({"hyperparameters": "x"}, "hyperparameters", OBJECT),
    ({"hyperparameters": {"": 1}}, "hyperparameters.", "must have a name"),
    ({"hyperparameters": {"x" * 254: 1}}, f"hyperparameters.{'x' * 80}", "at most 253"),
    ({"hyperparameters": {"a": "\x00"}}, "hyperparameters.a", "NUL"),
    ({"hyperparameters": {"a\x00": 1}}, "hyperparameters.a�", "NUL"),
    ({"hyperparameters": {"a": {"b": "\ud800"}}}, "hyperparameters.a", "surrogate"),
    ({"hyperparameters": {"a": float("inf")}}, "hyperparameters.a", "infinite"),
    ({"hyperparameters": {"a": "x" * (64 * 1024 - 8)}}, "hyperparameters",
    "at most 65536 bytes of JSON in all; it has 65537"),
    ({"hyperparameters": {"a": EMOJI * 16384}}, "hyperparameters", "at most 65536 bytes"),
    ({"hyperparameters": {"lr": 1, "LR": 2}}, "hyperparameters.LR", "becomes HYPERPARAM_LR, as lr does"),
    ({"hyperparameters": {"a.b": 1, "a b": 2}}, "hyperparameters.a b", "becomes HYPERPARAM_A_B, as a.b does"),
    # env_vars: POSIX names, none of the platform's
    ({"env_vars": []}, "env_vars", OBJECT), ({"env_vars": {"": "x"}}, "env_vars.", "must be named with letters"),
    *(({"env_vars": {bad: "x"}}, f"env_vars.{bad}", "must be named") for bad in ("1A", "A-B", "A B", "Ä", "A=B", "A.B")),
    ({"env_vars": {"A\n": "x"}}, "env_vars.A�", "must be named"), ({"env_vars": {"A" * 254: "x"}}, f"env_vars.{'A' * 80}",
    "at most 253"),
    *(
        ({"env_vars": {name: "x"}}, f"env_vars.{name}", "is set by the platform")
        for name in ("DATA_PATH", "MODEL_OUTPUT_PATH", "HYPERPARAMETERS", "WORKSPACE", "HYPERPARAM_LR", "ML_PLATFORM_URL",
                     "ML_PLATFORM_JOB_ID", "ML_PLATFORM_JOB_TOKEN", "ML_PLATFORM_NEW", "MASTER_ADDR", "MASTER_PORT",
                     "WORLD_SIZE",
                     "RANK", "PET_NNODES")
    ),
    *(({"env_vars": {"A": bad}}, "env_vars.A", "must be text; put numbers in quotes") for bad in NO_TEXT),
    ({"env_vars": {"A": "x" * 32769}}, "env_vars.A", "at most 32768 bytes"),
    ({"env_vars": {"A": EMOJI * 8193}}, "env_vars.A", "bytes"),
    ({"env_vars": {"A": "\x00"}}, "env_vars.A", "NUL"), ({"env_vars": {"A": "\ud800"}}, "env_vars.A", "surrogate"),
    ({"env_vars": {f"V{number}": "" for number in range(201)}}, "env_vars", "at most 200 variables"),
    ({"env_vars": {f"V{number}": "x" * 30000 for number in range(5)}}, "env_vars", "in all"),
]  # fmt: skip


@pytest.mark.parametrize(("payload", "path", "sentence"), BAD, ids=lambda value: ascii(value)[:60])
def test_bad(payload: dict[str, Any], path: str, sentence: str) -> None:
    found = errors_of(payload)
    assert list(found) == [path], found
    assert any(sentence in line for line in found[path]), found


def test_all_errors_come_at_once() -> None:
    found = errors_of(
        {
            "name": "A",
            "x": 1,
            "compute": {"type": "gpu", "gpu_count": 9, "cpu_cores": 0},
            "env_vars": {"RANK": "1", "1": "x"},
        }
    )
    assert set(found) == {"name", "x", "compute.gpu_count", "compute.cpu_cores", "env_vars.RANK", "env_vars.1"}


def test_file_paths_work_on_the_local_cluster_only() -> None:
    for field in ("data_path", "model_output_path"):
        assert errors_of({field: "file:///x"}, RULES) == {}
        (sentence,) = errors_of({field: "file:///x"}, REMOTE)[field]
        assert sentence.endswith("; file:// works on the local cluster only") and "s3://" in sentence
        assert "local" not in errors_of({field: "ftp://x"}, REMOTE)[field][0]


@pytest.mark.parametrize("name", MACHINES)
def test_an_instance_type_stands_for_its_object(name: str) -> None:
    said = {key: value for key, value in MACHINES[name].items() if value is not None}
    for compute in (name, MACHINES[name]):
        found, errors = clean({"name": "a", "compute": compute}, RULES)
        assert errors == {} and found["compute"] == said


def test_a_type_that_is_not_offered_is_refused_with_those_that_are() -> None:
    (sentence,) = errors_of({"compute": "gpu-9x"})["compute"]
    assert all(name in sentence for name in MACHINES)
    (sentence,) = errors_of({"compute": "cpu-4x"}, replace(RULES, instance_types={}))["compute"]
    assert sentence == "names no instance type that this team may use; there are none; send the object with its sizes"


def test_gpus_are_one_unless_said_otherwise() -> None:
    assert clean({"name": "a", "compute": {"type": "gpu"}}, RULES)[0]["compute"]["gpu_count"] == 1


def test_a_source_has_one_spelling() -> None:
    assert clean({"name": "a", "source": SOURCE.upper().replace("-", "")}, RULES)[0]["source"] == SOURCE


IMAGES_GOOD = [
    "python", "python:3.11-slim", "pytorch/pytorch:latest", "registry.example.com/team/image:1.2", "localhost:5000/a",
    "registry:5000/a/b/c:T_a.g-1", "a.b/c@sha256:" + "0" * 64, "a:tag@sha256:" + "a" * 64, "a__b/c-d--e.f", "x" * 255,
    "REGISTRY.example.com/a", "127.0.0.1:5000/x", "a:" + "t" * 128, "xn--bcher-kva.example/a",
]  # fmt: skip
IMAGES_BAD = [
    "", " ", "A", "a b", "a:", ":a", "a@", "a@sha256:12", "a/", "/a", "a//b", "a:b:c", "a___b", "a..b", "-a", "a-", "a_",
    "a:-x",
    "http://a/b", "a\n", "ä", "a:" + "t" * 129, "a/B", "registry.example.com:port/a", "$(id)", "a;b", "x" * 501, "a:tag/b",
]  # fmt: skip


@pytest.mark.parametrize("image", IMAGES_GOOD)
def test_an_image_reference(image: str) -> None:
    assert errors_of({"docker_image": image}) == {}


@pytest.mark.parametrize("image", IMAGES_BAD)
def test_no_image_reference(image: str) -> None:
    assert list(errors_of({"docker_image": image})) == ["docker_image"]


@pytest.mark.parametrize(
    "image", ["a" * 499 + "!", "a." * 249 + "!", "a-" * 249 + "!", "a/" * 249 + "!", "a" + "-" * 498 + "!", "a_" * 249]
)
def test_no_reference_takes_long_to_judge(image: str) -> None:
    began = time.process_time()
    assert errors_of({"docker_image": image})
    assert time.process_time() - began < 0.2


@pytest.mark.parametrize(
    ("key", "name"),
    [("lr", "HYPERPARAM_LR"), ("learning-rate", "HYPERPARAM_LEARNING_RATE"), ("a.b c", "HYPERPARAM_A_B_C"), ("1",
    "HYPERPARAM_1"),
     ("ß", "HYPERPARAM_SS"), ("é", "HYPERPARAM__"), (EMOJI, "HYPERPARAM__"), ("A_1", "HYPERPARAM_A_1"), ("a\nb",
     "HYPERPARAM_A_B")],
)  # fmt: skip
def test_a_hyperparameter_s_variable(key: str, name: str) -> None:
    assert hyperparameter_env(key) == name


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x y", "x y"),
        ("", ""),
        (1, "1"),
        (0.1, "0.1"),
        (True, "true"),
        (None, "null"),
        ([1, "ü"], '[1, "ü"]'),
        ({"a": 1}, '{"a": 1}'),
    ],
)
def test_a_hyperparameter_s_text(value: Any, text: str) -> None:
    assert hyperparameter_text(value) == text


SOME = st.sampled_from
FIELD_VALUES = {
    "name": SOME(["a", "my-model", "A", "", "x" * 51]) | ANY_TEXT,
    "tenant_id": SOME(["ours", "theirs"]) | ANY_TEXT,
    "docker_image": SOME([*IMAGES_GOOD, *IMAGES_BAD]),
    "entrypoint": ANY_TEXT,
    "source": SOME([SOURCE, "x"]),
    "code_repo": SOME(["https://h/x", "git@h:x", "x"]) | ANY_TEXT,
    "code_commit": SOME(["main", "-x"]) | ANY_TEXT,
    "data_path": SOME(["s3://b/k", "file:///x"]) | ANY_TEXT.map(lambda text: f"s3://{text}"),
    "compute": SOME([*MACHINES, "x"])
    | st.fixed_dictionaries(
        {},
        optional={
            "type": SOME(["cpu", "gpu", "tpu", "x"]),
            "cpu_cores": st.integers(0, 97) | ANY_JSON,
            "memory_gb": st.integers(0, 769),
            "gpu_count": st.integers(0, 9),
            "gpu_type": SOME(["nvidia-a100", ""]) | ANY_TEXT,
        },
    ),
    "hyperparameters": st.dictionaries(ANY_TEXT, ANY_JSON, max_size=4),
    "env_vars": st.dictionaries(SOME(["A", "B", "1", "RANK"]) | ANY_TEXT, ANY_TEXT, max_size=4),
    "model_output_path": SOME(["s3://b/k", "x"]),
    "queue": SOME([True, False, 1, "yes"]),
    "priority": st.integers(-11, 11) | ANY_JSON,
}
LIKELY = st.fixed_dictionaries({}, optional=FIELD_VALUES).map(lambda payload: {"name": "a"} | payload)
ANYTHING = st.dictionaries(SOME(spec.FIELDS) | ANY_TEXT, ANY_JSON, max_size=6)


@settings(max_examples=300)
@given(LIKELY | ANYTHING)
@example({"compute": {"type": {}}, "hyperparameters": {"\ud800": "\ud800"}, "env_vars": {"\ud800": "\ud800"}})
def test_no_json_makes_it_raise_and_every_error_can_be_shown(payload: dict[str, Any]) -> None:
    found = clean(payload, RULES)[1]
    json.dumps(found, ensure_ascii=False).encode()
    assert all(sentences and all(sentences) for sentences in found.values())


@settings(max_examples=300)
@given(LIKELY, st.booleans())
def test_a_clean_spec_is_clean_again_and_the_same(payload: dict[str, Any], local: bool) -> None:
    rules = RULES if local else REMOTE
    once, errors = clean(payload, rules)
    if not errors:
        assert clean(once, rules) == (once, {})


def test_what_passes_can_be_stored(db: None) -> None:
    @given(LIKELY)
    def stores(payload: dict[str, Any]) -> None:
        cleaned, errors = clean(payload, RULES)
        if errors:
            return
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s::jsonb, %s::text", [json.dumps(cleaned), cleaned["entrypoint"]])
            assert set(json.loads(cursor.fetchone()[0])) == set(spec.FIELDS)

    stores()


@given(st.dictionaries(ANY_TEXT, st.just(1), max_size=6))
def test_no_two_hyperparameters_ever_share_a_variable(values: dict[str, int]) -> None:
    cleaned, errors = clean({"name": "a", "hyperparameters": values}, RULES)
    if not errors:
        assert len({hyperparameter_env(key) for key in cleaned["hyperparameters"]}) == len(values)
