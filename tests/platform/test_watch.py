"""The informer against a server that does everything a server can do wrong: each difference is told once, and none is lost."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from platform_portal.kube import watch
from platform_portal.kube.cluster import Cluster
from platform_portal.kube.watch import Informer
from tests.platform.api_server import (
    ApiServer,
    bookmark,
    cut,
    event,
    listed,
    pod,
    refuse,
    reply,
    silent,
    stream,
)  # fmt: skip

Told = list[tuple[str, Any, Any]]
EXPIRED = {"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"}


def summarize(obj: dict[str, Any]) -> str | None:
    """The label, so that two versions of an object may be equal; ``ignored`` ones are of no interest."""
    label = obj["metadata"]["labels"].get("a", "")
    return None if label == "ignored" else label


@contextmanager
def watching(server: ApiServer, **options: Any) -> Iterator[tuple[Informer[str], Told]]:
    told: Told = []
    options.setdefault("on_change", lambda *change: told.append(change))
    informer: Informer[str] = Informer(server.cluster(timeout=1), "Pod", summarize=summarize, **options)
    informer.start()
    try:
        yield informer, told
    finally:
        informer.stop()
        informer.join(3)
        assert not informer.is_alive()


def eventually(condition: Callable[[], Any], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


def test_a_list_then_a_watch_each_difference_once(server: ApiServer) -> None:
    server.script["list"] = [listed(pod("1", a="x"), pod("2", a="y"))]
    changes = [
        event("MODIFIED", pod("1", 11, a="x")), event("MODIFIED", pod("1", 12, a="z")), event("ADDED", pod("3", 13, a="n")),
        event("DELETED", pod("2", 14, a="y")), event("DELETED", pod("9", 15, a="never seen")), bookmark(16),
    ]  # fmt: skip
    server.script["watch"] = [stream(*changes)]
    with watching(server, selector="managed-by=us") as (informer, told):
        eventually(lambda: len(told) == 5)
        assert told == [("1", None, "x"), ("2", None, "y"), ("1", "x", "z"), ("3", None, "n"), ("2", "y", None)]
        assert sorted(informer.all()) == ["n", "z"] and informer.synced.is_set()
    assert {query["labelSelector"] for _, _, query, _ in server.asked} == {"managed-by=us"}
    assert server.asked[1][2]["resourceVersion"] == "10" and server.asked[1][2]["allowWatchBookmarks"] == "true"


def test_nothing_is_synced_before_the_whole_list_is_there(server: ApiServer) -> None:
    server.script["list"] = [
        listed(pod("1", a="x"), more="t"),
        refuse(500),
        listed(pod("1", a="x"), more="t"),
        listed(pod("2", a="y")),
    ]
    server.script["watch"] = [stream()]
    with watching(server) as (informer, told):
        eventually(lambda: told)
        assert not informer.synced.is_set()
        eventually(informer.synced.is_set)
        assert told == [("1", None, "x"), ("2", None, "y")]


def test_an_object_of_no_interest_is_not_kept_and_leaves_when_it_becomes_so(server: ApiServer) -> None:
    server.script["list"] = [listed(pod("1", a="ignored"), pod("2", a="x"))]
    server.script["watch"] = [stream(event("MODIFIED", pod("2", 11, a="ignored")))]
    with watching(server) as (informer, told):
        eventually(lambda: len(told) == 2)
        assert told == [("2", None, "x"), ("2", "x", None)] and informer.all() == []


def test_a_watch_that_ends_goes_on_from_where_it_was(server: ApiServer) -> None:
    server.script["list"] = [listed(version="10")]
    server.script["watch"] = [
        stream(event("ADDED", pod("1", 11, a="x")), hold=False), stream(bookmark(20), hold=False), stream(),
    ]  # fmt: skip
    with watching(server):
        eventually(lambda: server.kinds().count("watch") == 3)
    assert [query["resourceVersion"] for kind, _, query, _ in server.asked if kind == "watch"] == ["10", "11", "20"]
    assert server.kinds().count("list") == 1


@pytest.mark.parametrize(
    "gone", [refuse(410, "Expired"), stream(event("ERROR", EXPIRED), hold=False)], ids=["status", "event"]
)
def test_a_version_too_old_makes_a_list_that_finds_what_was_missed(server: ApiServer, gone: Any) -> None:
    server.script["list"] = [
        listed(pod("1", a="x"), pod("2", a="y")),
        listed(pod("2", a="z"), pod("3", a="n"), version="50"),
    ]
    server.script["watch"] = [gone, stream()]
    with watching(server) as (_, told):
        eventually(lambda: server.kinds().count("watch") == 2)
        assert told[2:] == [("2", "y", "z"), ("3", None, "n"), ("1", "x", None)]
    assert server.asked[-1][2]["resourceVersion"] == "50"


def test_a_server_that_always_says_too_old_is_not_asked_without_pause(server: ApiServer) -> None:
    server.script["list"] = [listed()]
    server.script["watch"] = [refuse(410, "Expired")]
    with watching(server):
        time.sleep(1)
        assert 2 <= server.kinds().count("watch") <= 4


def test_a_watch_that_ends_at_once_each_time_is_not_begun_again_without_pause(server: ApiServer) -> None:
    server.script["list"] = [listed()]
    server.script["watch"] = [stream(hold=False)]
    with watching(server):
        time.sleep(1.5)
        assert 2 <= server.kinds().count("watch") <= 4


def test_another_error_event_makes_a_list_too(server: ApiServer) -> None:
    trouble = {"kind": "Status", "code": 500, "reason": "InternalError", "message": "etcd"}
    server.script["list"] = [listed(), listed(pod("1", a="x"))]
    server.script["watch"] = [stream(event("ERROR", trouble), hold=False), stream()]
    with watching(server) as (_, told):
        eventually(lambda: told == [("1", None, "x")])


def test_a_cut_in_the_middle_of_a_line_loses_and_repeats_nothing(server: ApiServer) -> None:
    whole, half = event("ADDED", pod("1", 11, a="x")), event("ADDED", pod("2", 12, a="y"))
    server.script["list"] = [listed()]
    server.script["watch"] = [stream(whole, half[:30], hold=False), stream(half[:5], 0.05, half[5:])]
    with watching(server) as (_, told):
        eventually(lambda: len(told) == 2)
        assert told == [("1", None, "x"), ("2", None, "y")]
    assert [query["resourceVersion"] for kind, _, query, _ in server.asked if kind == "watch"] == ["10", "11"]


@pytest.mark.parametrize(
    "garbage", [b"<html>\n", b"{}\n", b'{"type": "ADDED"}\n', b"[1]\n", b'{"type": "ADDED", "object": {}}\n', b"\xff\n"]
)
def test_garbage_in_the_stream_does_not_end_the_watching(server: ApiServer, garbage: bytes) -> None:
    server.script["list"] = [listed(pod("1", a="x"))]
    server.script["watch"] = [stream(garbage, hold=False), stream(event("ADDED", pod("2", 12, a="y")))]
    with watching(server) as (_, told):
        eventually(lambda: ("2", None, "y") in told)
        assert told == [("1", None, "x"), ("2", None, "y")]


@pytest.mark.parametrize(
    "garbage", [reply(b"<html>"), reply({"items": [{"no": "metadata"}]}), reply([]), cut(), refuse(500), silent]
)
def test_a_list_that_is_no_list_is_asked_for_again(server: ApiServer, garbage: Any) -> None:
    server.script["list"] = [garbage, listed(pod("1", a="x"))]
    server.script["watch"] = [stream()]
    with watching(server) as (_, told):
        eventually(lambda: told == [("1", None, "x")])


def test_too_many_requests_is_waited_for_as_long_as_asked(server: ApiServer) -> None:
    server.script["list"] = [refuse(429, "TooManyRequests", retryAfterSeconds=2), listed()]
    server.script["watch"] = [stream()]
    began = time.monotonic()
    with watching(server) as (informer, _):
        eventually(informer.synced.is_set)
        assert time.monotonic() - began >= 2


def test_a_silent_watch_is_found_out_by_its_time_limit(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "WATCH_SECONDS", 1)
    cluster_stream = "platform_portal.kube.cluster.Cluster.watch_stream"
    original = Cluster.watch_stream

    def impatient(self: Any, kind: str, **options: Any) -> Any:
        options["seconds"] = -29.5  # the idle limit is 30 seconds more than the server was asked for
        return original(self, kind, **options)

    monkeypatch.setattr(cluster_stream, impatient)
    server.script["list"] = [listed()]
    server.script["watch"] = [stream(), stream(event("ADDED", pod("1", 11, a="x")))]
    with watching(server) as (_, told):
        eventually(lambda: told == [("1", None, "x")])


def test_the_regular_list_finds_what_a_lost_watch_missed(server: ApiServer) -> None:
    server.script["list"] = [listed(pod("1", a="x")), listed(pod("2", a="y"), version="60")]
    server.script["watch"] = [stream(hold=False)]
    with watching(server, relist_seconds=0.3) as (informer, told):
        eventually(lambda: len(told) == 3)
        assert told == [("1", None, "x"), ("2", None, "y"), ("1", "x", None)]
        assert informer.all() == ["y"]


def test_a_server_that_is_away_comes_back(server: ApiServer) -> None:
    server.script["list"] = [listed(pod("1", a="x"))]
    server.script["watch"] = [refuse(503), stream(event("MODIFIED", pod("1", 11, a="y")))]
    with watching(server) as (informer, told):
        eventually(lambda: ("1", "x", "y") in told)
        assert informer.all() == ["y"]


def test_a_listener_that_fails_does_not_end_the_watching(server: ApiServer) -> None:
    calls: list[str] = []

    def on_change(uid: str, before: Any, after: Any) -> None:
        calls.append(uid)
        if len(calls) == 1:
            raise RuntimeError("a fault of ours")

    server.script["list"] = [listed(pod("1", a="x"))]
    server.script["watch"] = [stream(event("ADDED", pod("2", 11, a="y")))]
    with watching(server, on_change=on_change):
        eventually(lambda: "2" in calls)


def test_contact_is_the_time_of_the_last_word(server: ApiServer) -> None:
    server.script["list"] = [listed()]
    server.script["watch"] = [stream(0.2, bookmark(11))]
    began = time.monotonic()
    with watching(server) as (informer, _):
        eventually(lambda: informer.last_contact > began + 0.2)


@pytest.mark.parametrize("watch_answer", [stream(), silent], ids=["open", "silent"])
def test_stop_ends_it_at_once(server: ApiServer, watch_answer: Any) -> None:
    server.script["list"] = [listed()]
    server.script["watch"] = [watch_answer]
    with watching(server) as (informer, _):
        eventually(lambda: "watch" in server.kinds())
        time.sleep(0.1)
        began = time.monotonic()
        informer.stop()
        informer.join(5)
        assert not informer.is_alive() and time.monotonic() - began < 2


def test_stop_ends_it_while_it_waits_to_try_again(server: ApiServer) -> None:
    server.script["list"] = [refuse(429, "TooManyRequests", retryAfterSeconds=60)]
    with watching(server) as (informer, _):
        eventually(lambda: server.asked)
        informer.stop()
        informer.join(2)
        assert not informer.is_alive()


def test_lines_are_whole_however_they_are_cut() -> None:
    text = b'{"a": 1}\n\n{"b": "\xc3\xbc"}\n  \n{"c": 3}\nrest without end'

    class Response:
        def __init__(self, size: int) -> None:
            self.parts = [text[start : start + size] for start in range(0, len(text), size)]

        def read1(self, amount: int) -> bytes:
            return self.parts.pop(0) if self.parts else b""

    for size in range(1, len(text) + 1):
        lines = [json.loads(line) for line in watch._lines(Response(size))]  # type: ignore[arg-type]
        assert lines == [{"a": 1}, {"b": "ü"}, {"c": 3}]


def test_a_thread_is_named_after_what_it_watches(server: ApiServer) -> None:
    server.script["list"] = [listed()]
    server.script["watch"] = [stream()]
    with watching(server):
        assert "watch-Pod" in {thread.name for thread in threading.enumerate()}
