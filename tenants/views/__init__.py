"""The pages of a team and of the person who is signed in, beside those of what the team runs."""

from tenants.views.home import home

__all__ = ["home"]
