"""Logs of a pod: whole, live, cut by lines, bytes and time, whatever the bytes are."""

from __future__ import annotations

import re
import time
from datetime import datetime

import pytest

from .api import Object, Space
from .objects import SLEEP, container, pod, python

RAW = {"Accept": "*/*"}
STAMPED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)) (.*)\n")


def test_both_streams_are_in_the_log_as_plain_text(space: Space) -> None:
    space.run(pod("a", "echo out; echo err >&2"))
    answer = space.cluster.call("GET", space.path("pods", "a", "log"), headers=RAW)
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert sorted(answer.text.splitlines()) == ["err", "out"]


CUTS: list[tuple[str, Object, str]] = [
    ("everything", {}, "1\n2\n3\n4\n"),
    ("the last lines", {"tailLines": 2}, "3\n4\n"),
    ("more lines than there are", {"tailLines": 99}, "1\n2\n3\n4\n"),
    ("no lines", {"tailLines": 0}, ""),
    ("the first bytes", {"limitBytes": 3}, "1\n2"),
    ("the first bytes of the last lines", {"tailLines": 2, "limitBytes": 3}, "3\n4"),
    ("nothing is too old", {"sinceSeconds": 3600}, "1\n2\n3\n4\n"),
    ("nothing is that new", {"sinceTime": "2999-01-01T00:00:00Z"}, ""),
]


def test_a_log_can_be_cut(space: Space) -> None:
    space.run(pod("a", "for i in 1 2 3 4; do echo $i; done"))
    found = [(name, space.log("a", **query)) for name, query, _ in CUTS]
    assert found == [(name, text) for name, _, text in CUTS]


def test_each_line_can_carry_its_time_and_reading_goes_on_from_there(space: Space) -> None:
    space.run(pod("a", "echo one; sleep 2.1; echo two"))
    stamped = space.log("a", timestamps=True)
    lines = STAMPED.findall(stamped)
    assert [text for _, text in lines] == ["one", "two"]
    # Python's clock knows microseconds only.
    moments = [datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", stamp)) for stamp, _ in lines]
    assert (moments[1] - moments[0]).total_seconds() >= 2
    since = lines[1][0][:19] + "Z"
    assert space.log("a", sinceTime=since) == "two\n"
    # Inclusive: a reader that goes on from a line's second sees that line again, never a gap.
    assert space.log("a", sinceTime=lines[0][0][:19] + "Z") == "one\ntwo\n"
    assert space.log("a", sinceTime=since, timestamps=True) == f"{lines[1][0]} two\n"


def test_following_delivers_lines_as_they_come_and_ends_with_the_container(space: Space) -> None:
    mount = [{"name": "work", "mountPath": "/scratch"}]
    waiting = "echo first; while [ ! -f /scratch/go ]; do sleep 0.05; done; echo last"
    body = pod("a", waiting, {"volumes": [{"name": "work", "emptyDir": {}}]}, volumeMounts=mount)
    body["spec"]["containers"].append(container("sleep 1.5; touch /scratch/go", "other", volumeMounts=mount))
    space.create(body)
    space.wait_log("a", "first", container="main")
    query = {"follow": True, "container": "main"}
    with space.cluster.stream(space.path("pods", "a", "log"), headers=RAW, **query) as response:
        arrivals = [(line, time.monotonic()) for line in response]
    assert [line for line, _ in arrivals] == [b"first\n", b"last\n"]
    # The first line did not wait for the second.
    assert arrivals[1][1] - arrivals[0][1] > 0.2


def test_following_a_finished_container_ends_at_once(space: Space) -> None:
    space.run(pod("a", "echo done"))
    assert space.log("a", follow=True) == "done\n"


def test_following_may_start_at_the_last_lines(space: Space) -> None:
    space.create(pod("a", 'trap "echo 4; exit 0" TERM; sleep 600 & for i in 1 2 3; do echo $i; done; wait'))
    space.wait_log("a", "3")
    query = {"follow": True, "tailLines": 1}
    with space.cluster.stream(space.path("pods", "a", "log"), headers=RAW, **query) as response:
        assert next(response) == b"3\n"
        space.delete("pods", "a", {"gracePeriodSeconds": 60})
        assert response.read() == b"4\n"


CONTENTS: list[tuple[str, bytes, bytes]] = [
    ("no newline at the end", b"one\ntwo", b"one\ntwo"),
    ("nothing at all", b"", b""),
    ("empty lines", b"\n\n\n", b"\n\n\n"),
    (
        "binary",
        b"\x00\xff\xfe\x80 caf\xc3\xa9\n\x1b[31mred\x1b[0m\n",
        b"\x00\xff\xfe\x80 caf\xc3\xa9\n\x1b[31mred\x1b[0m\n",
    ),
    ("progress bars", b"10%\r20%\r30%\n", b"10%\r20%\r30%\n"),
    ("a line longer than the runtime's buffer", b"x" * 100_000 + b"\nend\n", b"x" * 100_000 + b"\nend\n"),
]


@pytest.mark.parametrize(("written", "read"), [row[1:] for row in CONTENTS], ids=[row[0] for row in CONTENTS])
def test_the_log_is_what_was_written(space: Space, written: bytes, read: bytes) -> None:
    code = f"import sys; sys.stdout.buffer.write(eval({_compact(written)!r}))"
    space.run(pod("a", python(code)))
    assert space.log_bytes("a") == read


def test_a_line_longer_than_the_runtimes_buffer_has_one_time(space: Space) -> None:
    space.run(pod("a", python("print('x' * 100_000); print('end')")))
    lines = STAMPED.findall(space.log("a", timestamps=True))
    assert [text for _, text in lines] == ["x" * 100_000, "end"]


def test_a_large_log_comes_whole(space: Space) -> None:
    # Below the size at which a kubelet rotates its files.
    lines = 60_000
    space.run(pod("a", python(f"for i in range({lines}): print(f'line {{i:06d}} ' + 'x' * 60)")))
    text = space.log("a")
    assert text.count("\n") == lines
    assert text.endswith(f"line {lines - 1:06d} " + "x" * 60 + "\n")
    assert space.log("a", tailLines=1).startswith(f"line {lines - 1:06d}")


def test_lines_stay_whole_when_two_streams_write(space: Space) -> None:
    script = "for i in 1 2 3 4 5 6 7 8 9; do echo out; echo err >&2; done"
    space.run(pod("a", script))
    assert sorted(space.log("a").splitlines()) == ["err"] * 9 + ["out"] * 9


def test_each_container_has_a_log_of_its_own(space: Space) -> None:
    body = pod("a", "echo from main", {"initContainers": [container("echo from init", "fetch")]})
    body["spec"]["containers"].append(container("echo from side", "side"))
    space.run(body)
    assert space.log("a", container="fetch") == "from init\n"
    assert space.log("a", container="main") == "from main\n"
    assert space.log("a", container="side") == "from side\n"


def test_with_several_containers_one_must_be_named(space: Space) -> None:
    body = pod("a", "echo from main")
    body["spec"]["containers"].append(container("true", "side"))
    space.run(body)
    status = space.cluster.refused(400, "BadRequest", "GET", space.path("pods", "a", "log"))
    assert status["message"] == "a container name must be specified for pod a, choose one of: [main side]"


@pytest.mark.parametrize("query", [{"tailLines": -1}, {"limitBytes": 0}], ids=["tailLines", "limitBytes"])
def test_an_impossible_cut_is_invalid(space: Space, query: Object) -> None:
    space.run(pod("a", "true"))
    status = space.cluster.refused(422, "Invalid", "GET", space.path("pods", "a", "log"), **query)
    assert [cause["field"] for cause in status["details"]["causes"]] == list(query)


def test_the_log_of_an_unknown_container_is_a_bad_request(space: Space) -> None:
    space.run(pod("a", "true"))
    status = space.cluster.refused(400, "BadRequest", "GET", space.path("pods", "a", "log"), container="none")
    assert status["message"] == "container none is not valid for pod a"


def test_the_log_of_an_unknown_pod_is_not_found(space: Space) -> None:
    space.cluster.refused(404, "NotFound", "GET", space.path("pods", "none", "log"))


def test_the_log_of_a_container_that_has_not_started_is_a_bad_request(space: Space) -> None:
    space.create(pod("a", "true", image="localcluster.invalid/nothing:1"))
    space.wait("pods", "a", lambda obj: bool(obj["status"].get("containerStatuses")), "tried")
    status = space.cluster.refused(400, "BadRequest", "GET", space.path("pods", "a", "log"))
    assert status["message"].startswith('container "main" in pod "a" is waiting to start: ')


def test_the_log_of_a_running_pod_is_readable(space: Space) -> None:
    space.create(pod("a", "echo hello; " + SLEEP))
    assert space.wait_log("a", "hello\n") == "hello\n"


def test_a_finished_pods_log_stays_until_the_pod_is_deleted(space: Space) -> None:
    space.run(pod("a", "echo kept; exit 1"))
    assert space.log("a") == "kept\n"
    space.delete("pods", "a")
    space.wait_gone("pods", "a")
    space.cluster.refused(404, "NotFound", "GET", space.path("pods", "a", "log"))


def _compact(data: bytes) -> str:
    """An expression for the bytes that stays short for long runs of one byte."""
    if len(data) < 1000:
        return repr(data)
    return f"b'x' * {data.count(b'x')} + {data.lstrip(b'x')!r}"
