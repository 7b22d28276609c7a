"""Fetches a job's source archive into its workspace: the program of the init container, sent as text in the manifest.

Needs nothing but Python 3.8's standard library, because it runs in whatever image the platform names. The portal checked the
archive when it was uploaded; this program checks the digest and refuses links and ways out of the workspace once more.
"""

import hashlib
import http.client
import os
import shutil
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from typing import IO


def main() -> None:
    workspace = os.environ["WORKSPACE"]
    with tempfile.TemporaryFile() as archive:
        download(archive)
        unpack(archive, workspace, os.environ["SOURCE_KIND"], os.environ["SOURCE_NAME"])
    print("fetched the source into the workspace: " + ", ".join(sorted(os.listdir(workspace))[:10]), flush=True)


def download(archive: IO[bytes]) -> None:
    url = f"{os.environ['ML_PLATFORM_URL']}/v1/jobs/training/{os.environ['ML_PLATFORM_JOB_ID']}/source"
    request = urllib.request.Request(url, headers={"Authorization": "Bearer " + os.environ["ML_PLATFORM_JOB_TOKEN"]})
    problem = None  # type: Exception | None
    for attempt in range(6):
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                archive.seek(0)
                archive.truncate()
                shutil.copyfileobj(answer, archive)
            if digest_of(archive) == os.environ["SOURCE_SHA256"]:
                return
            # Most likely cut short: not every broken connection is reported as one.
            problem = ValueError("what arrived is not what was uploaded")
        except urllib.error.HTTPError as error:
            if error.code < 500:
                sys.exit(f"the platform did not hand out the source: {error}")
            problem = error
        except (OSError, http.client.HTTPException) as error:
            problem = error
        time.sleep(2**attempt)
    sys.exit(f"the source could not be fetched from the platform: {problem!r}")


def digest_of(archive: IO[bytes]) -> str:
    archive.seek(0)
    digest = hashlib.sha256()
    for block in iter(lambda: archive.read(1 << 20), b""):
        digest.update(block)
    archive.seek(0)
    return digest.hexdigest()


def unpack(archive: IO[bytes], workspace: str, kind: str, name: str) -> None:
    if kind == "py":
        with open(os.path.join(workspace, os.path.basename(name)), "wb") as target:
            shutil.copyfileobj(archive, target)
    elif kind == "zip":
        with zipfile.ZipFile(archive) as bundle:
            for entry in bundle.infolist():
                path = inside(workspace, entry.filename)
                if entry.is_dir():
                    os.makedirs(path, exist_ok=True)
                    continue
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with bundle.open(entry) as content, open(path, "wb") as target:
                    shutil.copyfileobj(content, target)
                if entry.external_attr >> 16 & 0o111:
                    os.chmod(path, 0o755)
    else:
        with tarfile.open(fileobj=archive, mode="r:*") as tarball:
            for member in tarball:
                path = inside(workspace, member.name)
                entry_content = tarball.extractfile(member) if member.isfile() else None
                if member.isdir():
                    os.makedirs(path, exist_ok=True)
                elif entry_content is not None:
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    with entry_content, open(path, "wb") as target:
                        shutil.copyfileobj(entry_content, target)
                    os.chmod(path, 0o755 if member.mode & 0o111 else 0o644)


def inside(workspace: str, name: str) -> str:
    root = os.path.realpath(workspace)
    path = os.path.realpath(os.path.join(root, name))
    if path != root and not path.startswith(root + os.sep):
        sys.exit(f"the archive holds a path outside the workspace: {name!r}")
    return path


main()
