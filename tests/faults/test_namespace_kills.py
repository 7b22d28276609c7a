"""``kill -9`` of the reconciler while it makes namespaces, and while it deletes teams: the next one brings both to their end.

Contract 2: all of it is applied idempotently; and a deleted team is gone once its namespace has been seen gone, its audit log
kept.
"""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from platform_portal.kube import client as kube_client
from platform_portal.kube.cluster import Cluster
from tests.faults.parts import Parts
from tests.setup.running import ROOT

pytestmark = pytest.mark.slow
TEAMS = [f"kept-{number}" for number in range(12)]
KINDS = {"ResourceQuota": 1, "LimitRange": 1, "ServiceAccount": 2, "Role": 1, "RoleBinding": 1, "NetworkPolicy": 2}
SETUP = "import django, sys; django.setup(); slugs = sys.argv[1:]\n"
MAKE = """
from tenants.services import tenant_create
for slug in slugs: tenant_create(slug=slug, name=slug)
"""
FILL = """
from jobs.models import JobEvent, TrainingJob
from tenants.models import Tenant
for tenant in Tenant.objects.filter(slug__in=slugs):
    jobs = [TrainingJob(tenant=tenant, name=f"job-{number}", submitted_by="x", spec={}, output_path="s3://x/y", cpu_cores=1,
            memory_gb=1, status="succeeded", reason="Completed", next_check_at=None) for number in range(1500)]
    TrainingJob.objects.bulk_create(jobs)
    JobEvent.objects.bulk_create([JobEvent(job=job, key=key, reason=key) for job in jobs for key in ("a", "b", "c")])
"""
DELETE = """
from tenants.services import tenant_delete
for slug in slugs: tenant_delete(slug=slug, confirm=slug)
"""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with Parts(tmp_path_factory.mktemp("namespaces"), kube_timeout=2) as found:
        found.start("localcluster")
        found.begin()
        yield found


def do(parts: Parts, script: str) -> None:
    subprocess.run([sys.executable, "-c", SETUP + script, *TEAMS], cwd=ROOT, env=os.environ | parts._env(), check=True)


def cluster_of(parts: Parts) -> Cluster:
    return Cluster(kube_client.load(str(parts.localcluster.kubeconfig), timeout=30, connections=1))


def count(parts: Parts, condition: str) -> int:
    sql = f"SELECT count(*) FROM tenants_tenant WHERE slug LIKE 'kept-%%' AND {condition}"
    [(found,)] = parts.rows(sql)
    return int(found)


def test_namespaces_that_were_in_the_making_are_whole_though_their_maker_is_killed(parts: Parts) -> None:
    parts.kill("reconciler")
    do(parts, MAKE)
    parts.start("reconciler")
    # In the middle: one namespace is through, most are not.
    parts.until(lambda: count(parts, "applied_at IS NOT NULL"), "the first namespace")
    parts.kill("reconciler")
    assert count(parts, "applied_at IS NULL"), "it was killed too late to show anything"
    parts.start("reconciler")
    parts.until(lambda: count(parts, "applied_version = version AND lease_until IS NULL") == len(TEAMS), "all of them")

    cluster = cluster_of(parts)
    for slug in TEAMS:
        namespace = cluster.get("Namespace", "", f"ml-{slug}")
        assert namespace is not None
        assert parts.rows("SELECT namespace_uid FROM tenants_tenant WHERE slug = %s", slug) == [
            (namespace["metadata"]["uid"],)
        ]
        for kind, wanted in KINDS.items():
            assert len(cluster.list(kind, f"ml-{slug}")) == wanted, (slug, kind)
    drift = parts.rows("SELECT count(*) FROM tenants_auditentry WHERE action = 'namespace.drift-corrected'")
    assert drift == [(0,)], "what the platform left unfinished is nobody's change"


def test_teams_that_were_being_deleted_are_gone_though_their_deleter_is_killed(parts: Parts) -> None:
    do(parts, FILL)
    [(jobs,)] = parts.rows("SELECT count(*) FROM jobs_trainingjob")
    do(parts, DELETE)
    # In the middle of the rows of the first, with namespaces that go and others that stand.
    left = "SELECT count(*) FROM jobs_trainingjob"
    parts.until(lambda: parts.rows(left)[0][0] < jobs, "the first rows to go")
    parts.kill("reconciler")
    assert count(parts, "deleting_at IS NOT NULL"), "it was killed too late to show anything"
    parts.start("reconciler")
    parts.until(lambda: count(parts, "true") == 0, "the end of all of them")

    assert parts.rows(left) == [(0,)]
    assert parts.rows("SELECT count(*) FROM jobs_jobevent") == [(0,)]
    cluster = cluster_of(parts)
    assert [slug for slug in TEAMS if cluster.get("Namespace", "", f"ml-{slug}")] == []
    lines = parts.rows(
        "SELECT tenant_slug, array_agg(action ORDER BY id) FROM tenants_auditentry WHERE tenant_slug LIKE 'kept-%%'"
        " GROUP BY tenant_slug ORDER BY tenant_slug"
    )
    assert lines == [(slug, ["tenant.create", "tenant.delete", "tenant.deleted"]) for slug in sorted(TEAMS)]
