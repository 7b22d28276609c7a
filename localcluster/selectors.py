"""Label selectors (equality and set based, text and object form) and field selectors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from localcluster.errors import bad_request
from localcluster.objects import Obj

_TERM = re.compile(
    r"""^\s*(?:
        (?P<absent>!)\s*(?P<absent_key>[^\s!=,()]+)
      | (?P<key>[^\s!=,()]+)\s*(?:
            (?P<op>==|=|!=)\s*(?P<value>[^\s,()=!]*)
          | \s(?P<set_op>in|notin)\s*\((?P<values>[^()]*)\)
        )?
    )\s*$""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Requirement:
    key: str
    operator: str  # In, NotIn, Exists, DoesNotExist
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        present = self.key in labels
        if self.operator == "Exists":
            return present
        if self.operator == "DoesNotExist":
            return not present
        inside = present and labels[self.key] in self.values
        return inside if self.operator == "In" else not inside


@dataclass(frozen=True)
class LabelSelector:
    requirements: tuple[Requirement, ...] = ()

    def __bool__(self) -> bool:
        """Whether it asks for anything at all."""
        return bool(self.requirements)

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(requirement.matches(labels) for requirement in self.requirements)

    def exact(self) -> list[tuple[str, str]]:
        """The (key, value) pairs an index can answer."""
        return [(r.key, r.values[0]) for r in self.requirements if r.operator == "In" and len(r.values) == 1]


def parse_labels(text: str) -> LabelSelector:
    """The `labelSelector` query parameter; 400 for anything that is not one."""
    if not text.strip():
        return LabelSelector()
    return LabelSelector(tuple(_parse_term(term, text) for term in _split_terms(text)))


def from_object(selector: Obj | None) -> LabelSelector:
    """A LabelSelector object (matchLabels, matchExpressions)."""
    selector = selector or {}
    found = [Requirement(key, "In", (value,)) for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        found.append(Requirement(expression["key"], expression["operator"], tuple(expression.get("values") or ())))
    return LabelSelector(tuple(found))


@dataclass(frozen=True)
class FieldSelector:
    terms: tuple[tuple[str, str, bool], ...] = ()  # (path, value, equal)

    def matches(self, obj: Obj) -> bool:
        return all((field_value(obj, path) == value) is equal for path, value, equal in self.terms)

    def exact(self, path: str) -> str | None:
        return next((value for name, value, equal in self.terms if name == path and equal), None)


def parse_fields(text: str, bucket: str) -> FieldSelector:
    """The `fieldSelector` query parameter; 400 for a field the kind does not index."""
    terms = []
    for term in filter(None, (part.strip() for part in text.split(","))):
        equal = "!=" not in term
        path, separator, value = term.partition("!=" if not equal else "==" if "==" in term else "=")
        if not separator:
            raise bad_request(f"invalid field selector: {term}")
        path = path.strip()
        if not _field_supported(path, bucket):
            raise bad_request(f'Unable to find "{bucket}" that match field selector: field label not supported: {path}')
        terms.append((path, value.strip(), equal))
    return FieldSelector(tuple(terms))


def field_value(obj: Obj, path: str) -> str:
    path = path.replace("regarding.", "involvedObject.")  # the two names of one field in the two groups of events
    special = _SPECIAL.get(path)
    if special is not None:
        return special(obj)
    node: Any = obj
    for part in path.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    if isinstance(node, bool):
        return str(node).lower()
    return "" if node is None else str(node)


_FIELDS: dict[str, frozenset[str]] = {
    "pods": frozenset({
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
        "status.phase", "status.podIP", "status.nominatedNodeName",
    }),
    "events": frozenset({
        "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
        "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason",
        "reportingComponent", "source", "type", "regarding.kind", "regarding.name", "regarding.namespace",
        "regarding.uid",
    }),
    "namespaces": frozenset({"status.phase"}),
    "secrets": frozenset({"type"}),
    "nodes": frozenset({"spec.unschedulable"}),
    "jobs.batch": frozenset({"status.successful"}),
    "replicasets.apps": frozenset({"status.replicas"}),
    "services": frozenset({"spec.clusterIP", "spec.type"}),
}  # fmt: skip

_SPECIAL: dict[str, Callable[[Obj], str]] = {
    "source": lambda obj: str((obj.get("source") or {}).get("component") or obj.get("reportingComponent") or ""),
    "status.successful": lambda obj: str((obj.get("status") or {}).get("succeeded", 0)),
    "status.phase": lambda obj: str((obj.get("status") or {}).get("phase", "")),
}


def _field_supported(path: str, bucket: str) -> bool:
    return path in ("metadata.name", "metadata.namespace") or path in _FIELDS.get(bucket, frozenset())


def _split_terms(text: str) -> list[str]:
    terms, depth, current = [], 0, ""
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            terms.append(current)
            current = ""
        else:
            current += character
    return [*terms, current]


def _parse_term(term: str, text: str) -> Requirement:
    match = _TERM.match(term)
    if match is None:
        raise bad_request(f"unable to parse requirement: found '{term.strip()}' in '{text}'")
    if match["absent"]:
        return Requirement(match["absent_key"], "DoesNotExist")
    key = match["key"]
    if match["set_op"]:
        values = tuple(value.strip() for value in match["values"].split(","))
        return Requirement(key, "In" if match["set_op"] == "in" else "NotIn", values)
    if match["op"]:
        return Requirement(key, "NotIn" if match["op"] == "!=" else "In", (match["value"],))
    return Requirement(key, "Exists")
