import django.utils.timezone
from django.db import migrations, models

# What there is already has been admitted: it stands in the cluster, or is about to.
FILL = """
UPDATE jobs_trainingjob SET
    cpu_cores = coalesce((spec #>> '{compute,cpu_cores}')::int, 4),
    memory_gb = coalesce((spec #>> '{compute,memory_gb}')::int, 16),
    gpu_count = coalesce((spec #>> '{compute,gpu_count}')::int, 0),
    gpu_type = coalesce(spec #>> '{compute,gpu_type}', ''),
    admitted_at = created_at;
"""
# tenants_quotausage is the sum over the live jobs, kept by whatever statement changes them. What counts is added up before
# anything is locked, and rows of usage are taken in the order of their tenants: two writers of many jobs do not block each other for
# good. A row that is not there belongs to a tenant that is being deleted.
COUNT = """
CREATE FUNCTION gpu_types_sum(have jsonb, more jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(jsonb_object_agg(key, total), '{}') FROM (
        SELECT key, sum(value::int) AS total
        FROM (SELECT * FROM jsonb_each_text(have) UNION ALL SELECT * FROM jsonb_each_text(more)) AS both_sides
        GROUP BY key
    ) AS sums WHERE total <> 0
$$;

CREATE FUNCTION job_usage_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE delta record;
BEGIN
    FOR delta IN
        WITH counted AS (
            SELECT tenant_id, 1 AS sign, admitted_at, cpu_cores, memory_gb, gpu_count, gpu_type, pods
            FROM after WHERE status IN ('pending', 'running')
        )
        @DELTAS@
    LOOP
        @ADD@
    END LOOP;
    RETURN NULL;
END $$;

CREATE FUNCTION job_usage_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE delta record;
BEGIN
    FOR delta IN
        WITH counted AS (
            SELECT tenant_id, -1 AS sign, admitted_at, cpu_cores, memory_gb, gpu_count, gpu_type, pods
            FROM before WHERE status IN ('pending', 'running')
        )
        @DELTAS@
    LOOP
        @ADD@
    END LOOP;
    RETURN NULL;
END $$;

CREATE FUNCTION job_usage_updated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE delta record;
BEGIN
    FOR delta IN
        WITH counted AS (
            SELECT tenant_id, 1 AS sign, admitted_at, cpu_cores, memory_gb, gpu_count, gpu_type, pods
            FROM after WHERE status IN ('pending', 'running')
            UNION ALL
            SELECT tenant_id, -1, admitted_at, cpu_cores, memory_gb, gpu_count, gpu_type, pods
            FROM before WHERE status IN ('pending', 'running')
        )
        @DELTAS@
    LOOP
        @ADD@
    END LOOP;
    RETURN NULL;
END $$;

CREATE TRIGGER job_usage_inserted AFTER INSERT ON jobs_trainingjob
REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION job_usage_inserted();
CREATE TRIGGER job_usage_deleted AFTER DELETE ON jobs_trainingjob
REFERENCING OLD TABLE AS before FOR EACH STATEMENT EXECUTE FUNCTION job_usage_deleted();
CREATE TRIGGER job_usage_updated AFTER UPDATE ON jobs_trainingjob
REFERENCING OLD TABLE AS before NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION job_usage_updated();
"""
DELTAS = """
        SELECT tenant_id, cpu, memory_gb, gpus, pods, jobs, waiting, (
            SELECT jsonb_object_agg(gpu_type, gpus) FROM (
                SELECT gpu_type, sum(sign * gpu_count) AS gpus FROM counted AS one
                WHERE one.tenant_id = sums.tenant_id AND admitted_at IS NOT NULL AND gpu_type <> '' AND gpu_count > 0
                GROUP BY gpu_type HAVING sum(sign * gpu_count) <> 0
            ) AS types
        ) AS gpu_types
        FROM (
            SELECT tenant_id,
                coalesce(sum(sign * cpu_cores) FILTER (WHERE admitted_at IS NOT NULL), 0) AS cpu,
                coalesce(sum(sign * memory_gb) FILTER (WHERE admitted_at IS NOT NULL), 0) AS memory_gb,
                coalesce(sum(sign * gpu_count) FILTER (WHERE admitted_at IS NOT NULL), 0) AS gpus,
                coalesce(sum(sign * pods) FILTER (WHERE admitted_at IS NOT NULL), 0) AS pods,
                coalesce(sum(sign) FILTER (WHERE admitted_at IS NOT NULL), 0) AS jobs,
                coalesce(sum(sign) FILTER (WHERE admitted_at IS NULL), 0) AS waiting,
                bool_or(gpu_count > 0) AS with_gpus
            FROM counted GROUP BY tenant_id
        ) AS sums
        WHERE (cpu, memory_gb, gpus, pods, jobs, waiting) <> (0, 0, 0, 0, 0, 0) OR with_gpus
        ORDER BY tenant_id
"""
ADD = """
        IF (delta.cpu, delta.memory_gb, delta.gpus, delta.pods, delta.jobs, delta.waiting) = (0, 0, 0, 0, 0, 0)
            AND delta.gpu_types IS NULL THEN
            CONTINUE;
        END IF;
        UPDATE tenants_quotausage SET
            cpu = cpu + delta.cpu, memory_gb = memory_gb + delta.memory_gb, gpus = gpus + delta.gpus,
            pods = pods + delta.pods, jobs = jobs + delta.jobs, waiting = waiting + delta.waiting,
            gpu_types = CASE WHEN delta.gpu_types IS NULL THEN gpu_types ELSE gpu_types_sum(gpu_types, delta.gpu_types) END
        WHERE tenant_id = delta.tenant_id;
"""
UNCOUNT = """
DROP TRIGGER job_usage_inserted ON jobs_trainingjob;
DROP TRIGGER job_usage_deleted ON jobs_trainingjob;
DROP TRIGGER job_usage_updated ON jobs_trainingjob;
DROP FUNCTION job_usage_inserted();
DROP FUNCTION job_usage_deleted();
DROP FUNCTION job_usage_updated();
DROP FUNCTION gpu_types_sum(jsonb, jsonb);
"""
# The sums of what there is; from here on the triggers keep them.
BEGIN = """
UPDATE tenants_quotausage AS usage SET
    cpu = sums.cpu, memory_gb = sums.memory_gb, gpus = sums.gpus, pods = sums.pods, jobs = sums.jobs, waiting = 0,
    gpu_types = coalesce((
        SELECT jsonb_object_agg(gpu_type, gpus) FROM (
            SELECT gpu_type, sum(gpu_count) AS gpus FROM jobs_trainingjob
            WHERE tenant_id = sums.tenant_id AND status IN ('pending', 'running') AND gpu_type <> '' AND gpu_count > 0
            GROUP BY gpu_type
        ) AS types
    ), '{}')
FROM (
    SELECT tenant_id, sum(cpu_cores) AS cpu, sum(memory_gb) AS memory_gb, sum(gpu_count) AS gpus, sum(pods) AS pods,
        count(*) AS jobs
    FROM jobs_trainingjob WHERE status IN ('pending', 'running') GROUP BY tenant_id
) AS sums
WHERE usage.tenant_id = sums.tenant_id;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('tenants', '0005_usage_follows_the_tenant'),
        ('jobs', '0001_initial'),
    ]

    operations = [
        migrations.AddField('trainingjob', 'cpu_cores', models.PositiveSmallIntegerField(default=4), preserve_default=False),
        migrations.AddField('trainingjob', 'memory_gb', models.PositiveIntegerField(default=16), preserve_default=False),
        migrations.AddField('trainingjob', 'gpu_count', models.PositiveSmallIntegerField(default=0)),
        migrations.AddField('trainingjob', 'gpu_type', models.CharField(blank=True, default='', max_length=63), preserve_default=False),
        migrations.AddField('trainingjob', 'pods', models.PositiveSmallIntegerField(default=1)),
        migrations.AddField('trainingjob', 'price_per_hour', models.DecimalField(decimal_places=4, max_digits=10, null=True)),
        migrations.AddField('trainingjob', 'placement', models.JSONField(default=dict)),
        migrations.AddField('trainingjob', 'queue', models.BooleanField(default=False)),
        migrations.AddField('trainingjob', 'priority', models.SmallIntegerField(default=0)),
        migrations.AddField(
            'trainingjob', 'admitted_at', models.DateTimeField(default=django.utils.timezone.now, null=True)
        ),
        migrations.AddIndex(
            'trainingjob',
            models.Index(
                condition=models.Q(('admitted_at__isnull', True), ('status__in', ('pending', 'running'))),
                fields=['tenant', '-priority', 'created_at', 'id'],
                name='job_waiting',
            ),
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
        migrations.RunSQL(COUNT.replace('@DELTAS@', DELTAS.strip()).replace('@ADD@', ADD.strip()), UNCOUNT),
        migrations.RunSQL(BEGIN, migrations.RunSQL.noop),
    ]
