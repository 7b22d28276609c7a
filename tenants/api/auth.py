"""``/v1/auth/…``: who a token is, short-lived JWTs in exchange for one, and the keys that verify them."""

from typing import Any, cast

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.cache import patch_cache_control
from django.views.decorators.http import require_safe
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tenants import selectors, services
from tenants.api import bodies, shapes
from tenants.context import TenantContext
from tenants.models import SCOPES

EXCHANGE = {"scopes": list, "expires_in": int}
# How long others may keep the key set: much less than a replaced key goes on verifying.
KEY_SET_SECONDS = 300


class TokenExchangeView(APIView):
    @extend_schema(
        operation_id="auth_token",
        request=shapes.ExchangeSerializer,
        responses={200: shapes.ExchangedSerializer} | shapes.errors(400, 403, 413, 415),
    )
    def post(self, request: Request) -> Response:
        """Exchange a token, or a trusted issuer's JWT, for a short-lived JWT with some or all of its scopes."""
        ctx = cast(TenantContext, request.auth)
        made = services.token_exchange(ctx=ctx, **bodies.read(request, EXCHANGE))
        body = {
            "access_token": made.access_token,
            "token_type": "Bearer",
            "expires_in": int((made.expires_at - made.issued_at).total_seconds()),
            "expires_at": made.expires_at,
            "scopes": made.scopes,
        }
        return Response(body, headers={"Cache-Control": "no-store"})


class WhoAmIView(APIView):
    @extend_schema(operation_id="auth_whoami", responses={200: shapes.WhoAmISerializer} | shapes.errors())
    def get(self, request: Request) -> Response:
        """Which team the token acts for, as whom, and what it may do until when."""
        ctx = cast(TenantContext, request.auth)
        return Response(
            {
                "tenant": ctx.tenant.slug,
                "actor": ctx.actor,
                "actor_kind": ctx.actor_kind,
                "role": ctx.role,
                "scopes": [scope for scope in SCOPES if scope in ctx.scopes],
                "platform_admin": ctx.is_platform_admin,
                "expires_at": _expires_at(ctx),
            }
        )


class KeySetView(APIView):
    authentication_classes = ()
    permission_classes = ()

    @extend_schema(
        operation_id="auth_keys", responses={200: shapes.KeySetSerializer} | {429: shapes.errors()[429]}, auth=[]
    )
    def get(self, request: Request) -> Response:
        """The public keys that verify the platform's JWTs (a JSON Web Key Set)."""
        return _cached(Response(selectors.key_set()))


@require_safe
def well_known_keys(request: HttpRequest) -> HttpResponse:
    """The same where programs look for it."""
    return _cached(JsonResponse(selectors.key_set()))


def _cached(response: Any) -> Any:
    patch_cache_control(response, public=True, max_age=KEY_SET_SECONDS)
    return response


def _expires_at(ctx: TenantContext) -> Any:
    if isinstance(ctx, selectors.JwtContext):
        return ctx.expires_at
    return ctx.token.expires_at if ctx.token else None
