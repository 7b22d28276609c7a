"""What files of rows hold: which columns, by which a row is known, and how one is written."""

import json
from collections.abc import Callable
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from import_export.fields import Field
from import_export.widgets import ForeignKeyWidget, ManyToManyWidget, Widget

from platform_portal.errors import DomainError
from tenants import audit
from tenants.admin.files import AuditedResource
from tenants.models import CostCenter, InstanceType, Membership, RoleRule, Tenant
from tenants.services import member_set, tenant_create, tenant_update

QUOTA = (
    "quota_cpu", "quota_memory_gib", "quota_gpus", "quota_gpus_per_job", "quota_gpu_types", "quota_jobs", "quota_pods",
    "quota_pvcs",
)  # fmt: skip


class Json(Widget):
    """JSON in a cell, empty objects and lists too. An empty cell is what ``empty`` makes."""

    def __init__(self, empty: Callable[[], Any]) -> None:
        super().__init__()
        self.empty = empty

    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> Any:
        if value in (None, ""):
            return self.empty()
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError as exc:
            raise ValidationError(f"This is not JSON: {exc}") from exc

    def render(self, value: Any, obj: Any = None, **kwargs: Any) -> str:
        return json.dumps(value, sort_keys=True)


class Named(ForeignKeyWidget):
    """A reference by name; one that there is not is an error of the row that says so."""

    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> Any:
        try:
            return super().clean(value, row, **kwargs)
        except self.model.DoesNotExist as exc:
            what = self.model._meta.verbose_name
            raise ValidationError(f"There is no {what} {value}.") from exc


class TenantResource(AuditedResource):
    """Teams with their quotas. A slug that is not known makes a team."""

    kind = "tenant"
    cost_center = Field(attribute="cost_center", column_name="cost_center", widget=Named(CostCenter, "code"))
    quota_gpu_types = Field(attribute="quota_gpu_types", column_name="quota_gpu_types", widget=Json(dict))

    class Meta(AuditedResource.Meta):
        model = Tenant
        import_id_fields = ("slug",)
        fields = ("slug", "name", "cost_center", *QUOTA, "is_active")

    def do_instance_save(self, instance: Tenant, is_create: bool) -> None:
        values = {name: getattr(instance, name) for name in ("name", *QUOTA, "is_active")}
        values["cost_center"] = instance.cost_center_id
        if is_create:
            instance.pk = tenant_create(slug=instance.slug, by=instance._by, **values).pk  # type: ignore[attr-defined]
            return
        before = instance._state_before  # type: ignore[attr-defined]
        now = self.state_of(instance)
        changed = {name: value for name, value in values.items() if before.get(name) != now.get(name)}
        tenant_update(slug=instance.slug, by=instance._by, **changed)  # type: ignore[attr-defined]

    def before_save_instance(self, instance: Any, row: Any, **kwargs: Any) -> None:
        instance._by = audit.actor_of(kwargs.get("user"))

    def save_instance(self, instance: Any, is_create: bool, row: Any, **kwargs: Any) -> None:
        try:
            super().save_instance(instance, is_create, row, **kwargs)
        except DomainError as refused:
            raise ValidationError(refused.fields or refused.message) from refused

    def after_save_instance(self, instance: Any, row: Any, **kwargs: Any) -> None:
        """The service has written the line."""


class CostCenterResource(AuditedResource):
    kind = "cost-center"

    class Meta(AuditedResource.Meta):
        model = CostCenter
        import_id_fields = ("code",)
        fields = ("code", "name", "monthly_budget", "currency", "is_active")


class InstanceTypeResource(AuditedResource):
    """The teams that may use one are named by their slugs, separated by commas; none is every team."""

    kind = "instance-type"
    node_selector = Field(attribute="node_selector", column_name="node_selector", widget=Json(dict))
    tolerations = Field(attribute="tolerations", column_name="tolerations", widget=Json(list))
    tenants = Field(attribute="tenants", column_name="tenants", widget=ManyToManyWidget(Tenant, field="slug"))

    class Meta(AuditedResource.Meta):
        model = InstanceType
        import_id_fields = ("name",)
        fields = (
            "name", "description", "cpu_cores", "memory_gb", "gpu_count", "gpu_type", "node_selector", "tolerations",
            "price_per_hour", "is_active", "tenants", "order",
        )  # fmt: skip

    def before_import_row(self, row: Any, **kwargs: Any) -> None:
        """A team that there is not would be left out without a word, and the type be offered to others than was meant."""
        slugs = {slug.strip() for slug in str(row.get("tenants") or "").split(",") if slug.strip()}
        missing = slugs - set(Tenant.objects.filter(slug__in=slugs).values_list("slug", flat=True))
        if missing:
            raise ValidationError({"tenants": f"There is no team {', '.join(sorted(missing))}."})


class RoleRuleResource(AuditedResource):
    kind = "role-rule"
    tenant = Field(attribute="tenant", column_name="tenant", widget=Named(Tenant, "slug"))

    class Meta(AuditedResource.Meta):
        model = RoleRule
        import_id_fields = ("provider", "group", "tenant")
        fields = ("provider", "group", "tenant", "role", "platform_admin", "is_active")


class MembershipResource(AuditedResource):
    """Who is in which team. What an identity provider's groups gave is exported and cannot be changed by a file."""

    kind = "member"
    tenant = Field(attribute="tenant", column_name="tenant", widget=Named(Tenant, "slug"))
    user = Field(attribute="user", column_name="user", widget=Named(get_user_model(), "username"))
    source = Field(attribute="source", column_name="source", readonly=True)

    class Meta(AuditedResource.Meta):
        model = Membership
        import_id_fields = ("tenant", "user")
        fields = ("tenant", "user", "role", "source")

    def before_save_instance(self, instance: Any, row: Any, **kwargs: Any) -> None:
        instance._by = audit.actor_of(kwargs.get("user"))
        if instance.source:
            raise ValidationError(f"{instance.user}'s role comes from a group at {instance.source}; it changes there.")

    def do_instance_save(self, instance: Membership, is_create: bool) -> None:
        saved = member_set(
            tenant=instance.tenant,
            user=instance.user,
            role=instance.role,
            by=instance._by,  # type: ignore[attr-defined]
        )
        instance.pk = saved.pk

    def after_save_instance(self, instance: Any, row: Any, **kwargs: Any) -> None:
        """The service has written the line."""
