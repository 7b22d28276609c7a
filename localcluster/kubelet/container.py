"""The state of one container of a pod on this node: its runs, why it waits, and its status entry."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from localcluster.kubelet.probes import Prober
from localcluster.kubelet.runs import Run
from localcluster.objects import Obj, timestamp

MESSAGE_BYTES = 4096
FALLBACK_BYTES = 2048
FIRST_BACKOFF = 10.0
LONGEST_BACKOFF = 300.0
BACKOFF_FORGIVEN_AFTER = 600.0


@dataclass
class Container:
    spec: Obj
    folder: Path
    init: bool
    runs: list[Run] = field(default_factory=list)
    waiting: tuple[str, str] = ("ContainerCreating", "")
    next_start: float = 0.0  # monotonic
    pull_attempts: int = 0
    probers: list[Prober] = field(default_factory=list)
    stop_asked: bool = False
    killed_by_probe: bool = False

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def run(self) -> Run | None:
        return self.runs[-1] if self.runs else None

    @property
    def running(self) -> bool:
        return self.run is not None and self.run.running

    @property
    def up(self) -> bool:
        """The command itself runs; until then the container is being created."""
        return self.running and self.run is not None and self.run.up

    @property
    def ended(self) -> bool:
        return self.run is not None and self.run.exit is not None

    @property
    def exit_code(self) -> int | None:
        return self.run.exit.code if self.run is not None and self.run.exit is not None else None

    @property
    def started(self) -> bool:
        return self.up and all(prober.passed for prober in self.probers if prober.kind == "startup")

    @property
    def ready(self) -> bool:
        return self.started and all(prober.passed for prober in self.probers if prober.kind == "readiness")

    def find_runs(self) -> list[Run]:
        """The runs a previous server left in the container's folder, oldest first."""
        attempts = sorted(int(path.name) for path in self.folder.glob("[0-9]*"))
        self.runs = [Run(self.folder / str(attempt), attempt) for attempt in attempts]
        return self.runs

    def new_run(self) -> Run:
        attempt = self.runs[-1].attempt + 1 if self.runs else 0
        run = Run(self.folder / str(attempt), attempt)
        self.runs.append(run)
        return run

    def restart_delay(self) -> float:
        """Seconds between the last end and the next start: none at first, then 10 s, doubling to 5 minutes."""
        restarts = 0
        for run in reversed(self.runs):
            if run.exit is None or run.started is None:
                break
            if (run.exit.finished - run.started).total_seconds() > BACKOFF_FORGIVEN_AFTER:
                break
            restarts += 1
        if restarts <= 1:
            return 0.0
        return float(min(FIRST_BACKOFF * 2 ** (restarts - 2), LONGEST_BACKOFF))

    def status(self, pod_uid: str) -> Obj:
        run = self.run
        status: Obj = {
            "name": self.name,
            "image": self.spec.get("image", ""),
            "imageID": "",
            "restartCount": max(len(self.runs) - 1, 0),
            "ready": self.exit_code == 0 if self.init else self.ready,
            "started": False if self.init else self.started,
            "state": self._state(pod_uid),
            "lastState": {},
        }
        if run is not None:
            status["containerID"] = container_id(pod_uid, self.name, run)
        previous = run if "waiting" in status["state"] and self.ended else self.runs[-2] if len(self.runs) > 1 else None
        if previous is not None and previous.exit is not None:
            status["lastState"] = {"terminated": self._terminated(pod_uid, previous)}
        return status

    def _state(self, pod_uid: str) -> Obj:
        run = self.run
        if run is not None and self.up:
            return {"running": {"startedAt": timestamp(run.started or datetime.now(UTC))}}
        if run is not None and run.exit is not None and self.waiting[0] != "CrashLoopBackOff":
            return {"terminated": self._terminated(pod_uid, run)}
        reason, message = self.waiting
        return {"waiting": {"reason": reason, **({"message": message} if message else {})}}

    def _terminated(self, pod_uid: str, run: Run) -> Obj:
        assert run.exit is not None
        found: Obj = {
            "exitCode": run.exit.code,
            "reason": "Completed" if run.exit.code == 0 else "Error",
            "startedAt": timestamp(run.started) if run.started else None,
            "finishedAt": timestamp(run.exit.finished),
            "containerID": container_id(pod_uid, self.name, run),
        }
        if run.exit.oom:
            found["reason"] = "OOMKilled"
        if run.exit.failure:
            found.update(exitCode=128, reason="StartError", message=run.exit.failure)
        elif run.exit.lost:
            found["reason"] = "ContainerStatusUnknown"
            found["message"] = "The container could not be located when the pod was terminated"
        else:
            message = self._message(run)
            if message:
                found["message"] = message
        return found

    def _message(self, run: Run) -> str:
        try:
            text = (run.folder / "termination-log").read_bytes()[:MESSAGE_BYTES]
        except OSError:
            text = b""
        if text or self.spec.get("terminationMessagePolicy") != "FallbackToLogsOnError" or self.exit_code == 0:
            return text.decode("utf-8", "replace")
        return _tail(run.log)


def container_id(pod_uid: str, name: str, run: Run) -> str:
    return f"localcluster://{pod_uid}/{name}/{run.attempt}"


def _tail(log: Path) -> str:
    """The end of a log, without the line heads."""
    try:
        with open(log, "rb") as file:
            file.seek(0, 2)
            file.seek(max(file.tell() - 4 * FALLBACK_BYTES, 0))
            lines = file.read().split(b"\n")
    except OSError:
        return ""
    records = [line.split(b" ", 3) for line in lines]
    text = b"".join(r[3] + (b"\n" if r[2] == b"F" else b"") for r in records if len(r) == 4)
    return text[-FALLBACK_BYTES:].decode("utf-8", "replace")
