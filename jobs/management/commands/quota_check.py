"""``manage.py quota_check [--repair]``: compares each team's usage with the sum over its jobs."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from jobs import usage


class Command(BaseCommand):
    help = "Compares the usage that quotas are decided by with the jobs, and puts it right if asked to."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--repair", action="store_true", help="write the sums where they differ")

    def handle(self, *args: Any, **options: Any) -> None:
        drift = usage.usage_drift()
        for found in drift:
            self.stdout.write(str(found))
        if not drift:
            self.stdout.write("Every team's usage is the sum over its jobs.")
        elif not options["repair"]:
            raise CommandError("The usage of some teams is wrong; --repair puts it right.")
        else:
            repaired = [one for found in drift if (one := usage.usage_repair(tenant_id=found.tenant_id))]
            self.stdout.write(f"Put right: {len(repaired)}.")
