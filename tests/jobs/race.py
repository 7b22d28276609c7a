"""A process that takes part in a race of submissions: ``python -m tests.jobs.race``, told what to do by one line of JSON.

It says ``ready`` once it has all its connections, begins on the next line of its input, and prints what became of each try.
"""

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

THREADS = 12


def main() -> None:
    told = json.loads(sys.stdin.readline())
    _set_up(told["database"])
    from django.db import close_old_connections, connection

    from platform_portal import wakeup
    from tenants.context import TenantContext
    from tenants.models import Role, Tenant

    wakeup.notify = lambda: None
    everybody = threading.Barrier(THREADS)

    def connect() -> None:
        everybody.wait()
        connection.ensure_connection()
        everybody.wait()

    # Known before the race: what changes meanwhile is for the lock to notice.
    ctx = TenantContext(tenant=Tenant.objects.get(slug=told["tenant"]), role=Role.LEAD, name="race")
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda _: connect(), range(THREADS)))
        print("ready", flush=True)
        sys.stdin.readline()
        tries = [_task(told["task"], ctx, told, number) for number in range(told["count"])]
        results = Counter(pool.map(lambda one: _after(told.get("pause", 0.0), one), tries))
        list(pool.map(lambda _: connection.close(), range(THREADS)))
    close_old_connections()
    print(json.dumps(results), flush=True)


def _after(seconds: float, one: Callable[[], str]) -> str:
    time.sleep(seconds)
    return one()


def _set_up(database: str) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "platform_portal.settings"
    from django.conf import settings

    settings.DATABASES["default"]["NAME"] = database
    import django

    django.setup()


def _task(name: str, ctx: Any, told: dict[str, Any], number: int) -> Callable[[], str]:
    from django.utils import timezone

    from jobs import queue
    from jobs.models import LIVE, TrainingJob
    from jobs.services import job_cancel, job_submit
    from platform_portal.errors import DomainError
    from tenants.models import Tenant

    def submit() -> str:
        payload = {"name": f"{told['prefix']}-{number}"} | told["payload"]
        try:
            job = job_submit(ctx=ctx, payload=payload)
        except DomainError as error:
            return error.code
        return "waits" if job.waits else "admitted"

    def end() -> str:
        """Cancels one of the live jobs that hold quota, as a user would."""
        held = TrainingJob.objects.filter(tenant=ctx.tenant, status__in=LIVE, admitted_at__isnull=False)
        job = held.order_by("?").first()
        if job is None:
            return "none to end"
        try:
            job_cancel(ctx=ctx, job_id=job.pk)
        except DomainError as error:
            return error.code
        return "cancelled"

    def change() -> str:
        """The quota goes up and down; a saved tenant and one statement for all are both ways that it changes."""
        jobs = told["quotas"][number % len(told["quotas"])]
        if number % 2:
            Tenant.objects.filter(pk=ctx.tenant.pk).update(quota_jobs=jobs)
        else:
            tenant = Tenant.objects.get(pk=ctx.tenant.pk)
            tenant.quota_jobs = jobs
            tenant.save(update_fields=["quota_jobs"])
        return "changed"

    def admit() -> str:
        return f"let go {len(queue.tenant_admit(tenant_id=ctx.tenant.pk, now=timezone.now()))}"

    return {"submit": submit, "end": end, "change": change, "admit": admit}[name]


if __name__ == "__main__":
    main()
