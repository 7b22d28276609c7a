"""``manage.py signing_keys list|rotate|retire``: the keys that sign the API's short-lived JWTs."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from platform_portal.errors import DomainError
from tenants.selectors.signing_keys import signing_keys
from tenants.services.signing_keys import signing_key_retire, signing_key_rotate


class Command(BaseCommand):
    help = "Lists the keys that sign JWTs, replaces the one that signs, or ends one at once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "action",
            choices=("list", "rotate", "retire"),
            help="rotate: a new key signs, the old one still verifies for a while. retire: for a key that may be known.",
        )
        parser.add_argument("kid", nargs="?", help="which key to retire")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "rotate":
            self.stdout.write(f"{signing_key_rotate()} signs from now on")
        elif options["action"] == "retire":
            self._retire(options["kid"])
        else:
            self._list()

    def _retire(self, kid: str | None) -> None:
        if not kid:
            raise CommandError("Name the key to retire; `manage.py signing_keys list` shows them.")
        try:
            signing_key_retire(kid=kid)
        except DomainError as refused:
            raise CommandError(refused.message) from refused
        self.stdout.write(f"{kid} is retired; what it signed is refused everywhere within 20 seconds")

    def _list(self) -> None:
        for key in signing_keys():
            until = f"verifies until {key.retires_at:%Y-%m-%d %H:%M} UTC" if key.retires_at else "signs"
            self.stdout.write(f"{key.kid}  made {key.created_at:%Y-%m-%d %H:%M} UTC  {until}")
