"""One pod on this node: `sync` looks at what is wanted and what its containers do, and takes the next step.

Everything needed to go on after a restart of the server is in the pod object and in the pod's folder.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING

from localcluster.errors import ApiError
from localcluster.kubelet.container import Container
from localcluster.kubelet.environment import Command, ConfigError, build_command, claimed_ports, path_rewriter
from localcluster.kubelet.probes import Prober, Target, probe_once
from localcluster.kubelet.status import is_over, pod_status
from localcluster.kubelet.volumes import MountError, mounted_paths, prepare_volumes
from localcluster.objects import Obj, annotations_of, is_deleting, name_of, namespace_of, parse_time, uid_of
from localcluster.resources import PODS

if TYPE_CHECKING:
    from localcluster.kubelet.agent import Kubelet

PORTS_ANNOTATION = "localcluster/ports"
UNPULLABLE = "localcluster.invalid/"
CONFIG_RETRY = 5.0
PULL_BACKOFF_FIRST = 10.0


class PodRuntime:
    def __init__(self, agent: Kubelet, pod: Obj) -> None:
        self.agent, self.pod, self.uid = agent, pod, uid_of(pod)
        self.folder = agent.pods_folder / self.uid
        self.root = self.folder / "root"
        self.failure: tuple[str, str] | None = None
        self.waits_for_config = False
        self._reported: tuple[str, str] = ("", "")
        self._volumes: dict[str, Path] | None = None
        self._stopping_until: float | None = None
        self._kill_timer: asyncio.TimerHandle | None = None
        self._hooks: set[asyncio.Task[None]] = set()
        spec = pod["spec"]
        self.inits = [self._container(entry, True) for entry in spec.get("initContainers") or ()]
        self.mains = [self._container(entry, False) for entry in spec.get("containers") or ()]
        if self.inits:
            for container in self.mains:
                container.waiting = ("PodInitializing", "")

    @property
    def containers(self) -> list[Container]:
        return [*self.inits, *self.mains]

    @property
    def running(self) -> bool:
        return any(container.running for container in self.containers)

    def adopt(self) -> None:
        """Find what a previous server started for this pod."""
        for container in self.containers:
            for run in container.find_runs():
                run.adopt(lambda container=container: self._changed(container))  # type: ignore[misc]
            container.runs = [run for run in container.runs if run.running or run.exit is not None]
            if container.running:
                self._prepare_quietly(container)

    def sync(self, pod: Obj) -> float | None:
        """Take the next step; the seconds after which to sync again if nothing else happens before."""
        self.pod = pod
        if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return self._finish()
        again = self._deadline()
        if is_deleting(pod):
            self.stop(pod["metadata"].get("deletionGracePeriodSeconds") or 0)
        if self._stopping_until is None and not self._over():
            again = _earliest(again, self._advance())
        self.write_status()
        if self._over() and is_deleting(self.pod):
            return self._finish()
        return again

    def stop(self, grace: float) -> None:
        """Terminate all containers: preStop, SIGTERM, and SIGKILL when the grace period is over."""
        loop = asyncio.get_running_loop()
        until = loop.time() + grace
        if self._stopping_until is not None and self._stopping_until <= until:
            return
        self._stopping_until = until
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        if grace <= 0:
            self.kill()
            return
        self._kill_timer = loop.call_at(until, self.kill)
        for container in self.containers:
            if container.running and not container.stop_asked:
                container.stop_asked = True
                self._event("Killing", f"Stopping container {container.name}", container)
                self._spawn(self._stop_container(container, grace))

    def kill(self) -> None:
        for container in self.containers:
            if container.run is not None:
                container.run.kill()

    def detach(self) -> None:
        """Stop following the pod; its containers go on."""
        self._stop_watching()
        for container in self.containers:
            for run in container.runs:
                run.detach()

    def remove(self) -> None:
        """The pod is gone: end what still runs, then forget its folder."""
        if self.running:
            self.stop(0)
            return
        self.detach()
        shutil.rmtree(self.folder, ignore_errors=True)

    def write_status(self) -> None:
        over = self._over()
        if not over and (self.pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return
        status = pod_status(
            self.pod,
            self.inits,
            self.mains,
            over=over,
            failure=self.failure if over else None,
            now=self.agent.registry.now(),
        )
        if status == self.pod.get("status"):
            return
        changed = {**self.pod, "status": status}
        changed["metadata"] = {k: v for k, v in self.pod["metadata"].items() if k != "resourceVersion"}
        self.pod = self.agent.registry.update(
            PODS, namespace_of(self.pod), name_of(self.pod), changed, subresource="status"
        ).obj

    def host_port(self, declared: int) -> int:
        return self.ports().get(declared, declared)

    def ports(self) -> dict[int, int]:
        text = annotations_of(self.pod).get(PORTS_ANNOTATION)
        return {int(key): int(value) for key, value in json.loads(text).items()} if text else {}

    def _container(self, spec: Obj, init: bool) -> Container:
        return Container(spec, self.folder / "containers" / spec["name"], init)

    def _over(self) -> bool:
        if self.running:
            return False
        if self._stopping_until is not None:
            return True
        return is_over(self.pod["spec"].get("restartPolicy", "Always"), self.inits, self.mains)

    def _finish(self) -> float | None:
        """The pod has a final phase: once its processes are gone, a deletion that waits for them may complete."""
        if self.running:
            self.stop(0)
            return None
        self._stop_watching()
        if is_deleting(self.pod) and self.pod["metadata"].get("deletionGracePeriodSeconds"):
            options = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
            try:
                self.agent.registry.delete(PODS, namespace_of(self.pod), name_of(self.pod), options)
            except ApiError as error:
                if error.code not in (404, 409):
                    raise
        return None

    def _deadline(self) -> float | None:
        seconds = self.pod["spec"].get("activeDeadlineSeconds")
        start = (self.pod.get("status") or {}).get("startTime")
        if not seconds or self._stopping_until is not None:
            return None
        if not start:
            return float(seconds)
        left = seconds - (self.agent.registry.clock.now() - parse_time(start)).total_seconds()
        if left > 0:
            return left
        self.failure = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
        self.stop(self.pod["spec"].get("terminationGracePeriodSeconds", 30))
        return None

    def _advance(self) -> float | None:
        """Start the next init container, or all main containers that should run and do not."""
        for container in self.inits:
            if container.exit_code == 0:
                continue
            return self._keep_going(container)
        again = None
        for container in self.mains:
            again = _earliest(again, self._keep_going(container))
        return again

    def _keep_going(self, container: Container) -> float | None:
        if container.running:
            return self._check_liveness(container)
        loop = asyncio.get_running_loop()
        if container.ended:
            if not self._restarts(container):
                return None
            delay = container.restart_delay()
            if not container.next_start:
                container.next_start = loop.time() + delay
            left = container.next_start - loop.time()
            if left > 0.001:
                if container.waiting[0] != "CrashLoopBackOff":
                    text = (
                        f"back-off {int(delay)}s restarting failed container={container.name} pod={name_of(self.pod)}"
                    )
                    container.waiting = ("CrashLoopBackOff", text)
                    self._warn("BackOff", f"Back-off restarting failed container {container.name}", container)
                return left
        elif container.next_start > loop.time() and not self.waits_for_config:
            return container.next_start - loop.time()
        container.next_start = 0.0
        return self._start(container)

    def _restarts(self, container: Container) -> bool:
        policy = self.pod["spec"].get("restartPolicy", "Always")
        if policy == "Always" and not container.init:
            return True
        return policy != "Never" and container.exit_code != 0

    def _start(self, container: Container) -> float | None:
        image = str(container.spec.get("image", ""))
        if image.startswith(UNPULLABLE):
            return self._fail_pull(container, image)
        try:
            command = self._prepare(container)
        except MountError as error:
            if (error.reason, str(error)) != self._reported:
                self._reported = (error.reason, str(error))
                self.agent.events.warning(self.pod, "FailedMount", str(error))
            self.waits_for_config = True
            container.next_start = asyncio.get_running_loop().time() + CONFIG_RETRY
            return CONFIG_RETRY
        except ConfigError as error:
            if container.waiting != (error.reason, str(error)):
                self._warn("Failed", f"Error: {error}", container)
            container.waiting = (error.reason, str(error))
            self.waits_for_config = error.reason == "CreateContainerConfigError"
            container.next_start = asyncio.get_running_loop().time() + CONFIG_RETRY
            return CONFIG_RETRY
        self.waits_for_config = False
        self._event(
            "Pulled",
            f'Image "{image}" is not pulled: the command runs in this machine\'s own environment',
            container,
        )
        container.waiting = ("ContainerCreating", "")
        run = container.new_run()
        self._event("Created", f"Created container: {container.name}", container)
        run.start(
            self.agent.shim_file,
            command.argv,
            command.env,
            command.cwd,
            command.memory_limit,
            lambda: self._changed(container),
        )
        container.killed_by_probe = False
        self._start_probes(container, command)
        return None

    def _fail_pull(self, container: Container, image: str) -> float:
        """An image of the reserved host never arrives; report it as Kubernetes does, error and back-off in turn."""
        if container.pull_attempts % 2 == 0:
            self._event("Pulling", f'Pulling image "{image}"', container)
            message = (
                f'failed to pull and unpack image "{image}": failed to resolve reference "{image}": '
                "dial tcp: lookup localcluster.invalid: no such host"
            )
            self._warn("Failed", f'Failed to pull image "{image}": {message}', container)
            self._warn("Failed", "Error: ErrImagePull", container)
            container.waiting = ("ErrImagePull", message)
            delay = 1.0
        else:
            self._event("BackOff", f'Back-off pulling image "{image}"', container)
            self._warn("Failed", "Error: ImagePullBackOff", container)
            container.waiting = ("ImagePullBackOff", f'Back-off pulling image "{image}"')
            delay = min(PULL_BACKOFF_FIRST * 2 ** (container.pull_attempts // 2), 300.0)
        container.pull_attempts += 1
        container.next_start = asyncio.get_running_loop().time() + delay
        return delay

    def _prepare(self, container: Container) -> Command:
        registry = self.agent.registry
        self.root.mkdir(parents=True, exist_ok=True)
        if self._volumes is None:
            self._volumes = prepare_volumes(registry, self.pod, self.folder / "volumes", self.agent.claims_folder)
        paths = self._paths(container)
        self._assign_ports()
        command = build_command(registry, self.pod, container.spec, self.root, paths, self.ports())
        Path(command.cwd).mkdir(parents=True, exist_ok=True)
        return command

    def _paths(self, container: Container) -> dict[str, str]:
        paths = mounted_paths(container.spec, self._volumes or {})
        attempt = container.runs[-1].attempt + 1 if container.runs and not container.running else 0
        folder = container.folder / str(container.runs[-1].attempt if container.running else attempt)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        message_path = container.spec.get("terminationMessagePath") or "/dev/termination-log"
        return {message_path: str(folder / "termination-log"), **paths}

    def _prepare_quietly(self, container: Container) -> None:
        """Probes of an adopted container need its environment again."""
        try:
            self._start_probes(container, self._prepare(container))
        except (ConfigError, ApiError) as error:
            self.agent.log.warning("probes of %s/%s do not run: %s", name_of(self.pod), container.name, error)

    def _assign_ports(self) -> None:
        known = self.ports()
        missing = [port for port in claimed_ports(self.pod) if port not in known]
        if not missing:
            return
        known.update({port: free_port() for port in missing})
        text = json.dumps({str(key): value for key, value in known.items()})

        def annotate(pod: Obj) -> None:
            pod["metadata"].setdefault("annotations", {})[PORTS_ANNOTATION] = text

        self.pod = self.agent.registry.modify(PODS, namespace_of(self.pod), name_of(self.pod), annotate).obj

    def _start_probes(self, container: Container, command: Command) -> None:
        rewrite = path_rewriter(self._paths(container))
        target = Target(command.env, command.cwd, lambda port: self._probe_port(container, port), rewrite)
        container.probers = [
            Prober(
                kind, container.spec[f"{kind}Probe"], target, self._wake, lambda text: self._unhealthy(container, text)
            )
            for kind in ("startup", "readiness", "liveness")
            if container.spec.get(f"{kind}Probe")
        ]
        for prober in container.probers:
            if prober.kind == "startup":
                prober.start(lambda: container.up)
            else:
                prober.start(lambda: container.started)

    def _probe_port(self, container: Container, port: object) -> int:
        if isinstance(port, str) and not port.isdigit():
            ports = container.spec.get("ports") or ()
            port = next(entry["containerPort"] for entry in ports if entry.get("name") == port)
        return self.host_port(int(str(port)))

    def _check_liveness(self, container: Container) -> float | None:
        failed = next((p for p in container.probers if p.failed and p.kind in ("liveness", "startup")), None)
        if failed is None or container.killed_by_probe or container.run is None:
            return None
        container.killed_by_probe = True
        self._event("Killing", f"Container {container.name} failed {failed.kind} probe, will be restarted", container)
        grace = failed.spec.get("terminationGracePeriodSeconds") or self.pod["spec"].get(
            "terminationGracePeriodSeconds", 30
        )
        self._spawn(self._stop_container(container, grace))
        asyncio.get_running_loop().call_later(grace, container.run.kill)
        return None

    async def _stop_container(self, container: Container, grace: float) -> None:
        run = container.run
        hook = (container.spec.get("lifecycle") or {}).get("preStop")
        if hook and run is not None:
            await self._run_hook(container, hook, grace)
        if run is not None:
            run.terminate()

    async def _run_hook(self, container: Container, hook: Obj, grace: float) -> None:
        if hook.get("sleep"):
            await asyncio.sleep(min(hook["sleep"].get("seconds", 0), grace))
            return
        try:
            command = self._prepare(container)
        except (ConfigError, ApiError):
            return
        target = Target(
            command.env,
            command.cwd,
            lambda port: self._probe_port(container, port),
            path_rewriter(self._paths(container)),
        )
        problem = await probe_once({**hook, "timeoutSeconds": grace}, target)
        if problem is not None:
            self._warn("FailedPreStopHook", f"PreStopHook failed: {problem}", container)

    def _changed(self, container: Container) -> None:
        """The container's process came up or ended."""
        if container.running:
            self._event("Started", f"Started container {container.name}", container)
            self._wake()
            return
        for prober in container.probers:
            prober.stop()
        container.probers = []
        container.waiting = ("", "")
        run = container.run
        if run is not None and run.exit is not None and run.exit.oom:
            self._warn("OOMKilling", f"Memory limit reached: container {container.name} was killed", container)
        if run is not None and run.exit is not None and run.exit.failure:
            self._warn("Failed", f"Error: failed to start container: {run.exit.failure}", container)
        self._wake()

    def _unhealthy(self, container: Container, text: str) -> None:
        self._warn("Unhealthy", text, container)

    def _wake(self) -> None:
        self.agent.pod_changed(self)

    def _stop_watching(self) -> None:
        for container in self.containers:
            for prober in container.probers:
                prober.stop()
            container.probers = []
        for task in self._hooks:
            task.cancel()
        if self._kill_timer is not None:
            self._kill_timer.cancel()
            self._kill_timer = None

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._hooks.add(task)
        task.add_done_callback(self._hooks.discard)

    def _event(self, reason: str, message: str, container: Container) -> None:
        self.agent.events.normal(self.pod, reason, message, _field_path(container))

    def _warn(self, reason: str, message: str, container: Container) -> None:
        self.agent.events.warning(self.pod, reason, message, _field_path(container))


def free_port() -> int:
    """A port of the loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _field_path(container: Container) -> str:
    return f"spec.{'initContainers' if container.init else 'containers'}{{{container.name}}}"


def _earliest(left: float | None, right: float | None) -> float | None:
    if left is None or right is None:
        return right if left is None else left
    return min(left, right)
