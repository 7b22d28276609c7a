# What the reconciler of namespaces writes down of a team.

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tenants', '0003_notification_mail'),
    ]

    operations = [
        migrations.AddField(
            model_name='tenant',
            name='namespace_uid',
            field=models.CharField(blank=True, editable=False, max_length=64),
        ),
        migrations.AddField(
            model_name='tenant',
            name='applied_version',
            field=models.PositiveIntegerField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name='tenant',
            name='lease_owner',
            field=models.UUIDField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name='tenant',
            name='lease_until',
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddIndex(
            model_name='tenant',
            index=models.Index(condition=models.Q(('deleting_at__isnull', False), ('applied_version__isnull', True), models.Q(('applied_version', models.F('version')), _negated=True), _connector='OR'), fields=['id'], name='tenant_to_apply'),
        ),
    ]
