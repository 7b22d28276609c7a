"""What the signed-in person was told."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from platform_portal.errors import not_found
from tenants import selectors, services


@require_safe
@never_cache
@login_required
def notifications(request: HttpRequest) -> HttpResponse:
    """The newest, those that are unread marked."""
    found = selectors.notifications_of(request.user)  # type: ignore[arg-type]
    context = {"notifications": found, "any_unread": any(one.read_at is None for one in found)}
    return render(request, "tenants/notifications.html", context)


@require_POST
@never_cache
@login_required
def notification(request: HttpRequest, notification_id: int) -> HttpResponse:
    """Marks one as read and goes to what it is about."""
    found = services.notification_open(
        user=request.user,  # type: ignore[arg-type]
        notification_id=notification_id,
        now=timezone.now(),
    )
    if found is None:
        raise not_found("notification")
    is_ours = url_has_allowed_host_and_scheme(found.url, allowed_hosts=None)
    return redirect(found.url if is_ours else "notifications")


@require_POST
@never_cache
@login_required
def all_read(request: HttpRequest) -> HttpResponse:
    services.notifications_read(user=request.user, now=timezone.now())  # type: ignore[arg-type]
    return redirect("notifications")
