"""A proof that no query of a page or of the API escapes its tenant, by PostgreSQL itself.

Each request of the table of addresses is made twice on the same data: once with everything visible, once as a role of the
database from which row-level security hides whatever belongs to other tenants. Every statement must return the same rows, and
touch as many, both times, and the answers must be the same to the letter: then none of them depended on another tenant's row. The
policies are made from the models, so a new table of a tenant's is covered without being named here.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.apps import apps
from django.db import connection, models, transaction
from django.test import Client
from pytest_django import Settings

from tests.test_urls import SIGN_IN, TABLE, addresses, url_of

if TYPE_CHECKING:
    from jobs.models import TrainingJob
    from tests.personas import Team

Statement = tuple[str, int, Any]
# Whose answers are about one tenant only. A platform administrator sees all of them, nobody's are public.
ROLES = ("viewer", "member", "lead", "token", "job-token")
# What is about the whole platform by its purpose.
OF_ALL = {"metrics"}
OURS = "current_setting('test.tenant')::bigint"


class _RolledBack(Exception):
    pass


# ---- who may see what, from the models


def paths() -> dict[type[models.Model], list[str]]:
    """Each model that belongs to a tenant, with the columns to follow: ``["job_id", "tenant_id"]``."""
    from tenants.models import AuditEntry, Tenant

    found: dict[type[models.Model], list[str]] = {Tenant: ["id"], AuditEntry: ["tenant_id"]}
    ours = [model for app in ("tenants", "jobs", "deployments") if apps.is_installed(app) for model in _models(app)]
    while True:
        more = {
            model: [str(field.column), *(found[target] if target is not Tenant else [])]
            for model in ours
            if model not in found
            for field in model._meta.concrete_fields
            if isinstance(field, models.ForeignKey) and not field.null and (target := _target(field)) in found
        }
        if not more:
            return found
        found |= more


def _models(app: str) -> Iterator[type[models.Model]]:
    return iter(apps.get_app_config(app).get_models(include_auto_created=True))


def _target(field: Any) -> type[models.Model]:
    model: type[models.Model] = field.remote_field.model
    return model


def visible(model: type[models.Model], columns: list[str]) -> str:
    """The condition under which a row is our tenant's."""
    first, *rest = columns
    if not rest:
        return f"{first} = {OURS}"
    field = next(one for one in model._meta.concrete_fields if one.column == first)
    target = _target(field)
    key = field.target_field.column  # type: ignore[attr-defined]
    return f"{first} IN (SELECT {key} FROM {target._meta.db_table} WHERE {visible(target, rest)})"


@pytest.fixture
def hidden(db: None) -> str:
    """The role of the database that sees one tenant only; gone with the test's transaction."""
    role = f"tenant_{uuid4().hex}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {role}")
        for what in ("TABLES", "SEQUENCES"):
            cursor.execute(f"GRANT ALL ON ALL {what} IN SCHEMA public TO {role}")
        for model, columns in paths().items():
            table = model._meta.db_table
            cursor.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
            # A row that hangs on one of the same statement cannot be checked: the other is not there to be seen yet.
            check = "" if len(columns) == 1 else " WITH CHECK (true)"
            cursor.execute(f"CREATE POLICY ours ON {table} TO {role} USING ({visible(model, columns)}){check}")
    return role


@contextmanager
def undone(role: str = "", tenant: int = 0) -> Iterator[None]:
    """What happens inside is rolled back; with ``role`` the database shows that role's rows."""
    try:
        with transaction.atomic():
            if role:
                with connection.cursor() as cursor:
                    cursor.execute(f"SET LOCAL test.tenant = '{tenant}'")
                    cursor.execute(f"SET LOCAL ROLE {role}")
            yield
            raise _RolledBack
    except _RolledBack:
        pass


# ---- what a request asked the database


class Recorder:
    """Every statement with the rows it gave; after a request's first write only how many, because clocks and ids differ."""

    def __init__(self) -> None:
        self.statements: list[Statement] = []
        self._written = False

    def __call__(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        result = execute(sql, params, many, context)
        text = sql if isinstance(sql, str) else str(sql)
        if re.match(r"\s*(SAVEPOINT|RELEASE|ROLLBACK|SET)", text):
            return result
        cursor = context["cursor"].cursor
        rows = None
        if (
            text.lstrip().startswith("SELECT")
            and not self._written
            and hasattr(cursor, "scroll")
            and not _named(cursor)
        ):
            rows = cursor.fetchall()
            if rows:
                cursor.scroll(0, mode="absolute")
        elif not text.lstrip().startswith("SELECT"):
            self._written = True
        self.statements.append((text, cursor.rowcount, _settled(rows)))
        return result


def _named(cursor: Any) -> bool:
    return bool(getattr(cursor, "name", ""))


def _settled(rows: Any) -> Any:
    """Without the order: another plan may give another where none is asked for."""
    return None if rows is None else sorted(map(repr, rows))


# ---- the tenants


@pytest.fixture
def teams(db: None, settings: Settings) -> "dict[str, Team]":
    """Two teams with alike work each: were a query to forget its tenant, it would find the other's."""
    from tenants.services.signing_keys import signing_key_current
    from tests.personas import team

    settings.ACCOUNT_RATE_LIMITS = False
    # The platform's own, and made by whoever needs it first.
    signing_key_current()
    both = {"ours": team("ours"), "theirs": team("theirs")}
    for one in both.values():
        for number in range(3):
            _job(one, f"job-{number}", "succeeded" if number == 0 else "running")
    return both


def _job(team: "Team", name: str, status: str) -> "TrainingJob":
    from jobs.models import JobEvent, JobLog, JobLogChunk, MetricPoint, TrainingJob
    from jobs.services import job_submit

    job = job_submit(ctx=team.context("member"), payload={"name": name})
    TrainingJob.objects.filter(pk=job.pk).update(status=status, started_at=job.created_at, cluster_uid="uid")
    JobEvent.objects.create(job=job, key="started", reason="Started")
    JobLog.objects.create(job=job, size=3, complete=status == "succeeded")
    JobLogChunk.objects.create(job=job, offset=0, data=b"hi\n")
    MetricPoint.objects.create(job=job, name="loss", step=1, value=0.5)
    return job


def client_of(role: str, team: "Team", job: "TrainingJob") -> Client:
    from jobs import tokens

    secrets = {"token": team.token, "job-token": tokens.make(job.pk)}
    headers = {"authorization": f"Bearer {secrets[role]}"} if role in secrets else None
    client = Client(headers=headers, raise_request_exception=False)
    if role in team.people:
        client.force_login(team.people[role])
    return client


def asked(client: Client, method: str, url: str, kind: str) -> tuple[list[Statement], tuple[int, bytes]]:
    """The statements of one request, and its answer without what is different each time."""
    recorder = Recorder()
    with connection.execute_wrapper(recorder):
        answer = client.generic(method, url, b"", content_type=kind)
        content = answer.getvalue()
    return recorder.statements, (answer.status_code, _without_chance(content))


def _without_chance(content: bytes) -> bytes:
    """Form tokens, suggested names, random keys and signed answers are new each time; and the clock goes on."""
    content = re.sub(rb"\b\d+ (s|min|h)\b", b"", content)
    content = re.sub(rb'"(access_token|expires_at|last_used_at)":"[^"]*"', rb"\1", content)
    content = re.sub(rb'name="(csrfmiddlewaretoken|name|key)"[^>]*value="[^"]*"', rb"\1", content)
    return re.sub(rb'value="[^"]*"([^>]*name="(?:name|key)")', rb"\1", content)


def test_every_table_of_a_tenant_is_hidden() -> None:
    """A model that names a tenant anywhere is among those hidden, or is said here to be more than one tenant's."""
    from tenants.models import InstanceType, RoleRule

    # A rule without a team makes administrators; a type without teams is everybody's: its list of teams is hidden.
    shared: set[Any] = {RoleRule, InstanceType}
    from tenants.models import Tenant

    for app in ("tenants", "jobs"):
        for model in _models(app):
            names_tenant = any(
                isinstance(field, models.ForeignKey) and _target(field) is Tenant
                for field in model._meta.concrete_fields
            )
            assert not names_tenant or model in paths() or model in shared, model


def test_the_proof_notices_a_query_that_escapes(hidden: str, teams: "dict[str, Team]") -> None:
    from jobs.models import TrainingJob

    def counted(role: str = "") -> tuple[list[Statement], int]:
        recorder = Recorder()
        with undone(role, teams["ours"].tenant.pk), connection.execute_wrapper(recorder):
            found = len(list(TrainingJob.objects.filter(status="running")))
            changed = TrainingJob.objects.filter(status="running").update(reason="Escaped")
        return recorder.statements, found + changed

    (free, all_of_them), (bound, ours_only) = counted(), counted(hidden)
    assert (all_of_them, ours_only) == (8, 4) and all(one != other for one, other in zip(free, bound, strict=True))


@pytest.mark.parametrize("name", [name for name in TABLE if name not in OF_ALL])
def test_no_query_escapes_the_tenant_at(name: str, hidden: str, teams: "dict[str, Team]") -> None:
    from jobs.models import TrainingJob

    ours = teams["ours"]
    route = addresses()[name]
    kind = "application/json" if route.startswith("v1/") else "application/x-www-form-urlencoded"
    job = TrainingJob.objects.get(tenant=ours.tenant, name="job-1")
    escaped = []
    for method, row in TABLE[name].items():
        for role in ROLES:
            # Who is turned away at the door asks the database nothing of a tenant's.
            if row.get(role) in (401, 405, SIGN_IN):
                continue
            client = client_of(role, ours, job)
            url = url_of(route, job)
            session = deepcopy(client.cookies)
            with undone():
                free = asked(client, method, url, kind)
            # The request may have begun another session, which is undone with the rest.
            client.cookies = session
            with undone(hidden, ours.tenant.pk):
                bound = asked(client, method, url, kind)
            if free != bound:
                escaped.append(f"{method} {url} by {role}:\n{_difference(free, bound)}")
    assert not escaped, "\n".join(escaped)


def _difference(free: Any, bound: Any) -> str:
    lines = [
        f"  {one[0][:600]}\n    all visible: {one[1]} rows; others hidden: {other[1]}"
        for one, other in zip(free[0], bound[0], strict=False)
        if one != other
    ]
    if lines:
        return "\n".join(lines)
    parts = zip(free[1][1].splitlines(), bound[1][1].splitlines(), strict=False)
    first = next((f"{one!r}\n  {other!r}" for one, other in parts if one != other), "")
    return f"  {free[1][0]} with {len(free[0])} statements, {bound[1][0]} with {len(bound[0])}\n  {first}"
