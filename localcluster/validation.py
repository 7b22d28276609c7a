"""Validation: the rules of Kubernetes that callers rely on being refused by, each error with its full field path."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

from localcluster import quantity
from localcluster.errors import FieldError, bad_request
from localcluster.objects import Obj, annotations_of, labels_of
from localcluster.resources import Resource
from localcluster.validation_pods import validate_pod_spec

Errors = list[FieldError]

_LABEL_1123 = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_LABEL_VALUE = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
_LABEL_NAME = re.compile(r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$")

SUBDOMAIN_MESSAGE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_MESSAGE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
LABEL_VALUE_MESSAGE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_LABEL_NAMED = frozenset({"namespaces", "services"})
_FREE_NAMED_GROUP = "rbac.authorization.k8s.io"
ANNOTATIONS_MAXIMUM = 256 * 1024
DATA_MAXIMUM = 1024 * 1024


def check_shape(obj: Any) -> None:
    """400 for a document whose outer fields have the wrong type, before anything looks into it."""
    if not isinstance(obj, dict):
        raise bad_request("the object provided is unrecognized (must be of type object)")
    if not isinstance(obj.get("metadata", {}), dict):
        raise bad_request("json: cannot unmarshal into Go struct field .metadata of type v1.ObjectMeta")
    for field in ("labels", "annotations"):
        values = obj.get("metadata", {}).get(field)
        if values is not None and not (
            isinstance(values, dict) and all(isinstance(value, str) for value in values.values())
        ):
            raise bad_request(f"json: cannot unmarshal into Go struct field ObjectMeta.metadata.{field} of type string")
    for field in ("spec", "status"):
        if not isinstance(obj.get(field) or {}, dict):
            raise bad_request(f"json: cannot unmarshal into Go struct field .{field}")


def validate(resource: Resource, obj: Obj) -> Errors:
    errors = _metadata(resource, obj)
    function = _BY_BUCKET.get(resource.bucket)
    return errors + (function(obj) if function else [])


def validate_update(resource: Resource, new: Obj, old: Obj) -> Errors:
    """Rules about what may change. `validate` is called besides."""
    function = _UPDATES.get(resource.bucket)
    return function(new, old) if function else []


def _metadata(resource: Resource, obj: Obj) -> Errors:
    metadata = obj["metadata"]
    name, errors = metadata.get("name"), []
    if not name:
        errors.append(FieldError.required("metadata.name", "name or generateName is required"))
    elif resource.group == _FREE_NAMED_GROUP:
        if "/" in name or "%" in name or name in (".", ".."):
            errors.append(FieldError.invalid("metadata.name", name, "may not contain '/' or '%'"))
    elif resource.bucket in _LABEL_NAMED:
        if len(name) > 63 or not _LABEL_1123.match(name):
            errors.append(FieldError.invalid("metadata.name", name, LABEL_MESSAGE))
    elif len(name) > 253:
        errors.append(FieldError.invalid("metadata.name", name, "must be no more than 253 bytes"))
    elif not _SUBDOMAIN.match(name):
        errors.append(FieldError.invalid("metadata.name", name, SUBDOMAIN_MESSAGE))
    errors += _labels(labels_of(obj), "metadata.labels")
    for key in annotations_of(obj):
        errors += _qualified_name(key.lower(), "metadata.annotations")
    if sum(len(key) + len(value) for key, value in annotations_of(obj).items()) > ANNOTATIONS_MAXIMUM:
        errors.append(
            FieldError("FieldValueTooLong", "metadata.annotations", "Too long: may not be more than 262144 bytes")
        )
    return errors


def _labels(labels: dict[str, str], path: str) -> Errors:
    errors: Errors = []
    for key, value in labels.items():
        errors += _qualified_name(key, path)
        if len(value) > 63:
            errors.append(FieldError.invalid(path, value, "must be no more than 63 characters"))
        elif not _LABEL_VALUE.match(value):
            errors.append(FieldError.invalid(path, value, LABEL_VALUE_MESSAGE))
    return errors


def _qualified_name(key: str, path: str) -> Errors:
    prefix, separator, name = key.rpartition("/")
    if separator and (len(prefix) > 253 or not _SUBDOMAIN.match(prefix)):
        return [FieldError.invalid(path, key, "prefix part " + SUBDOMAIN_MESSAGE)]
    if len(name) > 63 or not _LABEL_NAME.match(name):
        detail = (
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must be no more than 63 characters"
        )
        return [FieldError.invalid(path, key, detail)]
    return []


def _pod(obj: Obj) -> Errors:
    return validate_pod_spec(obj.get("spec"), "spec")


def _job(obj: Obj) -> Errors:
    spec = obj["spec"]
    errors: Errors = []
    for field in ("parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"):
        errors += _non_negative(spec, field)
    template = spec.get("template")
    if not isinstance(template, dict):
        return [*errors, FieldError.required("spec.template")]
    errors += _labels((template.get("metadata") or {}).get("labels") or {}, "spec.template.labels")
    errors += validate_pod_spec(template.get("spec"), "spec.template.spec")
    policy = (template.get("spec") or {}).get("restartPolicy")
    if policy not in ("Never", "OnFailure"):
        detail = 'Unsupported value: "Always": supported values: "OnFailure", "Never"'
        detail = detail.replace("Always", str(policy))
        errors.append(FieldError("FieldValueNotSupported", "spec.template.spec.restartPolicy", detail))
    mode = spec.get("completionMode")
    if mode not in ("NonIndexed", "Indexed"):
        errors.append(FieldError.unsupported("spec.completionMode", mode, ["Indexed", "NonIndexed"]))
    if mode == "Indexed" and spec.get("completions") is None:
        errors.append(FieldError.required("spec.completions", "when completion mode is Indexed"))
    if mode == "Indexed" and len(str(obj["metadata"].get("name"))) + len(str(spec.get("completions") or 0)) + 1 > 63:
        errors.append(
            FieldError.invalid(
                "metadata.name",
                obj["metadata"]["name"],
                "will not able to create pod with invalid DNS label: must be no more than 63 characters",
            )
        )
    return errors + _failure_policy(spec, policy)


def _failure_policy(spec: Obj, restart_policy: Any) -> Errors:
    policy = spec.get("podFailurePolicy")
    if not isinstance(policy, dict):
        return []
    errors: Errors = []
    if restart_policy != "Never":
        detail = 'only "Never" is supported when podFailurePolicy is specified'
        errors.append(FieldError.invalid("spec.template.spec.restartPolicy", restart_policy, detail))
    names = [
        c.get("name")
        for f in ("initContainers", "containers")
        for c in ((spec["template"].get("spec") or {}).get(f) or ())
    ]
    for index, rule in enumerate(policy.get("rules") or ()):
        path = f"spec.podFailurePolicy.rules[{index}]"
        if rule.get("action") not in ("FailJob", "Ignore", "Count", "FailIndex"):
            supported = ["Count", "FailIndex", "FailJob", "Ignore"]
            errors.append(FieldError.unsupported(f"{path}.action", rule.get("action"), supported))
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
        if bool(codes) == bool(conditions):
            detail = "specifying one of OnExitCodes and OnPodConditions is required"
            errors.append(FieldError.invalid(path, "rule", detail))
        if codes:
            if codes.get("operator") not in ("In", "NotIn"):
                operator = codes.get("operator")
                errors.append(FieldError.unsupported(f"{path}.onExitCodes.operator", operator, ["In", "NotIn"]))
            if not codes.get("values"):
                errors.append(FieldError.invalid(f"{path}.onExitCodes.values", "[]", "at least one value is required"))
            if codes.get("operator") == "In" and 0 in (codes.get("values") or ()):
                detail = "must not be 0 for the In operator"
                errors.append(FieldError.invalid(f"{path}.onExitCodes.values[0]", 0, detail))
            if codes.get("containerName") and codes["containerName"] not in names:
                detail = "must be one of the container or initContainer names in the pod template"
                errors.append(FieldError.invalid(f"{path}.onExitCodes.containerName", codes["containerName"], detail))
    return errors


def _job_update(new: Obj, old: Obj) -> Errors:
    errors: Errors = []
    changed, before = new["spec"], old["spec"]
    for field in ("completions", "selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex"):
        if field == "completions" and before.get("completionMode") == "Indexed":
            continue
        if changed.get(field) != before.get(field):
            errors.append(FieldError.invalid(f"spec.{field}", changed.get(field), "field is immutable"))
    if changed.get("template") != before.get("template") and not _template_may_change(new, old):
        errors.append(FieldError.invalid("spec.template", changed.get("template"), "field is immutable"))
    return errors


def _template_may_change(new: Obj, old: Obj) -> bool:
    """A suspended Job that never started may change the scheduling directives of its template."""
    if not old["spec"].get("suspend") or (old.get("status") or {}).get("startTime"):
        return False
    mutable = ("nodeSelector", "tolerations", "affinity", "schedulingGates")

    def fixed(job: Obj) -> Obj:
        return {key: value for key, value in job["spec"]["template"]["spec"].items() if key not in mutable}

    return fixed(new) == fixed(old)


def _workload(obj: Obj) -> Errors:
    spec = obj["spec"]
    errors = _non_negative(spec, "replicas")
    selector, template = spec.get("selector"), spec.get("template")
    if not isinstance(selector, dict) or not (selector.get("matchLabels") or selector.get("matchExpressions")):
        errors.append(FieldError.required("spec.selector"))
    if not isinstance(template, dict):
        return [*errors, FieldError.required("spec.template")]
    labels = (template.get("metadata") or {}).get("labels") or {}
    errors += _labels(labels, "spec.template.metadata.labels")
    wanted = (selector or {}).get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        detail = "`selector` does not match template `labels`"
        errors.append(FieldError.invalid("spec.template.metadata.labels", labels, detail))
    errors += validate_pod_spec(template.get("spec"), "spec.template.spec")
    policy = (template.get("spec") or {}).get("restartPolicy")
    if policy != "Always":
        errors.append(FieldError.unsupported("spec.template.spec.restartPolicy", policy, ["Always"]))
    return errors


def _workload_update(new: Obj, old: Obj) -> Errors:
    if new["spec"].get("selector") == old["spec"].get("selector"):
        return []
    return [FieldError.invalid("spec.selector", new["spec"].get("selector"), "field is immutable")]


def _pod_update(new: Obj, old: Obj) -> Errors:
    if _frozen_pod_spec(new["spec"]) == _frozen_pod_spec(old["spec"]):
        return []
    detail = (
        "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
        "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
        "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
    )
    return [FieldError.forbidden("spec", detail)]


def _frozen_pod_spec(spec: Obj) -> Obj:
    frozen = {key: value for key, value in spec.items() if key not in ("activeDeadlineSeconds", "tolerations")}
    for field in ("containers", "initContainers"):
        frozen[field] = [{k: v for k, v in c.items() if k != "image"} for c in spec.get(field) or ()]
    return frozen


def _service(obj: Obj) -> Errors:
    spec, errors = obj["spec"], []
    ports = spec.get("ports") or []
    if not ports and spec.get("clusterIP") != "None" and spec.get("type") != "ExternalName":
        errors.append(FieldError.required("spec.ports"))
    for index, port in enumerate(ports):
        number = port.get("port")
        if not isinstance(number, int) or not 0 < number < 65536:
            errors.append(
                FieldError.invalid(f"spec.ports[{index}].port", number, "must be between 1 and 65535, inclusive")
            )
        if len(ports) > 1 and not port.get("name"):
            errors.append(FieldError.required(f"spec.ports[{index}].name"))
    return errors


def _data(obj: Obj) -> Errors:
    data, errors = obj.get("data") or {}, []
    for key, value in data.items():
        if not re.match(r"^[-._a-zA-Z0-9]+$", key) or len(key) > 253:
            errors.append(
                FieldError.invalid(
                    f"data[{key}]", key, "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
                )
            )
        if not isinstance(value, str):
            raise bad_request(f"json: cannot unmarshal into Go struct field .data.{key} of type string")
    return errors


def _config_map(obj: Obj) -> Errors:
    errors = _data(obj)
    return errors + _size("[]", sum(len(value.encode()) for value in (obj.get("data") or {}).values()))


def _secret(obj: Obj) -> Errors:
    errors, size = _data(obj), 0
    for value in (obj.get("data") or {}).values():
        try:
            size += len(base64.b64decode(value, validate=True))
        except binascii.Error:
            raise bad_request(f"illegal base64 data at input byte {_base64_length(value)}") from None
    return errors + _size("data", size)


def _size(path: str, size: int) -> Errors:
    if size <= DATA_MAXIMUM:
        return []
    return [FieldError("FieldValueTooLong", path, f"Too long: may not be more than {DATA_MAXIMUM} bytes")]


def _base64_length(text: str) -> int:
    """How much of the text could be base64."""
    found = re.match(r"[A-Za-z0-9+/]*", text)
    return found.end() if found else 0


def _data_update(new: Obj, old: Obj) -> Errors:
    if old.get("type") != new.get("type"):
        return [FieldError.invalid("type", new.get("type"), "field is immutable")]
    if old.get("immutable") and (old.get("data") != new.get("data") or not new.get("immutable")):
        return [FieldError.forbidden("data", "field is immutable when `immutable` is set")]
    return []


def _quota(obj: Obj) -> Errors:
    return quantities(obj["spec"].get("hard"), "spec.hard")


def _hpa(obj: Obj) -> Errors:
    spec, errors = obj["spec"], []
    low, high = spec.get("minReplicas") or 1, spec.get("maxReplicas")
    if not isinstance(high, int) or high < 1:
        errors.append(FieldError.invalid("spec.maxReplicas", high, "must be greater than 0"))
    elif high < low:
        errors.append(FieldError.invalid("spec.maxReplicas", high, "must be greater than or equal to `minReplicas`"))
    if not (spec.get("scaleTargetRef") or {}).get("name"):
        errors.append(FieldError.required("spec.scaleTargetRef.name"))
    return errors


def _role_ref(obj: Obj) -> Errors:
    if not (obj.get("roleRef") or {}).get("name"):
        return [FieldError.required("roleRef.name")]
    return []


def _role_ref_update(new: Obj, old: Obj) -> Errors:
    if new.get("roleRef") == old.get("roleRef"):
        return []
    return [FieldError.invalid("roleRef", new.get("roleRef"), "cannot change roleRef")]


def quantities(amounts: Any, path: str) -> Errors:
    errors: Errors = []
    for name, value in (amounts or {}).items():
        if quantity.parse(value) < 0:
            errors.append(FieldError.invalid(f"{path}[{name}]", value, "must be greater than or equal to 0"))
    return errors


def _non_negative(spec: Obj, field: str) -> Errors:
    value = spec.get(field)
    if value is None:
        return []
    if not isinstance(value, int) or isinstance(value, bool):
        raise bad_request(
            f"json: cannot unmarshal {type(value).__name__} into Go struct field .spec.{field} of type int32"
        )
    if value < 0:
        return [FieldError.invalid(f"spec.{field}", value, "must be greater than or equal to 0")]
    return []


_BY_BUCKET: dict[str, Callable[[Obj], Errors]] = {
    "pods": _pod,
    "jobs.batch": _job,
    "deployments.apps": _workload,
    "replicasets.apps": _workload,
    "services": _service,
    "secrets": _secret,
    "configmaps": _config_map,
    "resourcequotas": _quota,
    "horizontalpodautoscalers.autoscaling": _hpa,
    "rolebindings.rbac.authorization.k8s.io": _role_ref,
    "clusterrolebindings.rbac.authorization.k8s.io": _role_ref,
}
_UPDATES: dict[str, Callable[[Obj, Obj], Errors]] = {
    "pods": _pod_update,
    "jobs.batch": _job_update,
    "deployments.apps": _workload_update,
    "replicasets.apps": _workload_update,
    "secrets": _data_update,
    "configmaps": _data_update,
    "rolebindings.rbac.authorization.k8s.io": _role_ref_update,
    "clusterrolebindings.rbac.authorization.k8s.io": _role_ref_update,
}
