"""What can go wrong at the cluster, in five kinds that callers treat differently."""

import json
from typing import Any


class ClusterError(Exception):
    """The API server answered with an error; ``status`` is the HTTP code, ``reason`` Kubernetes' own CamelCase token."""

    def __init__(self, status: int, reason: str, message: str, body: dict[str, Any] | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status, self.reason, self.message, self.body = status, reason, message, body or {}

    @property
    def retry_after(self) -> float | None:
        """Seconds the server asked us to wait, if it did."""
        details = self.body.get("details")
        seconds = details.get("retryAfterSeconds") if isinstance(details, dict) else None
        return float(seconds) if isinstance(seconds, int | float) and seconds > 0 else None


class NotFound(ClusterError):
    """404: the object, or its namespace, is not there."""


class Conflict(ClusterError):
    """409: the name is taken, or the object has changed since it was read."""


class Expired(ClusterError):
    """410: the resourceVersion or continue token is too old; list anew."""


class Refused(ClusterError):
    """400, 403, 405, 413, 415, 422: the same request would be refused again until somebody changes something."""


class Unavailable(ClusterError):
    """No answer, 401, 408, 429 or 5xx: says nothing about the object; the same request may go through later."""


def from_response(status: int, body: bytes) -> ClusterError:
    """The error for an answer of 400 or more; ``body`` is usually a Kubernetes ``Status``."""
    try:
        document = json.loads(body)
        if not isinstance(document, dict):
            document = {}
    except ValueError:
        document = {}
    message = str(document.get("message") or body[:300].decode("utf-8", "replace") or f"HTTP {status}")
    reason = str(document.get("reason") or "")
    kinds: dict[int, type[ClusterError]] = {404: NotFound, 409: Conflict, 410: Expired}
    kind = kinds.get(status) or (Refused if 400 <= status < 500 and status not in (401, 408, 425, 429) else Unavailable)
    return kind(status, reason, message, document)
