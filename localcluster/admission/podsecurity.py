"""Pod Security admission: the `enforce` label of a namespace, levels baseline and restricted, for the common fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from localcluster import errors
from localcluster.objects import Obj, all_containers, labels_of, name_of, namespace_of
from localcluster.registry import Registry
from localcluster.resources import NAMESPACES, PODS, Resource

ENFORCE = "pod-security.kubernetes.io/enforce"
_BASELINE_CAPABILITIES = frozenset({
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
})  # fmt: skip
_RESTRICTED_VOLUMES = frozenset({
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
})  # fmt: skip


class PodSecurity:
    def mutate(self, registry: Registry, resource: Resource, obj: Obj, old: Obj | None) -> None:
        return

    def check(self, registry: Registry, resource: Resource, obj: Obj, old: Obj | None) -> None:
        if resource is not PODS or old is not None:
            return
        namespace = registry.find(NAMESPACES, "", namespace_of(obj))
        labels = labels_of(namespace.obj) if namespace else {}
        level, version = labels.get(ENFORCE, "privileged"), labels.get(f"{ENFORCE}-version", "latest")
        found = violations(obj["spec"], level)
        if found:
            raise errors.forbidden(PODS, name_of(obj), f'violates PodSecurity "{level}:{version}": {", ".join(found)}')


def violations(spec: Obj, level: str) -> list[str]:
    """What the pod spec does that the level does not allow, in the words of Kubernetes."""
    if level not in ("baseline", "restricted"):
        return []
    checks = _RESTRICTED if level == "restricted" else _BASELINE
    return [text for check in checks for text in check(spec)]


def _host_namespaces(spec: Obj) -> Iterable[str]:
    found = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    if found:
        yield f"host namespaces ({', '.join(found)})"


def _host_path(spec: Obj) -> Iterable[str]:
    names = [f'"{volume["name"]}"' for volume in spec.get("volumes") or () if volume.get("hostPath")]
    if names:
        yield f"hostPath volumes (volume{'s' if len(names) > 1 else ''} {', '.join(names)})"


def _host_ports(spec: Obj) -> Iterable[str]:
    def ports(container: Obj) -> list[int]:
        return [port["hostPort"] for port in container.get("ports") or () if port.get("hostPort")]

    names = _names(spec, lambda container: bool(ports(container)))
    if names:
        found = sorted({port for _, container in all_containers(spec) for port in ports(container)})
        listed = ", ".join(str(port) for port in found)
        yield f"hostPort ({names} uses hostPort{'s' if len(found) > 1 else ''} {listed})"


def _privileged(spec: Obj) -> Iterable[str]:
    yield from _by_container(
        spec,
        "privileged",
        lambda c: bool(_security(c).get("privileged")),
        "must not set securityContext.privileged=true",
    )


def _added_capabilities(spec: Obj) -> Iterable[str]:
    def added(container: Obj) -> set[str]:
        return set((_security(container).get("capabilities") or {}).get("add") or ()) - _BASELINE_CAPABILITIES

    names = _names(spec, lambda container: bool(added(container)))
    if names:
        listed = sorted(set().union(*(added(container) for _, container in all_containers(spec))))
        capabilities = ", ".join(f'"{name}"' for name in listed)
        yield f"non-default capabilities ({names} must not include {capabilities} in securityContext.capabilities.add)"


def _unconfined(spec: Obj) -> Iterable[str]:
    def bad(holder: Obj) -> bool:
        return (_security(holder).get("seccompProfile") or {}).get("type") == "Unconfined"

    if bad(spec):
        yield 'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")'
    yield from _by_container(
        spec, "seccompProfile", bad, 'must not set securityContext.seccompProfile.type to "Unconfined"'
    )


def _escalation(spec: Obj) -> Iterable[str]:
    yield from _by_container(
        spec,
        "allowPrivilegeEscalation != false",
        lambda c: _security(c).get("allowPrivilegeEscalation") is not False,
        "must set securityContext.allowPrivilegeEscalation=false",
    )


def _dropped_capabilities(spec: Obj) -> Iterable[str]:
    def added(container: Obj) -> set[str]:
        return set((_security(container).get("capabilities") or {}).get("add") or ()) - {"NET_BIND_SERVICE"}

    found = []
    keeping = _names(spec, lambda c: "ALL" not in ((_security(c).get("capabilities") or {}).get("drop") or ()))
    if keeping:
        found.append(f'{keeping} must set securityContext.capabilities.drop=["ALL"]')
    adding = _names(spec, lambda c: bool(added(c)))
    if adding:
        listed = ", ".join(f'"{name}"' for name in sorted(set().union(*(added(c) for _, c in all_containers(spec)))))
        found.append(f"{adding} must not include {listed} in securityContext.capabilities.add")
    if found:
        yield f"unrestricted capabilities ({'; '.join(found)})"


def _volume_types(spec: Obj) -> Iterable[str]:
    for volume in spec.get("volumes") or ():
        kinds = [key for key in volume if key != "name" and key not in _RESTRICTED_VOLUMES]
        if kinds:
            yield f'restricted volume types (volume "{volume["name"]}" uses restricted volume type "{kinds[0]}")'


def _non_root(spec: Obj) -> Iterable[str]:
    by_pod = _security(spec).get("runAsNonRoot")

    def bad(container: Obj) -> bool:
        own = _security(container).get("runAsNonRoot")
        return own is False or (own is None and by_pod is not True)

    names = _names(spec, bad)
    if names:
        yield f"runAsNonRoot != true (pod or {names} must set securityContext.runAsNonRoot=true)"
    if _security(spec).get("runAsUser") == 0:
        yield "runAsUser=0 (pod must not set runAsUser=0)"
    yield from _by_container(
        spec, "runAsUser=0", lambda c: _security(c).get("runAsUser") == 0, "must not set runAsUser=0"
    )


def _seccomp(spec: Obj) -> Iterable[str]:
    unconfined = list(_unconfined(spec))
    if unconfined:
        yield from unconfined
        return
    allowed = ("RuntimeDefault", "Localhost")
    by_pod = (_security(spec).get("seccompProfile") or {}).get("type")

    def bad(container: Obj) -> bool:
        own = (_security(container).get("seccompProfile") or {}).get("type")
        return (own or by_pod) not in allowed

    names = _names(spec, bad)
    if names:
        text = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
        yield f"seccompProfile (pod or {names} {text})"


def _by_container(spec: Obj, title: str, bad: Callable[[Obj], bool], what: str) -> Iterable[str]:
    names = _names(spec, bad)
    if names:
        yield f"{title} ({names} {what})"


def _names(spec: Obj, bad: Callable[[Obj], bool]) -> str:
    names = [f'"{container["name"]}"' for _, container in all_containers(spec) if bad(container)]
    return f"container{'s' if len(names) > 1 else ''} {', '.join(names)}" if names else ""


def _security(holder: Obj) -> Obj:
    return holder.get("securityContext") or {}


_BASELINE = (_host_namespaces, _host_path, _host_ports, _privileged, _added_capabilities, _unconfined)
# Where it says more about the same field, the check of the higher level takes the place of the lower one's.
_RESTRICTED = (
    _host_namespaces, _host_ports, _privileged, _escalation, _dropped_capabilities, _volume_types, _non_root, _seccomp,
)  # fmt: skip
