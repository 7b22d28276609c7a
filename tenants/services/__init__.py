"""Writes of tenants and what belongs to them: keyword-only functions, each one transaction with its line in the audit log."""

from tenants.services.cost_centers import cost_center_create, cost_center_update
from tenants.services.exchange import Exchanged, token_exchange
from tenants.services.members import member_add, member_change, member_put, member_remove, member_set, member_unset
from tenants.services.notifications import notification_open, notifications_read, notify
from tenants.services.quota_requests import quota_request_create, quota_request_decide, quota_request_withdraw
from tenants.services.service_accounts import (
    service_account_create,
    service_account_delete,
    service_account_update,
)
from tenants.services.tenants import (
    tenant_activate,
    tenant_create,
    tenant_deactivate,
    tenant_delete,
    tenant_update,
)
from tenants.services.tokens import token_create, token_revoke, token_used

__all__ = [
    "Exchanged",
    "cost_center_create",
    "cost_center_update",
    "member_add",
    "member_change",
    "member_put",
    "member_remove",
    "member_set",
    "member_unset",
    "notification_open",
    "notifications_read",
    "notify",
    "quota_request_create",
    "quota_request_decide",
    "quota_request_withdraw",
    "service_account_create",
    "service_account_delete",
    "service_account_update",
    "tenant_activate",
    "tenant_create",
    "tenant_deactivate",
    "tenant_delete",
    "tenant_update",
    "token_create",
    "token_exchange",
    "token_revoke",
    "token_used",
]
