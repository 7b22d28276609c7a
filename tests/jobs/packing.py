"""Archives for tests: good ones, and every kind of bad one, made byte by byte where the library would refuse."""

import gzip
import io
import struct
import tarfile
import zipfile


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED, mode: int = 0o100644) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as bundle:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            entry.compress_type = compression
            bundle.writestr(entry, content)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], entry_type: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as bundle:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.mode = entry_type, link, mode
            entry.size = len(content) if entry_type == tarfile.REGTYPE else 0
            bundle.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def zip_directory_of(entries: int) -> bytes:
    """A zip whose directory names one small file ``entries`` times."""
    local = b"PK\x03\x04" + struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 33, 0, 0, 0, 1, 0) + b"a"
    one = b"PK\x01\x02" + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    count = entries & 0xFFFF
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count, count, len(one) * entries, len(local), 0)
    return local + one * entries + end


def tar_header(name: bytes, size: int, entry_type: bytes) -> bytes:
    """One 512-byte tar header that may claim any size."""
    body = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2
    body += (b"%011o\0" % size) if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    body += b"00000000000\0" + b" " * 8 + entry_type + b"\0" * 100 + b"ustar\x0000" + b"\0" * 247
    body = body.ljust(512, b"\0")
    return body[:148] + b"%06o\0 " % sum(body) + body[156:]


def tar_bomb(size: int) -> bytes:
    """A file of zeros in a tar.gz, made without holding it."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as out:
        out.write(tar_header(b"zeros", size, b"0"))
        block = b"\0" * 2**20
        for _ in range(size // len(block)):
            out.write(block)
        out.write(b"\0" * 1024)
    return buffer.getvalue()
