"""Bodies that come in chunks, without a ``Content-Length``, as many HTTP libraries send what they stream.

Django reads as much as ``Content-Length`` announces: without one a body would silently count as empty. This WSGI wrapper takes
such a body in first, to a file where it is not small, and passes it on with its length, so that everything behind it, limits
included, knows one kind of body. Requires a server that ends ``wsgi.input`` with the body (``wsgi.input_terminated``).
"""

import json
import tempfile
from collections.abc import Callable, Iterable
from typing import IO, Any

from platform_portal.errors import DomainError, too_large

Environ = dict[str, Any]
Application = Callable[[Environ, Any], Iterable[bytes]]
PIECE = 64 * 1024
IN_MEMORY = 1024 * 1024


class ChunkedBodies:
    """``limit`` says how many bytes a path takes; a longer body is a 413, one that breaks off a 400."""

    def __init__(self, application: Application, limit: Callable[[str], int]) -> None:
        self.application, self.limit = application, limit

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        if not _is_chunked(environ):
            return self.application(environ, start_response)
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as body:
            try:
                size = _take(environ["wsgi.input"], body, self.limit(environ.get("PATH_INFO", "")))
            except DomainError as error:
                return _answer(error, start_response)
            body.seek(0)
            environ |= {"wsgi.input": body, "CONTENT_LENGTH": str(size)}
            # Views read the body before they answer, so the file may go when this returns.
            return self.application(environ, start_response)


def _is_chunked(environ: Environ) -> bool:
    chunked = "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()
    return chunked and not environ.get("CONTENT_LENGTH") and bool(environ.get("wsgi.input_terminated"))


def _take(source: IO[bytes], body: IO[bytes], limit: int) -> int:
    size = 0
    try:
        while piece := source.read(PIECE):
            size += len(piece)
            if size > limit:
                raise too_large(f"The body is larger than {limit} bytes.")
            body.write(piece)
    except OSError as exc:
        message = "The request broke off before all of it had arrived; send it again."
        raise DomainError("incomplete_request", message) from exc
    return size


def _answer(error: DomainError, start_response: Any) -> Iterable[bytes]:
    content = json.dumps(error.as_json()).encode()
    status = {400: "400 Bad Request", 413: "413 Content Too Large"}[error.http_status]
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(content)))])
    return [content]
