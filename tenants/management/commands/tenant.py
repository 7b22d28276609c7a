"""``manage.py tenant …``: teams from the command line. Each command may be repeated: what is so already is said and left so."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from platform_portal.errors import DomainError
from tenants import quotas, services
from tenants.models import Tenant
from tenants.wishes import state_of

NUMBERS = {column: f"{label}, a whole number" for column, label, _ in quotas.RESOURCES.values()}


class Command(BaseCommand):
    help = "Makes, lists, changes, deactivates, activates and deletes teams."

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True)
        commands.add_parser("list", help="all teams with the state of their namespaces")
        create = commands.add_parser("create", help="make a team; one that is there is changed to what is given")
        create.add_argument("slug")
        create.add_argument("--name", required=True)
        update = commands.add_parser("update", help="change what is given")
        update.add_argument("slug")
        update.add_argument("--name")
        for one in (create, update):
            one.add_argument("--cost-center")
            one.add_argument("--artifact-root")
            one.add_argument("--pod-security", choices=["baseline", "restricted"])
            one.add_argument("--labels", type=_json, help='such as {"division": "research"}')
            one.add_argument("--quota-gpu-types", type=_json, help='such as {"nvidia-a100": 4}')
            for column, label in NUMBERS.items():
                one.add_argument(f"--{column.replace('_', '-')}", type=int, help=label)
        for name, what in (
            ("deactivate", "accept no work any more; what runs goes on"),
            ("activate", "accept work again"),
        ):
            commands.add_parser(name, help=what).add_argument("slug")
        delete = commands.add_parser("delete", help="delete a team with its jobs and its namespace")
        delete.add_argument("slug")
        delete.add_argument("--confirm", required=True, metavar="SLUG", help="the slug, typed again")

    def handle(self, *args: Any, command: str, **options: Any) -> None:
        try:
            getattr(self, f"_{command}")(options)
        except DomainError as exc:
            fields = "".join(f"\n  {field}: {' '.join(told)}" for field, told in exc.fields.items())
            raise CommandError(f"{exc.message}{fields}") from exc

    def _list(self, options: dict[str, Any]) -> None:
        now = timezone.now()
        for tenant in Tenant.objects.order_by("slug").iterator():
            active = "active" if tenant.is_active else "not active"
            error = f"  {tenant.apply_error}" if tenant.apply_error else ""
            self.stdout.write(f"{tenant.slug}  {active}  {state_of(tenant, now)}  {tenant.cost_center_id}{error}")

    def _create(self, options: dict[str, Any]) -> None:
        fields = _given(options)
        if Tenant.objects.filter(slug=options["slug"]).exists():
            self._changed(options["slug"], fields)
            return
        services.tenant_create(slug=options["slug"], **fields)
        self.stdout.write(f"{options['slug']} is made; its namespace follows.")

    def _update(self, options: dict[str, Any]) -> None:
        self._changed(options["slug"], _given(options))

    def _deactivate(self, options: dict[str, Any]) -> None:
        services.tenant_deactivate(slug=options["slug"])
        self.stdout.write(f"{options['slug']} accepts no work any more; what runs goes on.")

    def _activate(self, options: dict[str, Any]) -> None:
        services.tenant_activate(slug=options["slug"])
        self.stdout.write(f"{options['slug']} accepts work.")

    def _delete(self, options: dict[str, Any]) -> None:
        services.tenant_delete(slug=options["slug"], confirm=options["confirm"])
        self.stdout.write(f"{options['slug']} is being deleted; it is gone once its namespace has been seen gone.")

    def _changed(self, slug: str, fields: dict[str, Any]) -> None:
        before = Tenant.objects.filter(slug=slug).values_list("version", flat=True).first()
        after = services.tenant_update(slug=slug, **fields).version
        self.stdout.write(f"{slug} {'stands so already' if before == after else 'is changed; its namespace follows'}.")


def _given(options: dict[str, Any]) -> dict[str, Any]:
    names = ("name", "cost_center", "artifact_root", "pod_security", "labels", "quota_gpu_types", *NUMBERS)
    return {name: options[name] for name in names if options.get(name) is not None}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as exc:
        raise CommandError(f"The JSON {text[:20]}… is nested too deeply.") from exc
    except ValueError as exc:
        raise CommandError(f"{text!r} is not JSON: {exc}") from exc
