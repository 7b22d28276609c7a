"""The rows that every database begins with: a cost center for whom none was named, and instance types to start from."""

from django.db import connections

from tenants.models import CostCenter, InstanceType

UNASSIGNED = "unassigned"


def ensure(using: str = "default") -> None:
    """Adds what is missing. Instance types are an administrator's: they are made only where there are none at all."""
    tables = connections[using].introspection.table_names()
    if InstanceType._meta.db_table not in tables or CostCenter._meta.db_table not in tables:
        # An older state of the database, on its way there or back.
        return
    CostCenter.objects.using(using).get_or_create(code=UNASSIGNED, defaults={"name": "Not assigned"})
    if not InstanceType.objects.using(using).exists():
        InstanceType.objects.using(using).bulk_create(_instance_types(), ignore_conflicts=True)


def _instance_types() -> list[InstanceType]:
    sizes: list[tuple[str, int, int, int, str]] = [
        ("cpu-1x", 1, 4, 0, ""),
        ("cpu-2x", 2, 8, 0, ""),
        ("cpu-4x", 4, 16, 0, ""),
        ("cpu-8x", 8, 32, 0, ""),
        ("cpu-16x", 16, 64, 0, ""),
        ("gpu-1x-t4", 4, 16, 1, "nvidia-tesla-t4"),
        ("gpu-1x-v100", 8, 48, 1, "nvidia-tesla-v100"),
        ("gpu-4x-v100", 32, 192, 4, "nvidia-tesla-v100"),
        ("gpu-1x-a100", 12, 80, 1, "nvidia-a100"),
        ("gpu-8x-a100", 96, 640, 8, "nvidia-a100"),
    ]
    return [
        InstanceType(name=name, cpu_cores=cpu, memory_gb=memory, gpu_count=gpus, gpu_type=model, order=10 * number)
        for number, (name, cpu, memory, gpus, model) in enumerate(sizes, 1)
    ]
