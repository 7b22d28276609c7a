from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "jobs"
    verbose_name = "Training jobs"

    def ready(self) -> None:
        from jobs.holdings import training_jobs
        from jobs.tenancy import end_jobs
        from tenants import holdings
        from tenants.signals import tenant_deleting

        tenant_deleting.connect(end_jobs)
        holdings.register("training jobs", training_jobs)
