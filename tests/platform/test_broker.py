"""The laptop's broker: whatever a reader finds in the queue is a whole message, and each is taken once."""

import json
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import kombu.transport
import pytest
from kombu.connection import Connection
from kombu.transport import TRANSPORT_ALIASES

from platform_portal import broker
from platform_portal.celery import app


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(TRANSPORT_ALIASES, broker.SCHEME, TRANSPORT_ALIASES[broker.SCHEME])
    broker.register()
    (tmp_path / "queue").mkdir()
    return tmp_path / "queue"


@pytest.fixture
def name() -> str:
    """A queue's name of its own: kombu remembers in the process which queues it has declared."""
    return f"hints-{uuid.uuid4()}"


def connect(queue: Path) -> Connection:
    options = {
        "data_folder_in": str(queue),
        "data_folder_out": str(queue),
        "control_folder": str(queue.parent / "control"),
    }
    return Connection("filesystem://", transport_options=options)


def test_the_scheme_means_this_transport(queue: Path) -> None:
    with connect(queue) as connection:
        assert isinstance(connection.transport, broker.Transport)
        assert isinstance(connection.default_channel, broker.Channel)


def test_the_platforms_own_programs_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kombu.transport, "_transport_cache", {})
    with app.connection_for_write("filesystem://localhost/") as connection:
        assert isinstance(connection.transport, broker.Transport)


def test_messages_come_in_their_order(queue: Path, name: str) -> None:
    with connect(queue) as connection:
        simple = connection.SimpleQueue(name)
        for number in range(5):
            simple.put({"number": number})
            time.sleep(0.002)  # names count milliseconds
        got = [simple.get(timeout=5) for _ in range(5)]
        for message in got:
            message.ack()
        assert [message.payload["number"] for message in got] == list(range(5))
        assert list(queue.iterdir()) == []
        simple.close()


def test_no_reader_ever_finds_half_a_message(queue: Path, name: str) -> None:
    """A writer of large messages, and a reader that looks at the folder all the time as a worker does."""
    done, torn, seen = threading.Event(), list[str](), set[str]()

    def look() -> None:
        while not done.is_set():
            for file in list(queue.iterdir()):
                if not file.name.endswith(f"{name}.msg"):
                    continue
                seen.add(file.name)
                try:
                    json.loads(file.read_text())
                except ValueError:
                    torn.append(file.name)

    reader = threading.Thread(target=look)
    reader.start()
    with connect(queue) as connection:
        simple = connection.SimpleQueue(name)
        for number in range(50):
            simple.put({"number": number, "filler": "x" * 200_000})
        simple.close()
    done.set()
    reader.join()
    assert len(list(queue.glob("*.msg"))) == 50 and not list(queue.glob("*.draft"))
    assert seen and torn == []


def test_each_message_goes_to_one_of_many_readers(queue: Path, name: str) -> None:
    with connect(queue) as connection:
        simple = connection.SimpleQueue(name)
        for number in range(40):
            simple.put(number)
        simple.close()
    taken: list[Any] = []
    lock = threading.Lock()

    def work() -> None:
        with connect(queue) as connection:
            mine = connection.SimpleQueue(name)
            while True:
                try:
                    message = mine.get(timeout=0.5)
                except mine.Empty:
                    break
                with lock:
                    taken.append(message.payload)
                message.ack()
            mine.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(40))


def test_programs_that_start_together_all_find_a_whole_table_of_bindings(queue: Path) -> None:
    """A table is read while others write it: an empty or half-written one would end the reader."""
    names = [f"hints-{uuid.uuid4()}" for _ in range(12)]
    failures: list[BaseException] = []

    def bind(name: str) -> None:
        try:
            with connect(queue) as connection:
                channel = connection.channel()
                for _ in range(20):
                    channel._queue_bind("hints", "hints", "", name)
                    assert channel.get_table("hints")
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=bind, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    with connect(queue) as connection:
        assert {binding.queue for binding in connection.channel().get_table("hints")} == set(names)
