"""The look and the navigation of the admin site, as Unfold's setting ``UNFOLD``; all that it names the portal serves itself."""

from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The sidebar. Beside the requests for quota stands how many await a decision; Unfold shows no badge for 0."""
    # Imported late: settings name this module before there are models.
    from tenants.models import QuotaRequest

    pending = QuotaRequest.objects.filter(status=QuotaRequest.Status.PENDING).count()
    overview = [_link("Overview", "space_dashboard", "index"), _link("Health", "monitor_heart", "health")]
    return [
        {"title": "", "items": overview},
        _group(
            "Teams",
            _link("Teams and quotas", "groups", "tenants_tenant_changelist"),
            _link("Requests for quota", "inbox", "tenants_quotarequest_changelist", badge=pending),
            _link("Cost centers", "account_balance_wallet", "tenants_costcenter_changelist"),
            _link("Members", "badge", "tenants_membership_changelist"),
        ),
        _group(
            "Machines and work",
            _link("Instance types", "memory", "tenants_instancetype_changelist"),
            _link("Training jobs", "model_training", "jobs_trainingjob_changelist"),
        ),
        _group(
            "People and sign-in",
            _link("People", "person", "auth_user_changelist"),
            _link("Sessions", "devices", "tenants_usersession_changelist"),
            _link("Role rules", "rule", "tenants_rolerule_changelist"),
        ),
        _group(
            "Programs",
            _link("Service accounts", "smart_toy", "tenants_serviceaccount_changelist"),
            _link("Tokens", "key", "tenants_apitoken_changelist"),
            _link("Trusted issuers", "verified_user", "tenants_trustedissuer_changelist"),
            _link("Signing keys", "lock", "tenants_signingkey_changelist"),
        ),
        _group(
            "Records",
            _link("Audit log", "history", "tenants_auditentry_changelist"),
            _link("Notifications", "notifications", "tenants_notification_changelist"),
        ),
    ]


def _link(title: str, icon: str, name: str, **more: Any) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": reverse_lazy(f"admin:{name}"), **more}


def _group(title: str, *items: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "separator": True, "items": list(items)}


UNFOLD = {
    "SITE_TITLE": "ML platform",
    "SITE_HEADER": "ML platform",
    "SITE_SUBHEADER": "Administration",
    "SITE_SYMBOL": "hub",
    "SITE_URL": "/",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("favicon.svg")}],
    "BORDER_RADIUS": "6px",
    "STYLES": [lambda request: static("admin.css")],
    "SCRIPTS": [lambda request: static("admin.js")],
    "SHOW_BACK_BUTTON": True,
    "SIDEBAR": {
        "show_search": False,
        "command_search": False,
        "show_all_applications": False,
        "navigation": navigation,
    },
}
