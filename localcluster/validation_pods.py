"""Validation of pod specs, in pods and in the templates of jobs, deployments and replica sets."""

from __future__ import annotations

import re
from typing import Any

from localcluster import quantity
from localcluster.errors import FieldError, bad_request
from localcluster.objects import Obj

Errors = list[FieldError]

_LABEL_1123 = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_ENV_NAME = re.compile(r"^[ -<>-~]+$")
_LABEL_DETAIL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


def validate_pod_spec(spec: Any, path: str) -> Errors:
    if not isinstance(spec, dict):
        return [FieldError.required(f"{path}.containers")]
    errors: Errors = []
    volumes = _volumes(spec, path, errors)
    if not spec.get("containers"):
        errors.append(FieldError.required(f"{path}.containers"))
    names: set[str] = set()
    for field in ("initContainers", "containers"):
        containers = spec.get(field) or []
        if not isinstance(containers, list) or not all(isinstance(entry, dict) for entry in containers):
            raise bad_request(
                f"json: cannot unmarshal into Go struct field PodSpec.{path}.{field} of type []v1.Container"
            )
        for index, container in enumerate(containers):
            errors += _container(container, f"{path}.{field}[{index}]", names, volumes)
    if spec.get("restartPolicy") not in ("Always", "OnFailure", "Never"):
        supported = ["Always", "OnFailure", "Never"]
        errors.append(FieldError.unsupported(f"{path}.restartPolicy", spec.get("restartPolicy"), supported))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and (not isinstance(deadline, int) or deadline < 1):
        detail = "must be between 1 and 2147483647, inclusive"
        errors.append(FieldError.invalid(f"{path}.activeDeadlineSeconds", deadline, detail))
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is not None and (not isinstance(grace, int) or grace < 0):
        detail = "must be greater than or equal to 0"
        errors.append(FieldError.invalid(f"{path}.terminationGracePeriodSeconds", grace, detail))
    return errors


def _volumes(spec: Obj, path: str, errors: Errors) -> set[str]:
    names: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or ()):
        name = volume.get("name")
        if not name:
            errors.append(FieldError.required(f"{path}.volumes[{index}].name"))
        elif len(name) > 63 or not _LABEL_1123.match(name):
            errors.append(FieldError.invalid(f"{path}.volumes[{index}].name", name, _LABEL_DETAIL))
        elif name in names:
            errors.append(FieldError.duplicate(f"{path}.volumes[{index}].name", name))
        names.add(str(name))
        if (volume.get("secret") is not None) and not volume["secret"].get("secretName"):
            errors.append(FieldError.required(f"{path}.volumes[{index}].secret.secretName"))
        if (volume.get("configMap") is not None) and not volume["configMap"].get("name"):
            errors.append(FieldError.required(f"{path}.volumes[{index}].configMap.name"))
    return names


def _container(container: Obj, path: str, names: set[str], volumes: set[str]) -> Errors:
    errors: Errors = []
    name = container.get("name")
    if not name:
        errors.append(FieldError.required(f"{path}.name"))
    elif len(name) > 63 or not _LABEL_1123.match(name):
        errors.append(FieldError.invalid(f"{path}.name", name, _LABEL_DETAIL))
    elif name in names:
        errors.append(FieldError.duplicate(f"{path}.name", name))
    names.add(str(name))
    if not container.get("image"):
        errors.append(FieldError.required(f"{path}.image"))
    elif container["image"] != str(container["image"]).strip():
        detail = "must not have leading or trailing whitespace"
        errors.append(FieldError.invalid(f"{path}.image", container["image"], detail))
    for field in ("command", "args"):
        values = container.get(field)
        if values is not None and not (isinstance(values, list) and all(isinstance(v, str) for v in values)):
            raise bad_request(f"json: cannot unmarshal into Go struct field Container.{path}.{field} of type []string")
    for index, variable in enumerate(container.get("env") or ()):
        errors += _variable(variable, f"{path}.env[{index}]")
    paths: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        errors += _mount(mount, f"{path}.volumeMounts[{index}]", volumes, paths)
    for index, port in enumerate(container.get("ports") or ()):
        number = port.get("containerPort")
        if not isinstance(number, int) or not 0 < number < 65536:
            detail = "must be between 1 and 65535, inclusive"
            errors.append(FieldError.invalid(f"{path}.ports[{index}].containerPort", number, detail))
    security = container.get("securityContext") or {}
    if security.get("privileged") and security.get("allowPrivilegeEscalation") is False:
        detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        errors.append(FieldError.invalid(f"{path}.securityContext", "core.SecurityContext", detail))
    return errors + _resources(container.get("resources") or {}, f"{path}.resources")


def _variable(variable: Obj, path: str) -> Errors:
    name = variable.get("name")
    if not name:
        return [FieldError.required(f"{path}.name")]
    if not _ENV_NAME.match(name):
        detail = "a valid environment variable name must consist only of printable ASCII characters other than '='"
        return [FieldError.invalid(f"{path}.name", name, detail)]
    value = variable.get("value")
    if value is not None and not isinstance(value, str):
        raise bad_request(f"json: cannot unmarshal into Go struct field EnvVar.{path}.value of type string")
    if value and variable.get("valueFrom"):
        return [FieldError.invalid(f"{path}.valueFrom", "", "may not be specified when `value` is not empty")]
    return []


def _mount(mount: Obj, path: str, volumes: set[str], paths: set[str]) -> Errors:
    errors: Errors = []
    if mount.get("name") not in volumes:
        errors.append(FieldError.not_found(f"{path}.name", mount.get("name") or ""))
    target = mount.get("mountPath")
    if not target:
        errors.append(FieldError.required(f"{path}.mountPath"))
    elif target in paths:
        errors.append(FieldError.invalid(f"{path}.mountPath", target, "must be unique"))
    paths.add(str(target))
    sub_path = str(mount.get("subPath") or "")
    if sub_path.startswith("/"):
        errors.append(FieldError.invalid(f"{path}.subPath", sub_path, "must be a relative path"))
    if ".." in sub_path.split("/"):
        errors.append(FieldError.invalid(f"{path}.subPath", sub_path, "must not contain '..'"))
    return errors


def _resources(resources: Obj, path: str) -> Errors:
    errors: Errors = []
    parsed: dict[str, dict[str, Any]] = {"limits": {}, "requests": {}}
    for kind, amounts in parsed.items():
        for name, value in (resources.get(kind) or {}).items():
            amounts[name] = quantity.parse(value)
            if amounts[name] < 0:
                detail = "must be greater than or equal to 0"
                errors.append(FieldError.invalid(f"{path}.{kind}[{name}]", value, detail))
    for name, request in parsed["requests"].items():
        limit = parsed["limits"].get(name)
        shown = resources["requests"][name]
        if limit is not None and request > limit:
            detail = f"must be less than or equal to {name} limit of {resources['limits'][name]}"
            errors.append(FieldError.invalid(f"{path}.requests", shown, detail))
        if "/" in name and limit is None:
            errors.append(FieldError.required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
        elif "/" in name and request != limit:
            detail = f"must be equal to {name} limit of {resources['limits'][name]}"
            errors.append(FieldError.invalid(f"{path}.requests", shown, detail))
    return errors
