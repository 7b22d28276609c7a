"""What Kubernetes would say to a manifest's shape, from the official client's generated models: fields it does not know,
required ones that are missing, values of another type. Values' own rules (names, quantities) are not looked at."""

import re
from typing import Any

import kubernetes.client.models as models

PRIMITIVES: dict[str, Any] = {
    "str": str,
    "bool": bool,
    "int": int,
    "float": (int, float),
    "object": object,
    "datetime": str,
}


def problems(manifest: dict[str, Any]) -> list[str]:
    """One sentence for each problem, beginning with the field's path; nothing when the manifest is well-formed."""
    group, _, version = manifest["apiVersion"].rpartition("/")
    name = f"{version.capitalize()}{manifest['kind']}"
    model = getattr(models, name, None)
    if model is None:
        return [f"kind: the client knows no {group or 'core'}/{version} {manifest['kind']}"]
    return list(_of_object(manifest, model, manifest["kind"]))


def _of_object(value: Any, model: Any, path: str):
    if not isinstance(value, dict):
        yield f"{path}: must be an object, is {value!r}"
        return
    attributes = {name: attribute for attribute, name in model.attribute_map.items()}
    for name in value.keys() - attributes.keys():
        yield f"{path}.{name}: is no field of {model.__name__}"
    for name, attribute in attributes.items():
        if name in value:
            yield from _of_value(value[name], model.openapi_types[attribute], f"{path}.{name}")
        elif _is_required(model, attribute):
            yield f"{path}.{name}: is required"


def _of_value(value: Any, type_name: str, path: str):
    if item := re.fullmatch(r"list\[(.+)\]", type_name):
        if not isinstance(value, list):
            yield f"{path}: must be a list, is {value!r}"
            return
        for index, element in enumerate(value):
            yield from _of_value(element, item[1], f"{path}[{index}]")
    elif item := re.fullmatch(r"dict[(\[]str, (.+)[)\]]", type_name):
        if not isinstance(value, dict):
            yield f"{path}: must be an object, is {value!r}"
            return
        for key, element in value.items():
            yield from _of_value(element, item[1], f"{path}.{key}")
    elif type_name in PRIMITIVES:
        wanted = PRIMITIVES[type_name]
        if not isinstance(value, wanted) or (isinstance(value, bool) and type_name in {"int", "float", "str"}):
            yield f"{path}: must be {type_name}, is {value!r}"
    else:
        yield from _of_object(value, getattr(models, type_name), path)


def _is_required(model: Any, attribute: str) -> bool:
    """The models refuse ``None`` for what Kubernetes requires; nothing else about them says so."""
    instance = model.__new__(model)
    instance.local_vars_configuration = type("Checking", (), {"client_side_validation": True})()
    try:
        setattr(instance, attribute, None)
    except ValueError:
        return True
    return False
