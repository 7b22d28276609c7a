"""The pages of a team: ``/t/<team>/…``."""

from django.urls import path

from jobs import views

app_name = "jobs"
urlpatterns = [
    path("", views.dashboard, name="dashboard"),
    path("jobs", views.job_list, name="list"),
    path("jobs/new", views.submit, name="submit"),
    path("jobs/<uuid:job_id>", views.detail, name="detail"),
    path("jobs/<uuid:job_id>/cancel", views.cancel, name="cancel"),
]
