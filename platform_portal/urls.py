"""Every address of the portal."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, include, path
from django.views.decorators.http import require_safe
from drf_spectacular.views import SpectacularAPIView
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from jobs.prometheus import JobsCollector
from platform_portal import health
from platform_portal.api_docs import DocsView
from tenants import views as tenant_views
from tenants.api.auth import well_known_keys
from tenants.views import notifications

registry = CollectorRegistry()
registry.register(JobsCollector())


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """The Prometheus text format."""
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


# The admin has no door of its own: lock-out and second factors hold there too.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

api: list[URLPattern | URLResolver] = [
    path("health", health.HealthView.as_view(), name="health"),
    path("ready", health.ReadyView.as_view(), name="ready"),
    path("schema", SpectacularAPIView.as_view(), name="schema"),
    path("docs", DocsView.as_view(url_name="api:schema"), name="docs"),
    path("", include("jobs.api.urls")),
    path("", include("tenants.api.urls")),
]
urlpatterns = [
    path("", tenant_views.home, name="home"),
    path("v1/", include((api, "api"))),
    path(".well-known/jwks.json", well_known_keys, name="well-known-keys"),
    path("metrics", metrics, name="metrics"),
    path("accounts/", include("tenants.accounts.urls")),
    path("admin/", admin.site.urls),
    path("notifications", notifications.notifications, name="notifications"),
    path("notifications/read", notifications.all_read, name="notifications_read"),
    path("notifications/<int:notification_id>", notifications.notification, name="notification"),
    path("t/<slug:tenant>/", include("jobs.urls")),
    path("t/<slug:tenant>/", include("tenants.urls")),
]
handler400 = "platform_portal.fallbacks.handle_400"
handler404 = "platform_portal.fallbacks.handle_404"
handler500 = "platform_portal.fallbacks.handle_500"
handler429 = "tenants.accounts.adapters.too_many_requests"
