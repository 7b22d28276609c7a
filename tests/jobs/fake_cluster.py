"""A cluster in memory, as far as the reconciler sees one: objects that stand there, answers that fail as told, logs to read."""

import builtins
import copy
import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from platform_portal.kube.errors import Conflict, NotFound, Unavailable

Object = dict[str, Any]
NO_ANSWER = Unavailable(0, "Unreachable", "the cluster does not answer")


def stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class FakeCluster:
    """Objects by (kind, namespace, name). ``trouble`` is asked before each call and raises what the call is to fail with."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.calls: list[tuple[str, str, str]] = []
        self.trouble: Callable[[str, str, str], None] = lambda verb, kind, name: None
        self.logs: dict[tuple[str, str], bytes] = {}
        self.client = self
        self.lingering = False

    # ---- what the platform calls

    def create(self, obj: Object, *, identity: str) -> Object:
        kind, namespace, name = self._key(obj)
        self._called("create", kind, name)
        if kind != "Namespace" and ("Namespace", "", namespace) not in self.objects:
            raise NotFound(404, "NotFound", f'namespaces "{namespace}" not found')
        standing = self.objects.get((kind, namespace, name))
        if standing is None:
            standing = self._store(obj)
        elif standing["metadata"].get("labels", {}).get(identity) != obj["metadata"]["labels"][identity]:
            raise Conflict(409, "AlreadyExists", f'"{name}" already exists')
        self._after("create", kind, name)
        return copy.deepcopy(standing)

    def apply(self, obj: Object) -> Object:
        kind, namespace, name = self._key(obj)
        self._called("apply", kind, name)
        before = self.objects.pop((kind, namespace, name), None)
        made = self._store(obj)
        if before is not None:
            made["metadata"] |= {field: before["metadata"][field] for field in ("uid", "creationTimestamp")}
        return copy.deepcopy(made)

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        self._called("get", kind, name)
        return copy.deepcopy(self.objects.get((kind, namespace, name)))

    def delete(
        self, kind: str, namespace: str, name: str, *, uid: str | None = None, propagation: str = "Foreground"
    ) -> None:
        self._called("delete", kind, name)
        standing = self.objects.get((kind, namespace, name))
        if standing is None or (uid and standing["metadata"]["uid"] != uid):
            return
        if self.lingering:
            standing["metadata"]["deletionTimestamp"] = stamp(datetime.now(UTC))
            return
        self.vanish(kind, namespace, name)

    def list_pages(
        self, kind: str, namespace: str | None = None, selector: str = ""
    ) -> Iterator[tuple[str, list[Object]]]:
        self._called("list", kind, "")
        yield "1", self.list(kind, namespace, selector)

    def list(self, kind: str, namespace: str | None = None, selector: str = "") -> "builtins.list[Object]":
        wanted = dict(part.split("=") for part in selector.split(",") if part)
        return [
            copy.deepcopy(obj)
            for (of_kind, of_namespace, _), obj in self.objects.items()
            if of_kind == kind
            and namespace in (None, of_namespace)
            and wanted.items() <= (obj["metadata"].get("labels") or {}).items()
        ]

    def ping(self, timeout: float = 2.0) -> None:
        self._called("ping", "", "")

    def stream(self, path: str, *, query: Any = None, idle_timeout: float = 0) -> Any:
        """A container's log; every line carries the same moment, so that places within a second are told by count."""
        pod = path.split("/")[-2]
        self._called("log", "Pod", pod)
        if (pod, query["container"]) not in self.logs:
            raise NotFound(404, "NotFound", "no log")
        lines = self.logs[pod, query["container"]].splitlines(keepends=True)
        return LogStream(b"".join(b"2026-05-04T12:00:00.5Z " + line for line in lines))

    # ---- what the test does

    def vanish(self, kind: str, namespace: str, name: str) -> None:
        """The object and what it owns."""
        gone = self.objects.pop((kind, namespace, name))
        for key, obj in list(self.objects.items()):
            if any(owner["uid"] == gone["metadata"]["uid"] for owner in obj["metadata"].get("ownerReferences", [])):
                self.vanish(*key)

    def job(self) -> Object:
        (job,) = [obj for (kind, _, _), obj in self.objects.items() if kind == "Job"]
        return job

    def add_pod(self, job: Object, name: str = "pod-1", **status: Any) -> Object:
        meta = {"name": name, "namespace": job["metadata"]["namespace"], "labels": job["metadata"]["labels"]}
        meta["ownerReferences"] = [{"uid": job["metadata"]["uid"]}]
        return self._store(
            {"kind": "Pod", "metadata": meta, "spec": {"nodeName": "n"}, "status": {"phase": "Pending"} | status}
        )

    def run(self, pod: Object, ago: float = 0) -> None:
        started = stamp(datetime.now(UTC) - timedelta(seconds=ago))
        state = {"name": "training", "state": {"running": {"startedAt": started}}}
        pod["status"] = {"phase": "Running", "containerStatuses": [state]}

    def end(self, job: Object, pod: Object, code: int = 0, ago: float = 0, **terminated: Any) -> None:
        at = stamp(datetime.now(UTC) - timedelta(seconds=ago))
        ended = {
            "exitCode": code,
            "reason": "Error" if code else "Completed",
            "startedAt": at,
            "finishedAt": at,
        } | terminated
        pod["status"] = {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [{"name": "training", "state": {"terminated": ended}}],
        }
        condition = {"type": "Failed" if code else "Complete", "status": "True", "lastTransitionTime": at}
        job["status"] = {"conditions": [condition]} | ({} if code else {"completionTime": at})

    def verbs(self, kind: str = "Job") -> "builtins.list[str]":
        return [verb for verb, of_kind, _ in self.calls if of_kind == kind and verb != "list"]

    def _called(self, verb: str, kind: str, name: str) -> None:
        self.calls.append((verb, kind, name))
        self.trouble(verb, kind, name)

    def _after(self, verb: str, kind: str, name: str) -> None:
        """Trouble after the deed: the answer is lost, what was done stays."""
        self.trouble(f"after-{verb}", kind, name)

    def _store(self, obj: Object) -> Object:
        made = copy.deepcopy(obj)
        made["metadata"] |= {"uid": str(uuid4()), "creationTimestamp": stamp(datetime.now(UTC))}
        self.objects[self._key(obj)] = made
        return made

    @staticmethod
    def _key(obj: Object) -> tuple[str, str, str]:
        return obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


class LogStream(io.BytesIO):
    """What urllib3 gives for an open answer."""
