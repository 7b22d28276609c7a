"""Volumes as folders in the pod's own folder: emptyDir, secret, configMap and claims; hostPath as it is."""

from __future__ import annotations

import os
from pathlib import Path

from localcluster.kubelet.environment import ConfigError, source_data
from localcluster.objects import Obj, namespace_of
from localcluster.registry import Registry
from localcluster.resources import CONFIG_MAPS, PVCS, SECRETS


class MountError(ConfigError):
    """A volume cannot be made yet; the pod's containers wait in ContainerCreating."""


def prepare_volumes(registry: Registry, pod: Obj, folder: Path, claims: Path) -> dict[str, Path]:
    """Make every volume of the pod; the real path by volume name. MountError while something is missing."""
    real: dict[str, Path] = {}
    for volume in pod["spec"].get("volumes") or ():
        try:
            real[volume["name"]] = _prepare(registry, pod, volume, folder, claims)
        except ConfigError as error:
            raise MountError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}') from None
    return real


def mounted_paths(container: Obj, volumes: dict[str, Path]) -> dict[str, str]:
    """The real path by mountPath; a subPath that does not exist yet becomes a folder."""
    paths: dict[str, str] = {}
    for mount in container.get("volumeMounts") or ():
        real = volumes[mount["name"]]
        if mount.get("subPath"):
            real = real / mount["subPath"]
            if not real.exists():
                real.mkdir(parents=True, exist_ok=True)
        paths[mount["mountPath"]] = str(real)
    return paths


def _prepare(registry: Registry, pod: Obj, volume: Obj, folder: Path, claims: Path) -> Path:
    target = folder / volume["name"]
    if volume.get("hostPath"):
        return Path(volume["hostPath"]["path"])
    if volume.get("persistentVolumeClaim"):
        return _claim(registry, pod, volume["persistentVolumeClaim"]["claimName"], claims)
    target.mkdir(parents=True, exist_ok=True)
    for kind, resource, label in (("secret", SECRETS, "secret"), ("configMap", CONFIG_MAPS, "configmap")):
        source = volume.get(kind)
        if source is not None:
            data = source_data(registry, resource, label, namespace_of(pod), source)
            _write_files(target, data or {}, source)
    return target


def _claim(registry: Registry, pod: Obj, name: str, claims: Path) -> Path:
    item = registry.find(PVCS, namespace_of(pod), name)
    if item is None:
        raise ConfigError(f'persistentvolumeclaim "{name}" not found')
    target = claims / item.obj["metadata"]["uid"]
    target.mkdir(parents=True, exist_ok=True)
    return target


def _write_files(folder: Path, data: dict[str, bytes], source: Obj) -> None:
    mode = source.get("defaultMode", 0o644)
    entries = source.get("items")
    files = {key: (key, mode) for key in data}
    if entries:
        files = {entry["key"]: (entry["path"], entry.get("mode", mode)) for entry in entries}
    for key, (path, file_mode) in files.items():
        if key not in data:
            if source.get("optional"):
                continue
            raise ConfigError(f"references non-existent config key: {key}")
        if ".." in path.split("/") or path.startswith("/"):
            raise ConfigError(f"invalid path in volume items: {path}")
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(descriptor, data[key])
        os.fchmod(descriptor, file_mode & 0o777)
        os.close(descriptor)
        os.replace(temporary, target)
