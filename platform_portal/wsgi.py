"""The WSGI application that the web server serves; bad production settings stop it before its first request."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "platform_portal.settings")
django_application = get_wsgi_application()

from django.conf import settings  # noqa: E402 - needs the apps loaded

from platform_portal.checks import refuse_bad_start  # noqa: E402 - needs the apps loaded
from platform_portal.chunked import ChunkedBodies  # noqa: E402 - needs the apps loaded

refuse_bad_start()


def body_limit(path: str) -> int:
    """What a body sent in chunks may have; the views have limits of their own below it."""
    upload = path == "/v1/sources"
    return settings.SOURCE_MAX_BYTES + 2**16 if upload else settings.API_MAX_BODY_BYTES


application = ChunkedBodies(django_application, body_limit)
