"""Uploads of code: stored once under their digest, for one team, within limits."""

import hashlib
import io

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from pytest_django import Settings

from jobs import cleanup
from jobs.models import SourceArchive
from jobs.sources import digest_of, source_content, source_upload
from platform_portal.errors import DomainError
from tests.jobs.packing import zipped
from tests.personas import Team


def upload(team: Team, content: bytes, filename: str = "train.py", role: str = "member") -> SourceArchive:
    file = io.BytesIO(content)
    digest, size = digest_of(file)
    return source_upload(ctx=team.context(role), file=file, filename=filename, digest=digest, size=size)


def test_the_digest_is_of_the_whole_file_which_is_rewound() -> None:
    content = bytes(range(256)) * 10_000
    file = io.BytesIO(content)
    assert digest_of(file) == (hashlib.sha256(content).hexdigest(), len(content))
    assert file.tell() == 0


def test_what_was_uploaded_comes_back_to_the_byte(ours: Team) -> None:
    content = zipped({"train.py": b"x = 1\n", "data.bin": bytes(range(256)) * 5000})
    source = upload(ours, content, "code.zip")
    assert (source.kind, source.size, source.filename, source.created_by) == (
        "zip",
        len(content),
        "code.zip",
        "ours-member",
    )
    assert b"".join(source_content(source)) == content
    assert str(source) == "code.zip"


def test_a_repeated_upload_stores_nothing_twice_and_teams_do_not_share(ours: Team, theirs: Team) -> None:
    first, again, other = upload(ours, b"x = 1"), upload(ours, b"x = 1"), upload(theirs, b"x = 1")
    assert len({first.pk, again.pk, other.pk}) == 3
    for source in (first, again, other):
        assert b"".join(source_content(source)) == b"x = 1"


@pytest.mark.parametrize(
    ("filename", "kept"),
    [("C:\\work\\train.py", "train.py"), ("/home/x/train.py", "train.py"), ("../train.py", "train.py")],
)
def test_a_path_before_the_name_is_the_sender_s_affair(ours: Team, filename: str, kept: str) -> None:
    assert upload(ours, b"x = 1", filename).filename == kept


@pytest.mark.parametrize(
    "filename", ["", "folder/", "nul\x00.py", "half\ud800.py", "x" * 253 + ".py", "notes.txt", "a\nb.py"]
)
def test_a_bad_name_is_a_400_that_names_the_field(ours: Team, filename: str) -> None:
    with pytest.raises(DomainError) as refused:
        upload(ours, b"x = 1", filename)
    assert refused.value.http_status == 400 and list(refused.value.fields) == ["file"]
    assert not SourceArchive.objects.exists()


def test_a_bad_archive_is_a_400_with_its_sentence(ours: Team) -> None:
    with pytest.raises(DomainError) as refused:
        upload(ours, zipped({"../up.py": b""}), "a.zip")
    assert refused.value.fields == {"file": ["'../up.py' is not a path inside the workspace."]}


def test_more_than_50_mib_are_a_413(ours: Team, settings: Settings) -> None:
    assert settings.SOURCE_MAX_BYTES == 50 * 1024 * 1024
    settings.SOURCE_MAX_BYTES = 1024 * 1024
    with pytest.raises(DomainError) as refused:
        upload(ours, bytes(1024 * 1024 + 1))
    assert refused.value.http_status == 413 and "1 MiB" in refused.value.message
    answer = ours.api.post(
        "/v1/sources", {"file": SimpleUploadedFile("a.py", bytes(1024 * 1024 + 1))}, format="multipart"
    )
    assert answer.status_code == 413 and answer.json()["code"] == "too_large"
    # Announced as larger than any form could make it, it is not even read.
    answer = ours.api.post(
        "/v1/sources", {"file": SimpleUploadedFile("a.py", bytes(2 * 1024 * 1024))}, format="multipart"
    )
    assert answer.status_code == 413


def test_a_viewer_may_not_upload(ours: Team) -> None:
    with pytest.raises(DomainError) as refused:
        upload(ours, b"x = 1", role="viewer")
    assert refused.value.http_status == 403


def test_a_storage_that_is_away_is_a_503_and_leaves_no_row(ours: Team, settings: Settings) -> None:
    settings.STORAGE_ROOT = "file:///proc/nowhere"
    answer = ours.api.post("/v1/sources", {"file": SimpleUploadedFile("train.py", b"x = 1")}, format="multipart")
    assert answer.status_code == 503 and answer.json()["code"] == "storage_unavailable"
    assert not SourceArchive.objects.exists()


def test_an_upload_that_no_job_used_goes_after_a_month_and_a_used_one_stays(ours: Team) -> None:
    from datetime import timedelta

    from django.utils import timezone

    from jobs.services import job_submit

    unused, used, fresh = (upload(ours, b"x = %d" % number) for number in range(3))
    job_submit(ctx=ours.ctx, payload={"name": "a", "source": str(used.pk)})
    old = timezone.now() - timedelta(days=31)
    SourceArchive.objects.filter(pk__in=[unused.pk, used.pk]).update(created_at=old)
    cleanup.run()
    assert set(SourceArchive.objects.values_list("pk", flat=True)) == {used.pk, fresh.pk}
    cleanup.run()
    assert SourceArchive.objects.count() == 2
