"""Teams in the admin site."""

from django.contrib import admin

from tenants.models import ApiToken, Membership, Tenant


class MembershipInline(admin.TabularInline):
    model = Membership
    autocomplete_fields = ("user",)
    extra = 0


@admin.register(Tenant)
class TenantAdmin(admin.ModelAdmin):
    list_display = ("slug", "name", "cost_center", "quota_cpu", "quota_memory_gib", "quota_gpus", "is_active")
    list_filter = ("is_active", "pod_security")
    search_fields = ("slug", "name", "cost_center")
    inlines = (MembershipInline,)
    readonly_fields = ("applied_digest", "applied_at", "created_at")

    def get_readonly_fields(self, request: object, obj: Tenant | None = None) -> tuple[str, ...]:
        """A slug names a namespace and its contents; it stays."""
        return (*self.readonly_fields, "slug") if obj else tuple(self.readonly_fields)


@admin.register(ApiToken)
class ApiTokenAdmin(admin.ModelAdmin):
    list_display = ("name", "tenant", "created_by", "created_at", "expires_at", "revoked_at")
    list_filter = ("tenant",)
    search_fields = ("name", "tenant__slug")
    fields = ("tenant", "name", "created_by", "created_at", "expires_at", "revoked_at")
    readonly_fields = ("tenant", "name", "created_by", "created_at")

    def has_add_permission(self, request: object) -> bool:
        """``manage.py token`` makes tokens, because the secret must be shown once."""
        return False
