"""``manage.py token TENANT NAME``: makes a team's token, without an end, and prints the secret, this once."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants.models import Tenant
from tenants.services import token_create


class Command(BaseCommand):
    help = "Makes a token for a team and prints it once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", help="the team's slug")
        parser.add_argument("name", help="what the token is for")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = Tenant.objects.filter(slug=options["tenant"]).first()
        if tenant is None:
            raise CommandError(f"There is no team {options['tenant']!r}.")
        _, secret = token_create(tenant=tenant, name=options["name"][:100])
        self.stdout.write(secret)
