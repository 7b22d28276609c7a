"""The Celery application: periodic side work and hints. The database, not the broker, is the queue of record."""

import os
import sys
from typing import Any

from celery import Celery
from celery.signals import beat_init, worker_init
from django.core.exceptions import ImproperlyConfigured

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "platform_portal.settings")
app = Celery("platform_portal")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_init.connect
@beat_init.connect
def refuse_bad_start(**kwargs: Any) -> None:
    """Celery only logs what a handler raises; ``SystemExit`` is what it lets through."""
    import django

    django.setup()
    from platform_portal import checks

    try:
        checks.refuse_bad_start()
    except ImproperlyConfigured as problem:
        sys.exit(str(problem))
