"""Server-side apply: merging a configuration by its field manager, ownership in metadata.managedFields, conflicts.

The schema is not known here. Lists merge by the keys that patch.MERGE_KEYS names, every other list is atomic, as are the maps
in ATOMIC_MAPS; that agrees with Kubernetes for the served kinds in all that configurations usually hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from localcluster.defaults import apply_defaults
from localcluster.errors import ApiError
from localcluster.objects import Obj, fresh
from localcluster.patch import MERGE_SETS, merge_key
from localcluster.resources import Resource

Path = tuple[str, ...]  # elements as in FieldsV1: "f:name", 'k:{"name":"x"}', 'v:"x"'
Fields = set[Path]
Owner = tuple[str, str, str]  # manager, operation, subresource

ATOMIC_MAPS = frozenset({
    "selector", "podSelector", "namespaceSelector", "labelSelector", "nodeSelector", "secretKeyRef", "configMapKeyRef",
    "fieldRef", "resourceFieldRef", "roleRef", "scaleTargetRef",
})  # fmt: skip
BEFORE_FIRST_APPLY = "before-first-apply"
_NOT_OWNED = frozenset({
    ("f:apiVersion",), ("f:kind",), ("f:metadata", "f:name"), ("f:metadata", "f:namespace"),
    ("f:metadata", "f:uid"), ("f:metadata", "f:resourceVersion"), ("f:metadata", "f:generation"),
    ("f:metadata", "f:creationTimestamp"), ("f:metadata", "f:deletionTimestamp"), ("f:metadata", "f:selfLink"),
    ("f:metadata", "f:deletionGracePeriodSeconds"), ("f:metadata", "f:managedFields"), ("f:metadata", "f:generateName"),
})  # fmt: skip
_MISSING = object()


@dataclass(frozen=True)
class Author:
    manager: str
    api_version: str
    subresource: str
    time: str


def server_side_apply(resource: Resource, live: Obj | None, config: Obj, author: Author, *, force: bool) -> Obj:
    """The object after `config` was applied; 409 with all conflicts unless `force`."""
    config = fresh(config)
    config.get("metadata", {}).pop("managedFields", None)
    if resource.has_status and author.subresource != "status":
        config.pop("status", None)
    applied = fields_of(config)
    me: Owner = (author.manager, "Apply", author.subresource)
    if live is None:
        config.setdefault("metadata", {})["managedFields"] = encode_owners({me: applied}, [], author)
        return config
    entries = live["metadata"].get("managedFields") or []
    owners = decode_owners(entries)
    if not owners:
        owners[(BEFORE_FIRST_APPLY, "Update", "")] = {p for p in fields_of(live) if p[0] != "f:status"}
    merged = _merge("", fresh(live), config)
    previous = owners.get(me, set())
    others = {owner: fields for owner, fields in owners.items() if owner != me}
    _remove_abandoned(merged, previous - applied, applied, list(others.values()))
    conflicts = _conflicts(resource, live, merged, applied, others)
    if conflicts and not force:
        raise _conflict(conflicts, entries)
    for owner, path in conflicts:
        others[owner].discard(path)
    merged["metadata"]["managedFields"] = encode_owners({**others, me: applied}, entries, author)
    return merged


def after_update(old: Obj, new: Obj, author: Author) -> list[Obj]:
    """managedFields after a PUT or PATCH by `author`: what it changed is its own, and nobody else's."""
    entries = old["metadata"].get("managedFields") or []
    owners = decode_owners(entries)
    before, after = fields_of(old), fields_of(new)
    part = author.subresource == "status"
    changed = {
        path for path in before | after if (path[0] == "f:status") is part and _get(old, path) != _get(new, path)
    }
    if not changed:
        return list(entries)
    for fields in owners.values():
        fields -= changed
    me: Owner = (author.manager, "Update", author.subresource)
    owners.setdefault(me, set()).update(changed & after)
    return encode_owners(owners, entries, author)


def fields_of(obj: Obj) -> Fields:
    """The paths of all leaves and list entries, without what no manager owns."""
    found: Fields = set()
    _walk("", obj, (), found)
    return {path for path in found if path[:2] not in _NOT_OWNED and path[:1] not in _NOT_OWNED}


def encode_owners(owners: dict[Owner, Fields], entries: list[Obj], author: Author) -> list[Obj]:
    """managedFields entries; those whose fields did not change keep their time."""
    known = {_owner(entry): entry for entry in entries}
    found = []
    for owner, fields in owners.items():
        if not fields:
            continue
        old = known.get(owner)
        tree = _tree(fields)
        if old is not None and old.get("fieldsV1") == tree:
            found.append(old)
            continue
        manager, operation, subresource = owner
        entry: Obj = {
            "manager": manager,
            "operation": operation,
            "apiVersion": author.api_version,
            "time": author.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": tree,
        }
        found.append({**entry, "subresource": subresource} if subresource else entry)
    return found


def decode_owners(entries: list[Obj]) -> dict[Owner, Fields]:
    found: dict[Owner, Fields] = {}
    for entry in entries:
        _untree(entry.get("fieldsV1") or {}, (), found.setdefault(_owner(entry), set()))
    return found


def _owner(entry: Obj) -> Owner:
    return entry.get("manager", ""), entry.get("operation", ""), entry.get("subresource", "")


def _walk(name: str, value: Any, path: Path, found: Fields) -> None:
    if isinstance(value, dict) and value and name not in ATOMIC_MAPS:
        for key, entry in value.items():
            _walk(key, entry, (*path, f"f:{key}"), found)
        return
    if isinstance(value, list) and value:
        if name in MERGE_SETS:
            found.update((*path, "v:" + orjson.dumps(entry).decode()) for entry in value)
            return
        key = merge_key(name, value)
        if key is not None:
            for entry in value:
                item = (*path, _item(key, entry))
                found.add(item)
                _walk("", entry, item, found)
            return
    found.add(path)


def _item(key: str, entry: Obj) -> str:
    identity: Obj = {key: entry.get(key)}
    if key in ("containerPort", "port"):
        identity["protocol"] = entry.get("protocol", "TCP")
    return "k:" + orjson.dumps(identity, option=orjson.OPT_SORT_KEYS).decode()


def _merge(name: str, live: Any, config: Any) -> Any:
    if isinstance(config, dict) and isinstance(live, dict) and name not in ATOMIC_MAPS:
        for key, value in config.items():
            live[key] = _merge(key, live[key], value) if key in live else value
        return live
    if isinstance(config, list) and isinstance(live, list):
        if name in MERGE_SETS:
            return [*live, *(entry for entry in config if entry not in live)]
        key = merge_key(name, live, config)
        if key is not None and live:
            return _merge_entries(key, live, config)
    return config


def _merge_entries(key: str, live: list[Obj], config: list[Obj]) -> list[Obj]:
    """Entries in the configuration's order, after those it does not name."""
    known = {_item(key, entry): entry for entry in live}
    named = [_item(key, entry) for entry in config]
    merged = {item: _merge("", known.get(item, {}), entry) for item, entry in zip(named, config, strict=True)}
    if all(item in known for item in named):
        return [merged.get(item, entry) for item, entry in known.items()]
    return [*(entry for item, entry in known.items() if item not in merged), *merged.values()]


def _get(obj: Any, path: Path) -> Any:
    node = obj
    for element in path:
        node = _step(node, element)
        if node is _MISSING:
            return _MISSING
    return node


def _step(node: Any, element: str) -> Any:
    kind, text = element[:2], element[2:]
    if kind == "f:":
        return node.get(text, _MISSING) if isinstance(node, dict) else _MISSING
    if not isinstance(node, list):
        return _MISSING
    wanted = orjson.loads(text)
    if kind == "v:":
        return wanted if wanted in node else _MISSING
    return next((entry for entry in node if _is_entry(entry, wanted)), _MISSING)


def _is_entry(entry: Any, identity: Obj) -> bool:
    return isinstance(entry, dict) and all(
        entry.get(key, "TCP" if key == "protocol" else None) == value for key, value in identity.items()
    )


def _remove(obj: Obj, path: Path) -> None:
    """Remove what stands at `path`, and the maps that become empty by it."""
    parent = _get(obj, path[:-1])
    element, text = path[-1], path[-1][2:]
    if isinstance(parent, dict):
        parent.pop(text, None)
    elif isinstance(parent, list):
        found = _step(parent, element)
        if found is not _MISSING:
            parent.remove(found)
    if len(path) > 1 and parent in ({}, []) and path[-2].startswith("f:"):
        _remove(obj, path[:-1])


def _remove_abandoned(merged: Obj, abandoned: Fields, applied: Fields, others: list[Fields]) -> None:
    """Remove what its only owner no longer applies: whole list entries first, then single fields."""
    gone: list[Path] = []
    for path in sorted(abandoned, key=len):
        if any(path[: len(prefix)] == prefix for prefix in gone):
            continue
        if any(path in fields or _owns_below(fields, path) for fields in (*others, applied)):
            continue
        if len(path) > 1 and path[-2].startswith("k:") and path[-1][2:] in orjson.loads(path[-2][2:]):
            continue  # the key of an entry that stays
        _remove(merged, path)
        gone.append(path)


def _owns_below(fields: Fields, path: Path) -> bool:
    return any(len(other) > len(path) and other[: len(path)] == path for other in fields)


def _conflicts(
    resource: Resource, live: Obj, merged: Obj, applied: Fields, others: dict[Owner, Fields]
) -> list[tuple[Owner, Path]]:
    """Fields of others whose value would change. Compared after defaulting, so that "0.5" and "500m" are one value."""
    result = fresh(merged)
    apply_defaults(resource, result)
    found = []
    for path in sorted(applied):
        if path[-1].startswith("k:") or _get(live, path) == _get(result, path):
            continue
        found += [(owner, path) for owner, fields in others.items() if path in fields]
    return found


def _conflict(conflicts: list[tuple[Owner, Path]], entries: list[Obj]) -> ApiError:
    versions = {_owner(entry): entry.get("apiVersion", "") for entry in entries}
    causes, lines = [], []
    for owner, path in conflicts:
        using = f" using {versions[owner]}" if versions.get(owner) else ""
        who = f'conflict with "{owner[0]}"{using}'
        causes.append({"reason": "FieldManagerConflict", "message": who, "field": _readable(path)})
        lines.append(f"{who}: {_readable(path)}")
    plural = "s" if len(conflicts) > 1 else ""
    message = f"Apply failed with {len(conflicts)} conflict{plural}: " + (
        lines[0] if len(lines) == 1 else "conflicts: " + "; ".join(lines)
    )
    return ApiError(409, "Conflict", message, {"causes": causes})


def _readable(path: Path) -> str:
    text = ""
    for element in path:
        kind, rest = element[:2], element[2:]
        if kind == "f:":
            text += f".{rest}"
        elif kind == "v:":
            text += f"[={rest}]"
        else:
            text += "[" + ",".join(f"{k}={orjson.dumps(v).decode()}" for k, v in orjson.loads(rest).items()) + "]"
    return text


def _tree(fields: Fields) -> Obj:
    root: Obj = {}
    for path in sorted(fields):
        node = root
        for element in path:
            node = node.setdefault(element, {})
        if path[-1].startswith("k:"):
            node["."] = {}
    return root


def _untree(node: Obj, path: Path, found: Fields) -> None:
    if not node:
        found.add(path)
        return
    for element, below in node.items():
        if element == ".":
            found.add(path)
        else:
            _untree(below, (*path, element), found)
