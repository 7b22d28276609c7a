"""Probes of running containers: exec, httpGet, tcpSocket, for startup, readiness and liveness."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import aiohttp

from localcluster.objects import Obj


@dataclass
class Target:
    """Where a probe of one container finds it."""

    env: Mapping[str, str]
    cwd: str
    port_of: Callable[[object], int]  # a declared port number or name to the host's port
    rewrite: Callable[[str], str]


@dataclass
class Prober:
    """Runs one probe until cancelled. `passed` is its present verdict; `on_change` hears when it changes."""

    kind: str
    spec: Obj
    target: Target
    on_change: Callable[[], None]
    on_unhealthy: Callable[[str], None]
    passed: bool = False
    failed: bool = False
    _task: asyncio.Task[None] | None = field(default=None, repr=False)

    def start(self, ready_to_probe: Callable[[], bool]) -> None:
        self._task = asyncio.get_running_loop().create_task(self._loop(ready_to_probe))

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _loop(self, ready_to_probe: Callable[[], bool]) -> None:
        await asyncio.sleep(self.spec.get("initialDelaySeconds") or 0)
        period = max(self.spec.get("periodSeconds", 10), 1)
        successes = failures = 0
        while True:
            if not ready_to_probe():
                await asyncio.sleep(min(period, 0.25))
                continue
            problem = await probe_once(self.spec, self.target)
            if problem is None:
                successes, failures = successes + 1, 0
                if successes >= self.spec.get("successThreshold", 1):
                    self._verdict(passed=True, failed=False)
                    if self.kind == "startup":
                        return
            else:
                successes, failures = 0, failures + 1
                self.on_unhealthy(f"{self.kind.capitalize()} probe failed: {problem}")
                if failures >= self.spec.get("failureThreshold", 3):
                    self._verdict(passed=False, failed=True)
            await asyncio.sleep(period)

    def _verdict(self, *, passed: bool, failed: bool) -> None:
        if (passed, failed) == (self.passed, self.failed):
            return
        self.passed, self.failed = passed, failed
        self.on_change()


async def probe_once(spec: Obj, target: Target) -> str | None:
    """None when the check passes, else what went wrong."""
    timeout = spec.get("timeoutSeconds", 1)
    try:
        async with asyncio.timeout(timeout):
            if spec.get("exec"):
                return await _exec([target.rewrite(part) for part in spec["exec"].get("command") or ()], target)
            if spec.get("httpGet"):
                return await _http(spec["httpGet"], target)
            if spec.get("tcpSocket"):
                return await _tcp(spec["tcpSocket"], target)
    except TimeoutError:
        return f"context deadline exceeded (after {timeout}s)"
    except (OSError, aiohttp.ClientError, KeyError) as error:
        return str(error) or type(error).__name__
    return None


async def _exec(command: list[str], target: Target) -> str | None:
    process = await asyncio.create_subprocess_exec(
        *command,
        env=dict(target.env),
        cwd=target.cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    return None if process.returncode == 0 else output[-1024:].decode("utf-8", "replace")


async def _http(action: Obj, target: Target) -> str | None:
    port = target.port_of(action["port"])
    scheme = str(action.get("scheme") or "HTTP").lower()
    path = "/" + str(action.get("path") or "/").lstrip("/")
    headers = {header["name"]: header["value"] for header in action.get("httpHeaders") or ()}
    headers.setdefault("User-Agent", "kube-probe/1.32")
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(
            f"{scheme}://127.0.0.1:{port}{path}", headers=headers, ssl=False, allow_redirects=False
        ) as response,
    ):
        if 200 <= response.status < 400:
            return None
        return f"HTTP probe failed with statuscode: {response.status}"


async def _tcp(action: Obj, target: Target) -> str | None:
    _, writer = await asyncio.open_connection("127.0.0.1", target.port_of(action["port"]))
    writer.close()
    return None
