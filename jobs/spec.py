"""PURE: the rules of a training job's spec, written once for the API, the form and the clients.

``clean`` takes what a user sent and gives the whole spec with its defaults, or every error at once by dotted path. Limits
and defaults are those of the contract, section 1.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from platform_portal.safejson import problem, text_problem

Errors = dict[str, list[str]]

MAX_NAME, MAX_IMAGE, MAX_ENTRYPOINT, MAX_URL = 50, 500, 8192, 2000
MAX_HYPERPARAMETERS = 64 * 1024
MAX_ENV_VARS, MAX_ENV_NAME, MAX_ENV_VALUE, MAX_ENV_TOTAL = 200, 253, 32 * 1024, 128 * 1024
CPU_CORES, MEMORY_GB, GPU_COUNT = (1, 96), (1, 768), (1, 8)
DEFAULT_ENTRYPOINT = "python train.py"
DEFAULT_CPU_CORES, DEFAULT_MEMORY_GB = 4, 16
PRIORITY = (-10, 10)

FIELDS = (
    "name", "tenant_id", "docker_image", "entrypoint", "source", "code_repo", "code_commit",
    "data_path", "compute", "hyperparameters", "env_vars", "model_output_path", "queue", "priority",
)  # fmt: skip
COMPUTE_FIELDS = ("type", "cpu_cores", "memory_gb", "gpu_count", "gpu_type")
COMPUTE_TYPES = ("cpu", "gpu", "tpu")
PLATFORM_ENV = frozenset(
    [
        "DATA_PATH",
        "MODEL_OUTPUT_PATH",
        "HYPERPARAMETERS",
        "WORKSPACE",
        "MASTER_ADDR",
        "MASTER_PORT",
        "WORLD_SIZE",
        "RANK",
    ]
)
PLATFORM_ENV_PREFIXES = ("ML_PLATFORM_", "HYPERPARAM_", "PET_")

LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
GPU_TYPE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
COMMIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,254}")
SCP_LIKE = re.compile(r"[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:[^\s:][^\s]*")
# The reference grammar of the OCI distribution specification: [host[:port]/]path[:tag][@digest].
_HOST = r"(?:(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?::[0-9]{1,5})?/)?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
IMAGE = re.compile(
    rf"{_HOST}{_PART}(?:/{_PART})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:@[A-Za-z][A-Za-z0-9+._-]*:[0-9a-fA-F]{{32,}})?"
)


@dataclass(frozen=True)
class Rules:
    """What the rules depend on beside the request."""

    tenant: str
    default_image: str
    local_files: bool = False
    # Name to the ``compute`` object it stands for: the types that the team may use. Looked at when ``compute`` is a name.
    instance_types: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    @property
    def schemes(self) -> tuple[str, ...]:
        return ("s3", "gs", "az", "https") + (("file",) if self.local_files else ())


def clean(payload: Mapping[str, Any], rules: Rules) -> tuple[dict[str, Any], Errors]:
    """The complete spec and the errors; the spec is meaningful only without errors.

    ``tenant_id`` of another tenant is no error here: who may act for whom is decided by the caller.
    """
    errors = _Errors()
    for unknown in [key for key in payload if key not in FIELDS]:
        errors.add(_shown(unknown), f"is not a field of a training job; the fields are {', '.join(FIELDS)}")
    given = {key: value for key, value in payload.items() if value is not None}
    spec: dict[str, Any] = {
        "name": _name(given, errors),
        "tenant_id": _text(given, "tenant_id", errors, 253) or rules.tenant,
        "docker_image": _image(given, errors) or rules.default_image,
        "entrypoint": _text(given, "entrypoint", errors, MAX_ENTRYPOINT, filled=True) or DEFAULT_ENTRYPOINT,
        "source": _source(given, errors),
        "code_repo": _repo(given, errors),
        "code_commit": _commit(given, errors),
        "data_path": _url(given, "data_path", rules, errors),
        "compute": _compute(given, rules, errors),
        "hyperparameters": _hyperparameters(given, errors),
        "env_vars": _env_vars(given, errors),
        "model_output_path": _url(given, "model_output_path", rules, errors),
        "queue": _flag(given, "queue", errors),
        "priority": _priority(given, errors),
    }
    if spec["source"] and spec["code_repo"]:
        errors.add("source", "give either source or code_repo, not both")
    if spec["code_commit"] and not spec["code_repo"]:
        errors.add("code_commit", "needs code_repo, the repository that it is a commit of")
    return spec, errors.found


def hyperparameter_env(key: str) -> str:
    """``HYPERPARAM_<KEY>``: upper-cased, every character but A–Z, 0–9 and _ turned into _."""
    return "HYPERPARAM_" + re.sub(r"[^A-Z0-9_]", "_", key.upper())


def hyperparameter_text(value: Any) -> str:
    """A value as an environment variable: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class _Errors:
    def __init__(self) -> None:
        self.found: Errors = {}

    def add(self, path: str, sentence: str) -> None:
        self.found.setdefault(path, []).append(sentence)


def _name(given: Mapping[str, Any], errors: _Errors) -> str:
    name = _text(given, "name", errors, MAX_NAME)
    if "name" not in given or name == "":
        if "name" not in errors.found:
            errors.add("name", "is required")
    elif name is not None and not LABEL.fullmatch(name):
        errors.add(
            "name", "must consist of lower-case letters, digits and '-', and begin and end with a letter or digit"
        )
    return name or ""


def _text(
    given: Mapping[str, Any], field: str, errors: _Errors, longest: int, *, path: str = "", filled: bool = False
) -> str | None:
    """The field as text, ``None`` when it is absent or wrong; ``filled`` refuses what is empty or blank."""
    if field not in given:
        return None
    value, path = given[field], path or field
    if not isinstance(value, str):
        errors.add(path, "must be text")
        return None
    found = text_problem(value)
    if found is None and len(value) > longest:
        found = f"must be at most {longest} characters long; it has {len(value)}"
    if found is None and filled and not value.strip():
        found = "must not be empty; leave it out for the default"
    if found:
        errors.add(path, found)
        return None
    return value


def _image(given: Mapping[str, Any], errors: _Errors) -> str | None:
    image = _text(given, "docker_image", errors, MAX_IMAGE, filled=True)
    if image is not None and not IMAGE.fullmatch(image):
        errors.add(
            "docker_image",
            "must be an image reference such as pytorch/pytorch:latest or registry.example.com/team/image:1.2",
        )
    return image


def _source(given: Mapping[str, Any], errors: _Errors) -> str | None:
    source = _text(given, "source", errors, 100)
    if source is None:
        return None
    try:
        return str(UUID(source))
    except ValueError:
        errors.add("source", "must be the id that POST /v1/sources answered")
        return None


def _repo(given: Mapping[str, Any], errors: _Errors) -> str | None:
    repo = _text(given, "code_repo", errors, MAX_URL, filled=True)
    if repo is None:
        return None
    if SCP_LIKE.fullmatch(repo):
        return repo
    parts = _split(repo)
    if parts is None or parts.scheme not in ("https", "http", "ssh", "git") or not parts.netloc or _has_space(repo):
        errors.add("code_repo", "must be a git URL such as https://git.example.com/team/project.git")
        return None
    if parts.password:
        errors.add("code_repo", "must not hold a password; everybody who sees the job would see it")
        return None
    return repo


def _commit(given: Mapping[str, Any], errors: _Errors) -> str | None:
    commit = _text(given, "code_commit", errors, 255, filled=True)
    if commit is not None and (not COMMIT.fullmatch(commit) or ".." in commit):
        errors.add("code_commit", "must be a commit hash, a tag or a branch")
    return commit


def _url(given: Mapping[str, Any], field: str, rules: Rules, errors: _Errors) -> str | None:
    url = _text(given, field, errors, MAX_URL, filled=True)
    if url is None:
        return None
    parts = _split(url)
    schemes = ", ".join(f"{scheme}://" for scheme in rules.schemes)
    if parts is None or parts.scheme not in rules.schemes:
        hint = "; file:// works on the local cluster only" if parts is not None and parts.scheme == "file" else ""
        errors.add(field, f"must begin with one of {schemes}{hint}")
    elif not (parts.netloc or (parts.scheme == "file" and parts.path.startswith("/"))):
        errors.add(field, f"must name a bucket or host after {parts.scheme}://")
    elif _has_space(url):
        errors.add(field, "must not hold white space or control characters")
    elif parts.password:
        errors.add(field, "must not hold a password; everybody who sees the job would see it")
    return url


def _split(url: str) -> Any:
    try:
        return urlsplit(url)
    except ValueError:
        return None


def _has_space(text: str) -> bool:
    return any(char.isspace() or ord(char) < 0x20 or ord(char) == 0x7F for char in text)


def _flag(given: Mapping[str, Any], field: str, errors: _Errors) -> bool:
    value = given.get(field, False)
    if isinstance(value, bool):
        return value
    errors.add(field, "must be true or false")
    return False


def _priority(given: Mapping[str, Any], errors: _Errors) -> int:
    number = given.get("priority", 0)
    if isinstance(number, bool) or not isinstance(number, int) or not PRIORITY[0] <= number <= PRIORITY[1]:
        errors.add("priority", f"must be a whole number from {PRIORITY[0]} to {PRIORITY[1]}")
        return 0
    return number


def _compute(given: Mapping[str, Any], rules: Rules, errors: _Errors) -> dict[str, Any]:
    value = given.get("compute", {})
    if isinstance(value, str):
        known = rules.instance_types.get(value)
        if known is None:
            offered = ", ".join(rules.instance_types) or "none; send the object with its sizes"
            errors.add("compute", f"names no instance type that this team may use; there are {offered}")
            return {}
        return {key: item for key, item in known.items() if item is not None}
    if not isinstance(value, dict):
        errors.add("compute", "must be an object or the name of an instance type")
        return {}
    for unknown in [key for key in value if key not in COMPUTE_FIELDS]:
        errors.add(
            f"compute.{_shown(unknown)}", f"is not a field of compute; the fields are {', '.join(COMPUTE_FIELDS)}"
        )
    value = {key: item for key, item in value.items() if item is not None}
    kind = value.get("type", "cpu")
    if kind not in COMPUTE_TYPES:
        errors.add("compute.type", "must be cpu, gpu or tpu")
    compute = {
        "type": kind,
        "cpu_cores": _whole(value, "cpu_cores", CPU_CORES, DEFAULT_CPU_CORES, errors),
        "memory_gb": _whole(value, "memory_gb", MEMORY_GB, DEFAULT_MEMORY_GB, errors),
    }
    if kind == "gpu":
        compute["gpu_count"] = _whole(value, "gpu_count", GPU_COUNT, 1, errors)
        gpu_type = _text(value, "gpu_type", errors, 63, path="compute.gpu_type")
        if gpu_type is not None and not GPU_TYPE.fullmatch(gpu_type):
            errors.add("compute.gpu_type", "must be a name such as nvidia-tesla-v100")
        if gpu_type:
            compute["gpu_type"] = gpu_type
        return compute
    for field in ("gpu_count", "gpu_type"):
        # An explicit zero says the same as nothing.
        if field in value and value[field] not in (0, "") and kind in COMPUTE_TYPES:
            errors.add(f"compute.{field}", 'is only for compute.type "gpu"')
    return compute


def _whole(value: Mapping[str, Any], field: str, bounds: tuple[int, int], default: int, errors: _Errors) -> int:
    number = value.get(field, default)
    if isinstance(number, bool) or not isinstance(number, int) or not bounds[0] <= number <= bounds[1]:
        errors.add(f"compute.{field}", f"must be a whole number from {bounds[0]} to {bounds[1]}")
        return default
    return number


def _hyperparameters(given: Mapping[str, Any], errors: _Errors) -> dict[str, Any]:
    value = _mapping(given, "hyperparameters", errors)
    by_env: dict[str, str] = {}
    for key, item in value.items():
        path = f"hyperparameters.{_shown(key)}"
        found = text_problem(key) or problem(item) or (None if key else "must have a name")
        if found is None and len(key) > MAX_ENV_NAME:
            found = f"must have a name of at most {MAX_ENV_NAME} characters"
        other = by_env.setdefault(hyperparameter_env(key), key)
        if found is None and other != key:
            found = f"becomes {hyperparameter_env(key)}, as {_shown(other)} does; rename one of them"
        if found:
            errors.add(path, found)
    if not any(path.startswith("hyperparameters") for path in errors.found) and value:
        size = len(json.dumps(value, ensure_ascii=False).encode())
        if size > MAX_HYPERPARAMETERS:
            errors.add("hyperparameters", f"must be at most {MAX_HYPERPARAMETERS} bytes of JSON in all; it has {size}")
    return value


def _env_vars(given: Mapping[str, Any], errors: _Errors) -> dict[str, str]:
    value = _mapping(given, "env_vars", errors)
    for name, item in value.items():
        found = _env_problem(name, item)
        if found:
            errors.add(f"env_vars.{_shown(name)}", found)
    if len(value) > MAX_ENV_VARS:
        errors.add("env_vars", f"must be at most {MAX_ENV_VARS} variables")
    if sum(len(name) + len(item) for name, item in value.items() if isinstance(item, str)) > MAX_ENV_TOTAL:
        errors.add("env_vars", f"must be at most {MAX_ENV_TOTAL} characters in all")
    return value


def _env_problem(name: str, value: Any) -> str | None:
    checks: tuple[tuple[Callable[[], bool], str], ...] = (
        (lambda: not ENV_NAME.fullmatch(name), "must be named with letters, digits and _, and not begin with a digit"),
        (lambda: len(name) > MAX_ENV_NAME, f"must have a name of at most {MAX_ENV_NAME} characters"),
        (
            lambda: name in PLATFORM_ENV or name.startswith(PLATFORM_ENV_PREFIXES),
            "is set by the platform; use another name",
        ),
        (lambda: not isinstance(value, str), "must be text; put numbers in quotes"),
        # Bytes, because Linux starts no program with a longer variable than 128 KiB.
        (
            lambda: len(value.encode("utf-8", "surrogatepass")) > MAX_ENV_VALUE,
            f"must be at most {MAX_ENV_VALUE} bytes long",
        ),
    )
    for failed, sentence in checks:
        if failed():
            return sentence
    return text_problem(value)


def _mapping(given: Mapping[str, Any], field: str, errors: _Errors) -> dict[str, Any]:
    value = given.get(field, {})
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return value
    errors.add(field, "must be an object")
    return {}


def _shown(key: str) -> str:
    """A key as an error may repeat it: printable and short."""
    return "".join(char if char.isprintable() else "�" for char in str(key)[:80])
