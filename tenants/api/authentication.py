"""``Authorization: Bearer`` with a token or a JWT to a ``TenantContext`` in ``request.auth``."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from platform_portal.errors import DomainError
from platform_portal.origin import current
from platform_portal.rate_limits import address, hit
from tenants.context import TenantContext
from tenants.selectors import context_for_jwt, context_for_token, is_jwt
from tenants.services import token_used

CHALLENGE = 'Bearer realm="ml-platform"'


class TokenAuthentication(BaseAuthentication):
    """A token's or a JWT's context. Counts the request against the token's limit, or a bad token against its address's."""

    def authenticate(self, request: Request) -> tuple[Any, TenantContext] | None:
        token = bearer(request)
        if token is None:
            return None
        ctx = self._context(token)
        hit("RATE_LIMIT_TOKEN", _counted_as(ctx), "with this token")
        if ctx.token is not None:
            token_used(token=ctx.token, address=current().address)
        return ctx.user, ctx

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE

    def _context(self, token: str) -> TenantContext:
        if is_jwt(token):
            try:
                return context_for_jwt(token)
            except DomainError as refused:
                if refused.http_status == 401:
                    count_failure()
                raise
        ctx = context_for_token(token)
        if ctx is None:
            count_failure()
            raise AuthenticationFailed("The token is unknown, expired or revoked.", code="invalid_token")
        return ctx


def count_failure() -> None:
    """A bad token from this address: a 429 instead of the 401 when there were too many."""
    hit("RATE_LIMIT_AUTH_FAILURES", address(), "with tokens that are not good, from your address")


def _counted_as(ctx: TenantContext) -> str:
    """A token and its JWTs are one; JWTs of an issuer are their service account."""
    if ctx.token is not None:
        return f"token:{ctx.token.pk}"
    return f"account:{ctx.service_account.pk if ctx.service_account else ''}"


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
        return {"type": "http", "scheme": "bearer", "description": "A token, or a JWT made from one."}
