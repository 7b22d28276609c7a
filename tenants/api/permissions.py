"""Permissions of the API."""

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from tenants.context import TenantContext


class HasTenant(BasePermission):
    """The request carries a token of a tenant; without one it is a 401."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return isinstance(request.auth, TenantContext)
