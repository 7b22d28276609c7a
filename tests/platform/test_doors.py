"""Pages and API ask selectors and services, never the database: a query has one home, where its tenant is a parameter."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MANAGERS = {"objects", "_default_manager", "_base_manager"}
DOORS = sorted(
    path
    for app in ("tenants", "jobs", "deployments")
    for pattern in (
        "views.py",
        "views/**/*.py",
        "api/**/*.py",
        "forms*.py",
        "pages.py",
        "context_processors.py",
        "presenters.py",
    )
    for path in (ROOT / app).glob(pattern)
    if path.stat().st_size
)


def queries(code: str) -> list[str]:
    """Lines that go past selectors and services: a manager, a cursor, or a model that saves or deletes itself."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute) and node.attr in MANAGERS:
            found.append(f"line {node.lineno}: .{node.attr}")
        if (
            isinstance(node, ast.ImportFrom)
            and node.module == "django.db"
            and any(a.name == "connection" for a in node.names)
        ):
            found.append(f"line {node.lineno}: a connection of its own")
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("save", "delete", "raw")
        ):
            owner = ast.unparse(node.func.value)
            if owner not in ("self", "super()") and "session" not in owner and "super(" not in owner:
                found.append(f"line {node.lineno}: {owner}.{node.func.attr}()")
    return found


@pytest.mark.parametrize("path", DOORS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_door_asks_no_database(path: Path) -> None:
    assert queries(path.read_text()) == []


@pytest.mark.parametrize(
    "code",
    [
        "Job.objects.all()",
        "Job._default_manager.get()",
        "from django.db import connection",
        "job.save()",
        "Job.x.raw('')",
    ],
)
def test_the_check_notices(code: str) -> None:
    assert queries(code)
