"""Writes of tenants and what belongs to them: keyword-only functions, each one transaction with its line in the audit log."""

from tenants.services.members import member_set
from tenants.services.tenants import tenant_create
from tenants.services.tokens import token_create

__all__ = ["member_set", "tenant_create", "token_create"]
