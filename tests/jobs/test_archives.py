"""What an uploaded archive may be, and that nothing it can hold is worse than a sentence for its sender."""

import gzip
import io
import random
import resource
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import archives
from jobs.archives import BadArchive, inspect
from tests.jobs.packing import tar_bomb, tar_header, tarred, zip_directory_of, zipped

FILES = {"train.py": b"print('hello')\n", "package/__init__.py": b"", "package/data.bin": bytes(range(256)) * 100}


@pytest.mark.parametrize(
    ("content", "name", "kind"),
    [
        (zipped(FILES), "code.zip", "zip"),
        (zipped(FILES, zipfile.ZIP_STORED), "CODE.ZIP", "zip"),
        (zipped(FILES, zipfile.ZIP_BZIP2), "code.zip", "zip"),
        (zipped(FILES, zipfile.ZIP_LZMA), "code.zip", "zip"),
        (zipped({"folder/": b"", "folder/ünïcode name.py": b""}), "code.zip", "zip"),
        (zipped({"from-windows.py": b""}, mode=0), "code.zip", "zip"),
        (tarred(FILES), "code.tar.gz", "tar.gz"),
        (tarred({"a" * 200 + "/b.py": b"x"}), "code.tgz", "tar.gz"),
        (tarred({"folder": b""}, tarfile.DIRTYPE), "code.tgz", "tar.gz"),
        (b"print('hello')\n", "train.py", "py"),
        (b"PK\x03\x04 is how this program begins", "train.py", "py"),
    ],
)
def test_a_good_archive_is_known_by_its_kind_and_rewound(content: bytes, name: str, kind: str) -> None:
    file = io.BytesIO(content)
    assert inspect(file, name) == kind
    assert file.tell() == 0


def encrypted() -> bytes:
    content = bytearray(zipped({"secret.py": b"x"}))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


OUTSIDE = [
    "../up.py", "a/../../up.py", "/etc/passwd", "\\windows", "..\\up.py", "C:\\up.py", "C:up.py", "a/b/../../../x",
    "new\nline.py", "bell\x07.py", "x" * 1001,
]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_path_that_is_none_inside_the_workspace_is_refused(path: str) -> None:
    for content, name in ((zipped({path: b""}), "a.zip"), (tarred({path: b""}), "a.tar.gz")):
        file = io.BytesIO(content)
        with pytest.raises(BadArchive, match="is not a path inside the workspace"):
            inspect(file, name)
        assert file.tell() == 0


@pytest.mark.parametrize("name", ["../train.py", "a\nb.py", "C:train.py"])
def test_a_single_file_s_name_is_a_path_too(name: str) -> None:
    with pytest.raises(BadArchive):
        inspect(io.BytesIO(b"x = 1"), name)


@pytest.mark.parametrize(
    "entry", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, b"Z"]
)
def test_links_and_devices_in_a_tar_are_refused(entry: bytes) -> None:
    with pytest.raises(BadArchive, match="is a link or a device"):
        inspect(io.BytesIO(tarred({"link": b""}, entry, "/etc/passwd")), "a.tar.gz")


@pytest.mark.parametrize("mode", [0o120777, 0o020666, 0o060666, 0o010644, 0o140755])
def test_links_and_devices_in_a_zip_are_refused(mode: int) -> None:
    with pytest.raises(BadArchive, match="is a link or a device"):
        inspect(io.BytesIO(zipped({"link": b"/etc/passwd"}, mode=mode)), "a.zip")


def damaged_zip(compression: int) -> bytes:
    whole = zipped({"a.bin": random.Random(1).randbytes(5000)}, compression)
    return whole[:60] + bytes(200) + whole[260:]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"", "a.zip"),
        (b"", "train.py"),
        (b"hello", "a.zip"),
        (b"hello", "a.txt"),
        (zipped(FILES), "a.tar.gz"),
        (tarred(FILES), "a.zip"),
        (zipped(FILES), "a.whl"),
        (zipped({}), "a.zip"),
        (zipped(FILES)[:-30], "a.zip"),
        (tarred(FILES)[:-30], "a.tar.gz"),
        (gzip.compress(b"hello"), "a.tar.gz"),
        (gzip.compress(b"hello" * 1000), "a.tar.gz"),
        (b"\x1f\x8b" + b"x" * 100, "a.tar.gz"),
        (encrypted(), "a.zip"),
        (damaged_zip(zipfile.ZIP_DEFLATED), "a.zip"),
        (damaged_zip(zipfile.ZIP_STORED), "a.zip"),
        (damaged_zip(zipfile.ZIP_BZIP2), "a.zip"),
        (damaged_zip(zipfile.ZIP_LZMA), "a.zip"),
    ],
)
def test_what_is_empty_damaged_encrypted_or_mislabelled_is_refused(content: bytes, name: str) -> None:
    with pytest.raises(BadArchive):
        inspect(io.BytesIO(content), name)


def test_more_entries_than_allowed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_ENTRIES", 20)
    assert inspect(io.BytesIO(zipped({f"{n}": b"" for n in range(20)})), "a.zip")
    for content, name in ((zipped, "a.zip"), (tarred, "a.tar.gz")):
        with pytest.raises(BadArchive, match="more than 20 entries"):
            inspect(io.BytesIO(content({f"{number}": b"" for number in range(21)})), name)


def test_a_directory_of_a_million_entries_is_refused_before_it_is_read() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    with pytest.raises(BadArchive, match="more than 10000 entries"):
        inspect(io.BytesIO(zip_directory_of(300_000)), "a.zip")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 1


@pytest.mark.parametrize("size", [4 * 2**20, 40 * 2**20])
def test_a_bomb_is_counted_while_it_is_unpacked(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED", 3 * 2**20)
    zeros = bytes(size)
    for content, name in ((zipped({"zeros": zeros}), "a.zip"), (tar_bomb(size), "a.tar.gz")):
        assert len(content) < size / 100
        with pytest.raises(BadArchive, match="unpacks to more than 3 MiB"):
            inspect(io.BytesIO(content), name)


def test_a_zip_that_lies_about_its_size_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED", 2**20)
    content = bytearray(zipped({"zeros": bytes(2 * 2**20)}))
    directory = content.index(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = (100).to_bytes(4, "little")
    with pytest.raises(BadArchive):
        inspect(io.BytesIO(bytes(content)), "a.zip")


def test_archives_in_archives_are_files_and_nothing_unpacks_them() -> None:
    bomb = zipped({"zeros": bytes(2**20)})
    assert inspect(io.BytesIO(zipped({"inner.zip": bomb, "twice.zip": zipped({"inner.zip": bomb})})), "a.zip") == "zip"


@pytest.mark.parametrize("entry", [b"x", b"g", b"L", b"K", b"X"])
@pytest.mark.parametrize("size", [archives.MAX_TAR_HEADER + 1, 2**30, 2**40])
def test_a_tar_header_that_claims_to_be_large_is_refused_before_it_is_read(entry: bytes, size: int) -> None:
    content = gzip.compress(tar_header(b"name", size, entry) + bytes(2**20))
    with pytest.raises(BadArchive, match="header that is too large"):
        inspect(io.BytesIO(content), "a.tar.gz")


@settings(max_examples=150)
@given(
    st.sampled_from(["zip", "tar"]),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_a_changed_byte_anywhere_is_accepted_or_refused_and_never_a_crash(
    kind: str, changes: list[tuple[int, int]]
) -> None:
    content = bytearray(zipped(FILES) if kind == "zip" else gzip.decompress(tarred(FILES)))
    for place, value in changes:
        content[place % len(content)] = value
    data = bytes(content) if kind == "zip" else gzip.compress(bytes(content), 1)
    try:
        assert inspect(io.BytesIO(data), f"a.{'zip' if kind == 'zip' else 'tar.gz'}") in ("zip", "tar.gz")
    except BadArchive as refused:
        assert str(refused)


@given(
    st.binary(max_size=300),
    st.sampled_from(["a.zip", "a.tar.gz", "a.tgz"]),
    st.sampled_from([b"", b"PK\x03\x04", b"\x1f\x8b"]),
)
def test_noise_is_refused(noise: bytes, name: str, head: bytes) -> None:
    with pytest.raises(BadArchive):
        inspect(io.BytesIO(head + noise), name)
