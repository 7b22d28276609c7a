"""The laptop's and the tests' PostgreSQL: a real server from a Python package, without root, in a folder of its own."""

from pathlib import Path


def url(folder: Path) -> str:
    """The connection string of the server in ``folder``; it need not run yet."""
    return f"postgresql://postgres@/postgres?host={folder}"
