"""``/v1/tenants/{slug}/members``."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from tenants import selectors, services
from tenants.api import bodies, shapes
from tenants.api.scope import TeamView
from tenants.models import Membership, Role


class MemberSerializer(serializers.Serializer[Any]):
    username = serializers.CharField()
    name = serializers.CharField(allow_blank=True)
    email = serializers.CharField(allow_blank=True)
    role = serializers.ChoiceField(choices=Role.choices)
    is_active = serializers.BooleanField(help_text="Whether the account can sign in.")

    def get_fields(self) -> dict[str, Any]:
        """``source`` is a name that serializers keep for themselves."""
        told = serializers.CharField(
            allow_null=True, help_text="The provider whose group gives the role; null by hand."
        )
        return super().get_fields() | {"source": told}


class MemberWishSerializer(serializers.Serializer[Any]):
    role = serializers.ChoiceField(choices=Role.choices)


def member_json(member: Membership) -> dict[str, Any]:
    return {
        "username": member.user.get_username(),
        "name": member.user.get_full_name(),
        "email": member.user.email,
        "role": member.role,
        "is_active": member.user.is_active,
        "source": member.source or None,
    }


class MembersView(TeamView):
    @extend_schema(operation_id="members_list", responses={200: MemberSerializer(many=True)} | shapes.errors(403, 404))
    def get(self, request: Request, slug: str) -> Response:
        """List the team's members, leads first."""
        return Response([member_json(member) for member in selectors.members_of(self.ctx_of(request, slug))])


class MemberView(TeamView):
    @extend_schema(
        operation_id="members_put",
        request=MemberWishSerializer,
        responses={200: MemberSerializer} | shapes.errors(400, 403, 404, 409, 413, 415),
    )
    def put(self, request: Request, slug: str, username: str) -> Response:
        """Give a person a role in the team, whether they are in it or not. The last lead stays one."""
        ctx = self.ctx_of(request, slug)
        wish = bodies.read(request, {"role": str}, required=("role",))
        return Response(member_json(services.member_put(ctx=ctx, username=username, role=wish["role"])))

    @extend_schema(operation_id="members_remove", responses={204: None} | shapes.errors(403, 404, 409))
    def delete(self, request: Request, slug: str, username: str) -> Response:
        """Take a person out of the team; their tokens for it end at once, their jobs stay."""
        services.member_remove(ctx=self.ctx_of(request, slug), username=username)
        return Response(status=204)
