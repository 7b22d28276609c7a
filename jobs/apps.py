from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "jobs"
    verbose_name = "Training jobs"

    def ready(self) -> None:
        from jobs.tenancy import end_jobs
        from tenants.signals import tenant_deleting

        tenant_deleting.connect(end_jobs)
