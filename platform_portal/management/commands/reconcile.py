"""``manage.py reconcile``: keeps rows and cluster in step until it is told to stop (SIGTERM, SIGINT)."""

import logging
import signal
import threading
import time
from collections.abc import Sequence
from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandParser
from django.db import connections

from jobs.reconciler import Reconciler
from platform_portal import wakeup
from platform_portal.kube import cluster
from platform_portal.kube.errors import ClusterError
from tenants.reconciler import TenantReconciler

log = logging.getLogger("platform_portal.reconcile")


class Command(BaseCommand):
    help = "Keeps the database and the cluster in step."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--workers", type=int, default=8, help="calls to the cluster at the same time")

    def handle(self, *args: Any, **options: Any) -> None:
        stopping = threading.Event()
        reconcilers: list[Reconciler | TenantReconciler] = []

        def stop(signum: int, frame: object) -> None:
            stopping.set()
            for one in reconcilers:
                one.stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        target = _wait_for_configuration(stopping)
        if target is None:
            return
        jobs, tenants = Reconciler(target, workers=options["workers"]), TenantReconciler(target)
        reconcilers += [jobs, tenants]
        if stopping.is_set():
            return
        threading.Thread(target=_listen, args=(reconcilers, stopping), name="listen", daemon=True).start()
        of_tenants = threading.Thread(target=_run, args=(tenants,), name="tenants")
        of_tenants.start()
        log.info("reconciling")
        try:
            jobs.run()
        finally:
            tenants.stop()
            of_tenants.join()
        log.info("stopped")


def _run(reconciler: TenantReconciler) -> None:
    try:
        reconciler.run()
    finally:
        connections.close_all()


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


def _listen(reconcilers: Sequence[Reconciler | TenantReconciler], stopping: threading.Event) -> None:
    """Passes on what the web says on commit. Without it the sweep finds the same rows a little later."""
    while not stopping.is_set():
        try:
            with wakeup.listen() as connection:
                while not stopping.is_set():
                    for _ in connection.notifies(timeout=30):
                        for reconciler in reconcilers:
                            reconciler.sweep_now()
        except psycopg.Error as exc:
            log.warning("notifications broke off: %s", exc)
            time.sleep(1)
