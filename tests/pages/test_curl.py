"""The request that pages show as curl: what a shell makes of it is exactly the payload."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from jobs import presenters

PAYLOADS: list[dict[str, Any]] = [
    {"name": "a"},
    {"name": "a", "entrypoint": "echo \"$HOME\" '`id`' \\ $(id) \\n", "env_vars": {"A": "JSON\nJSON", "B": "ü — ✓"}},
]
FAKE_CURL = """#!/bin/sh
for last in "$@"; do :; done
case "$*" in
  *v1/sources*) echo '{"id": "the-id"}' ;;
  *) cat > "$SENT" ;;
esac
"""


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("upload", ["", "my train.py"])
def test_a_shell_sends_exactly_the_payload(tmp_path: Path, payload: dict[str, Any], upload: str) -> None:
    curl = tmp_path / "curl"
    curl.write_text(FAKE_CURL)
    curl.chmod(0o755)
    sent = tmp_path / "sent"
    asked = payload | ({"source": presenters.UPLOADED} if upload else {})
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SENT": str(sent), "ML_PLATFORM_TOKEN": "t", "HOME": "/nowhere"}
    subprocess.run(["/bin/sh", "-eu", "-c", presenters.curl(asked, upload)], env=env, check=True, timeout=20)
    assert json.loads(sent.read_text()) == payload | ({"source": "the-id"} if upload else {})
