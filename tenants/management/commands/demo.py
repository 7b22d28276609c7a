"""``manage.py demo``: the laptop's people, teams and tokens. Idempotent; refuses outside the laptop."""

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from tenants.demo import DEMO_TENANTS, DEMO_USERS
from tenants.models import ApiToken, CostCenter, Role, Tenant
from tenants.selectors import token_digest
from tenants.services import member_set


class Command(BaseCommand):
    help = "Creates the demo users, teams and tokens of the laptop."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.LAPTOP:
            raise CommandError("Demo users exist only on the laptop (PLATFORM_MODE=laptop).")
        with transaction.atomic():
            tenants = {}
            CostCenter.objects.get_or_create(
                code="demo", defaults={"name": "Demonstration", "monthly_budget": 5000, "currency": "EUR"}
            )
            for slug, name in DEMO_TENANTS.items():
                tenants[slug], _ = Tenant.objects.get_or_create(
                    slug=slug, defaults={"name": name, "cost_center_id": "demo"}
                )
                ApiToken.objects.get_or_create(
                    digest=token_digest(f"tenant-{slug}"),
                    defaults={"tenant": tenants[slug], "name": "demo", "is_demo": True},
                )
            for demo in DEMO_USERS:
                user, made = get_user_model().objects.get_or_create(
                    username=demo.username,
                    defaults={
                        "email": f"{demo.username}@example.com",
                        "is_staff": demo.admin,
                        "is_superuser": demo.admin,
                    },
                )
                if made:
                    user.set_password(demo.password)
                    user.save(update_fields=["password"])
                for slug, role in demo.roles.items():
                    member_set(tenant=tenants[slug], user=user, role=Role(role))
        self.stdout.write(f"demo data: {len(DEMO_USERS)} users, {len(DEMO_TENANTS)} teams")
