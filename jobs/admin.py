"""Training jobs in the admin site: to look at, not to change behind the reconciler's back."""

from django.contrib import admin

from jobs.models import TrainingJob


@admin.register(TrainingJob)
class TrainingJobAdmin(admin.ModelAdmin):
    list_display = ("name", "tenant", "submitted_by", "status", "reason", "created_at", "observed_at")
    list_filter = ("status", "tenant")
    list_select_related = ("tenant",)
    search_fields = ("name", "id")
    show_full_result_count = False

    def has_add_permission(self, request: object) -> bool:
        return False

    def has_change_permission(self, request: object, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: object, obj: object = None) -> bool:
        return False
