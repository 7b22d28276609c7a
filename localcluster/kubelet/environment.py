"""What a container's process sees: environment, command line, working directory, with mount paths made real.

There is no chroot, so a mountPath does not exist literally. Every whole-path occurrence of one in env values, command, args
and workingDir is replaced by the volume's folder.
"""

from __future__ import annotations

import base64
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from localcluster import quantity
from localcluster.objects import Obj, annotations_of, labels_of, name_of, namespace_of, uid_of
from localcluster.registry import Registry
from localcluster.resources import CONFIG_MAPS, NODES, SECRETS, Resource

_REFERENCE = re.compile(r"\$(\$|\(([-._A-Za-z0-9]+)\))")
_SUBSCRIPT = re.compile(r"^metadata\.(labels|annotations)\['(.+)'\]$")


class ConfigError(Exception):
    """The container cannot be created yet: something it refers to is missing. `reason` is its waiting reason."""

    def __init__(self, message: str, reason: str = "CreateContainerConfigError") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Command:
    argv: list[str]
    env: dict[str, str]
    cwd: str
    memory_limit: int


def build_command(
    registry: Registry, pod: Obj, container: Obj, root: Path, paths: dict[str, str], ports: dict[int, int]
) -> Command:
    """All a run needs. `paths` maps mountPath to the real folder; `ports` a declared port to the host's port."""
    if not container.get("command") and not container.get("args"):
        raise ConfigError("no command: localcluster does not pull images", "CreateContainerError")
    rewrite = path_rewriter(paths)
    variables = _variables(registry, pod, container)
    argv = [
        rewrite(expand(text, variables)) for text in [*(container.get("command") or ()), *(container.get("args") or ())]
    ]
    variables = {name: rewrite(value) for name, value in variables.items()}
    for declared in _declared_ports(container):
        if variables.get("PORT") == str(declared) and declared in ports:
            variables["PORT"] = str(ports[declared])
    base = {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(root),
        "LANG": "C.UTF-8",
        "HOSTNAME": str(pod["spec"].get("hostname") or name_of(pod)),
    }
    limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
    cwd = working_directory(container.get("workingDir") or "", root, paths)
    return Command(argv, {**base, **variables}, str(cwd), int(quantity.parse(limit)) if limit else 0)


def expand(text: str, variables: dict[str, str]) -> str:
    """Kubernetes' $(NAME) references: $$ escapes one, an unknown name stays as it is."""

    def replace(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return variables.get(match[2], match[0])

    return _REFERENCE.sub(replace, text)


def path_rewriter(paths: dict[str, str]) -> Callable[[str], str]:
    """A function that replaces whole-path occurrences of the mount paths, the longest first."""
    mounts = {mount.rstrip("/"): real for mount, real in paths.items() if mount.rstrip("/")}
    if not mounts:
        return lambda text: text
    choices = "|".join(re.escape(mount) for mount in sorted(mounts, key=len, reverse=True))
    pattern = re.compile(rf"(?:(?<=://)|(?<![\w.~/\-)}}\]]))(?:{choices})(?![\w.~\-])")
    return lambda text: pattern.sub(lambda match: mounts[match[0]], text)


def working_directory(wanted: str, root: Path, paths: dict[str, str]) -> Path:
    """The real folder of a workingDir: inside a volume, or inside the pod's own root."""
    if not wanted:
        return root
    normal = "/" + "/".join(part for part in wanted.split("/") if part not in ("", ".", ".."))
    for mount in sorted(paths, key=len, reverse=True):
        clean = mount.rstrip("/")
        if clean and (normal == clean or normal.startswith(clean + "/")):
            return Path(paths[mount] + normal[len(clean) :])
    return root / normal.lstrip("/")


def claimed_ports(pod: Obj) -> list[int]:
    """Declared ports that a container reads from its PORT variable, so that the host may choose another."""
    found = []
    for container in pod["spec"].get("containers") or ():
        values = {variable["name"]: variable.get("value") for variable in container.get("env") or ()}
        found += [port for port in _declared_ports(container) if values.get("PORT") == str(port)]
    return found


def _declared_ports(container: Obj) -> list[int]:
    return [port["containerPort"] for port in container.get("ports") or ()]


def _variables(registry: Registry, pod: Obj, container: Obj) -> dict[str, str]:
    found: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        prefix = source.get("prefix") or ""
        for kind, resource, label in (("configMapRef", CONFIG_MAPS, "configmap"), ("secretRef", SECRETS, "secret")):
            reference = source.get(kind)
            if reference:
                data = source_data(registry, resource, label, namespace_of(pod), reference)
                found.update({prefix + key: _text(value) for key, value in (data or {}).items()})
    for variable in container.get("env") or ():
        if variable.get("valueFrom"):
            value = _value_from(registry, pod, container, variable["valueFrom"])
            if value is not None:
                found[variable["name"]] = value
        else:
            found[variable["name"]] = expand(variable.get("value") or "", found)
    return found


def source_data(
    registry: Registry, resource: Resource, label: str, namespace: str, reference: Obj
) -> dict[str, bytes] | None:
    """The data of a ConfigMap or Secret as bytes; None when it is missing but optional."""
    name = reference.get("name") or reference.get("secretName") or ""
    item = registry.find(resource, namespace, name)
    if item is None:
        if reference.get("optional"):
            return None
        raise ConfigError(f'{label} "{name}" not found')
    if resource is SECRETS:
        return {key: base64.b64decode(value) for key, value in (item.obj.get("data") or {}).items()}
    data = {key: value.encode() for key, value in (item.obj.get("data") or {}).items()}
    return data | {key: base64.b64decode(value) for key, value in (item.obj.get("binaryData") or {}).items()}


def _value_from(registry: Registry, pod: Obj, container: Obj, source: Obj) -> str | None:
    for kind, resource, label in (("secretKeyRef", SECRETS, "secret"), ("configMapKeyRef", CONFIG_MAPS, "configmap")):
        reference = source.get(kind)
        if reference is None:
            continue
        data = source_data(registry, resource, label, namespace_of(pod), reference)
        if data is None or reference["key"] not in data:
            if reference.get("optional"):
                return None
            title = "Secret" if kind == "secretKeyRef" else "ConfigMap"
            raise ConfigError(
                f"couldn't find key {reference['key']} in {title} {namespace_of(pod)}/{reference['name']}"
            )
        return _text(data[reference["key"]])
    if "fieldRef" in source:
        return _field(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return _resource_field(registry, pod, container, source["resourceFieldRef"])
    return None


def _field(pod: Obj, path: str) -> str:
    match = _SUBSCRIPT.match(path)
    if match:
        values = labels_of(pod) if match[1] == "labels" else annotations_of(pod)
        return values.get(match[2], "")
    simple: dict[str, Callable[[], str]] = {
        "metadata.name": lambda: name_of(pod),
        "metadata.namespace": lambda: namespace_of(pod),
        "metadata.uid": lambda: uid_of(pod),
        "spec.nodeName": lambda: str(pod["spec"].get("nodeName", "")),
        "spec.serviceAccountName": lambda: str(pod["spec"].get("serviceAccountName", "")),
        "status.podIP": lambda: "127.0.0.1",
        "status.podIPs": lambda: "127.0.0.1",
        "status.hostIP": lambda: "127.0.0.1",
        "status.hostIPs": lambda: "127.0.0.1",
    }
    if path not in simple:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return simple[path]()


def _resource_field(registry: Registry, pod: Obj, container: Obj, reference: Obj) -> str:
    wanted = reference.get("containerName") or container["name"]
    target = next((c for c in pod["spec"]["containers"] if c["name"] == wanted), container)
    kind, _, name = reference["resource"].partition(".")
    amount = ((target.get("resources") or {}).get(kind) or {}).get(name)
    if amount is None and kind == "limits":  # without a limit a container may use the whole node
        node = registry.find(NODES, "", pod["spec"].get("nodeName", ""))
        amount = node.obj["status"]["allocatable"].get(name) if node else None
    divisor = quantity.parse(reference.get("divisor") or "1") or Decimal(1)
    return str(math.ceil(quantity.parse(amount or "0") / divisor))


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
