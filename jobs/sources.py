"""Writes and reads of uploaded source archives."""

import hashlib
from collections.abc import Iterator
from typing import IO
from uuid import UUID, uuid4

from django.conf import settings

from jobs import archives
from jobs.models import SourceArchive
from platform_portal import storage
from platform_portal.errors import invalid, too_large
from platform_portal.safejson import text_problem
from tenants.context import TenantContext


def digest_of(file: IO[bytes]) -> tuple[str, int]:
    """(SHA-256 in hex, bytes) of a file, which is rewound."""
    digest, size = hashlib.sha256(), 0
    while block := file.read(archives.BLOCK):
        digest.update(block)
        size += len(block)
    file.seek(0)
    return digest.hexdigest(), size


def source_upload(*, ctx: TenantContext, file: IO[bytes], filename: str, digest: str, size: int) -> SourceArchive:
    """Checks, stores and records an upload."""
    return source_keep(source_store(ctx=ctx, file=file, filename=filename, digest=digest, size=size))


def source_keep(source: SourceArchive) -> SourceArchive:
    """Writes the row of what ``source_store`` has stored."""
    source.save(force_insert=True)
    return source


def source_of(ctx: TenantContext, source_id: UUID | str) -> SourceArchive | None:
    """An upload of the context's team."""
    return SourceArchive.objects.filter(tenant=ctx.tenant, pk=source_id).first()


def source_store(*, ctx: TenantContext, file: IO[bytes], filename: str, digest: str, size: int) -> SourceArchive:
    """Checks an upload and stores its bytes; the row is the caller's to save, in a transaction that need not wait for this.

    The bytes lie under their digest, so a repeated upload stores nothing twice, and without a row they are never read.
    """
    ctx.require(ctx.can_submit, "upload code")
    if size > settings.SOURCE_MAX_BYTES:
        raise too_large(f"A source may have at most {settings.SOURCE_MAX_BYTES // 2**20} MiB.")
    name = filename.replace("\\", "/").rsplit("/", 1)[-1]
    if text_problem(name) or not 0 < len(name) <= 255:
        raise invalid({"file": ["must have a name of 1 to 255 characters"]})
    try:
        kind = archives.inspect(file, name)
    except archives.BadArchive as exc:
        raise invalid({"file": [str(exc)]}, str(exc)) from exc
    source = SourceArchive(
        id=uuid4(), tenant=ctx.tenant, sha256=digest, size=size, kind=kind, filename=name, created_by=ctx.actor
    )
    storage.write_once(_url(source), file)
    return source


def source_content(source: SourceArchive) -> Iterator[bytes]:
    """The bytes of an uploaded source."""
    return storage.read(_url(source))


def _url(source: SourceArchive) -> str:
    return storage.join(settings.STORAGE_ROOT, "sources", str(source.tenant_id), source.sha256)
