"""What is done at the cluster for one team: its namespace is made, kept as wanted, and deleted. No database.

Raises ``kube.errors``. A ``Refused`` carries a sentence for people. A namespace that is not the platform's is never changed and
never deleted; neither is one of the same name that came after the one that was looked at.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from platform_portal import names
from platform_portal.kube.cluster import Cluster, Object
from platform_portal.kube.errors import Conflict, Refused
from tenants import drift, manifests
from tenants.manifests import TenantWish

NAMESPACE = "Namespace"
Key = tuple[str, str]


@dataclass(frozen=True)
class Correction:
    """One object that was not as wanted: what was found and what is wanted, by path."""

    kind: str
    name: str
    before: dict[str, Any]
    after: dict[str, Any]


@dataclass(frozen=True)
class Standing:
    """What stands now: the namespace's uid, and what had to be put back for it."""

    uid: str
    corrections: tuple[Correction, ...] = ()


@dataclass(frozen=True)
class Gone:
    """``gone``: the server has said that there is no namespace of ours. Otherwise ``reason`` is why it is still there."""

    gone: bool
    reason: str = ""


def key_of(obj: Object) -> Key:
    return obj["kind"], obj["metadata"]["name"]


def apply_all(cluster: Cluster, wish: TenantWish, *, uid: str) -> Standing:
    """Applies everything, whatever stands there: what was ours before and is not wanted any more goes with that."""
    found = _ours(cluster, wish, uid) or _create(cluster, wish)
    for obj in manifests.objects(wish):
        _apply(cluster, obj, found["metadata"]["uid"])
    return Standing(found["metadata"]["uid"])


def put_back(cluster: Cluster, wish: TenantWish, suspects: Collection[Key], *, uid: str) -> Standing:
    """Looks at the suspected objects on the server itself, applies those that differ and says how they did."""
    found = _ours(cluster, wish, uid)
    if found is None:
        made = apply_all(cluster, wish, uid=uid)
        # What was in the namespace went with it: that is one finding, not one for each object.
        return Standing(made.uid, (_correction(manifests.namespace(wish), None),))
    corrections = []
    for obj in manifests.objects(wish):
        if key_of(obj) not in suspects:
            continue
        standing = (
            found if obj["kind"] == NAMESPACE else cluster.get(obj["kind"], wish.namespace, obj["metadata"]["name"])
        )
        correction = _correction(obj, standing)
        if correction.before:
            _apply(cluster, obj, found["metadata"]["uid"])
            corrections.append(correction)
    return Standing(found["metadata"]["uid"], tuple(corrections))


def remove(cluster: Cluster, slug: str, *, uid: str) -> Gone:
    """Asks for the namespace's deletion, once; says whether it has been seen gone."""
    name = names.namespace(slug)
    found = cluster.get(NAMESPACE, "", name)
    if found is None or not is_ours(found, slug, uid):
        return Gone(True)
    if found["metadata"].get("deletionTimestamp"):
        return Gone(False, _why_terminating(found))
    cluster.delete(NAMESPACE, "", name, uid=found["metadata"]["uid"])
    return Gone(False)


def is_ours(namespace: Object, slug: str, uid: str) -> bool:
    """The one whose uid we wrote down, whatever became of its labels, or one that is labelled as this team's."""
    meta = namespace["metadata"]
    labels = meta.get("labels") or {}
    if uid and meta["uid"] == uid:
        return True
    return labels.get("managed-by") == names.MANAGED_BY and labels.get("tenant", slug) == slug


def _ours(cluster: Cluster, wish: TenantWish, uid: str) -> Object | None:
    found = cluster.get(NAMESPACE, "", wish.namespace)
    if found is None:
        return None
    if not is_ours(found, wish.slug, uid):
        raise _not_ours(wish)
    if found["metadata"].get("deletionTimestamp"):
        why = _why_terminating(found)
        raise Refused(
            403,
            "NamespaceTerminating",
            f"The namespace {wish.namespace} is being deleted, and not by the platform. It is made anew once it has gone."
            + (f" {why}" if why else ""),
        )
    return found


def _create(cluster: Cluster, wish: TenantWish) -> Object:
    """Made with what says whose it is, by a call that cannot take over somebody else's; the rest is applied to it."""
    whole = manifests.namespace(wish)
    labels = {key: whole["metadata"]["labels"][key] for key in ("managed-by", "tenant")}
    try:
        made = cluster.create(whole | {"metadata": {"name": wish.namespace, "labels": labels}}, identity="managed-by")
    except Conflict as exc:
        raise _not_ours(wish) from exc
    if not is_ours(made, wish.slug, ""):
        raise _not_ours(wish)
    return made


def _apply(cluster: Cluster, obj: Object, namespace_uid: str) -> None:
    kind, name = key_of(obj)
    if kind == NAMESPACE:
        # Named by its uid, another namespace that took the name meanwhile is a conflict instead of ours.
        obj = obj | {"metadata": obj["metadata"] | {"uid": namespace_uid}}
    try:
        answer = cluster.apply(obj)
        if kind == NAMESPACE or not drift.differences(obj, answer)[0]:
            return
    except Refused as exc:
        # A field that cannot be changed, such as a RoleBinding's role, was chosen by somebody who made the object anew.
        if exc.status != 422 or kind == NAMESPACE:
            raise Refused(exc.status, exc.reason, f"The cluster refuses {kind} {name}: {exc.message}") from exc
    try:
        cluster.delete(kind, obj["metadata"]["namespace"], name, propagation="Background")
        cluster.apply(obj)
    except Refused as exc:
        raise Refused(exc.status, exc.reason, f"The cluster refuses {kind} {name}: {exc.message}") from exc


def _correction(wanted: Object, observed: Object | None) -> Correction:
    before, after = drift.differences(wanted, observed)
    return Correction(*key_of(wanted), before, after)


def _not_ours(wish: TenantWish) -> Refused:
    return Refused(
        409,
        "NamespaceNotOurs",
        f"The namespace {wish.namespace} exists already and is not this team's: it does not carry the labels"
        f" managed-by={names.MANAGED_BY} and tenant={wish.slug}. The platform leaves it alone. Have it removed, or delete"
        " this team and make it under another name.",
    )


def _why_terminating(namespace: Object) -> str:
    """What Kubernetes says holds the namespace back; nothing while it is simply not through yet."""
    conditions = (namespace.get("status") or {}).get("conditions") or []
    told = [str(one.get("message", "")).strip() for one in conditions if one.get("status") == "True"]
    if not any(told):
        return ""
    return (
        f"The namespace {namespace['metadata']['name']} is waiting to end: {'; '.join(text for text in told if text)}."
    )
