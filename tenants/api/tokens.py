"""``/v1/tenants/{slug}/tokens`` and ``/v1/tenants/{slug}/service-accounts``."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from platform_portal import api
from tenants import selectors, services
from tenants.api import bodies, shapes
from tenants.api.scope import TeamView
from tenants.idempotency import once

IDEMPOTENCY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="The same key and body within 24 h makes nothing new. A secret is kept nowhere, so it is not repeated.",
)
TOKEN = {"name": str, "kind": str, "service_account": str, "scopes": list, "expires_in_days": int}
ACCOUNT = {"name": str, "role": str, "description": str}
ACCOUNT_CHANGE = {"role": str, "description": str, "is_active": bool}


class TokensView(TeamView):
    @extend_schema(
        operation_id="tokens_list",
        responses={200: shapes.ApiTokenSerializer(many=True)} | shapes.errors(403, 404),
    )
    def get(self, request: Request, slug: str) -> Response:
        """List tokens: all of the team for a lead, one's own for others. Ended ones stay listed for 30 days."""
        return Response([shapes.token_json(token) for token in selectors.tokens_of(self.ctx_of(request, slug))])

    @extend_schema(
        operation_id="tokens_create",
        request=shapes.ApiTokenWishSerializer,
        parameters=[IDEMPOTENCY],
        responses={201: shapes.ApiTokenMadeSerializer} | shapes.errors(400, 403, 404, 409, 413, 415),
    )
    def post(self, request: Request, slug: str) -> Response:
        """Make a token. The answer has its secret, this once."""
        ctx = self.ctx_of(request, slug)
        wish = bodies.read(request, TOKEN, required=("name",))
        secrets: list[str] = []

        def produce() -> tuple[int, Any]:
            token, secret = services.token_create(ctx=ctx, **wish)
            secrets.append(secret)
            return 201, shapes.token_json(token)

        # What is stored under the key is the answer without the secret, and for this actor only.
        content = api.canonical([wish, ctx.actor_kind, ctx.actor])
        status, body = once(ctx, request.headers.get("Idempotency-Key"), api.fingerprint(request, content), produce)
        made = body | {"secret": secrets[0] if secrets else None}
        headers = {"Location": f"{request.path}/{body['id']}", "Cache-Control": "no-store"}
        return Response(made, status=status, headers=headers)


class TokenView(TeamView):
    @extend_schema(operation_id="tokens_revoke", responses={204: None} | shapes.errors(403, 404))
    def delete(self, request: Request, slug: str, token_id: int) -> Response:
        """Revoke a token, at once and for good, with every JWT made from it. Repeating it changes nothing."""
        services.token_revoke(ctx=self.ctx_of(request, slug), token_id=token_id)
        return Response(status=204)


class ServiceAccountsView(TeamView):
    @extend_schema(
        operation_id="service_accounts_list",
        responses={200: shapes.ServiceAccountSerializer(many=True)} | shapes.errors(403, 404),
    )
    def get(self, request: Request, slug: str) -> Response:
        """List the team's service accounts."""
        accounts = selectors.service_accounts_of(self.ctx_of(request, slug))
        return Response([shapes.service_account_json(account) for account in accounts])

    @extend_schema(
        operation_id="service_accounts_create",
        request=shapes.ServiceAccountWishSerializer,
        parameters=[IDEMPOTENCY],
        responses={201: shapes.ServiceAccountSerializer} | shapes.errors(400, 403, 404, 409, 413, 415),
    )
    def post(self, request: Request, slug: str) -> Response:
        """Make a service account: a program of the team, such as its CI, that acts under its own name."""
        ctx = self.ctx_of(request, slug)
        wish = bodies.read(request, ACCOUNT, required=("name",))

        def produce() -> tuple[int, Any]:
            return 201, shapes.service_account_json(services.service_account_create(ctx=ctx, **wish))

        content = api.canonical(wish)
        status, body = once(ctx, request.headers.get("Idempotency-Key"), api.fingerprint(request, content), produce)
        return Response(body, status=status, headers={"Location": f"{request.path}/{body['name']}"})


class ServiceAccountView(TeamView):
    @extend_schema(
        operation_id="service_accounts_get", responses={200: shapes.ServiceAccountSerializer} | shapes.errors(403, 404)
    )
    def get(self, request: Request, slug: str, name: str) -> Response:
        """Look at a service account."""
        return Response(shapes.service_account_json(selectors.service_account_get(self.ctx_of(request, slug), name)))

    @extend_schema(
        operation_id="service_accounts_change",
        request=shapes.ServiceAccountChangeSerializer,
        responses={200: shapes.ServiceAccountSerializer} | shapes.errors(400, 403, 404, 413, 415),
    )
    def patch(self, request: Request, slug: str, name: str) -> Response:
        """Change a service account's role or description, disable or enable it."""
        ctx = self.ctx_of(request, slug)
        changes = bodies.read(request, ACCOUNT_CHANGE)
        return Response(shapes.service_account_json(services.service_account_update(ctx=ctx, name=name, **changes)))

    @extend_schema(operation_id="service_accounts_delete", responses={204: None} | shapes.errors(403, 404))
    def delete(self, request: Request, slug: str, name: str) -> Response:
        """Delete a service account with its tokens; what it submitted stays."""
        services.service_account_delete(ctx=self.ctx_of(request, slug), name=name)
        return Response(status=204)
