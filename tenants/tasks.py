"""One-line wrappers that Celery runs; the work is in the modules they call."""

from celery import shared_task
from django.utils import timezone

from tenants import mail


@shared_task(name="tenants.send_mail")
def send_mail() -> None:
    mail.send_due(timezone.now())
