"""RBAC: what Roles and ClusterRoles allow to whom they are bound. The administrator may do everything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from localcluster.accounts import User
from localcluster.errors import ApiError
from localcluster.objects import Obj, namespace_of
from localcluster.registry import Registry
from localcluster.resources import (
    ACCESS_REVIEWS,
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    ROLE_BINDINGS,
    ROLES,
    Resource,
)

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True)
class Access:
    """One thing that somebody may want to do. ``resource`` is plural, with its subresource behind a slash."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""


def verb_of(method: str, *, named: bool, watching: bool) -> str:
    if method in ("GET", "HEAD"):
        return "get" if named else "watch" if watching else "list"
    return "deletecollection" if method == "DELETE" and not named else _VERBS.get(method, method.lower())


def review(registry: Registry, user: User, request: Obj) -> Obj:
    """The SelfSubjectAccessReview with its answer."""
    asked = (request.get("spec") or {}).get("resourceAttributes") or {}
    subresource = asked.get("subresource")
    access = Access(
        verb=asked.get("verb", ""),
        group=asked.get("group", ""),
        resource=asked.get("resource", "") + (f"/{subresource}" if subresource else ""),
        namespace=asked.get("namespace", ""),
        name=asked.get("name", ""),
    )
    why = _allowed_by(registry, user, access)
    status: Obj = {"allowed": why is not None}
    if why:
        status["reason"] = why
    return {**request, "metadata": {"creationTimestamp": None}, "status": status}


def require(registry: Registry, user: User, access: Access, resource: Resource) -> None:
    """A 403 in the words of Kubernetes unless the user may."""
    if _allowed_by(registry, user, access) is not None:
        return
    subject = f'{resource.qualified} "{access.name}"' if access.name else resource.qualified
    where = f'in the namespace "{access.namespace}"' if access.namespace else "at the cluster scope"
    message = (
        f'{subject} is forbidden: User "{user.name}" cannot {access.verb} resource "{access.resource}"'
        f' in API group "{access.group}" {where}'
    )
    details: Obj = {"kind": resource.plural}
    if access.name:
        details["name"] = access.name
    if resource.group:
        details["group"] = resource.group
    raise ApiError(403, "Forbidden", message, details)


def _allowed_by(registry: Registry, user: User, access: Access) -> str | None:
    """What allows it; ``None`` when nothing does."""
    if user.is_admin:
        return "the administrator may do everything"
    if access.resource == ACCESS_REVIEWS.plural and access.verb == "create":
        return "everybody may ask what they may"
    for kind, name, rules in _bound(registry, user, access.namespace):
        if any(_covers(rule, access) for rule in rules):
            return f"RBAC: allowed by {kind} {name!r}"
    return None


def _bound(registry: Registry, user: User, namespace: str) -> Iterable[tuple[str, str, list[Obj]]]:
    for item in registry.store.items(CLUSTER_ROLE_BINDINGS.bucket):
        yield from _rules(registry, user, item.obj, "")
    if namespace:
        for item in registry.store.items(ROLE_BINDINGS.bucket, namespace):
            yield from _rules(registry, user, item.obj, namespace)


def _rules(registry: Registry, user: User, binding: Obj, namespace: str) -> Iterable[tuple[str, str, list[Obj]]]:
    if not any(_is(subject, user, namespace_of(binding)) for subject in binding.get("subjects") or ()):
        return
    reference = binding["roleRef"]
    if reference["kind"] == "ClusterRole":
        role = registry.find(CLUSTER_ROLES, "", reference["name"])
    else:
        role = registry.find(ROLES, namespace, reference["name"])
    if role is not None:
        yield binding["kind"], binding["metadata"]["name"], role.obj.get("rules") or []


def _is(subject: Obj, user: User, namespace: str) -> bool:
    if subject["kind"] == "ServiceAccount":
        return user.name == f"system:serviceaccount:{subject.get('namespace') or namespace}:{subject['name']}"
    if subject["kind"] == "Group":
        return subject["name"] in user.groups
    return bool(subject["name"] == user.name)


def _covers(rule: Obj, access: Access) -> bool:
    resource, _, subresource = access.resource.partition("/")
    names = {access.resource, "*"} | ({f"*/{subresource}"} if subresource else set())
    return (
        bool({access.verb, "*"} & set(rule.get("verbs") or ()))
        and bool({access.group, "*"} & set(rule.get("apiGroups") or ()))
        and bool(names & set(rule.get("resources") or ()))
        and (not rule.get("resourceNames") or access.name in rule["resourceNames"])
    )
