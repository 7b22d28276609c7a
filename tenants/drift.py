"""PURE: how an object that stands in the cluster differs from the one that is wanted.

What is wanted is a part of what stands: servers add fields, and people may add labels, annotations and further limits. Everything
else that we name is ours to the last detail: a rule more in a Role, a peer more in a NetworkPolicy or a selector that is narrower
would give or take rights. Amounts are compared by value, labels as the text they are.
"""

from collections.abc import Iterator
from typing import Any

from platform_portal.kube import quantity

Object = dict[str, Any]
Changes = dict[str, Any]
# Maps that may hold more than we wrote into them.
OPEN = frozenset({"", "metadata", "metadata.labels", "metadata.annotations", "spec.hard"})
AMOUNTS = frozenset({"hard", "default", "defaultRequest"})
# The path that stands for the whole object.
OBJECT = "object"
_ABSENT = object()


def differences(wanted: Object, observed: Object | None) -> tuple[Changes, Changes]:
    """What was found and what is wanted, by path and only where the two differ; both empty when all stands as wanted."""
    if observed is None:
        return {OBJECT: "absent"}, {OBJECT: "present"}
    found = list(_differing(wanted, observed, "", amounts=False))
    return {path: _plain(there) for path, there, _ in found}, {path: _plain(ours) for path, _, ours in found}


def _differing(wanted: Any, observed: Any, path: str, *, amounts: bool) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(wanted, dict) and isinstance(observed, dict):
        extra = [] if path in OPEN else [key for key in observed if key not in wanted]
        for key in [*wanted, *extra]:
            inner = amounts or key in AMOUNTS
            there, ours = observed.get(key, _ABSENT), wanted.get(key, _ABSENT)
            yield from _differing(ours, there, f"{path}.{key}" if path else key, amounts=inner)
    elif isinstance(wanted, list) and isinstance(observed, list) and len(wanted) == len(observed):
        for index, (ours, there) in enumerate(zip(wanted, observed, strict=True)):
            yield from _differing(ours, there, f"{path}[{index}]", amounts=amounts)
    elif not (quantity.same(wanted, observed) if amounts else wanted == observed):
        yield path, observed, wanted


def _plain(value: Any) -> Any:
    return None if value is _ABSENT else value
