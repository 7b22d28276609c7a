"""Fill in what Kubernetes fills in, so that a stored object reads back as from a real API server.

Each function changes the given object, which the caller owns. Fields of the wrong type are left for validation, except
quantities, which cannot be rewritten unread.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from localcluster import quantity
from localcluster.errors import bad_request
from localcluster.objects import Obj
from localcluster.resources import Resource

JOB_LABELS_FROM_UID = ("batch.kubernetes.io/controller-uid", "controller-uid")
JOB_LABELS_FROM_NAME = ("batch.kubernetes.io/job-name", "job-name")


def apply_defaults(resource: Resource, obj: Obj) -> None:
    function = _BY_BUCKET.get(resource.bucket)
    if function is not None:
        function(obj)


def _pod(obj: Obj) -> None:
    pod_spec(obj.setdefault("spec", {}), obj)
    obj.setdefault("status", {}).setdefault("phase", "Pending")
    obj["status"].setdefault("qosClass", qos_class(obj["spec"]))


def pod_spec(spec: Any, pod: Obj | None = None) -> None:
    """Defaults of a pod spec; `pod` is given for a real pod and left out for a template."""
    if not isinstance(spec, dict):
        return
    _set(spec, restartPolicy="Always", terminationGracePeriodSeconds=30, dnsPolicy="ClusterFirst", securityContext={})
    _set(spec, schedulerName="default-scheduler")
    if pod is not None:
        _set(spec, serviceAccountName="default", enableServiceLinks=True, priority=0)
        _set(spec, preemptionPolicy="PreemptLowerPriority")
    if spec.get("serviceAccountName"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    for field in ("initContainers", "containers"):
        for container in _dicts(spec.get(field)):
            _container(container)
    for volume in _dicts(spec.get("volumes")):
        _volume(volume)


def _container(container: Obj) -> None:
    image = str(container.get("image") or "")
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    always = "@" not in image and tag in ("", "latest")
    _set(container, terminationMessagePath="/dev/termination-log", terminationMessagePolicy="File")
    _set(container, imagePullPolicy="Always" if always else "IfNotPresent", resources={})
    for port in _dicts(container.get("ports")):
        _set(port, protocol="TCP")
    for kind in ("livenessProbe", "readinessProbe", "startupProbe"):
        if isinstance(container.get(kind), dict):
            _set(container[kind], timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
            _http_get(container[kind])
    for hook in _dicts((container.get("lifecycle") or {}).values()):
        _http_get(hook)
    for variable in _dicts(container.get("env")):
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if isinstance(reference, dict):
            _set(reference, apiVersion="v1")
    resources = container["resources"]
    if isinstance(resources, dict):
        for kind in ("limits", "requests"):
            canonical_quantities(resources.get(kind))
        for name, limit in (resources.get("limits") or {}).items():
            resources.setdefault("requests", {}).setdefault(name, limit)


def _http_get(handler: Obj) -> None:
    if isinstance(handler.get("httpGet"), dict):
        _set(handler["httpGet"], path="/", scheme="HTTP")


def _volume(volume: Obj) -> None:
    for kind in ("secret", "configMap", "projected", "downwardAPI"):
        if isinstance(volume.get(kind), dict):
            _set(volume[kind], defaultMode=420)
    if not any(key != "name" for key in volume):
        volume["emptyDir"] = {}


def qos_class(spec: Obj) -> str:
    resources = [
        c.get("resources") or {} for field in ("initContainers", "containers") for c in _dicts(spec.get(field))
    ]
    if not any(r.get("requests") or r.get("limits") for r in resources):
        return "BestEffort"
    for entry in resources:
        limits, requests = entry.get("limits") or {}, entry.get("requests") or {}
        if any(name not in limits or requests.get(name) != limits[name] for name in ("cpu", "memory")):
            return "Burstable"
    return "Guaranteed"


def _job(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    _set(spec, parallelism=1, backoffLimit=6, completionMode="NonIndexed", suspend=False, manualSelector=False)
    policy = spec.get("podFailurePolicy")
    _set(spec, podReplacementPolicy="Failed" if policy else "TerminatingOrFailed")
    if isinstance(policy, dict):
        for rule in _dicts(policy.get("rules")):
            for pattern in _dicts(rule.get("onPodConditions")):
                _set(pattern, status="True")
    _template(spec)
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if labels and not (obj.get("metadata") or {}).get("labels"):
        # One map for both, as in Kubernetes: the labels that `job_selector` adds appear on the Job too.
        obj.setdefault("metadata", {})["labels"] = labels


def job_selector(obj: Obj) -> None:
    """What the API server adds to a new Job once its uid is known: the selector and the pods' labels."""
    spec, metadata = obj["spec"], obj["metadata"]
    if spec.get("manualSelector"):
        return
    labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
    labels.update(dict.fromkeys(JOB_LABELS_FROM_UID, metadata["uid"]))
    labels.update(dict.fromkeys(JOB_LABELS_FROM_NAME, metadata["name"]))
    if metadata.get("labels") is labels:
        metadata["labels"] = dict(labels)
    spec["selector"] = {"matchLabels": {JOB_LABELS_FROM_UID[0]: metadata["uid"]}}


def _deployment(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    _set(spec, replicas=1, strategy={}, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    if isinstance(spec["strategy"], dict):
        _set(spec["strategy"], type="RollingUpdate")
        if spec["strategy"]["type"] == "RollingUpdate":
            _set(spec["strategy"], rollingUpdate={})
            _set(spec["strategy"]["rollingUpdate"], maxSurge="25%", maxUnavailable="25%")
    _template(spec)


def _replica_set(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    _set(spec, replicas=1)
    _set(obj.setdefault("status", {}), replicas=0)
    _template(spec)


def _template(spec: Obj) -> None:
    template = spec.get("template")
    if isinstance(template, dict):
        template.setdefault("metadata", {})
        pod_spec(template.setdefault("spec", {}))


def _service(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    _set(spec, type="ClusterIP", sessionAffinity="None", internalTrafficPolicy="Cluster")
    _set(spec, ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")
    for port in _dicts(spec.get("ports")):
        _set(port, protocol="TCP")
        _set(port, targetPort=port.get("port"))
    if spec.get("clusterIP"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    obj.setdefault("status", {}).setdefault("loadBalancer", {})


def _secret(obj: Obj) -> None:
    _set(obj, type="Opaque")
    plain = obj.pop("stringData", None)
    if isinstance(plain, dict):
        encoded = {key: base64.b64encode(str(value).encode()).decode() for key, value in plain.items()}
        obj["data"] = {**(obj.get("data") or {}), **encoded}


def _namespace(obj: Obj) -> None:
    name = (obj.get("metadata") or {}).get("name")
    if name:
        obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name
    obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    obj.setdefault("status", {}).setdefault("phase", "Active")


def _quota(obj: Obj) -> None:
    canonical_quantities((obj.get("spec") or {}).get("hard"))


def _limit_range(obj: Obj) -> None:
    for limit in _dicts((obj.get("spec") or {}).get("limits")):
        for kind in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
            canonical_quantities(limit.get(kind))
        if limit.get("type") == "Container":
            for name, value in (limit.get("max") or {}).items():
                limit.setdefault("default", {}).setdefault(name, value)
            for source in ("default", "min"):
                for name, value in (limit.get(source) or {}).items():
                    limit.setdefault("defaultRequest", {}).setdefault(name, value)


def _ingress(obj: Obj) -> None:
    obj.setdefault("status", {}).setdefault("loadBalancer", {})


def _budget(obj: Obj) -> None:
    status = obj.setdefault("status", {})
    _set(status, currentHealthy=0, desiredHealthy=0, disruptionsAllowed=0, expectedPods=0)


def _hpa(obj: Obj) -> None:
    _set(obj.setdefault("status", {}), desiredReplicas=0)
    obj["status"].setdefault("currentMetrics", None)
    _set(obj.setdefault("spec", {}), minReplicas=1)


def _claim(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    _set(spec, volumeMode="Filesystem")
    canonical_quantities((spec.get("resources") or {}).get("requests"))
    obj.setdefault("status", {}).setdefault("phase", "Pending")


def _network_policy(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    _set(spec, podSelector={})
    _set(spec, policyTypes=["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    for rule in [*_dicts(spec.get("ingress")), *_dicts(spec.get("egress"))]:
        for port in _dicts(rule.get("ports")):
            _set(port, protocol="TCP")


def _binding(obj: Obj) -> None:
    for subject in _dicts(obj.get("subjects")):
        if subject.get("kind") in ("User", "Group"):
            _set(subject, apiGroup="rbac.authorization.k8s.io")
    if isinstance(obj.get("roleRef"), dict):
        _set(obj["roleRef"], apiGroup="rbac.authorization.k8s.io")


def canonical_quantities(amounts: Any) -> None:
    """Rewrite quantities in place; 400 for what is not one, as Kubernetes cannot even read such an object."""
    if not isinstance(amounts, dict):
        return
    for name, value in amounts.items():
        try:
            amounts[name] = quantity.canonical(value)
        except ValueError as error:
            raise bad_request(str(error)) from None


def _set(obj: Obj, **values: Any) -> None:
    for key, value in values.items():
        if obj.get(key) is None:
            obj[key] = value


def _dicts(values: Any) -> list[Obj]:
    if not hasattr(values, "__iter__") or isinstance(values, str | dict):
        return []
    return [value for value in values if isinstance(value, dict)]


_BY_BUCKET: dict[str, Callable[[Obj], None]] = {
    "pods": _pod,
    "jobs.batch": _job,
    "deployments.apps": _deployment,
    "replicasets.apps": _replica_set,
    "services": _service,
    "secrets": _secret,
    "namespaces": _namespace,
    "resourcequotas": _quota,
    "limitranges": _limit_range,
    "horizontalpodautoscalers.autoscaling": _hpa,
    "persistentvolumeclaims": _claim,
    "poddisruptionbudgets.policy": _budget,
    "ingresses.networking.k8s.io": _ingress,
    "networkpolicies.networking.k8s.io": _network_policy,
    "rolebindings.rbac.authorization.k8s.io": _binding,
    "clusterrolebindings.rbac.authorization.k8s.io": _binding,
}
