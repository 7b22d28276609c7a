"""The WSGI application that the web server serves; bad production settings stop it before its first request."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "platform_portal.settings")
application = get_wsgi_application()

from platform_portal.checks import refuse_bad_start  # noqa: E402 - needs the apps loaded

refuse_bad_start()
