"""Positions in a container's log: however the stream is cut and however often reading breaks off, each byte comes once."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_portal.kube import logs
from platform_portal.kube.errors import NotFound, Unavailable
from platform_portal.kube.logs import Position
from tests.platform.api_server import ApiServer, cut, refuse, stream

BEGIN = Position()
START = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)


def gather(pieces: Iterator[tuple[bytes, Position]], since: Position) -> tuple[bytes, Position]:
    """All bytes, and the position behind them."""
    got, position = b"", since
    for data, behind in pieces:
        got, position = got + data, behind
    return got, position


def stamp(nanoseconds: int) -> str:
    """As Go prints RFC 3339 with nanoseconds: without trailing zeros."""
    at = START + timedelta(seconds=nanoseconds // 10**9)
    fraction = f"{nanoseconds % 10**9:09d}".rstrip("0")
    return at.strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction}" if fraction else "") + "Z"


def served(lines: list[tuple[str, bytes]], since: Position) -> bytes:
    """What the server gives from ``since``: all lines from its second on, each behind its stamp."""
    first = logs._whole_second(since.stamp).rstrip("Z") if since.stamp else ""
    return b"".join(at.encode() + b" " + text for at, text in lines if at >= first)


def cut_up(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    place = number = 0
    while place < len(data):
        size = sizes[number % len(sizes)]
        yield data[place : place + size]
        place, number = place + size, number + 1


# Many equal stamps, many in one second, some with fewer digits; lines with and without text, with bytes that are no text and
# with what looks like a stamp.
GAPS = st.sampled_from([0, 0, 1, 500_000_000, 999_999_999, 100_000_000, 1_000_000_000, 3_000_000_000])
TEXTS = st.binary(max_size=12).map(lambda line: line.replace(b"\n", b""))
LINES = st.lists(st.tuples(GAPS, TEXTS | st.sampled_from([b"", b"x" * 90, b"2026-05-04T12:00:00Z x"])), max_size=12)


@st.composite
def logged(draw: Any) -> list[tuple[str, bytes]]:
    at, found = 0, []
    for gap, text in draw(LINES):
        at += gap
        found.append((stamp(at), text + b"\n"))
    if found and draw(st.booleans()):
        found[-1] = (found[-1][0], found[-1][1][:-1])
    return found


@settings(max_examples=400)
@given(logged(), st.lists(st.integers(1, 60), min_size=1, max_size=5), st.lists(st.integers(0, 6), max_size=8))
def test_each_byte_comes_exactly_once(
    lines: list[tuple[str, bytes]], sizes: list[int], interruptions: list[int]
) -> None:
    """``interruptions``: after how many chunks each reading breaks off; the last one goes on to the end."""
    got, position = b"", Position()
    for most in [*interruptions, 10_000]:
        chunks = list(cut_up(served(lines, position), sizes))[:most]
        new, position = gather(logs._new_bytes(iter(chunks), Position.from_json(position.as_json())), position)
        got += new
    assert got == b"".join(text for _, text in lines)


@settings(max_examples=200)
@given(logged(), st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 30))
def test_a_growing_log_is_followed_to_the_byte(lines: list[tuple[str, bytes]], steps: list[int], size: int) -> None:
    """The last line may be half there at one reading and longer at the next."""
    whole = b"".join(text for _, text in lines)
    got, position, shown = b"", Position(), 0
    for step in [*steps, len(whole)]:
        shown = min(len(whole), shown + step)
        visible, left = [], shown
        for at, text in lines:
            if left <= 0:
                break
            visible.append((at, text[:left]))
            left -= len(text)
        new, position = gather(logs._new_bytes(cut_up(served(visible, position), [size]), position), position)
        got += new
        assert got == whole[:shown]
    assert got == whole


def read_all(data: bytes, since: Position = BEGIN, size: int = 7) -> tuple[bytes, Position]:
    return gather(logs._new_bytes(cut_up(data, [size]), since), since)


def test_an_empty_line_is_a_line_feed() -> None:
    at = stamp(1)
    assert read_all(f"{at} \n{at} a\n{at}\n".encode()) == (b"\na\n\n", Position(at, 2, 1))


@pytest.mark.parametrize("size", [1, 5, 39, 1000])
def test_a_line_without_a_stamp_goes_with_the_one_before(size: int) -> None:
    trouble = b"unable to retrieve container logs for containerd://0123456789abcdef"
    got, position = read_all(trouble, size=size)
    assert got == trouble and position == Position("", 0, len(trouble))
    assert read_all(trouble, position, size) == (b"", position)
    at = stamp(5)
    log = f"{at} a\n".encode() + trouble + b"\n" + f"{stamp(6)} b\n".encode()
    got, position = read_all(log, size=size)
    assert got == b"a\n" + trouble + b"\nb\n"
    assert read_all(log, position, size)[0] == b""


def test_a_long_line_is_delivered_as_it_comes_and_memory_stays_small() -> None:
    chunks = iter([f"{stamp(1)} ".encode(), *[b"x" * logs.CHUNK] * 100, b"\n"])
    pieces = list(logs._new_bytes(chunks, Position()))
    assert max(len(data) for data, _ in pieces) <= logs.CHUNK + logs.MAX_STAMP
    assert sum(len(data) for data, _ in pieces) == 100 * logs.CHUNK + 1


@pytest.mark.parametrize(
    ("given_stamp", "second"),
    [
        ("2026-05-04T12:00:00.123456789Z", "2026-05-04T12:00:00Z"),
        ("2026-05-04T12:00:00Z", "2026-05-04T12:00:00Z"),
        ("2026-05-04T12:00:00.5+02:00", "2026-05-04T10:00:00Z"),
        ("2026-05-04T00:30:00-01:00", "2026-05-04T01:30:00Z"),
    ],
)
def test_where_the_server_is_to_begin(given_stamp: str, second: str) -> None:
    assert logs._whole_second(given_stamp) == second


def test_a_position_is_kept_as_json() -> None:
    assert Position.from_json(None) == Position() and Position.from_json(["s", 1, 2]) == Position("s", 1, 2)
    assert Position("s", 1, 2).as_json() == ["s", 1, 2]


# ---- over HTTP


def read(server: ApiServer, since: Position = BEGIN, seconds: float = 5) -> tuple[bytes, Position]:
    return gather(logs.read(server.cluster(), "ml-a", "p", "training", since, seconds=seconds), since)


def test_a_log_is_asked_for_by_container_and_from_its_second(server: ApiServer) -> None:
    server.script["GET"] = [stream(f"{stamp(10**8)} a\n{stamp(2 * 10**8)} b\n".encode(), hold=False)]
    got, position = read(server)
    assert got == b"a\nb\n"
    assert read(server, position) == (b"", position)
    first, second = (query for _, _, query, _ in server.asked)
    assert first == {"container": "training", "timestamps": "true"}
    assert second == first | {"sinceTime": "2026-05-04T12:00:00Z"}
    assert server.asked[0][1] == "/api/v1/namespaces/ml-a/pods/p/log"


def test_a_log_that_breaks_off_raises_and_what_came_is_kept(server: ApiServer) -> None:
    server.script["GET"] = [cut(f"{stamp(1)} abc".encode())]
    pieces = []
    with pytest.raises(Unavailable):
        for piece in logs.read(server.cluster(), "ml-a", "p", "training", BEGIN, seconds=5):
            pieces.append(piece)
    assert gather(iter(pieces), BEGIN) == (b"abc", Position(stamp(1), 0, 3))


def test_no_log_is_not_found(server: ApiServer) -> None:
    server.script["GET"] = [refuse(404, "NotFound")]
    with pytest.raises(NotFound):
        read(server)


def test_reading_stops_after_its_time(server: ApiServer) -> None:
    line = f"{stamp(1)} x\n".encode()
    server.script["GET"] = [stream(*_alternating(line, 0.05, 200))]
    assert 0 < len(read(server, seconds=0.4)[0]) < 100


def _alternating(line: bytes, pause: float, times: int) -> list[bytes | float]:
    return [part for _ in range(times) for part in (line, pause)]
