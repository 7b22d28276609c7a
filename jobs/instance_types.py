"""PURE: named sizes for ``compute``, so that nobody has to think in cores to begin with."""

from typing import Any, NamedTuple


class InstanceType(NamedTuple):
    name: str
    cpu_cores: int
    memory_gb: int
    gpu_count: int = 0
    gpu_type: str = ""

    @property
    def compute(self) -> dict[str, Any]:
        """The ``compute`` object that the name stands for."""
        base: dict[str, Any] = {"type": "cpu", "cpu_cores": self.cpu_cores, "memory_gb": self.memory_gb}
        if self.gpu_count:
            base |= {"type": "gpu", "gpu_count": self.gpu_count, "gpu_type": self.gpu_type}
        return base

    @property
    def label(self) -> str:
        gpus = f", {self.gpu_count} × {self.gpu_type.removeprefix('nvidia-')}" if self.gpu_count else ""
        cores = "core" if self.cpu_cores == 1 else "cores"
        return f"{self.name} — {self.cpu_cores} {cores}, {self.memory_gb} GB{gpus}"


CATALOGUE: dict[str, InstanceType] = {
    item.name: item
    for item in (
        InstanceType("cpu-1x", 1, 4),
        InstanceType("cpu-2x", 2, 8),
        InstanceType("cpu-4x", 4, 16),
        InstanceType("cpu-8x", 8, 32),
        InstanceType("cpu-16x", 16, 64),
        InstanceType("gpu-1x-t4", 4, 16, 1, "nvidia-tesla-t4"),
        InstanceType("gpu-1x-v100", 8, 48, 1, "nvidia-tesla-v100"),
        InstanceType("gpu-4x-v100", 32, 192, 4, "nvidia-tesla-v100"),
        InstanceType("gpu-1x-a100", 12, 80, 1, "nvidia-a100"),
        InstanceType("gpu-8x-a100", 96, 640, 8, "nvidia-a100"),
    )
}
