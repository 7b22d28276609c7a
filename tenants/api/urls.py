"""``/v1/auth/…``, ``/v1/tenants…`` and ``/v1/cost-centers…``."""

from django.urls import path

from tenants.api import audit, auth, members, quota_requests, teams, tokens

urlpatterns = [
    path("auth/token", auth.TokenExchangeView.as_view(), name="auth-token"),
    path("auth/whoami", auth.WhoAmIView.as_view(), name="auth-whoami"),
    path("auth/jwks", auth.KeySetView.as_view(), name="auth-keys"),
    path("tenants", teams.TenantsView.as_view(), name="tenants"),
    path("tenants/<slug:slug>", teams.TenantView.as_view(), name="tenant"),
    path("cost-centers", teams.CostCentersView.as_view(), name="cost-centers"),
    path("cost-centers/<slug:code>", teams.CostCenterView.as_view(), name="cost-center"),
    path("tenants/<slug:slug>/tokens", tokens.TokensView.as_view(), name="tokens"),
    path("tenants/<slug:slug>/tokens/<int:token_id>", tokens.TokenView.as_view(), name="token"),
    path("tenants/<slug:slug>/service-accounts", tokens.ServiceAccountsView.as_view(), name="service-accounts"),
    path(
        "tenants/<slug:slug>/service-accounts/<slug:name>", tokens.ServiceAccountView.as_view(), name="service-account"
    ),
    path("tenants/<slug:slug>/members", members.MembersView.as_view(), name="members"),
    path("tenants/<slug:slug>/members/<str:username>", members.MemberView.as_view(), name="member"),
    path("tenants/<slug:slug>/quota-requests", quota_requests.QuotaRequestsView.as_view(), name="quota-requests"),
    path(
        "tenants/<slug:slug>/quota-requests/<int:request_id>",
        quota_requests.QuotaRequestView.as_view(),
        name="quota-request",
    ),
    path(
        "tenants/<slug:slug>/quota-requests/<int:request_id>/decision",
        quota_requests.QuotaDecisionView.as_view(),
        name="quota-decision",
    ),
    path("tenants/<slug:slug>/audit", audit.AuditView.as_view(), name="audit"),
]
