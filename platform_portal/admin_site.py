"""The admin site: who gets in, what its pages may load, and its own two pages, the overview and the health of the platform.

Unfold's pages evaluate Alpine expressions and carry style attributes. Its views, and no others, get a policy that
allows just these two (``docs/adr/0008-admin-theme.md``); scripts and styles still come from this site only.
"""

from collections.abc import Callable
from typing import Any

from csp.constants import SELF, UNSAFE_EVAL, UNSAFE_INLINE
from csp.decorators import csp_update
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils import timezone
from unfold.sites import UnfoldAdminSite

from platform_portal import condition

POLICY = {"script-src": [UNSAFE_EVAL], "style-src-attr": [SELF, UNSAFE_INLINE]}
View = Callable[..., HttpResponseBase]


class PlatformAdminSite(UnfoldAdminSite):
    """Only what ``tenants.admin.base`` is the base of is shown: pages that packages bring along write no audit log."""

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        if getattr(admin_class, "is_audited", False):
            super().register(model_or_iterable, admin_class, **options)

    def has_permission(self, request: HttpRequest) -> bool:
        """Platform admins alone. Half an administrator, with one of the two flags, is none."""
        user = request.user
        return bool(user.is_active and user.is_staff and user.is_superuser)

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        return csp_update(POLICY)(super().admin_view(view, cacheable))

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        # Colours stand in admin.css: the theme would write them into a <style> element of each page.
        return super().each_context(request) | {"colors": None}

    def extra_urls(self) -> list[URLPattern]:
        return [path("health/", self.admin_view(self.health), name="health")]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        request.current_app = self.name
        context = self.each_context(request) | condition.overview(timezone.now()) | {"title": "Overview"}
        return TemplateResponse(request, "admin/index.html", context)

    def health(self, request: HttpRequest) -> TemplateResponse:
        """What is wrong and what to do about it."""
        request.current_app = self.name
        context = self.each_context(request) | {"title": "Health", "findings": condition.findings(timezone.now())}
        return TemplateResponse(request, "admin/health.html", context)

    def app_index(self, request: HttpRequest, app_label: str, extra_context: Any = None) -> HttpResponse:
        """Apps are how the program is divided; the navigation is how the work is."""
        return redirect("admin:index")

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Signing in is the portal's, with everything that protects it; who is signed in and no administrator stays outside."""
        following = request.GET.get(REDIRECT_FIELD_NAME, "")
        if request.user.is_authenticated:
            return redirect("admin:index") if self.has_permission(request) else redirect("home")
        return redirect_to_login(following or reverse("admin:index"))

    def logout(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return redirect("account_logout")

    def password_change(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        try:
            return redirect("account_change_password")
        except NoReverseMatch:
            return redirect("home")
