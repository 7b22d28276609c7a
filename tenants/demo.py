"""The laptop's demo users, teams and tokens, as data; production refuses to start with them."""

from typing import NamedTuple


class DemoUser(NamedTuple):
    username: str
    password: str
    roles: dict[str, str]
    admin: bool = False


DEMO_TENANTS = {"team-ml-analytics": "ML Analytics", "test": "Test team"}
DEMO_USERS = (
    DemoUser("ada", "ada-demo", {"team-ml-analytics": "lead", "test": "member"}),
    DemoUser("ben", "ben-demo", {"team-ml-analytics": "member"}),
    DemoUser("vera", "vera-demo", {"team-ml-analytics": "viewer"}),
    DemoUser("admin", "admin-demo", {}, admin=True),
)
DEMO_TOKENS = tuple(f"tenant-{slug}" for slug in DEMO_TENANTS)
