"""The first start's example: trains ``examples/digits`` once, through the same API that users have.

Requires a portal that answers at ``url`` and the demo team's token. Promises: however often it is interrupted and run again with
the same ``file``, one job is made (both requests carry an Idempotency-Key that is written down first); a failure is a message.
"""

import asyncio
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

NAME = "digits-example"
TOKEN = "tenant-team-ml-analytics"
PROGRAM = Path(__file__).resolve().parent.parent / "examples" / "digits" / "train.py"
ENDED = {"succeeded", "failed", "cancelled"}
POLL_SECONDS = 1.0


async def train_once(url: str, file: Path, say: Callable[[str], None]) -> None:
    """Submit the example unless that was done, wait for its end, say how it ended."""
    state = json.loads(file.read_text()) if file.exists() else {"key": str(uuid.uuid4())}
    if "status" in state:
        return
    try:
        if "job" not in state:
            _write(file, state)
            job = await _patiently(_submit, url, state["key"])
            state["job"] = job["id"]
            _write(file, state)
            say(f"training the example: {job['url']}")
        state["status"] = await _wait(url, state, say)
        _write(file, state)
    except (OSError, ValueError, KeyError) as problem:
        say(f"the example was not trained: {_explain(problem)}")


async def _wait(url: str, state: dict[str, Any], say: Callable[[str], None]) -> str:
    while True:
        job = await _patiently(_send, "GET", f"{url}/v1/jobs/training/{state['job']}")
        if job["status"] in ENDED:
            break
        await asyncio.sleep(POLL_SECONDS)
    accuracy = job["metrics"].get("accuracy")
    figure = f", accuracy {accuracy:.3f}" if isinstance(accuracy, float) else ""
    why = f": {job['error_message']}" if job["error_message"] else ""
    say(f"the example {job['status']}{figure}{why} – {job['url']}")
    return str(job["status"])


async def _patiently(call: Callable[..., Any], *arguments: Any) -> Any:
    """Try again while the portal is away or not itself: the supervisor brings it back, and no request makes anything twice."""
    while True:
        try:
            return await asyncio.to_thread(call, *arguments)
        except HTTPError as problem:
            if problem.code < 500:
                raise
        except OSError:
            pass
        await asyncio.sleep(POLL_SECONDS)


def _submit(url: str, key: str) -> Any:
    boundary = uuid.uuid5(uuid.NAMESPACE_URL, key).hex
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="train.py"\r\n'
        f"Content-Type: text/x-python\r\n\r\n{PROGRAM.read_text()}\r\n--{boundary}--\r\n"
    ).encode()
    form = f"multipart/form-data; boundary={boundary}"
    source = _send("POST", f"{url}/v1/sources", body, {"Content-Type": form, "Idempotency-Key": f"{key}-source"})
    spec = {
        "name": NAME,
        "source": source["id"],
        "compute": {"cpu_cores": 1, "memory_gb": 1},
        "hyperparameters": {"epochs": 15, "learning_rate": 0.002},
    }
    headers = {"Content-Type": "application/json", "Idempotency-Key": f"{key}-job"}
    return _send("POST", f"{url}/v1/jobs/training", json.dumps(spec).encode(), headers)


def _send(method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
    # The portal is on this machine: a proxy that the environment names does not reach it.
    opener = build_opener(ProxyHandler({}))
    request = Request(url, body, {"Authorization": f"Bearer {TOKEN}", **(headers or {})}, method=method)
    with opener.open(request, timeout=10) as answer:
        return json.load(answer)


def _write(file: Path, state: dict[str, Any]) -> None:
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(state))
    unfinished.replace(file)


def _explain(problem: Exception) -> str:
    if isinstance(problem, HTTPError):
        return f"{problem} {problem.read(2000).decode(errors='replace')}"
    return str(problem) or type(problem).__name__
