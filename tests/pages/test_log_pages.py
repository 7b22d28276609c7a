"""The log as lines: safe to show, whatever a program prints, in whatever pieces it was stored."""

import random
import re

import pytest
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import log_pages
from jobs.log_pages import MAX_LINE, PIECE, Page
from jobs.models import TrainingJob
from tests.pages.conftest import MakeJob
from tests.personas import Team


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain", "plain"),
        (b"tab\there", "tab\there"),
        (b"\x1b[1;32mgreen\x1b[0m text", "green text"),
        (b"\x1b]0;title\x07after", "after"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1b[2K\x1b[1Aup", "up"),
        (b"10%\r50%\r100%", "100%"),
        (b"windows\r", "windows"),
        (b"caf\xc3\xa9 \xff\xfe", "café ��"),
        (b"a\x00b\x07c", "a�b�c"),
        (b"\xe2\x9c\x93", "✓"),
        (b"<script>", "<script>"),
        (b"", ""),
    ],
)
def test_a_line_is_shown_as_a_terminal_would_without_its_tricks(raw: bytes, shown: str) -> None:
    assert log_pages._text(raw) == shown


def test_a_very_long_line_is_cut_and_says_so() -> None:
    shown = log_pages._text(b"x" * 5_000_000)
    assert shown.startswith("x" * MAX_LINE) and "5 MB" in shown
    assert len(shown) < MAX_LINE + 200


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_become_lines_and_an_offset_within_them(data: bytes, complete: bool) -> None:
    page = log_pages._page(data, 100, 100 + len(data), complete)
    assert 100 <= page.next <= 100 + len(data)
    assert len(page.lines) == data.count(b"\n") + (1 if complete and data and not data.endswith(b"\n") else 0)
    for line in [*page.lines, page.partial]:
        assert not re.search("[\x00-\x08\x0a-\x1f\x7f]", line)


@pytest.mark.parametrize("seed", range(5))
def test_reading_piece_by_piece_while_it_grows_gives_every_line_once(make_job: MakeJob, write_log, seed: int) -> None:
    rng = random.Random(seed)
    lines = [f"line {number} " + "x" * rng.randrange(60) for number in range(400)]
    data = "".join(f"{rng.randrange(99)}%\r{line}\r\n" for line in lines).encode()
    job, at, seen, offset = make_job(), 0, [], 0
    while at < len(data):
        size = rng.randrange(1, 900)
        write_log(job, data[at : at + size], start=at, complete=at + size >= len(data))
        at += size
        page = log_pages.forward(job, offset)
        seen += page.lines
        offset = page.next
    assert seen == lines
    assert offset == len(data)


def test_an_unfinished_line_is_shown_and_then_replaced(make_job: MakeJob, write_log) -> None:
    job = make_job()
    write_log(job, b"one\n 10%\r 20%", complete=False)
    page = log_pages.forward(job, 0)
    assert (page.lines, page.partial, page.complete) == (["one"], " 20%", False)
    write_log(job, b"\r 30%\ntwo", start=13, complete=False)
    page = log_pages.forward(job, page.next)
    assert (page.lines, page.partial) == ([" 30%"], "two")
    write_log(job, start=22)
    assert log_pages.forward(job, page.next).lines == ["two"]


def test_a_line_longer_than_a_piece_does_not_stop_the_reading(make_job: MakeJob, write_log) -> None:
    job = make_job()
    write_log(job, b"x" * PIECE, b"x" * PIECE, b"x\nend\n")
    offset, seen = 0, []
    for _ in range(5):
        page = log_pages.forward(job, offset)
        seen += page.lines
        offset = page.next
        if page.complete:
            break
    assert seen[-1] == "end"


def test_the_end_comes_first_and_what_was_before_on_demand(make_job: MakeJob, write_log) -> None:
    job = make_job()
    lines = [f"{number:06} {'x' * 50}" for number in range(20_000)]
    data = "".join(f"{line}\n" for line in lines).encode()
    write_log(job, *(data[at : at + PIECE] for at in range(0, len(data), PIECE)))
    page = log_pages.latest(job)
    assert page.lines == lines[-500:] and page.complete
    seen, before = page.lines, page.start
    while before:
        earlier = log_pages.backward(job, before)
        seen, before = earlier.lines + seen, earlier.start
    assert seen == lines


def test_the_gap_of_a_huge_log_is_told_in_both_directions(make_job: MakeJob, write_log) -> None:
    job = make_job()
    write_log(job, b"head\n")
    write_log(job, b"tail\n", start=5_000_000)
    assert log_pages.forward(job, 5).lines == ["[… 5 MB left out …]", "tail"]
    back = log_pages.backward(job, 5_000_000)
    assert back.lines == ["head", "[… 5 MB left out …]"]
    assert back.start == 0


def test_an_empty_log(make_job: MakeJob) -> None:
    job = make_job()
    assert log_pages.latest(job) == Page([], "", 0, 0, False)
    assert log_pages.backward(job, 10).lines == []
    assert log_pages.search(job, "x").found == []


def test_search_finds_lines_across_pieces_whatever_the_case(make_job: MakeJob, write_log) -> None:
    job = make_job()
    write_log(job, b"one Err", b"or here\ntwo\nan ERROR", b" at the end")
    found = log_pages.search(job, "error")
    assert [(hit.offset, hit.before, hit.match, hit.after) for hit in found.found] == [
        (0, "one ", "Error", " here"),
        (19, "an ", "ERROR", " at the end"),
    ]
    assert found.everything
    assert log_pages.from_line_at(job, 22).lines[0] == "an ERROR at the end"


def test_search_is_bounded_in_number_and_time(make_job: MakeJob, write_log) -> None:
    job = make_job()
    write_log(job, b"hit\n" * 5000, b"hit\n" * 5000)
    found = log_pages.search(job, "hit")
    assert (len(found.found), found.everything) == (log_pages.MAX_FOUND, False)
    assert log_pages.search(job, "none", seconds=0).everything is False


@pytest.mark.parametrize("bad", ["x", "-1", "1.5", "9" * 30, ""])
def test_a_bad_offset_is_a_400(ours: Team, make_job: MakeJob, bad: str) -> None:
    job = make_job()
    assert ours.client("viewer").get(f"/t/ours/jobs/{job.pk}/logs/part", {"offset": bad}).status_code == 400
    assert ours.client("viewer").get(f"/t/ours/jobs/{job.pk}/logs", {"at": bad}).status_code == 400


def test_the_page_endpoint_answers_lines_and_nothing_when_nothing_is_new(
    ours: Team, make_job: MakeJob, write_log
) -> None:
    job = make_job(status="running", cluster_uid="u")
    client, url = ours.client("viewer"), f"/t/ours/jobs/{job.pk}/logs/part"
    assert client.get(url).status_code == 204
    write_log(job, b"a\nb\n", complete=False)
    part = client.get(url).json()
    assert part == {"lines": ["a", "b"], "partial": "", "start": 0, "next": 4, "complete": False}
    answer = client.get(url, {"offset": 4})
    assert (answer.status_code, answer.content) == (204, b"")
    assert client.get(url, {"before": 4}).json()["lines"] == ["a", "b"]


def test_looking_at_a_live_log_asks_for_it_to_be_collected(ours: Team, make_job: MakeJob, write_log) -> None:
    job = make_job(status="running", cluster_uid="u")
    write_log(job, b"a\n", complete=False)
    ours.client("viewer").get(f"/t/ours/jobs/{job.pk}/logs")
    job.log.refresh_from_db()
    assert job.log.wanted_at is not None


def test_the_whole_log_is_downloaded_as_it_was_printed(ours: Team, make_job: MakeJob, write_log) -> None:
    job = make_job()
    data = bytes(range(256)) * 2000
    write_log(job, data[:1000], data[1000:])
    answer = ours.client("viewer").get(f"/t/ours/jobs/{job.pk}/logs/download")
    assert b"".join(answer.streaming_content) == data  # type: ignore[attr-defined]
    assert answer["Content-Disposition"] == f'attachment; filename="alpha-{job.pk.hex[:8]}.log"'
    assert answer["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "The program has not started"),
        ({"status": "running", "cluster_uid": "u"}, "No output yet."),
        ({"status": "failed", "completed_at": timezone.now()}, "The program printed nothing."),
    ],
)
def test_a_log_without_lines_says_why(ours: Team, make_job: MakeJob, fields: dict[str, object], sentence: str) -> None:
    job: TrainingJob = make_job(**fields)
    assert sentence in ours.client("viewer").get(f"/t/ours/jobs/{job.pk}/logs").content.decode()
