"""Reads of tenants and what belongs to them; one module for each subject."""

from tenants.selectors.contexts import (
    context_for_token,
    context_for_token_id,
    context_for_user,
    tenants_of,
    token_digest,
)
from tenants.selectors.tokens import may_revoke, service_accounts_of, tokens_of

__all__ = [
    "context_for_token",
    "context_for_token_id",
    "context_for_user",
    "may_revoke",
    "service_accounts_of",
    "tenants_of",
    "token_digest",
    "tokens_of",
]
