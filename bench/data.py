"""Rows for benchmarks, made in the database itself: a million in some seconds. No machine fits them, so none starts."""

from django.db import connection

SPEC = (
    '{"name": "bench", "tenant_id": "test", "docker_image": "python:3.11-slim", "entrypoint": "python train.py",'
    ' "source": null, "code_repo": null, "code_commit": null, "data_path": "s3://data/train.csv",'
    ' "compute": {"type": "cpu", "cpu_cores": 96, "memory_gb": 768}, "hyperparameters": {"epochs": 5, "lr": 0.1},'
    ' "env_vars": {}, "model_output_path": "s3://models/bench/"}'
)
STATUSES = {
    "ended": "(ARRAY['succeeded','failed','cancelled'])[1 + n %% 3]",
    "running": "'running'",
    "pending": "'pending'",
}


def fill(tenant: str, first: int, count: int, *, kind: str = "ended") -> None:
    """Adds ``count`` jobs to a tenant, numbered from ``first``, a second apart into the past."""
    due = "now()" if kind == "pending" else "NULL"
    started = "NULL" if kind == "pending" else "now() - n * interval '1 second'"
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO jobs_trainingjob (id, tenant_id, name, submitted_by, created_at, spec, instance_type, output_path,"
            " cancelled_by, status, reason, error_message, attempts, kubernetes_job_name, cluster_uid, started_at, completed_at,"
            " metrics, version, next_check_at, failures,"
            " cpu_cores, memory_gb, gpu_count, gpu_type, pods, placement, queue, priority, admitted_at)"
            " SELECT gen_random_uuid(), t.id, 'bench-' || n, 'user-' || n %% 20, now() - n * interval '1 second', %s::jsonb,"
            f" '', 's3://models/bench/', '', {STATUSES[kind]}, 'Completed', '', 1, '', '', {started}, NULL,"
            f" '{{}}'::jsonb, 0, {due}, 0, 96, 768, 0, '', 1, '{{}}'::jsonb, false, 0, now()"
            " FROM generate_series(%s, %s) AS n, tenants_tenant AS t WHERE t.slug = %s",
            [SPEC, first, first + count - 1, tenant],
        )
        cursor.execute("ANALYZE jobs_trainingjob")


def raise_quota(tenant: str) -> None:
    """So much that no job of a benchmark is refused."""
    most = 2_000_000_000
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE tenants_tenant SET quota_cpu = %(most)s, quota_memory_gib = %(most)s, quota_gpus = %(most)s,"
            " quota_jobs = %(most)s, quota_pods = %(most)s WHERE slug = %(slug)s",
            {"most": most, "slug": tenant},
        )
