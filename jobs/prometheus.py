"""The contract's metrics, computed from the database at each scrape: exact after restarts and the same from every process."""

from collections.abc import Iterator

from django.db.models import Count, Sum
from django.db.models.functions import Coalesce
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs.durations import BOUNDS, histogram
from jobs.models import LIVE, TrainingJob
from tenants.models import Tenant


class JobsCollector(Collector):
    def collect(self) -> Iterator[Metric]:
        tenants = list(
            Tenant.objects.order_by("slug")
            .annotate(created=Coalesce(Sum("submissiontally__count"), 0))
            .values_list("slug", "created")
        )
        created = CounterMetricFamily("ml_platform_jobs_created", "Training jobs accepted.", labels=["tenant"])
        for slug, count in tenants:
            created.add_metric([slug], count)
        yield created
        active = GaugeMetricFamily("ml_platform_active_jobs", "Jobs that have not ended.", labels=["tenant", "status"])
        live = TrainingJob.objects.filter(status__in=LIVE).values("tenant__slug", "status").annotate(count=Count("pk"))
        counts = {(row["tenant__slug"], row["status"]): row["count"] for row in live.order_by()}
        for slug, _ in tenants:
            for live_status in LIVE:
                active.add_metric([slug, str(live_status)], counts.get((slug, str(live_status)), 0))
        yield active
        durations = HistogramMetricFamily(
            "ml_platform_job_duration_seconds", "How long ended jobs ran.", labels=["tenant", "status"]
        )
        for slug, status, cumulative, total in histogram():
            bounds = [*(str(float(bound)) for bound in BOUNDS), "+Inf"]
            buckets = list(zip(bounds, (float(count) for count in cumulative), strict=True))
            durations.add_metric([slug, status], buckets, total)
        yield durations
