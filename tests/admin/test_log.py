"""The audit log on the admin site: searched, taken away, never changed, and never counted however long it is."""

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.admin.forms import Admin

LOG = "tenants/auditentry/"


@pytest.fixture
def entries(db: None) -> list[Any]:
    from tenants.models import AuditEntry

    now = timezone.now()
    rows = [
        AuditEntry(
            at=now - timedelta(minutes=number),
            actor=f"actor-{number % 3}",
            actor_kind="user",
            tenant_slug=f"team-{number % 2}",
            action="quota.change" if number % 2 else "member.add",
            target=f"=target-{number}",
            before={"cpu": number},
            after={"cpu": number + 1},
            via="api",
        )
        for number in range(250)
    ]
    return AuditEntry.objects.bulk_create(rows)


def shown(text: str) -> int:
    return text.count('class="data-row')


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", 100),
        ("p=3", 50),
        ("p=4", 0),
        ("who=actor-1", 83),
        ("who=actor*", 100),
        ("what=quota.change&team=team-1&p=2", 25),
        ("team=team-2", 0),
        ("via=admin", 0),
        ("q=target-77", 1),
        ("q=actor-0+quota", 42),
        ("at_from=2001-01-01&at_to=2001-12-31", 0),
        ("who=%00", 100),
    ],
)
def test_the_log_is_searched(admin: Admin, entries: list[Any], query: str, found: int) -> None:
    assert shown(admin.text(f"{LOG}?{query}")) == found


def test_pages_follow_each_other_without_a_number_of_rows(admin: Admin, entries: list[Any]) -> None:
    with CaptureQueriesContext(connection) as queries:
        first = admin.text(LOG)
    assert not [query["sql"] for query in queries if "COUNT" in query["sql"] and "auditentry" in query["sql"]]
    last = admin.text(f"{LOG}?p=3")
    assert 'rel="next"' in first and 'rel="prev"' not in first and "results (" not in first
    assert 'rel="next"' not in last and 'rel="prev"' in last


def test_no_line_can_be_made_changed_or_deleted(admin: Admin, entries: list[Any]) -> None:
    from tenants.models import AuditEntry

    one = entries[0].pk
    assert admin.get(f"{LOG}add/").status_code == 403 and admin.get(f"{LOG}{one}/delete/").status_code == 403
    assert admin.post(f"{LOG}{one}/change/", {"actor": "nobody"}).status_code == 403
    assert admin.post(f"{LOG}{one}/delete/", {"post": "yes"}).status_code == 403
    admin.act(LOG, "delete_selected", [one], post="yes")
    assert AuditEntry.objects.filter(pk=one, actor="actor-0").exists()
    assert "actor-0" in admin.text(f"{LOG}{one}/change/")


def test_what_the_filters_show_is_taken_away_as_csv(admin: Admin, entries: list[Any]) -> None:
    from tenants.models import AuditEntry

    answer = admin.get(f"{LOG}export/?team=team-1&who=actor-1&format=csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(answer).decode())))
    assert len(rows) == len([one for one in entries if one.tenant_slug == "team-1" and one.actor == "actor-1"])
    assert all(row["target"].startswith("'=") and json.loads(row["after"]) for row in rows)
    line = AuditEntry.objects.get(action="audit.export")
    assert line.actor == "root" and line.after == {"filter": "team=team-1&who=actor-1"}


def test_an_export_reads_in_pieces_and_loses_nothing(
    admin: Admin, entries: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tenants.admin import log
    from tenants.models import AuditEntry

    monkeypatch.setattr(log, "BATCH", 7)
    # Lines of one moment must not be torn apart by the place where a piece ends.
    now = timezone.now()
    AuditEntry.objects.bulk_create(
        [AuditEntry(at=now, actor="x", actor_kind="user", action="a.b", via="api", target=str(i)) for i in range(20)]
    )
    lines = b"".join(admin.get(f"{LOG}export/?format=jsonl")).decode().splitlines()
    told = [json.loads(line) for line in lines]
    ids = [one["id"] for one in told if one["action"] != "audit.export"]
    assert len(ids) == len(set(ids)) == 270
    assert [one["at"] for one in told] == sorted((one["at"] for one in told), reverse=True)


def test_notifications_are_only_looked_at(admin: Admin, root: Any) -> None:
    from tenants.services import notify

    (one,) = notify(users=[root], message="Hello")
    assert "Hello" in admin.text("tenants/notification/")
    assert admin.get("tenants/notification/add/").status_code == 403
    assert admin.post(f"tenants/notification/{one.pk}/change/", {"message": "Bye"}).status_code == 403
