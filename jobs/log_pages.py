"""A job's log as lines for the page: pieces forward, backward and from the end, and a search.

``jobs.logs`` knows bytes and offsets; here they become text that is safe to show. Colours and cursor movements are dropped,
a carriage return overwrites its line as a terminal would, bytes that are no text become U+FFFD, a very long line is cut.
Pieces end at line ends, so that offsets can be handed on; a line that is still being written is told apart.
"""

import re
import time
from dataclasses import dataclass

from jobs import logs
from jobs.models import JobLogChunk, TrainingJob
from jobs.presenters import size_text

FIRST_LINES = 500
PIECE = 128 * 1024
MAX_LINE = 4000
MAX_FOUND = 200
SEARCH_SECONDS = 4.0

_ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)|[ -/][0-~]|[0-Z\\^_=>])")
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Page:
    """Finished ``lines`` from byte ``start`` on, the unfinished one, and where to go on reading."""

    lines: list[str]
    partial: str
    start: int
    next: int
    complete: bool


@dataclass(frozen=True)
class Found:
    offset: int
    before: str
    match: str
    after: str


@dataclass(frozen=True)
class Search:
    found: list[Found]
    everything: bool


def latest(job: TrainingJob) -> Page:
    """The end of the log."""
    part = logs.tail(job, FIRST_LINES)
    data, start = part.data, part.start
    if len(data) > PIECE:
        start += len(data) - PIECE
        data = data[-PIECE:]
        data, start = _from_line_start(data, start)
    return _page(data, start, part.next_offset, part.complete)


def forward(job: TrainingJob, offset: int) -> Page:
    """What comes after ``offset``, which must be one that a page gave."""
    part = logs.read(job, offset=offset, limit=PIECE)
    page = _page(part.data, part.start, part.next_offset, part.complete)
    if part.start > offset:
        page.lines.insert(0, _gap(part.start - offset))
    if len(part.data) >= PIECE and page.next == part.start:
        # One line longer than a piece: it is shown in pieces rather than never.
        return Page([_text(part.data)], "", part.start, part.next_offset, False)
    return page


def from_line_at(job: TrainingJob, offset: int) -> Page:
    """A piece around ``offset`` from the beginning of a line on."""
    return forward(job, _line_start(job, offset))


def backward(job: TrainingJob, before: int) -> Page:
    """The finished lines that end at ``before``, as many as a piece holds."""
    chunk = JobLogChunk.objects.filter(job=job, offset__lt=before).order_by("-offset").first()
    if chunk is None:
        return Page([], "", 0, before, False)
    end = min(chunk.offset + len(chunk.data), before)
    begin = max(end - PIECE, 0)
    part = logs.read(job, offset=begin, limit=end - begin)
    data, start = part.data[: max(end - part.start, 0)], part.start
    if start > 0:
        data, start = _from_line_start(data, start)
    lines = _page(data, start, end, True).lines
    if end < before:
        lines.append(_gap(before - end))
    return Page(lines, "", start, before, False)


def search(job: TrainingJob, wanted: str, *, seconds: float = SEARCH_SECONDS) -> Search:
    """The lines that hold ``wanted``, whatever the case, from the whole kept log; bounded in number and time."""
    needle = wanted.lower().encode("utf-8", "surrogatepass")
    deadline = time.monotonic() + seconds
    found: list[Found] = []
    rest, rest_at = b"", 0
    for chunk in JobLogChunk.objects.filter(job=job).order_by("offset").iterator(chunk_size=4):
        data = bytes(chunk.data)
        if rest and rest_at + len(rest) == chunk.offset:
            data, at = rest + data, rest_at
        else:
            found += _matches(rest, rest_at, needle, wanted)
            at = chunk.offset
        cut = data.rfind(b"\n") + 1
        if not cut and len(data) > 4 * PIECE:
            cut = len(data)
        found += _matches(data[:cut], at, needle, wanted)
        rest, rest_at = data[cut:], at + cut
        if len(found) >= MAX_FOUND or time.monotonic() > deadline:
            return Search(found[:MAX_FOUND], False)
    found += _matches(rest, rest_at, needle, wanted)
    return Search(found[:MAX_FOUND], len(found) <= MAX_FOUND)


def _matches(data: bytes, at: int, needle: bytes, wanted: str) -> list[Found]:
    if needle not in data.lower():
        return []
    found = []
    for line in data.splitlines(keepends=True):
        if needle in line.lower():
            text = _text(line)
            place = text.lower().find(wanted.lower())
            if place >= 0:
                end = place + len(wanted)
                found.append(Found(at, text[max(place - 200, 0) : place], text[place:end], text[end : end + 200]))
        at += len(line)
        if len(found) > MAX_FOUND:
            break
    return found


def _page(data: bytes, start: int, next_offset: int, complete: bool) -> Page:
    whole = data.rfind(b"\n") + 1
    lines = [_text(line) for line in data[:whole].split(b"\n")[:-1]]
    rest = data[whole:]
    if complete:
        return Page(lines + ([_text(rest)] if rest else []), "", start, next_offset, True)
    # What a carriage return overwrote need not be read again; one at the very end may belong to a line's end.
    overwritten = rest.rfind(b"\r", 0, max(len(rest) - 1, 0)) + 1
    return Page(lines, _text(rest), start, start + whole + overwritten if data else next_offset, False)


def _text(line: bytes) -> str:
    line = line.rstrip(b"\r\n")
    line = line[line.rfind(b"\r") + 1 :]
    cut = len(line) > 8 * MAX_LINE
    text = _ESCAPES.sub(b"", line[: 8 * MAX_LINE]).decode("utf-8", "replace")
    text = _CONTROLS.sub("�", text)
    if cut or len(text) > MAX_LINE:
        return f"{text[:MAX_LINE]} [… this line has {size_text(len(line))}; download the log to read all of it]"
    return text


def _from_line_start(data: bytes, start: int) -> tuple[bytes, int]:
    """Drops the beginning of a line that was cut, unless that would be everything."""
    cut = data.find(b"\n") + 1
    return (data[cut:], start + cut) if 0 < cut < len(data) else (data, start)


def _line_start(job: TrainingJob, offset: int) -> int:
    begin = max(offset - PIECE // 2, 0)
    before = logs.read(job, offset=begin, limit=offset - begin) if offset > begin else None
    if before is None or before.start >= offset:
        return offset
    return before.start + before.data[: offset - before.start].rfind(b"\n") + 1


def _gap(count: int) -> str:
    return f"[… {size_text(count)} left out …]"
