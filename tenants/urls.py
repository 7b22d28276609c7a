"""The team's own pages: ``/t/<team>/…``. What the team runs has its pages in the apps that run it."""

from django.urls import path

from tenants.views import audit, members, settings, tokens, usage

app_name = "tenants"
urlpatterns = [
    path("usage", usage.usage, name="usage"),
    path("usage/requests", usage.request_create, name="usage_request"),
    path("usage/requests/<int:request_id>/withdraw", usage.request_withdraw, name="usage_withdraw"),
    path("members", members.members, name="members"),
    path("members/role", members.member_role, name="member_role"),
    path("members/remove", members.member_remove, name="member_remove"),
    path("tokens", tokens.tokens, name="tokens"),
    path("tokens/revoke", tokens.token_revoke, name="tokens_revoke"),
    path("tokens/accounts", tokens.account_create, name="tokens_account"),
    path("tokens/accounts/change", tokens.account_change, name="tokens_account_change"),
    path("tokens/accounts/delete", tokens.account_delete, name="tokens_account_delete"),
    path("audit", audit.audit_log, name="audit"),
    path("audit/export", audit.audit_export, name="audit_export"),
    path("settings", settings.settings_page, name="settings"),
]
