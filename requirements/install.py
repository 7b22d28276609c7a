"""Install requirements/NAME.txt into .venv unless exactly that is there: ``python requirements/install.py base|dev``.

Requires Python 3.11 and nothing else: it runs before any package is there. Promises: nothing is downloaded, and no network is
needed, when the file's hash is the one installed last; an interrupted installation is taken up again; what cannot be done is
said in a sentence.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
REPORT_SECONDS = 3


def main(name: str) -> int:
    requirements = ROOT / "requirements" / f"{name}.txt"
    stamp = VENV / f".installed-{name}"
    # Two commands at once, `make run` and `make test`, take turns.
    lock = os.open(ROOT, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    wanted = hash_of(name)
    if works(VENV_PYTHON) and stamp.exists() and stamp.read_text() == wanted:
        return 0
    pip = make_venv()
    if not pip:
        print(
            "A virtual environment cannot be made: this Python has neither ensurepip nor pip.\n"
            "Install the package python3-venv (Debian, Ubuntu), or name another Python: make run PYTHON=/path/to/python3",
            file=sys.stderr,
        )
        return 1
    if not install(pip, requirements):
        return 1
    stamp.write_text(wanted)
    if name == "dev":  # which holds everything of base, in the same versions
        (VENV / ".installed-base").write_text(hash_of("base"))
    return 0


def hash_of(name: str) -> str:
    return hashlib.sha256((ROOT / "requirements" / f"{name}.txt").read_bytes()).hexdigest()


def works(python: Path) -> bool:
    return python.exists() and succeeds([str(python), "-c", "import sys"])


def make_venv() -> list[str]:
    """Make .venv unless a working one is there; returns the command that is its pip, or nothing."""
    inside = [str(VENV_PYTHON), "-m", "pip"]
    outside = [sys.executable, "-m", "pip", "--python", str(VENV_PYTHON)]
    if works(VENV_PYTHON) and succeeds([*inside, "--version"]):
        return inside
    shutil.rmtree(VENV, ignore_errors=True)
    print(f"Making .venv with Python {sys.version.split()[0]}", flush=True)
    if succeeds([sys.executable, "-m", "venv", str(VENV)]):
        return inside
    if succeeds([sys.executable, "-m", "pip", "--version"]):
        return outside if succeeds([sys.executable, "-m", "venv", "--clear", "--without-pip", str(VENV)]) else []
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print("Installing the system package python3-venv", flush=True)
        succeeds(["apt-get", "update", "-qq"])
        succeeds(["apt-get", "install", "-y", "-qq", "python3-venv"])
        if succeeds([sys.executable, "-m", "venv", "--clear", str(VENV)]):
            return inside
    return []


def install(pip: list[str], requirements: Path) -> bool:
    """Run pip, saying every few seconds how far it is; what it said in full is shown when it fails."""
    total = len(re.findall(r"^\w", requirements.read_text(), re.MULTILINE))
    print(f"Installing about {total} packages into .venv. This happens once and takes a minute or two.", flush=True)
    command = [*pip, "install", "--require-hashes", "--no-deps", "--disable-pip-version-check", "--no-input"]
    # Python compiles what it imports anyway, and most of what is installed never is.
    command += ["--progress-bar=off", "--no-compile", "--requirement", str(requirements)]
    log = VENV / "install.log"
    start = time.monotonic()
    with log.open("w") as output:
        pip_run = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    for progress in until_ended(pip_run, log, total):
        print(f"  {time.monotonic() - start:3.0f} s  {progress}", flush=True)
    if pip_run.returncode:
        print(
            log.read_text(),
            f"The installation failed; pip's messages stand above and in {log}.",
            sep="\n",
            file=sys.stderr,
        )
        return False
    print(f"  {time.monotonic() - start:3.0f} s  done", flush=True)
    return True


def until_ended(pip_run: subprocess.Popen[bytes], log: Path, total: int) -> Iterator[str]:
    already = len(installed())
    while True:
        try:
            pip_run.wait(REPORT_SECONDS)
            return
        except subprocess.TimeoutExpired:
            said = log.read_text(errors="replace")
        if "Installing collected packages" in said:
            yield f"{max(0, len(installed()) - already)} of {total} packages installed"
        else:
            ready = len(re.findall(r"^(?:Collecting|Requirement already satisfied)", said, re.MULTILINE))
            yield f"{ready} of {total} packages fetched"


def installed() -> list[Path]:
    return list(VENV.glob("lib/python*/site-packages/*.dist-info"))


def succeeds(command: list[str]) -> bool:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in {"base", "dev"}:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
