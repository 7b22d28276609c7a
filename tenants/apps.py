from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate, post_save


class TenantsConfig(AppConfig):
    name = "tenants"

    def ready(self) -> None:
        from tenants.accounts import sessions

        post_migrate.connect(_defaults, sender=self)
        post_save.connect(_wake_reconciler, sender="tenants.Tenant")
        sessions.connect()


def _defaults(using: str, **kwargs: Any) -> None:
    """What a database must have to begin with. What an administrator has made of it since stays."""
    from tenants.defaults import ensure

    ensure(using)


def _wake_reconciler(using: str, **kwargs: Any) -> None:
    """Whoever saved the team, by whichever door: its namespace follows within moments of the commit."""
    from platform_portal import wakeup

    wakeup.notify()
