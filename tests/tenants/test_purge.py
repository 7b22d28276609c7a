"""All that hangs on a team goes in pieces, whoever made it; the audit log and other teams stay."""

import uuid

from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobs.models import JobEvent, JobLog, JobLogChunk, MetricPoint, SourceArchive, TrainingJob
from tenants.models import (
    ApiToken,
    AuditEntry,
    IdempotencyRecord,
    IssuerRule,
    Membership,
    QuotaRequest,
    RoleRule,
    ServiceAccount,
    Tenant,
    TrustedIssuer,
)
from tenants.purge import _pointing_to, purge
from tenants.reconciler import tenant_forget
from tests.personas import Team


def fill(team: Team, jobs: int) -> None:
    tenant = team.tenant
    source = SourceArchive.objects.create(
        tenant=tenant, sha256="0" * 64, size=1, kind="py", filename="a.py", created_by="x"
    )
    for number in range(jobs):
        job = TrainingJob.objects.create(
            tenant=tenant, name=f"job-{number}", submitted_by="x", spec={}, output_path="s3://x/y", source=source,
            cpu_cores=1, memory_gb=1,
        )  # fmt: skip
        JobEvent.objects.bulk_create(JobEvent(job=job, key=str(key), reason="x") for key in range(3))
        JobLog.objects.create(job=job)
        JobLogChunk.objects.create(job=job, offset=0, data=b"x")
        MetricPoint.objects.bulk_create(MetricPoint(job=job, name="loss", step=step, value=1) for step in range(4))
    account = ServiceAccount.objects.create(tenant=tenant, name="ci")
    ApiToken.objects.create(tenant=tenant, service_account=account, name="x", digest=uuid.uuid4().hex)
    issuer = TrustedIssuer.objects.create(name=tenant.slug, issuer=f"https://{tenant.slug}.example.com", audience="x")
    IssuerRule.objects.create(issuer=issuer, claims={}, service_account=account)
    IdempotencyRecord.objects.create(tenant=tenant, key="k", fingerprint="f")
    QuotaRequest.objects.create(tenant=tenant, wanted={"cpu": 1}, reason="x")
    RoleRule.objects.create(provider="*", group="g", tenant=tenant, role="member")


def counts(team: Team) -> dict[str, int]:
    """How many rows point to the team, by model; what points to its jobs with them."""
    found = {field.model.__name__: field.model._base_manager.filter(**{field.name: team.tenant.pk}).count()
             for field in _pointing_to(Tenant)}  # fmt: skip
    for field in _pointing_to(TrainingJob):
        found[field.model.__name__] = field.model._base_manager.filter(
            **{f"{field.name}__tenant": team.tenant.pk}
        ).count()
    return found


def test_everything_goes_and_nothing_of_others(ours: Team, theirs: Team) -> None:
    fill(ours, 3)
    fill(theirs, 2)
    before = counts(theirs)
    assert {"TrainingJob", "SourceArchive", "ApiToken", "Membership", "QuotaUsage", "JobEvent", "MetricPoint"} <= {
        name for name, count in counts(ours).items() if count
    }
    people, lines = get_user_model().objects.count(), AuditEntry.objects.count()
    assert purge(ours.tenant, seconds=60)
    assert set(counts(ours).values()) == {0}
    assert counts(theirs) == before
    assert get_user_model().objects.count() == people and AuditEntry.objects.count() == lines
    assert Tenant.objects.filter(pk=ours.tenant.pk).exists()
    assert purge(ours.tenant, seconds=60)


def test_it_goes_in_pieces_and_what_is_left_goes_another_time(ours: Team) -> None:
    fill(ours, 7)
    rounds = 0
    while not purge(ours.tenant, seconds=0, piece=2):
        left = sum(counts(ours).values())
        rounds += 1
        assert rounds < 200, left
    assert rounds > 10 and set(counts(ours).values()) == {0}


def test_no_statement_touches_more_rows_than_a_piece(ours: Team) -> None:
    fill(ours, 7)
    with CaptureQueriesContext(connection) as queries:
        purge(ours.tenant, seconds=60, piece=3)
    deletes = [query["sql"] for query in queries if query["sql"].startswith("DELETE")]
    assert deletes and all(sql.count(", ") <= 2 for sql in deletes), max(deletes, key=len)


def test_the_row_itself_goes_only_from_who_holds_it_and_once_it_is_being_deleted(ours: Team) -> None:
    owner = uuid.uuid4()
    Tenant.objects.filter(pk=ours.tenant.pk).update(lease_owner=owner)
    tenant_forget(ours.tenant, owner)
    Tenant.objects.filter(pk=ours.tenant.pk).update(deleting_at=timezone.now())
    tenant_forget(ours.tenant, uuid.uuid4())
    assert Tenant.objects.exists() and not AuditEntry.objects.filter(action="tenant.deleted").exists()
    purge(ours.tenant, seconds=60)
    tenant_forget(ours.tenant, owner)
    assert not Tenant.objects.exists() and not Membership.objects.exists()
    line = AuditEntry.objects.get(action="tenant.deleted")
    assert (line.tenant_slug, line.target) == ("ours", "ours")


def test_models_of_apps_that_this_one_does_not_know_are_found() -> None:
    assert {field.model.__module__.split(".")[0] for field in _pointing_to(Tenant)} >= {"tenants", "jobs"}
