"""Lines of the audit log as CSV or as JSON lines, one after the other, for logs of any length.

In the CSV no cell begins like a formula: a spreadsheet would run what somebody typed as a name.
"""

import csv
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from tenants.models import AuditEntry

TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}
COLUMNS = (
    "at", "actor", "actor_kind", "action", "target", "target_id", "before", "after", "via", "address", "tenant", "id",
)  # fmt: skip
# Also behind spaces, which some programs pass over.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "＝", "＋", "－", "＠")


def entry_json(entry: AuditEntry) -> dict[str, Any]:
    """A line as the API and the export tell it."""
    return {
        "id": entry.pk,
        "at": entry.at,
        "actor": entry.actor,
        "actor_kind": entry.actor_kind,
        "action": entry.action,
        "target": entry.target,
        "target_id": entry.target_id,
        "before": entry.before,
        "after": entry.after,
        "via": entry.via,
        "address": entry.address,
        "tenant": entry.tenant_slug,
    }


def written(entries: Iterable[AuditEntry], kind: str) -> Iterator[bytes]:
    """The export in pieces; ``kind`` is csv or jsonl."""
    return _csv(entries) if kind == "csv" else _jsonl(entries)


def safe(cell: str) -> str:
    """The cell as text that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.lstrip(" \u00a0").startswith(FORMULA) or cell.startswith(FORMULA) else cell


def _jsonl(entries: Iterable[AuditEntry]) -> Iterator[bytes]:
    for entry in entries:
        yield orjson.dumps(entry_json(entry), option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)


def _csv(entries: Iterable[AuditEntry]) -> Iterator[bytes]:
    rows = csv.writer(_Echo())
    yield rows.writerow(COLUMNS)
    for entry in entries:
        values = entry_json(entry)
        yield rows.writerow([safe(_cell(values[name])) for name in COLUMNS])


class _Echo:
    """Gives each line back to who writes it instead of keeping it."""

    def write(self, line: str) -> bytes:
        return line.encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return orjson.dumps(value, option=orjson.OPT_UTC_Z).decode().strip('"')
