"""A body sent in chunks is the same request as one with a Content-Length."""

import io
import json
from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIRequest

from platform_portal.chunked import IN_MEMORY, ChunkedBodies


class Broken(io.BytesIO):
    """A connection that ends in the middle of a chunk."""

    def read(self, size: int | None = -1) -> bytes:
        raise OSError("no more data")


def environ(body: io.BytesIO, **more: Any) -> dict[str, Any]:
    base = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/v1/jobs/training",
        "wsgi.input": body,
        "wsgi.input_terminated": True,
    }
    return base | {"CONTENT_TYPE": "application/json", "HTTP_TRANSFER_ENCODING": "chunked"} | more


def call(env: dict[str, Any], limit: int = 4 * IN_MEMORY) -> tuple[list[str], bytes]:
    """(statuses that the wrapper itself answered, the body as Django reads it or as it was answered)."""
    said: list[str] = []
    inner = ChunkedBodies(lambda env, start: [WSGIRequest(env).read()], lambda path: limit)
    return said, b"".join(inner(env, lambda status, headers: said.append(status)))


@pytest.mark.parametrize("size", [0, 1, 100, IN_MEMORY + 1, 4 * IN_MEMORY])
def test_what_came_in_chunks_is_read_whole(size: int) -> None:
    assert call(environ(io.BytesIO(b"x" * size))) == ([], b"x" * size)


def test_one_byte_over_the_limit_is_refused_as_json() -> None:
    said, body = call(environ(io.BytesIO(b"x" * 101)), limit=100)
    assert said == ["413 Content Too Large"] and json.loads(body)["code"] == "too_large"


def test_the_limit_is_the_paths_own() -> None:
    asked: list[str] = []
    wrapper = ChunkedBodies(lambda env, start: [], lambda path: asked.append(path) or 10)  # type: ignore[func-returns-value]
    wrapper(environ(io.BytesIO(b"x"), PATH_INFO="/v1/sources"), None)
    assert asked == ["/v1/sources"]


def test_a_body_that_breaks_off_is_the_senders_error() -> None:
    said, body = call(environ(Broken()))
    assert said == ["400 Bad Request"] and json.loads(body)["code"] == "incomplete_request"


@pytest.mark.parametrize(
    "more",
    [{"CONTENT_LENGTH": "3"}, {"HTTP_TRANSFER_ENCODING": "", "CONTENT_LENGTH": "3"}],
    ids=["both", "length only"],
)
def test_an_announced_length_is_left_to_django(more: dict[str, str]) -> None:
    assert call(environ(io.BytesIO(b"abcdef"), **more)) == ([], b"abc")


def test_a_server_that_does_not_end_the_input_is_not_read_from() -> None:
    assert call(environ(io.BytesIO(b"abc"), **{"wsgi.input_terminated": False})) == ([], b"")


def test_the_application_that_is_served_takes_chunks() -> None:
    from platform_portal.wsgi import application, body_limit

    assert isinstance(application, ChunkedBodies)
    assert body_limit("/v1/sources") > 50 * 2**20 > body_limit("/v1/jobs/training")
