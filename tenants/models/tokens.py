"""Keys for scripts: tokens with scopes, the accounts they act for, and the issuers whose JWTs are taken as well."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone

from tenants.models.people import Role
from tenants.models.tenant import Tenant

# What a token may be for. ``admin`` manages the team: members, tokens, everybody's jobs. Each of the others includes ``read``.
SCOPES = ("read", "submit", "deploy", "admin")


def all_scopes() -> list[str]:
    return list(SCOPES)


class ServiceAccount(models.Model):
    """A program of the team, such as its CI, that acts under its own name and may have several tokens."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="service_accounts")
    name = models.CharField(max_length=63)
    role = models.CharField(max_length=10, choices=Role, default=Role.MEMBER)
    description = models.CharField(max_length=200, blank=True)
    is_active = models.BooleanField("active", default=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("tenant", "name"), name="service_account_once"),)
        ordering = ("tenant", "name")

    def __str__(self) -> str:
        return f"{self.name} of {self.tenant}"


class ApiToken(models.Model):
    """A key for scripts in one team. Only its SHA-256 is kept: the key is random and long, so a slow hash would add nothing.

    It acts for a person (``user``: their role, as far as the scopes go), for a service account, or for the team itself.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="tokens")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="api_tokens"
    )
    service_account = models.ForeignKey(
        ServiceAccount, null=True, blank=True, on_delete=models.CASCADE, related_name="tokens"
    )
    name = models.CharField(max_length=100)
    # The first characters of the key, so that people can tell which of their keys this is.
    prefix = models.CharField(max_length=12, blank=True, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = ArrayField(models.CharField(max_length=10), default=all_scopes)
    is_demo = models.BooleanField(default=False, editable=False)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_from = models.GenericIPAddressField(null=True, blank=True, editable=False)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(user__isnull=True) | Q(service_account__isnull=True), name="token_has_one_owner"
            ),
        )
        ordering = ("tenant", "name")

    def __str__(self) -> str:
        return f"{self.name} of {self.tenant}"

    @property
    def kind(self) -> str:
        if self.user_id is not None:
            return "personal"
        return "service" if self.service_account_id is not None else "team"

    @property
    def holder(self) -> str:
        """Whom it acts for."""
        if self.user is not None:
            return self.user.get_username()
        return self.service_account.name if self.service_account is not None else self.tenant.slug

    @property
    def state(self) -> str:
        """active, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= timezone.now() else "active"


class SigningKey(models.Model):
    """A key pair that signs the platform's JWTs. The newest active one signs; older ones verify until they retire."""

    kid = models.CharField(max_length=64, primary_key=True)
    public_jwk = models.JSONField()
    # Encrypted with a key derived from SECRET_KEY: a copy of the database alone signs nothing.
    private_key = models.BinaryField(editable=False)
    created_at = models.DateTimeField(default=timezone.now)
    retires_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return self.kid


class TrustedIssuer(models.Model):
    """An OpenID Connect issuer, such as a CI system's, whose JWTs open the API as far as its rules say."""

    name = models.CharField(max_length=63, unique=True)
    issuer = models.URLField(max_length=500, unique=True)
    audience = models.CharField(max_length=255, help_text="What the token's aud must contain.")
    jwks_url = models.URLField(max_length=500, blank=True, help_text="Empty: found by the issuer's discovery document.")
    is_active = models.BooleanField("active", default=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Only https, except on the laptop: who can change what an issuer answers can make JWTs of it."""
        for name in ("issuer", "jwks_url"):
            address = getattr(self, name)
            if address and not settings.LAPTOP and not address.startswith("https://"):
                raise ValidationError({name: "Must begin with https://."}, code="invalid")


class IssuerRule(models.Model):
    """A JWT whose claims all match acts as the service account, with these scopes. The first rule by order that matches holds."""

    issuer = models.ForeignKey(TrustedIssuer, on_delete=models.CASCADE, related_name="rules")
    claims = models.JSONField(
        help_text='Claim to pattern, * for any text: {"sub": "repo:org/app:*", "ref": "refs/heads/main"}.'
    )
    service_account = models.ForeignKey(ServiceAccount, on_delete=models.CASCADE, related_name="issuer_rules")
    scopes = ArrayField(models.CharField(max_length=10), default=all_scopes)
    order = models.PositiveSmallIntegerField(default=100)
    is_active = models.BooleanField("active", default=True)

    class Meta:
        ordering = ("issuer", "order", "pk")

    def __str__(self) -> str:
        return f"{self.issuer} to {self.service_account}"

    def clean(self) -> None:
        """Without a pattern, or with none that says anything, everybody whom the issuer knows would come in."""
        good = isinstance(self.claims, dict) and all(
            isinstance(claim, str) and isinstance(pattern, str) for claim, pattern in self.claims.items()
        )
        if not good:
            raise ValidationError({"claims": 'Write {"claim": "pattern"}.'}, code="invalid")
        if not any(pattern.strip("*") for pattern in self.claims.values()):
            raise ValidationError({"claims": "Name a claim with a pattern that is not * alone."}, code="invalid")
        if unknown := set(self.scopes or ()) - set(SCOPES):
            raise ValidationError(
                {"scopes": f"Choose from {', '.join(SCOPES)}, not {', '.join(unknown)}."}, code="invalid"
            )
