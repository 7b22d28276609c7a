"""``manage.py reconcile``: keeps rows and cluster in step until it is told to stop (SIGTERM, SIGINT)."""

import logging
import signal
import threading
import time
from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandParser

from jobs.reconciler import Reconciler
from platform_portal import wakeup
from platform_portal.kube import cluster
from platform_portal.kube.errors import ClusterError

log = logging.getLogger("platform_portal.reconcile")


class Command(BaseCommand):
    help = "Keeps the database and the cluster in step."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--workers", type=int, default=8, help="calls to the cluster at the same time")

    def handle(self, *args: Any, **options: Any) -> None:
        stopping = threading.Event()
        reconciler: list[Reconciler] = []

        def stop(signum: int, frame: object) -> None:
            stopping.set()
            for one in reconciler:
                one.stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        target = _wait_for_configuration(stopping)
        if target is None:
            return
        reconciler.append(Reconciler(target, workers=options["workers"]))
        threading.Thread(target=_listen, args=(reconciler[0], stopping), name="listen", daemon=True).start()
        log.info("reconciling")
        reconciler[0].run()
        log.info("stopped")


def _wait_for_configuration(stopping: threading.Event) -> cluster.Cluster | None:
    """The cluster, once its configuration can be read: on a laptop's first start it is being written."""
    wait = 1.0
    while not stopping.is_set():
        try:
            return cluster.default()
        except ClusterError as exc:
            log.warning("%s; again in %.0f s", exc, wait)
            stopping.wait(wait)
            wait = min(wait * 2, 30.0)
    return None


def _listen(reconciler: Reconciler, stopping: threading.Event) -> None:
    """Passes on what the web says on commit. Without it the sweep finds the same rows a little later."""
    while not stopping.is_set():
        try:
            with wakeup.listen() as connection:
                while not stopping.is_set():
                    for _ in connection.notifies(timeout=30):
                        reconciler.sweep_now()
        except psycopg.Error as exc:
            log.warning("notifications broke off: %s", exc)
            time.sleep(1)
