"""Reads of tenants and what belongs to them; one module for each subject."""

from tenants.selectors.contexts import context_for_token, context_for_user, tenants_of, token_digest

__all__ = ["context_for_token", "context_for_user", "tenants_of", "token_digest"]
