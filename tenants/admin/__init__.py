"""Teams and what belongs to them in the admin site; importing this registers all of it."""

from tenants.admin import catalogue, log, people, programs, requests, teams

__all__ = ["catalogue", "log", "people", "programs", "requests", "teams"]
