"""The journal and the store on top of it: what was answered is there again, what was torn is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from localcluster.errors import ApiError
from localcluster.journal import Entry, Journal
from localcluster.selectors import parse_labels
from localcluster.store import HISTORY_PER_BUCKET, Store

FRAMES: list[list[Entry]] = [
    [(b"P", "pods", b'{"a":1}')],
    [(b"P", "jobs.batch", b'{"b":2}'), (b"D", "pods", b'{"a":1}')],
    [(b"P", "pods", b"{}")],
]


def write(folder: Path) -> Path:
    journal = Journal(folder)
    assert list(journal.load()) == []
    for frame in FRAMES:
        journal.append(frame)
    journal.close()
    (path,) = folder.glob("journal-*.log")
    return path


def read(folder: Path) -> list[list[Entry]]:
    journal = Journal(folder)
    found = [frame for frame in journal.load() if frame]
    journal.close()
    return found


def thing(name: str, namespace: str = "default", **labels: str) -> dict[str, object]:
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}", "labels": labels},
    }


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    write(tmp_path)
    assert read(tmp_path) == FRAMES


@pytest.mark.parametrize("cut", [1, 5, 9, 20])
def test_a_torn_last_frame_is_dropped_and_the_rest_is_kept(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[:-cut])
    kept = read(tmp_path)
    assert kept == FRAMES[: len(kept)]
    assert len(kept) == (2 if cut < 20 else len(kept))
    assert len(kept) < len(FRAMES)


def test_a_damaged_byte_ends_the_journal_there(tmp_path: Path) -> None:
    path = write(tmp_path)
    data = bytearray(path.read_bytes())
    data[-4] ^= 0xFF
    path.write_bytes(data)
    assert read(tmp_path) == FRAMES[:2]


def test_appending_goes_on_after_a_torn_frame(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[:-3])
    journal = Journal(tmp_path)
    list(journal.load())
    journal.append(FRAMES[2])
    journal.close()
    assert read(tmp_path) == FRAMES


def test_a_store_comes_back_with_its_objects_indexes_and_history(tmp_path: Path) -> None:
    store = Store(Journal(tmp_path))
    first = store.put("pods", thing("a", team="x"))
    store.put("pods", thing("b", team="y"))
    store.remove("pods", first)
    revision = store.revision
    store.close()
    again = Store(Journal(tmp_path))
    assert again.revision == revision
    assert [item.key for item in again.items("pods")] == [("default", "b")]
    assert again.keys("pods", None, parse_labels("team=x")) == []
    past, watch = again.watch("pods", first.revision)
    assert [(change.kind, change.item.key[1]) for change in past] == [("ADDED", "b"), ("DELETED", "a")]
    watch.close()
    again.close()


def test_compaction_keeps_the_state_and_forgets_the_history(tmp_path: Path) -> None:
    store = Store(Journal(tmp_path))
    first = store.put("pods", thing("a"))
    for _ in range(50):
        store.put("pods", thing("b"))
    store.compact()
    later = store.put("pods", thing("c"))
    store.close()
    assert len(list(tmp_path.glob("journal-*"))) == 1
    again = Store(Journal(tmp_path))
    assert [item.key[1] for item in again.items("pods")] == ["a", "b", "c"]
    assert again.revision == later.revision
    with pytest.raises(ApiError) as refused:
        again.watch("pods", first.revision)
    assert refused.value.code == 410
    past, _ = again.watch("pods", later.revision - 1)
    assert [change.item.key[1] for change in past] == ["c"]
    again.close()


def test_a_transaction_is_in_the_journal_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Store(Journal(tmp_path))
    with store.transaction():
        store.put("pods", thing("a"))
        store.put("pods", thing("b"))
    store.close()
    (path,) = tmp_path.glob("journal-*.log")
    path.write_bytes(path.read_bytes()[:-1])
    again = Store(Journal(tmp_path))
    assert again.items("pods") == []
    again.close()


def test_the_history_is_bounded_and_says_so(tmp_path: Path) -> None:
    store = Store(Journal(tmp_path))
    first = store.put("pods", thing("a"))
    for _ in range(HISTORY_PER_BUCKET + 1):
        store.put("pods", thing("a"))
    with pytest.raises(ApiError) as refused:
        store.watch("pods", first.revision)
    assert (refused.value.code, refused.value.reason) == (410, "Expired")
    store.close()


def test_a_list_of_the_past_is_the_list_as_it_was(tmp_path: Path) -> None:
    store = Store(Journal(tmp_path))
    kept, gone = store.put("pods", thing("a", team="x")), store.put("pods", thing("b"))
    then = store.revision
    store.put("pods", thing("a", team="y"))
    store.remove("pods", gone)
    store.put("pods", thing("c"))
    assert [item.revision for item in store.items_at(then, "pods")] == [kept.revision, gone.revision]
    assert [item.key[1] for item in store.items_at(then, "pods", None, parse_labels("team=x"))] == ["a"]
    store.close()


def test_a_write_that_the_disk_refuses_leaves_the_journal_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(Journal(tmp_path))
    store.put("pods", thing("a"))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("localcluster.journal.os.write", full)
        with pytest.raises(OSError, match="No space left"):
            store.put("pods", thing("b"))
    assert store.get("pods", "default", "b") is None
    store.put("pods", thing("c"))
    store.close()
    again = Store(Journal(tmp_path))
    assert [item.key[1] for item in again.items("pods")] == ["a", "c"]
    again.close()
