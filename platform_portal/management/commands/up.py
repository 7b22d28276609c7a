"""``manage.py up``: the whole platform on this machine, until Ctrl-C. See ``platform_portal.laptop``."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from platform_portal import laptop
from platform_portal.embedded_postgres import CannotStart


class Command(BaseCommand):
    help = "Starts PostgreSQL, the cluster, the web server, the worker and the reconciler of the laptop, and keeps them running."
    requires_system_checks: list[str] = []  # each part has its own; here they would hide the sentence about production

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            laptop.up()
        except CannotStart as problem:
            raise CommandError(str(problem)) from problem
