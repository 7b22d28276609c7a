"""``Authorization: Bearer TOKEN`` to a ``TenantContext`` in ``request.auth``."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from tenants.context import TenantContext
from tenants.selectors import context_for_token

CHALLENGE = 'Bearer realm="ml-platform"'


class TokenAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Any, TenantContext] | None:
        token = bearer(request)
        if token is None:
            return None
        ctx = context_for_token(token)
        if ctx is None:
            raise AuthenticationFailed("The token is unknown, expired or revoked.", code="invalid_token")
        return ctx.user, ctx

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


def bearer(request: Request) -> str | None:
    """The token of the Authorization header; ``None`` without one, a 401 for one that is malformed."""
    header = get_authorization_header(request)
    if not header:
        return None
    scheme, _, token = header.partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token or b" " in token:
        raise AuthenticationFailed("Send 'Authorization: Bearer TOKEN'.", code="invalid_token")
    return token.decode("latin-1")


class TokenScheme(OpenApiAuthenticationExtension):
    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A team's token."}
