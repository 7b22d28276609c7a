"""Instance types for the tests of what is pure, as the rules and the manifests take them."""

from typing import Any

MACHINES: dict[str, dict[str, Any]] = {
    "cpu-4x": {"type": "cpu", "cpu_cores": 4, "memory_gb": 16},
    "gpu-1x-any": {"type": "gpu", "cpu_cores": 4, "memory_gb": 16, "gpu_count": 1, "gpu_type": None},
    "gpu-1x-t4": {"type": "gpu", "cpu_cores": 4, "memory_gb": 16, "gpu_count": 1, "gpu_type": "nvidia-tesla-t4"},
    "gpu-1x-v100": {"type": "gpu", "cpu_cores": 8, "memory_gb": 48, "gpu_count": 1, "gpu_type": "nvidia-tesla-v100"},
    "gpu-8x-a100": {"type": "gpu", "cpu_cores": 96, "memory_gb": 640, "gpu_count": 8, "gpu_type": "nvidia-a100"},
}
