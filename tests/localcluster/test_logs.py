"""Reading of log files: tail, since, time stamps, joined partial records."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from localcluster.kubelet import logs
from localcluster.kubelet.logs import LogOptions, Records, _tail_offset

OPTIONS = {"follow": False, "tail": None, "since": None, "timestamps": False, "limit": None, "previous": False}


def record(second: int, flag: str, text: str) -> str:
    return f"2026-01-01T00:00:{second:02d}.000000001Z stdout {flag} {text}\n"


LOG = record(1, "F", "one") + record(2, "P", "tw") + record(3, "F", "o") + record(4, "F", "") + record(5, "F", "four")


def read(path: Path, text: str, **changed: object) -> str:
    path.write_text(text)
    options = LogOptions(**{**OPTIONS, **changed})  # type: ignore[arg-type]
    with open(path, "rb") as file:
        file.seek(_tail_offset(file, options.tail) if options.tail is not None else 0)
        return b"".join(Records(file, options).read()).decode()


def test_partial_records_are_one_line(tmp_path: Path) -> None:
    assert read(tmp_path / "log", LOG) == "one\ntwo\n\nfour\n"


TAILS = [
    (0, ""),
    (1, "four\n"),
    (2, "\nfour\n"),
    (3, "two\n\nfour\n"),
    (4, "one\ntwo\n\nfour\n"),
    (9, "one\ntwo\n\nfour\n"),
]


@pytest.mark.parametrize("block", [16, 100, 256 * 1024])
@pytest.mark.parametrize(("lines", "wanted"), TAILS)
def test_the_tail_counts_lines_of_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: int, wanted: str, block: int
) -> None:
    monkeypatch.setattr(logs, "BLOCK", block)
    assert read(tmp_path / "log", LOG, tail=lines) == wanted


def test_a_line_without_end_is_in_the_tail(tmp_path: Path) -> None:
    assert read(tmp_path / "log", LOG + record(6, "P", "rest"), tail=1) == "rest"
    assert read(tmp_path / "log", LOG + record(6, "P", "re") + record(6, "P", "st"), tail=2) == "four\nrest"


def test_since_begins_with_the_first_line_of_that_time(tmp_path: Path) -> None:
    since = datetime(2026, 1, 1, 0, 0, 4, tzinfo=UTC)
    assert read(tmp_path / "log", LOG, since=since) == "\nfour\n"


def test_timestamps_stand_once_before_each_line(tmp_path: Path) -> None:
    lines = read(tmp_path / "log", LOG, timestamps=True).splitlines()
    assert lines[1] == "2026-01-01T00:00:02.000000001Z two"
    assert len(lines) == 4


def test_a_record_that_is_not_whole_yet_waits(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(LOG[:-3])
    with open(path, "rb") as file:
        reader = Records(file, LogOptions(**OPTIONS))  # type: ignore[arg-type]
        assert b"".join(reader.read()) == b"one\ntwo\n\n"
        with open(path, "a") as more:
            more.write(LOG[-3:])
        assert b"".join(reader.read()) == b"four\n"
