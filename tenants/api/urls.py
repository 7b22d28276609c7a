"""``/v1/auth/…`` and ``/v1/tenants/…``."""

from django.urls import path

from tenants.api import auth, tokens

urlpatterns = [
    path("auth/token", auth.TokenExchangeView.as_view(), name="auth-token"),
    path("auth/whoami", auth.WhoAmIView.as_view(), name="auth-whoami"),
    path("auth/jwks", auth.KeySetView.as_view(), name="auth-keys"),
    path("tenants/<slug:slug>/tokens", tokens.TokensView.as_view(), name="tokens"),
    path("tenants/<slug:slug>/tokens/<int:token_id>", tokens.TokenView.as_view(), name="token"),
    path("tenants/<slug:slug>/service-accounts", tokens.ServiceAccountsView.as_view(), name="service-accounts"),
    path(
        "tenants/<slug:slug>/service-accounts/<slug:name>", tokens.ServiceAccountView.as_view(), name="service-account"
    ),
]
