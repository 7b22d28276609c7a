"""The Makefile's sentences for people who have not set what it needs."""

import os
import subprocess

import pytest

from tests.setup.running import ROOT


def make(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **variables}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("command", ["run", "test", "test-cluster", "bench", "lint", "requirements", "clean"])
def test_every_command_is_in_the_list(command):
    assert f"make {command} " in make("help").stdout


def test_a_missing_python_is_said_in_a_sentence():
    done = make("install-base", "PYTHON=")
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stdout


def test_the_conformance_suite_asks_for_a_cluster():
    done = make("--old-file=install-dev", "test-cluster")
    assert done.returncode != 0
    assert "Set KUBECONFIG to the file that describes the cluster to test" in done.stdout


def test_requirements_name_exact_versions_with_hashes_and_no_address():
    for name in ("base", "dev"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        lines = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
        assert lines and all("==" in line and line.endswith("\\") for line in lines)
        assert "://" not in text
