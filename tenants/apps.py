from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class TenantsConfig(AppConfig):
    name = "tenants"

    def ready(self) -> None:
        from tenants.accounts import sessions

        post_migrate.connect(_defaults, sender=self)
        sessions.connect()


def _defaults(using: str, **kwargs: Any) -> None:
    """What a database must have to begin with. What an administrator has made of it since stays."""
    from tenants.defaults import ensure

    ensure(using)
