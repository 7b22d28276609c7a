from django.db import migrations, models

# A decision on quota compares the limits' version with the one in the row that it locks; so a change of the quota writes that
# row, and with it waits for decisions that are under way. Whoever changes a quota without counting the version is counted here.
FOLLOW = """
UPDATE tenants_quotausage AS usage SET tenant_version = tenant.version
FROM tenants_tenant AS tenant WHERE tenant.id = usage.tenant_id;

CREATE OR REPLACE FUNCTION tenant_has_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tenants_quotausage (tenant_id, cpu, memory_gb, gpus, gpu_types, pods, jobs, waiting, tenant_version)
    VALUES (NEW.id, 0, 0, 0, '{}', 0, 0, 0, NEW.version) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

CREATE FUNCTION tenant_version_in_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.version = OLD.version THEN
        NEW.version := OLD.version + 1;
    END IF;
    UPDATE tenants_quotausage SET tenant_version = NEW.version WHERE tenant_id = NEW.id;
    RETURN NEW;
END $$;

CREATE TRIGGER tenant_version_in_usage BEFORE UPDATE ON tenants_tenant FOR EACH ROW
WHEN (
    (OLD.version, OLD.is_active, OLD.deleting_at, OLD.grants, OLD.quota_cpu, OLD.quota_memory_gib, OLD.quota_gpus,
     OLD.quota_gpu_types, OLD.quota_gpus_per_job, OLD.quota_jobs, OLD.quota_pods, OLD.quota_pvcs)
    IS DISTINCT FROM
    (NEW.version, NEW.is_active, NEW.deleting_at, NEW.grants, NEW.quota_cpu, NEW.quota_memory_gib, NEW.quota_gpus,
     NEW.quota_gpu_types, NEW.quota_gpus_per_job, NEW.quota_jobs, NEW.quota_pods, NEW.quota_pvcs)
)
EXECUTE FUNCTION tenant_version_in_usage();
"""
UNFOLLOW = """
DROP TRIGGER tenant_version_in_usage ON tenants_tenant;
DROP FUNCTION tenant_version_in_usage();

CREATE OR REPLACE FUNCTION tenant_has_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tenants_quotausage (tenant_id, cpu, memory_gb, gpus, gpu_types, pods, jobs, waiting)
    VALUES (NEW.id, 0, 0, 0, '{}', 0, 0, 0) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('tenants', '0004_namespace_apply'),
    ]

    operations = [
        migrations.AddField(
            model_name='quotausage',
            name='tenant_version',
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.RunSQL(FOLLOW, UNFOLLOW),
    ]
