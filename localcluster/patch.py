"""The three client-made patch types: JSON patch (RFC 6902), merge patch (RFC 7396), strategic merge patch.

Each returns a new object and leaves its arguments alone. A patch that cannot be applied is an ApiError (400 or 422).
"""

from __future__ import annotations

from typing import Any

from localcluster.errors import ApiError, bad_request
from localcluster.objects import Obj, fresh

# Lists that merge by a key, by field name. A port list is by containerPort in a container and by port in a Service.
MERGE_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "ports": ("containerPort", "port"),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "imagePullSecrets": ("name",),
    "secrets": ("name",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey",),
    "ownerReferences": ("uid",),
    "conditions": ("type",),
    "addresses": ("type",),
    "taints": ("key",),
    "resourceClaims": ("name",),
    "schedulingGates": ("name",),
}
# Lists of plain values that merge as sets.
MERGE_SETS = frozenset({"finalizers"})


def json_patch(obj: Obj, operations: Any) -> Obj:
    if not isinstance(operations, list):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    result: Any = fresh(obj)
    for operation in operations:
        result = _operate(result, operation)
    if not isinstance(result, dict):
        raise bad_request("the patch does not leave an object")
    return result


def merge_patch(obj: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(obj) if isinstance(obj, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def strategic_merge(obj: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    if patch.get("$patch") == "delete":
        return {}
    result = dict(obj) if isinstance(obj, dict) else {}
    retained = patch.get("$retainKeys")
    if isinstance(retained, list):
        result = {key: value for key, value in result.items() if key in retained}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            field = key.partition("/")[2]
            result[field] = [entry for entry in result.get(field) or [] if entry not in value]
        elif key.startswith("$"):
            continue
        elif value is None:
            result.pop(key, None)
        elif isinstance(value, list):
            result[key] = _merge_lists(key, result.get(key), value)
            _reorder(key, result, patch.get(f"$setElementOrder/{key}"))
        else:
            result[key] = strategic_merge(result.get(key), value)
    return result


def merge_key(field: str, *lists: Any) -> str | None:
    """The key by which the entries of a list field merge, seen from its entries."""
    for key in MERGE_KEYS.get(field, ()):
        entries = [entry for values in lists for entry in values or () if isinstance(entry, dict)]
        if entries and all(key in entry or "$patch" in entry for entry in entries):
            return key
    return None


def _merge_lists(field: str, old: Any, patch: list[Any]) -> list[Any]:
    old = old if isinstance(old, list) else []
    if field in MERGE_SETS:
        return [*old, *(value for value in patch if value not in old)]
    if any(isinstance(entry, dict) and entry.get("$patch") == "replace" for entry in patch):
        return [entry for entry in patch if entry.get("$patch") != "replace"]
    key = merge_key(field, old, patch)
    if key is None:
        return patch
    result = list(old)
    for entry in patch:
        index = next((i for i, existing in enumerate(result) if existing.get(key) == entry.get(key)), None)
        if entry.get("$patch") == "delete":
            if index is not None:
                del result[index]
        elif index is None:
            result.append(strategic_merge({}, entry))
        else:
            result[index] = strategic_merge(result[index], entry)
    return result


def _reorder(field: str, result: Obj, order: Any) -> None:
    key = merge_key(field, result[field])
    if not isinstance(order, list) or key is None:
        return
    rank = {entry.get(key): index for index, entry in enumerate(order) if isinstance(entry, dict)}
    result[field].sort(key=lambda entry: rank.get(entry.get(key), len(rank)))


def _operate(document: Any, operation: Any) -> Any:
    if not isinstance(operation, dict) or "op" not in operation or not isinstance(operation.get("path"), str):
        raise bad_request("a JSON patch operation needs op and path")
    kind, path = operation["op"], _pointer(operation["path"])
    if kind in ("move", "copy"):
        source = _pointer(str(operation.get("from", "")))
        value = fresh({"value": _lookup(document, source)})["value"]
        if kind == "move":
            document = _remove(document, source)
        return _add(document, path, value)
    if kind == "test":
        if _lookup(document, path) != operation.get("value"):
            raise _unprocessable(f"testing value {operation['path']} failed")
        return document
    if kind == "add":
        return _add(document, path, operation.get("value"))
    if kind == "remove":
        return _remove(document, path)
    if kind == "replace":
        _lookup(document, path)
        if not path:
            return operation.get("value")
        parent = _lookup(document, path[:-1])
        parent[_index(parent, path[-1]) if isinstance(parent, list) else path[-1]] = operation.get("value")
        return document
    raise bad_request(f"Unexpected kind: {kind}")


def _pointer(text: str) -> list[str]:
    if text and not text.startswith("/"):
        raise bad_request(f"invalid JSON pointer: {text}")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _lookup(document: Any, path: list[str]) -> Any:
    for part in path:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list):
            document = document[_index(document, part)]
        else:
            raise _unprocessable(f"path /{'/'.join(path)} does not exist")
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _lookup(document, path[:-1])
    if isinstance(parent, list):
        index = len(parent) if path[-1] == "-" else _index(parent, path[-1], inserting=True)
        parent.insert(index, value)
    elif isinstance(parent, dict):
        parent[path[-1]] = value
    else:
        raise _unprocessable(f"path /{'/'.join(path)} does not exist")
    return document


def _remove(document: Any, path: list[str]) -> Any:
    _lookup(document, path)
    if not path:
        return None
    parent = _lookup(document, path[:-1])
    del parent[_index(parent, path[-1]) if isinstance(parent, list) else path[-1]]
    return document


def _index(values: list[Any], part: str, *, inserting: bool = False) -> int:
    if not part.isdigit() or int(part) >= len(values) + inserting:
        raise _unprocessable(f"invalid list index: {part}")
    return int(part)


def _unprocessable(message: str) -> ApiError:
    return ApiError(422, "Invalid", f"the server rejected our request due to an error in our request: {message}")
