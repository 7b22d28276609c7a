"""PURE: the names of tenants. ``ml-<slug>`` must be a valid namespace name, so a slug is a DNS-1123 label of at most 40."""

import re

MAX_LENGTH = 40
PATTERN = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")


def problem(slug: str) -> str | None:
    """Why ``slug`` cannot name a tenant, or ``None``."""
    if len(slug) > MAX_LENGTH:
        return f"must be at most {MAX_LENGTH} characters long"
    if not PATTERN.fullmatch(slug):
        return "must consist of lower-case letters, digits and '-', and begin and end with a letter or digit"
    return None
