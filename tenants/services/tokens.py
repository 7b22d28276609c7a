"""Writes: the keys by which scripts act."""

import secrets
from typing import TYPE_CHECKING

from tenants.models import ApiToken, Tenant
from tenants.selectors import token_digest

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def token_create(*, tenant: Tenant, name: str, created_by: "User | None" = None) -> tuple[ApiToken, str]:
    """Makes a token; the second value is the secret, to be shown once and kept nowhere."""
    secret = f"mlp_{secrets.token_urlsafe(32)}"
    token = ApiToken.objects.create(tenant=tenant, name=name, digest=token_digest(secret), created_by=created_by)
    return token, secret
