"""Every read and write of objects, for the HTTP handlers and for the controllers alike.

A write goes: shape -> metadata -> defaults -> admission -> validation -> quota -> store. All of it is synchronous, so a write
is atomic with regard to every other. Arguments called `obj` are taken over and changed; results are shared and must not be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from localcluster import deletion, errors
from localcluster.defaults import apply_defaults, job_selector
from localcluster.errors import ApiError, bad_request
from localcluster.objects import (
    Clock,
    Obj,
    encode,
    fresh,
    generated_name,
    is_deleting,
    meta,
    name_of,
    namespace_of,
    new_uid,
    timestamp,
)
from localcluster.resources import BY_BUCKET, NAMESPACES, Resource
from localcluster.store import Item, Store
from localcluster.validation import check_shape, validate, validate_update

# Kinds whose metadata.generation counts the versions of their spec.
_GENERATIONS = frozenset({
    "deployments.apps", "replicasets.apps", "jobs.batch", "poddisruptionbudgets.policy",
    "networkpolicies.networking.k8s.io", "ingresses.networking.k8s.io",
})  # fmt: skip
_SET_BY_SERVER = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
_KEPT_BY_SERVER = (*_SET_BY_SERVER, "name", "namespace")


class Admission(Protocol):
    """One admission plug-in. `old` is None for a create."""

    def mutate(self, registry: Registry, resource: Resource, obj: Obj, old: Obj | None) -> None: ...

    def check(self, registry: Registry, resource: Resource, obj: Obj, old: Obj | None) -> None: ...


class Registry:
    def __init__(self, store: Store, clock: Clock, admissions: tuple[Admission, ...] = ()) -> None:
        self.store, self.clock, self._admissions = store, clock, admissions

    def now(self) -> str:
        return timestamp(self.clock.now())

    def find(self, resource: Resource, namespace: str, name: str) -> Item | None:
        return self.store.get(resource.bucket, namespace, name)

    def get(self, resource: Resource, namespace: str, name: str) -> Item:
        item = self.find(resource, namespace, name)
        if item is None:
            raise errors.not_found(resource, name)
        return item

    def create(self, resource: Resource, namespace: str, obj: Obj, *, dry_run: bool = False) -> Item:
        """Store a new object; 409 when its name is taken."""
        resource = BY_BUCKET[resource.bucket]
        self._prepare(resource, namespace, obj)
        metadata = obj["metadata"]
        self._require_namespace(resource, namespace, metadata.get("name", ""))
        if resource.has_status:
            obj["status"] = {}
        metadata["uid"], metadata["creationTimestamp"] = new_uid(), self.now()
        if resource.bucket in _GENERATIONS:
            metadata["generation"] = 1
        apply_defaults(resource, obj)
        self._mutate(resource, obj, None)
        self._refuse(resource, obj, validate(resource, obj))
        if resource.bucket == "jobs.batch":
            job_selector(obj)
        if resource.bucket == "services":
            self._assign_cluster_ip(obj)
        self._check(resource, obj, None)
        if self.find(resource, namespace, name_of(obj)) is not None:
            raise errors.already_exists(resource, name_of(obj))
        return self._unsaved(obj, 0) if dry_run else self.store.put(resource.bucket, obj)

    def update(
        self, resource: Resource, namespace: str, name: str, obj: Obj, *, subresource: str = "", dry_run: bool = False
    ) -> Item:
        """Replace an object (or its status); 409 when `obj` carries a resourceVersion that is no longer the current one."""
        old_item = self.get(resource, namespace, name)
        old = old_item.obj
        self._check_identity(resource, obj, old, namespace, name)
        new = self._merge_parts(resource, obj, old, subresource)
        if subresource != "status":
            apply_defaults(resource, new)
            self._mutate(resource, new, old)
            self._refuse(resource, new, validate(resource, new) + validate_update(resource, new, old))
            self._check(resource, new, old)
        if resource.bucket in _GENERATIONS and new.get("spec") != old.get("spec"):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        if _same(new, old):
            return old_item
        if dry_run:
            return self._unsaved(new, old_item.revision)
        if deletion.is_finished(resource, new):
            new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
            return self.store.remove(resource.bucket, Item(new, old_item.raw, old_item.revision, old_item.key))
        return self.store.put(resource.bucket, new)

    def modify(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Callable[[Obj], Obj | None],
        *,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Item:
        """Read, `change` a private copy (in place, or return another), write."""
        copy = fresh(self.get(resource, namespace, name).obj)
        changed = change(copy)
        obj = copy if changed is None else changed
        return self.update(resource, namespace, name, obj, subresource=subresource, dry_run=dry_run)

    def delete(
        self, resource: Resource, namespace: str, name: str, options: Obj | None = None, *, dry_run: bool = False
    ) -> tuple[Item, bool]:
        """Delete or begin to; returns the last state and whether the object is gone."""
        item = self.get(resource, namespace, name)
        options = options or {}
        deletion.check_preconditions(resource, item.obj, options)
        obj = deletion.marked(resource, item.obj, options, self.clock.now())
        gone = deletion.is_finished(resource, obj)
        if dry_run:
            return self._unsaved(obj, item.revision), gone
        if gone:
            return self.store.remove(resource.bucket, item), True
        if _same(obj, item.obj):
            return item, False
        return self.store.put(resource.bucket, obj), False

    def _prepare(self, resource: Resource, namespace: str, obj: Obj) -> None:
        check_shape(obj)
        kind, version = obj.setdefault("kind", resource.kind), obj.setdefault("apiVersion", resource.api_version)
        if (kind, version) != (resource.kind, resource.api_version):
            raise bad_request(
                f"{kind} in version {version!r} cannot be handled as a {resource.kind}: no kind is registered for the type"
            )
        metadata = meta(obj)
        if resource.namespaced:
            given = metadata.setdefault("namespace", namespace)
            if given != namespace:
                raise bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
        else:
            metadata.pop("namespace", None)
        if metadata.get("resourceVersion"):
            raise bad_request("resourceVersion should not be set on objects to be created")
        for field in (*_SET_BY_SERVER, "selfLink", "resourceVersion"):
            metadata.pop(field, None)
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = generated_name(metadata["generateName"])

    def _require_namespace(self, resource: Resource, namespace: str, name: str) -> None:
        if not resource.namespaced:
            return
        found = self.find(NAMESPACES, "", namespace)
        if found is None:
            raise errors.not_found(NAMESPACES, namespace)
        if is_deleting(found.obj):
            refusal = errors.forbidden(
                resource, name, f"unable to create new content in namespace {namespace} because it is being terminated"
            )
            refusal.details = {
                **(refusal.details or {}),
                "causes": [
                    {
                        "reason": "NamespaceTerminating",
                        "message": f"namespace {namespace} is being terminated",
                        "field": "metadata.namespace",
                    }
                ],
            }
            raise refusal

    def _check_identity(self, resource: Resource, obj: Obj, old: Obj, namespace: str, name: str) -> None:
        check_shape(obj)
        metadata = meta(obj)
        if metadata.setdefault("name", name) != name:
            raise bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
            )
        if resource.namespaced and metadata.setdefault("namespace", namespace) != namespace:
            raise bad_request("the namespace of the object does not match the namespace on the request")
        version = metadata.get("resourceVersion")
        if version and version != old["metadata"]["resourceVersion"]:
            raise errors.stale(resource, name)
        if metadata.get("uid") and metadata["uid"] != old["metadata"]["uid"]:
            why = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {old['metadata']['uid']}"
            raise errors.conflict(resource, name, why)

    def _merge_parts(self, resource: Resource, obj: Obj, old: Obj, subresource: str) -> Obj:
        """The parts of `obj` this request may write, over the rest of `old`."""
        if subresource == "status":
            return {**old, "metadata": dict(old["metadata"]), "status": obj.get("status") or {}}
        new = {**obj, "kind": old["kind"], "apiVersion": old["apiVersion"]}
        metadata = dict(obj["metadata"])
        for field in _KEPT_BY_SERVER:
            metadata.pop(field, None)
            if field in old["metadata"]:
                metadata[field] = old["metadata"][field]
        metadata["resourceVersion"] = old["metadata"]["resourceVersion"]
        if is_deleting(old):
            kept = set(old["metadata"].get("finalizers") or ())
            metadata["finalizers"] = [entry for entry in metadata.get("finalizers") or () if entry in kept]
        for field in ("finalizers", "labels", "annotations", "ownerReferences", "managedFields"):
            if not metadata.get(field):
                metadata.pop(field, None)
        new["metadata"] = metadata
        if resource.has_status:
            new.pop("status", None)
            if "status" in old:
                new["status"] = old["status"]
        if resource.bucket == "namespaces" and subresource != "finalize":
            new["spec"] = old["spec"]
        if resource.bucket == "services" and "clusterIP" in old.get("spec", {}):
            new["spec"] = {**obj.get("spec", {}), "clusterIP": old["spec"]["clusterIP"]}
        return new

    def _mutate(self, resource: Resource, obj: Obj, old: Obj | None) -> None:
        for admission in self._admissions:
            admission.mutate(self, resource, obj, old)

    def _check(self, resource: Resource, obj: Obj, old: Obj | None) -> None:
        for admission in self._admissions:
            admission.check(self, resource, obj, old)

    def _refuse(self, resource: Resource, obj: Obj, found: list[errors.FieldError]) -> None:
        if found:
            raise errors.invalid(
                resource, str(obj["metadata"].get("name") or obj["metadata"].get("generateName") or ""), found
            )

    def _assign_cluster_ip(self, obj: Obj) -> None:
        spec = obj["spec"]
        if spec.get("clusterIP") or spec.get("type") == "ExternalName":
            return
        taken = {item.obj["spec"].get("clusterIP") for item in self.store.items("services")}
        number = next(n for n in range(10, 65_000) if f"10.96.{n // 250}.{n % 250 + 1}" not in taken)
        spec["clusterIP"] = f"10.96.{number // 250}.{number % 250 + 1}"
        spec["clusterIPs"] = [spec["clusterIP"]]

    def _unsaved(self, obj: Obj, revision: int) -> Item:
        return Item(obj, encode(obj), revision, (namespace_of(obj), name_of(obj)))


def resource_of(obj: Obj) -> Resource:
    """The resource of an object's apiVersion and kind; KeyError when it is not served."""
    for resource in BY_BUCKET.values():
        if (resource.api_version, resource.kind) == (obj.get("apiVersion"), obj.get("kind")):
            return resource
    raise KeyError(obj.get("kind"))


def ignoring_missing(call: Callable[[], object]) -> None:
    """Run a write whose object may have gone meanwhile, which is what the caller wanted anyway."""
    try:
        call()
    except ApiError as error:
        if error.code not in (404, 409):
            raise


def _same(new: Obj, old: Obj) -> bool:
    if {k: v for k, v in new.items() if k != "metadata"} != {k: v for k, v in old.items() if k != "metadata"}:
        return False
    ignored = ("resourceVersion", "managedFields")
    left = {k: v for k, v in new["metadata"].items() if k not in ignored}
    right = {k: v for k, v in old["metadata"].items() if k not in ignored}
    return left == right and _owners(new) == _owners(old)


def _owners(obj: Obj) -> list[Obj]:
    """managedFields without their times: a re-apply that owns the same fields changes nothing."""
    entries = obj["metadata"].get("managedFields") or []
    return [{k: v for k, v in entry.items() if k != "time"} for entry in entries]
