"""Reads of tenants and what belongs to them; one module for each subject."""

from tenants.selectors.audit_log import (
    AuditFilter,
    audit_actions,
    audit_all,
    audit_page,
    decode_place,
    encode_place,
    parse_audit_filter,
)
from tenants.selectors.contexts import (
    context_for_token,
    context_for_token_id,
    context_for_user,
    tenants_of,
    token_digest,
)
from tenants.selectors.jwts import JwtContext, context_for_jwt, is_jwt
from tenants.selectors.members import members_of
from tenants.selectors.notifications import notifications_of, unread_count
from tenants.selectors.quota_requests import quota_request_get, quota_requests_of
from tenants.selectors.signing_keys import key_set
from tenants.selectors.teams import teams_of
from tenants.selectors.tokens import may_revoke, service_account_get, service_accounts_of, tokens_of
from tenants.selectors.usage import cost_center_of, usage_of

__all__ = [
    "AuditFilter",
    "JwtContext",
    "audit_actions",
    "audit_all",
    "audit_page",
    "context_for_jwt",
    "context_for_token",
    "context_for_token_id",
    "context_for_user",
    "cost_center_of",
    "decode_place",
    "encode_place",
    "is_jwt",
    "key_set",
    "may_revoke",
    "members_of",
    "notifications_of",
    "parse_audit_filter",
    "quota_request_get",
    "quota_requests_of",
    "service_account_get",
    "service_accounts_of",
    "teams_of",
    "tenants_of",
    "token_digest",
    "tokens_of",
    "unread_count",
    "usage_of",
]
