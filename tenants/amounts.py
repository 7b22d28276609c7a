"""PURE: how people read the name of a resource and an amount of it."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from tenants.quotas import GPU_TYPE, RESOURCES, Limits

# What stands after a number where the resource itself is not named.
UNITS = {
    "cpu": ("CPU core", "CPU cores"),
    "memory_gb": ("GB of memory", "GB of memory"),
    "gpus": ("GPU", "GPUs"),
    "jobs": ("running job", "running jobs"),
    "pods": ("pod", "pods"),
    "pvcs": ("volume claim", "volume claims"),
    "gpus_per_job": ("GPU per job", "GPUs per job"),
}


def is_known(resource: str) -> bool:
    return resource in RESOURCES or resource.startswith(GPU_TYPE)


def label(resource: str) -> str:
    """``GPUs``, ``A100 GPUs``: the name of the resource."""
    if resource.startswith(GPU_TYPE):
        return f"{resource.removeprefix(GPU_TYPE)} GPUs"
    return RESOURCES[resource][1] if resource in RESOURCES else resource


def amount(resource: str, number: int) -> str:
    """``200 CPU cores``: a number with what it counts."""
    if resource.startswith(GPU_TYPE):
        one = f"{resource.removeprefix(GPU_TYPE)} GPU"
        return f"{number} {one if number == 1 else one + 's'}"
    one, many = UNITS.get(resource, (resource, resource))
    return f"{number} {one if number == 1 else many}"


def listed(values: Mapping[str, int]) -> str:
    """``200 CPU cores and 4 GPUs``."""
    parts = [amount(resource, number) for resource, number in values.items()]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else "nothing"


def flat(limits: Limits) -> dict[str, int]:
    """All limits by resource, the single GPU types at the end."""
    values = {field.name: getattr(limits, field.name) for field in fields(limits) if field.name != "gpu_types"}
    return values | {GPU_TYPE + model: most for model, most in sorted(limits.gpu_types.items())}


def lasting(tenant: Any) -> dict[str, int]:
    """The limits without what was granted until a date; by them a wish is measured, so that a grant may be asked for for good."""
    values = {resource: int(getattr(tenant, names[0])) for resource, names in RESOURCES.items()}
    return values | {GPU_TYPE + model: int(most) for model, most in sorted(tenant.quota_gpu_types.items())}
