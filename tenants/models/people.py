"""Who belongs to which team, and the rules that turn an identity provider's groups into that."""

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q

from tenants.models.tenant import Tenant


class Role(models.TextChoices):
    """What a member may do: a viewer reads, a member submits and manages their own, a lead manages the team's."""

    VIEWER = "viewer", "Viewer"
    MEMBER = "member", "Member"
    LEAD = "lead", "Lead"


class Membership(models.Model):
    """``source`` is empty for what a person gave, else the provider whose groups gave it, which may also take it away."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role, default=Role.MEMBER)
    source = models.CharField(max_length=100, blank=True, editable=False)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("tenant", "user"), name="membership_once"),)
        ordering = ("tenant", "user")

    def __str__(self) -> str:
        return f"{self.user} in {self.tenant} as {self.role}"


class RoleRule(models.Model):
    """People whom ``provider`` says to be in ``group`` get this role in the team, or are platform admins.

    Applied at each sign-in; what a rule gave goes when the group does.
    """

    provider = models.CharField(max_length=100, help_text="The provider's id in OIDC_PROVIDERS; * for all.")
    group = models.CharField(max_length=255, help_text="As it stands in the groups claim.")
    tenant = models.ForeignKey(Tenant, null=True, blank=True, on_delete=models.CASCADE, related_name="role_rules")
    role = models.CharField(max_length=10, choices=Role, blank=True)
    platform_admin = models.BooleanField(default=False)
    is_active = models.BooleanField("active", default=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("provider", "group", "tenant"), name="role_rule_once", nulls_distinct=False
            ),
            models.CheckConstraint(
                condition=Q(tenant__isnull=False, platform_admin=False) & ~Q(role="")
                | Q(tenant__isnull=True, platform_admin=True, role=""),
                name="role_rule_gives_one_thing",
                violation_error_message="Choose a team and a role, or platform admin and neither.",
            ),
        )
        ordering = ("provider", "group")

    def __str__(self) -> str:
        gives = "platform admin" if self.platform_admin else f"{self.role} of {self.tenant}"
        return f"{self.group} at {self.provider}: {gives}"

    def clean(self) -> None:
        if self.platform_admin == bool(self.tenant_id) or bool(self.tenant_id) != bool(self.role):
            raise ValidationError("Choose a team and a role, or platform admin and neither.", code="invalid")
