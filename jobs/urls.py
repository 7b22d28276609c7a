"""The pages of a team: ``/t/<team>/…``."""

from django.urls import path

from jobs.views import job, quota, submit, team

app_name = "jobs"
JOB = "jobs/<uuid:job_id>"
urlpatterns = [
    path("", team.dashboard, name="dashboard"),
    path("jobs", team.job_list, name="list"),
    path("jobs/cancel", team.cancel_many, name="cancel_many"),
    path("jobs/new", submit.submit, name="submit"),
    path("jobs/new/preview", submit.preview, name="preview"),
    path("jobs/new/quota", quota.quota, name="quota"),
    path(JOB, job.overview, name="detail"),
    path(f"{JOB}/logs", job.log, name="log"),
    path(f"{JOB}/logs/part", job.log_part, name="log_part"),
    path(f"{JOB}/logs/download", job.log_download, name="log_download"),
    path(f"{JOB}/metrics", job.metrics_tab, name="metrics"),
    path(f"{JOB}/timeline", job.timeline, name="timeline"),
    path(f"{JOB}/files", job.files, name="files"),
    path(f"{JOB}/files/<path:path>", job.file, name="file"),
    path(f"{JOB}/spec", job.spec, name="spec"),
    path(f"{JOB}/cancel", job.cancel, name="cancel"),
    path(f"{JOB}/rerun", job.rerun, name="rerun"),
    path(f"{JOB}/edit", submit.rerun_form, name="rerun_form"),
]
