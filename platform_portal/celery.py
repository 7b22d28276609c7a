"""The Celery application: periodic side work and hints. The database, not the broker, is the queue of record."""

import os
import sys
from typing import Any

from celery import Celery
from celery.signals import import_modules
from django.core.exceptions import ImproperlyConfigured

from platform_portal import broker

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "platform_portal.settings")
# Whoever sends or receives a hint imports this module, and the settings cannot be asked yet; other schemes stay as they are.
broker.register()
app = Celery("platform_portal")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@import_modules.connect
def refuse_bad_start(**kwargs: Any) -> None:
    """When a worker or beat loads its tasks, before it does anything else; a program that only sends never comes here.

    Celery logs what a handler raises and goes on; ``SystemExit`` is what it lets through.
    """
    import django

    django.setup()
    from platform_portal import checks

    try:
        checks.refuse_bad_start()
    except ImproperlyConfigured as problem:
        sys.exit(str(problem))
