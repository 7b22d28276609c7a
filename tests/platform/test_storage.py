"""Files by URL on both kinds of store: this machine's disk, and S3 as moto's server speaks it."""

import io
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest
from moto.server import ThreadedMotoServer

from platform_portal import storage
from platform_portal.errors import DomainError


@pytest.fixture(scope="module")
def s3() -> Iterator[type]:
    """An S3 with one bucket, named by the environment as in production; the file system's class, for its cache."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    names = {"ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": "s", "DEFAULT_REGION": "us-east-1"}
    with pytest.MonkeyPatch.context() as environment:
        for name, value in (names | {"ENDPOINT_URL": f"http://{host}:{port}"}).items():
            environment.setenv(f"AWS_{name}", value)
        store = fsspec.filesystem("s3")
        store.mkdir("bucket")
        yield type(store)
        type(store).clear_instance_cache()
    server.stop()


@pytest.fixture(params=["file", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return tmp_path.joinpath("root").as_uri()
    request.getfixturevalue("s3")
    return f"s3://bucket/{uuid4()}"


def content(url: str) -> bytes:
    return b"".join(storage.read(url))


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 4000, b"y" * (6 * 2**20)])
def test_what_was_written_is_read_in_blocks(root: str, data: bytes) -> None:
    url = storage.join(root, "sources", "abc")
    storage.write_once(url, io.BytesIO(data))
    blocks = list(storage.read(url))
    assert b"".join(blocks) == data
    assert all(len(block) <= storage.READ_BLOCK for block in blocks)


def test_the_second_writing_is_none(root: str) -> None:
    url = storage.join(root, "a")
    storage.write_once(url, io.BytesIO(b"first"))
    second = io.BytesIO(b"second")
    storage.write_once(url, second)
    assert content(url) == b"first" and second.tell() == 0


class BreaksOff(io.RawIOBase):
    """Gives some bytes, then fails as a client that goes away does."""

    def __init__(self) -> None:
        self.left = 3

    def read(self, size: int | None = -1) -> bytes:
        if not self.left:
            raise OSError("gone")
        self.left -= 1
        return b"z" * (size or 1)


def test_a_writing_that_breaks_off_leaves_nothing_behind(root: str) -> None:
    url = storage.join(root, "folder", "torn")
    with pytest.raises(DomainError) as failed:
        storage.write_once(url, BreaksOff())  # type: ignore[arg-type]
    assert failed.value.http_status == 503 and "gone" in failed.value.message
    with pytest.raises(DomainError) as missing:
        content(url)
    assert missing.value.http_status == 404
    assert storage.listing(root) == ([], False)
    storage.write_once(url, io.BytesIO(b"whole"))
    assert content(url) == b"whole"


def test_the_listing_is_by_path_with_sizes(root: str) -> None:
    for path, size in (("model.bin", 10), ("logs/a.txt", 1), ("logs/deep/er/b", 0)):
        storage.write_once(storage.join(root, path), io.BytesIO(b"x" * size))
    assert storage.listing(root) == ([("logs/a.txt", 1), ("logs/deep/er/b", 0), ("model.bin", 10)], False)
    assert storage.listing(root + "/") == storage.listing(root)


def test_a_long_listing_is_cut_and_says_so(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MAX_LISTED", 3)
    for number in range(3):
        storage.write_once(storage.join(root, f"f{number}"), io.BytesIO(b""))
    assert not storage.listing(root)[1]
    storage.write_once(storage.join(root, "f3"), io.BytesIO(b""))
    files, more = storage.listing(root)
    assert len(files) == 3 and more


def test_what_is_not_there_is_not_found(root: str) -> None:
    storage.write_once(storage.join(root, "folder/file"), io.BytesIO(b""))
    for path in ("nothing", "folder", "folder/file/below"):
        with pytest.raises(DomainError) as missing:
            content(storage.join(root, path))
        assert missing.value.http_status == 404, path
    assert storage.listing(storage.join(root, "never")) == ([], False)


def test_what_another_process_writes_is_seen(root: str) -> None:
    url = storage.join(root, "later")
    assert storage.listing(root) == ([], False)
    with pytest.raises(DomainError):
        content(url)
    with ThreadPoolExecutor(1) as other:  # fsspec keeps its stores by thread
        other.submit(storage.write_once, url, io.BytesIO(b"x")).result()
    assert storage.listing(root) == ([("later", 1)], False)
    assert content(url) == b"x"


OUTSIDE = ["", ".", "/", "..", "../x", "a/../../x", "/etc/passwd", "a/../..", "nul\x00", "./..", "..hidden/../../x"]


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_path_leads_out(root: str, path: str) -> None:
    with pytest.raises(DomainError) as refused:
        storage.inside(root, path)
    assert refused.value.http_status == 404


@pytest.mark.parametrize(
    "path", ["a", "a/b.txt", "a/../b", "./a", "sp ace/ü#?%.bin", "a::file:///etc/hostname", "x*[1].bin"]
)
def test_every_name_inside_is_that_file(root: str, path: str) -> None:
    url = storage.inside(root, path)
    storage.write_once(url, io.BytesIO(path.encode()))
    assert content(url) == path.encode()
    assert len(storage.listing(root)[0]) == 1


def test_links_are_neither_listed_nor_followed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "root", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (inside / "file").write_text("x")
    (inside / "to-file").symlink_to(outside / "secret")
    (inside / "to-folder").symlink_to(outside)
    (inside / "circle").symlink_to(inside)
    root = inside.as_uri()
    assert storage.listing(root) == ([("file", 1)], False)
    for path in ("to-file", "to-folder/secret", "circle/to-file"):
        with pytest.raises(DomainError):
            storage.inside(root, path)
    assert content(storage.inside(root, "circle/file")) == b"x"


def test_a_neighbour_whose_name_begins_alike_is_outside(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root-2").mkdir()
    (tmp_path / "root-2" / "x").write_text("")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "root-2")
    with pytest.raises(DomainError):
        storage.inside((tmp_path / "root").as_uri(), "link/x")


def test_a_store_that_does_not_answer_is_a_503(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        s3.clear_instance_cache()
        for call in (
            lambda: storage.write_once("s3://bucket/a", io.BytesIO(b"")),
            lambda: content("s3://bucket/a"),
            lambda: storage.listing("s3://bucket/a"),
        ):
            with pytest.raises(DomainError) as failed:
                call()
            assert (failed.value.http_status, failed.value.code) == (503, "storage_unavailable")
            assert "s3://" in failed.value.message
    monkeypatch.undo()
    s3.clear_instance_cache()


def test_a_bucket_that_is_not_there_is_a_503_not_a_404(s3: Any) -> None:
    with pytest.raises(DomainError) as failed:
        storage.write_once("s3://no-such-bucket-here/a/b", io.BytesIO(b""))
    assert failed.value.http_status == 503


def test_joining_gives_one_slash_between_parts() -> None:
    assert storage.join("s3://b/x/", "/a/", "b") == "s3://b/x/a/b"
    assert storage.join("file:///x", "a/b") == "file:///x/a/b"
