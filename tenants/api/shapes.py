"""Tokens and service accounts as the API shows them, and their shapes for the OpenAPI document."""

from typing import Any

from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers

from tenants.models import SCOPES, ApiToken, Role, ServiceAccount
from tenants.services.exchange import DEFAULT_SECONDS, MAX_SECONDS, MIN_SECONDS
from tenants.services.tokens import DEFAULT_DAYS, KINDS, NAME_MAX


def token_json(token: ApiToken) -> dict[str, Any]:
    """Never the secret: that is in the answer to its making, and nowhere else."""
    return {
        "id": token.pk,
        "name": token.name,
        "kind": token.kind,
        "for": token.holder,
        "prefix": token.prefix,
        "scopes": token.scopes,
        "state": token.state,
        "created_by": token.created_by.get_username() if token.created_by else None,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
        "last_used_at": token.last_used_at,
        "last_used_from": token.last_used_from,
    }


def service_account_json(account: ServiceAccount) -> dict[str, Any]:
    return {
        "name": account.name,
        "role": account.role,
        "description": account.description,
        "is_active": account.is_active,
        "created_by": account.created_by.get_username() if account.created_by else None,
        "created_at": account.created_at,
    }


class Error(serializers.Serializer[Any]):
    detail = serializers.CharField()
    code = serializers.CharField()
    errors = serializers.DictField(  # type: ignore[assignment]
        child=serializers.ListField(child=serializers.CharField()), required=False
    )


def errors(*codes: int) -> dict[int, OpenApiResponse]:
    """Descriptions of the errors that every call has, and of these."""
    return {code: OpenApiResponse(Error) for code in (401, 429, 503, *codes)}


class _Scopes(serializers.ListField):
    child = serializers.ChoiceField(choices=SCOPES)


class ApiTokenSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=KINDS)
    prefix = serializers.CharField(help_text="The secret's first characters, to recognise it by.")
    scopes = _Scopes()
    state = serializers.ChoiceField(choices=("active", "expired", "revoked"))
    created_by = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True, help_text="To the minute.")
    last_used_from = serializers.IPAddressField(allow_null=True)

    def get_fields(self) -> dict[str, Any]:
        """``for`` is a word of the language."""
        return super().get_fields() | {"for": serializers.CharField(help_text="The person, service account or team.")}


class ApiTokenMadeSerializer(ApiTokenSerializer):
    secret = serializers.CharField(
        allow_null=True, help_text="Shown this once; null in a repeated answer to the same Idempotency-Key."
    )


class ApiTokenWishSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=NAME_MAX)
    kind = serializers.ChoiceField(choices=KINDS, default="team")
    service_account = serializers.CharField(required=False, allow_null=True, help_text='With kind "service".')
    scopes = _Scopes(required=False, allow_null=True, help_text="By default all that you can give.")
    expires_in_days = serializers.IntegerField(min_value=1, default=DEFAULT_DAYS)


class ServiceAccountSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    role = serializers.ChoiceField(choices=Role.choices)
    description = serializers.CharField(allow_blank=True)
    is_active = serializers.BooleanField()
    created_by = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()


class ServiceAccountWishSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=40, help_text="Lower-case letters, digits and '-'.")
    role = serializers.ChoiceField(choices=Role.choices, default=Role.MEMBER)
    description = serializers.CharField(required=False, allow_blank=True, max_length=200)


class ServiceAccountChangeSerializer(serializers.Serializer[Any]):
    role = serializers.ChoiceField(choices=Role.choices, required=False)
    description = serializers.CharField(required=False, allow_blank=True, max_length=200)
    is_active = serializers.BooleanField(required=False)


class ExchangeSerializer(serializers.Serializer[Any]):
    scopes = _Scopes(required=False, allow_null=True, help_text="By default the token's.")
    expires_in = serializers.IntegerField(
        min_value=MIN_SECONDS, max_value=MAX_SECONDS, default=DEFAULT_SECONDS, help_text="In seconds."
    )


class ExchangedSerializer(serializers.Serializer[Any]):
    access_token = serializers.CharField(help_text="A JWT, signed with a key of /.well-known/jwks.json.")
    token_type = serializers.CharField(help_text="Bearer")
    expires_in = serializers.IntegerField()
    expires_at = serializers.DateTimeField()
    scopes = _Scopes()


class WhoAmISerializer(serializers.Serializer[Any]):
    tenant = serializers.CharField()
    actor = serializers.CharField()
    actor_kind = serializers.CharField()
    role = serializers.ChoiceField(choices=Role.choices)
    scopes = _Scopes()
    platform_admin = serializers.BooleanField()
    expires_at = serializers.DateTimeField(allow_null=True)


class KeySetSerializer(serializers.Serializer[Any]):
    keys = serializers.ListField(child=serializers.DictField())
