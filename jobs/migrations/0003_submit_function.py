from django.db import migrations

# A submission in one call, whose plans PostgreSQL keeps for the connection: read and planned anew, the same statements cost more than
# they do. The rows come as JSON with every column that has no value of its own. See jobs/insert.py.
SUBMIT = """
CREATE FUNCTION job_submit(job jsonb, line jsonb, entry jsonb, room jsonb, shards int, unflushed boolean)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    team bigint := (job ->> 'tenant_id')::bigint;
    job_key uuid := (job ->> 'id')::uuid;
BEGIN
    IF unflushed THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    IF room IS NOT NULL THEN
        PERFORM 1 FROM tenants_quotausage
        WHERE tenant_id = team AND tenant_version = (room ->> 'version')::bigint AND waiting = 0
            AND cpu <= (room ->> 'cpu')::bigint AND memory_gb <= (room ->> 'memory_gb')::bigint
            AND gpus <= (room ->> 'gpus')::bigint AND jobs <= (room ->> 'jobs')::bigint
            AND pods <= (room ->> 'pods')::bigint
            AND coalesce((gpu_types ->> (job ->> 'gpu_type'))::bigint, 0) <= (room ->> 'gpus_of_type')::bigint
        FOR UPDATE;
        IF NOT FOUND THEN
            RETURN 'undecided';
        END IF;
    END IF;
    INSERT INTO jobs_trainingjob SELECT * FROM jsonb_populate_record(NULL::jobs_trainingjob, job)
    ON CONFLICT (tenant_id, name) DO NOTHING;
    IF NOT FOUND THEN
        RETURN 'name taken';
    END IF;
    INSERT INTO jobs_jobevent (job_id, key, at, source, level, reason, message, count)
    SELECT job_key, new.key, new.at, new.source, new.level, new.reason, new.message, new.count
    FROM jsonb_populate_record(NULL::jobs_jobevent, line) AS new;
    INSERT INTO jobs_submissiontally AS old (tenant_id, shard, count) VALUES (team, pg_backend_pid() % shards, 1)
    ON CONFLICT (tenant_id, shard) DO UPDATE SET count = old.count + 1;
    INSERT INTO tenants_auditentry
        (at, actor, actor_kind, user_id, tenant_id, tenant_slug, action, target, target_id, before, after, via, address)
    SELECT at, actor, actor_kind, user_id, tenant_id, tenant_slug, action, target, target_id, before, after, via, address
    FROM jsonb_populate_record(NULL::tenants_auditentry, entry);
    RETURN 'yes';
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("jobs", "0002_quota_and_queue"), ("tenants", "0006_sign_in")]
    operations = [
        migrations.RunSQL(SUBMIT, "DROP FUNCTION job_submit(jsonb, jsonb, jsonb, jsonb, int, boolean)"),
    ]
