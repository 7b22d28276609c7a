"""The whole platform on one machine: what ``manage.py up`` does.

Requires the laptop's settings and the main thread. Promises: nothing is started when the port or ``var/`` is taken; what an
earlier, killed start left running is ended first, except the cluster's pods, which the next cluster takes over; when it
returns, everything it started has ended.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import io
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections

from platform_portal import embedded_postgres, env, example_job
from platform_portal.processes import end_leftover
from platform_portal.supervisor import Part, Supervisor, print_line
from tenants.demo import DEMO_TOKENS, DEMO_USERS

HOST = "127.0.0.1"
CLUSTER_SECONDS = 30
LEFTOVER_SECONDS = 5
IMPATIENT_SECONDS = 2  # a second Ctrl-C later than this means it; `make` passes on the first one twice
DATABASE, CLUSTER, APPLICATION = range(3)  # levels: each may use those before it, and ends first
say = partial(print_line, "up")


def up() -> None:
    """Start everything, keep it running, return after Ctrl-C or SIGTERM when all of it has ended."""
    if not settings.LAPTOP:
        raise CommandError(
            "`up` is the laptop's start and refuses production settings. On a laptop: make run (or PLATFORM_MODE=laptop); "
            "in production the parts are started one by one, see deploy/."
        )
    run_folder = settings.VAR_DIR / "run"
    run_folder.mkdir(parents=True, exist_ok=True)
    with _alone(run_folder / "lock"):
        was_killed = _end_leftovers(run_folder)
        _refuse_taken_port(patience=LEFTOVER_SECONDS if was_killed else 0)
        asyncio.run(_run(run_folder))


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """The kernel frees the lock however this process ends."""
    with file.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            lock.seek(0)
            raise CommandError(
                f"The platform is already running on {settings.VAR_DIR} ({lock.read().strip() or 'just starting'}). "
                "Stop it with Ctrl-C where it runs, or give this one another folder: PLATFORM_VAR=/some/folder."
            ) from exc
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, port {settings.PORT}")
        lock.flush()
        yield


def _end_leftovers(run_folder: Path) -> bool:
    """True when the last start was killed rather than stopped."""
    files = sorted(run_folder.glob("*.pid"))
    for file in files:
        # PostgreSQL ends its own leftovers, in good order; the cluster's pods are not in its group and go on.
        if file.stem != "postgres" and end_leftover(file, group=file.stem != "cluster"):
            say(f"ended {file.stem}, left over from a start that was killed")
    return bool(files)


def _refuse_taken_port(patience: float) -> None:
    """Web workers whose parent was killed notice within a second or two, so after that the port gets some ``patience``."""
    deadline = time.monotonic() + patience
    while problem := _problem_with_port():
        if time.monotonic() > deadline:
            raise CommandError(
                f"Port {settings.PORT} cannot be used: {problem}. Nothing was started. "
                f"Choose another port: make run PORT={settings.PORT + 1 if settings.PORT < 65000 else 8000}"
            )
        time.sleep(0.1)


def _problem_with_port() -> str:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that are closing do not count
        try:
            probe.bind((HOST, settings.PORT))
        except OSError as exc:
            return exc.strerror or str(exc)
        except OverflowError:
            return "it is no port number"
    return ""


async def _run(run_folder: Path) -> None:
    asked = asyncio.Event()
    supervisor = Supervisor(run_folder=run_folder, environment=_environment(), say=print_line)
    loop = asyncio.get_running_loop()
    first: list[float] = []

    def on_signal() -> None:
        asked.set()
        first.append(time.monotonic())
        if first[-1] - first[0] > IMPATIENT_SECONDS:
            supervisor.hurry()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)
    starting = asyncio.create_task(_start(supervisor))
    waiting = asyncio.create_task(asked.wait())
    try:
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not asked.is_set():
            starting.result()  # raises what made the start fail
            await waiting
    finally:
        say("stopping")
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await supervisor.stop()
        say("stopped")


async def _start(supervisor: Supervisor) -> None:
    """In the order of dependence; ``Supervisor.stop`` goes the way back."""
    static_files = asyncio.create_task(asyncio.to_thread(_collect_static_files))
    if not env.text("DATABASE_URL"):
        say("starting PostgreSQL")
        server = embedded_postgres.Server(settings.VAR_DIR / "postgres")
        await supervisor.start(_postgres(server))
        while not server.is_ready():
            await asyncio.sleep(0.05)
    if settings.CLUSTER_IS_LOCAL:
        await supervisor.start(_cluster())
    say("bringing the database up to date")
    await asyncio.to_thread(_migrate)
    await static_files
    _empty_queues()
    await supervisor.start(_web())
    if settings.CLUSTER_IS_LOCAL:
        await _until_cluster_answers()
    await supervisor.start(Part("reconcile", _manage("reconcile"), APPLICATION, stop_seconds=5))
    await supervisor.start(_worker())
    await supervisor.start(_beat())
    while not await asyncio.to_thread(_is_healthy):
        await asyncio.sleep(0.2)
    _welcome()
    if settings.CLUSTER_IS_LOCAL:
        await example_job.train_once(settings.PLATFORM_URL, settings.VAR_DIR / "example.json", say)
    else:
        say("the example is not trained on a cluster of yours: its image would need scikit-learn (examples/digits)")


def _migrate() -> None:
    call_command("migrate", interactive=False, verbosity=0)
    call_command("demo", stdout=io.StringIO())
    connections.close_all()


def _collect_static_files() -> None:
    """Compressing takes seconds, so it is done only when a file differs from the last time."""
    files = ((storage.path(path), path) for finder in get_finders() for path, storage in finder.list([]))
    found = sorted((path, os.stat(file).st_size, os.stat(file).st_mtime) for file, path in files)
    fingerprint = hashlib.sha256(repr(found).encode()).hexdigest()
    stamp = settings.VAR_DIR / "static.fingerprint"
    if not stamp.exists() or stamp.read_text() != fingerprint:
        say("collecting static files")
        call_command("collectstatic", interactive=False, clear=True, verbosity=0)
        stamp.write_text(fingerprint)


def _empty_queues() -> None:
    """Messages are hints; those of an earlier run are stale."""
    shutil.rmtree(settings.VAR_DIR / "celery", ignore_errors=True)
    for name in ("queue", "control"):
        (settings.VAR_DIR / "celery" / name).mkdir(parents=True)


def _postgres(server: embedded_postgres.Server) -> Part:
    return Part(
        "postgres",
        server.command(),
        DATABASE,
        stop_signal=embedded_postgres.STOP_SIGNAL,
        death_signal=embedded_postgres.STOP_SIGNAL,
        before=server.prepare,
    )


def _cluster() -> Part:
    # Asked to stop, it ends its pods, each within the time the pod may take; killed, it leaves them running and finds
    # them again.
    command = [sys.executable, "-m", "localcluster", "--dir", str(settings.VAR_DIR / "cluster")]
    return Part("cluster", command, CLUSTER, stop_seconds=40, owns_group=False)


def _address_for_pods() -> str:
    """Where pods of a real cluster reach this machine, by ``PLATFORM_INTERNAL_URL``; empty unless it is an address of ours."""
    parts = urlsplit(settings.PLATFORM_INTERNAL_URL)
    host, port = parts.hostname or "", parts.port or 80
    if host in ("", HOST, "localhost"):
        return ""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            say(f"not listening on {host}:{port} for pods: {exc.strerror or exc}; something else must lead there")
            return ""
    return f"{host}:{port}"


def _web() -> Part:
    command = [sys.executable, "-m", "gunicorn", "platform_portal.wsgi", "--bind", f"{HOST}:{settings.PORT}"]
    if address := _address_for_pods():
        command += ["--bind", address]
    command += ["--worker-class", "gthread", "--workers", "2", "--threads", "8", "--graceful-timeout", "3"]
    command += ["--no-control-socket", "--log-level", "warning"]
    return Part("web", command, APPLICATION, stop_seconds=5)


def _worker() -> Part:
    options = ["--pool", "threads", "--concurrency", "8", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    return Part("worker", _celery("worker", *options), APPLICATION, stop_seconds=5)


def _beat() -> Part:
    return Part("beat", _celery("beat", "--pidfile="), APPLICATION, stop_seconds=3)


def _celery(command: str, *options: str) -> list[str]:
    # In a container root is the only user, and saying so at every start helps nobody.
    python = [sys.executable, "-W", "ignore:You're running the worker with superuser"]
    return [*python, "-m", "celery", "--quiet", "--app", "platform_portal", command, "--loglevel", "warning", *options]


def _manage(command: str) -> list[str]:
    return [sys.executable, str(settings.BASE_DIR / "manage.py"), command]


def _environment() -> dict[str, str]:
    ours = {
        "DJANGO_SETTINGS_MODULE": "platform_portal.settings",
        "PLATFORM_MODE": "laptop",
        "PLATFORM_VAR": str(settings.VAR_DIR),
        "PORT": str(settings.PORT),
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(settings.BASE_DIR),
    }
    return os.environ | ours


async def _until_cluster_answers() -> None:
    """The reconciler survives a cluster that is late; it only starts quieter with one that is there."""
    deadline = time.monotonic() + CLUSTER_SECONDS
    while not Path(settings.KUBECONFIG).exists():
        if time.monotonic() > deadline:
            say(f"the cluster has not answered for {CLUSTER_SECONDS} s; going on without it")
            return
        await asyncio.sleep(0.05)


def _is_healthy() -> bool:
    # Without a proxy, whatever the environment says: the portal is on this machine.
    opener = build_opener(ProxyHandler({}))
    try:
        opener.open(f"http://{HOST}:{settings.PORT}/v1/health", timeout=5).close()
    except OSError:
        return False
    return True


def _welcome() -> None:
    lines = ["", f"The platform is ready:  {settings.PLATFORM_URL}", "", "  Sign in as"]
    for user in DEMO_USERS:
        roles = ", ".join(f"{role} of {tenant}" for tenant, role in user.roles.items()) or "administrator"
        lines.append(f"    {user.username + ' / ' + user.password:<20} {roles}")
    lines += ["  API tokens", *(f"    {token}" for token in DEMO_TOKENS)]
    lines += [f"  API          {settings.PLATFORM_URL}/v1/docs"]
    lines += [f"  Cluster      KUBECONFIG={settings.KUBECONFIG}"]
    lines += [f"  State        {settings.VAR_DIR}  (make clean removes it)", "  Stop         Ctrl-C", ""]
    for line in lines:
        say(line)
