"""Instance types: the named machines that an administrator offers."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from tenants.models.fields import ShapedJSONField
from tenants.models.tenant import GPU_TYPE, Tenant, validate_code, validate_label_syntax


def validate_tolerations(value: Any) -> None:
    """A list of Kubernetes tolerations."""
    known = {"key": str, "operator": str, "value": str, "effect": str, "tolerationSeconds": int}
    good = isinstance(value, list) and all(
        isinstance(one, dict) and all(type(part) is known.get(name) for name, part in one.items()) for one in value
    )
    if not good:
        raise ValidationError('Write [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}].')


def validate_node_selector(value: Any) -> None:
    """Labels of nodes, where Kubernetes' own are welcome."""
    if not isinstance(value, dict):
        raise ValidationError('Write {"label": "value"}.')
    validate_label_syntax(value)


class InstanceType(models.Model):
    """A machine by name: what it has, where it is found, what an hour of it costs, and who may use it.

    A job keeps what its type was when it was submitted; changing or retiring one touches no job that exists.
    """

    name = models.CharField(max_length=50, primary_key=True, validators=[validate_code])
    description = models.CharField(max_length=200, blank=True)
    cpu_cores = models.PositiveIntegerField(validators=[MinValueValidator(1), MaxValueValidator(96)])
    memory_gb = models.PositiveIntegerField("memory (GB)", validators=[MinValueValidator(1), MaxValueValidator(768)])
    gpu_count = models.PositiveIntegerField("GPUs", default=0, validators=[MaxValueValidator(8)])
    gpu_type = models.CharField("GPU type", max_length=63, blank=True)
    node_selector = ShapedJSONField(default=dict, blank=True, validators=[validate_node_selector])
    tolerations = ShapedJSONField(default=list, blank=True, validators=[validate_tolerations])
    price_per_hour = models.DecimalField(max_digits=10, decimal_places=4, default=0, validators=[MinValueValidator(0)])
    is_active = models.BooleanField("offered", default=True)
    # No team named: every team may use it.
    tenants = models.ManyToManyField(
        Tenant, blank=True, related_name="instance_types", verbose_name="only for these teams"
    )
    order = models.PositiveSmallIntegerField(default=100)

    class Meta:
        ordering = ("order", "name")

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.gpu_type and not GPU_TYPE.fullmatch(self.gpu_type):
            raise ValidationError({"gpu_type": "Use letters, digits, '.', '_' and '-'."}, code="invalid")
        if self.gpu_type and not self.gpu_count:
            raise ValidationError({"gpu_count": "A GPU type needs at least one GPU."}, code="invalid")

    @property
    def compute(self) -> dict[str, Any]:
        """The ``compute`` object that the name stands for."""
        base: dict[str, Any] = {"type": "cpu", "cpu_cores": self.cpu_cores, "memory_gb": self.memory_gb}
        if self.gpu_count:
            base |= {"type": "gpu", "gpu_count": self.gpu_count, "gpu_type": self.gpu_type or None}
        return base

    @property
    def label(self) -> str:
        gpus = f", {self.gpu_count} × {self.gpu_type.removeprefix('nvidia-') or 'GPU'}" if self.gpu_count else ""
        cores = "core" if self.cpu_cores == 1 else "cores"
        return f"{self.name} — {self.cpu_cores} {cores}, {self.memory_gb} GB{gpus}"
