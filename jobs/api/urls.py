"""``/v1/jobs/…``, ``/v1/quota``, ``/v1/instance-types`` and ``/v1/sources``."""

from django.urls import path

from jobs.api import quota_views, views

JOB = "jobs/training/<uuid:job_id>"
urlpatterns = [
    path("jobs/training", views.TrainingJobsView.as_view(), name="training-jobs"),
    path("jobs/training/preview", quota_views.TrainingJobPreviewView.as_view(), name="training-job-preview"),
    path(JOB, views.TrainingJobView.as_view(), name="training-job"),
    path(f"{JOB}/logs", views.TrainingJobLogsView.as_view(), name="training-job-logs"),
    path(f"{JOB}/events", views.TrainingJobEventsView.as_view(), name="training-job-events"),
    path(f"{JOB}/files", views.TrainingJobFilesView.as_view(), name="training-job-files"),
    path(f"{JOB}/files/<path:path>", views.TrainingJobFileView.as_view(), name="training-job-file"),
    path(f"{JOB}/metrics", views.TrainingJobMetricsView.as_view(), name="training-job-metrics"),
    path(f"{JOB}/source", views.TrainingJobSourceView.as_view(), name="training-job-source"),
    path("quota", quota_views.QuotaView.as_view(), name="quota"),
    path("instance-types", quota_views.InstanceTypesView.as_view(), name="instance-types"),
    path("sources", views.SourcesView.as_view(), name="sources"),
]
