"""People, where they are signed in, which teams they are in, and the rules that bring them there."""

from typing import Any

from allauth.mfa.models import Authenticator
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import UserChangeForm
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db.models import Count, Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.timesince import timesince
from import_export.admin import ImportExportMixin
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.forms import AdminPasswordChangeForm, UserCreationForm

from tenants import audit
from tenants.accounts.browsers import browser_name
from tenants.admin.base import AuditedAdmin, GuardedForm, ReadOnlyAdmin, moment, shown_once
from tenants.admin.files import FilesAdmin
from tenants.admin.resources import MembershipResource, RoleRuleResource
from tenants.models import Membership, RoleRule, UserSession
from tenants.services import member_set, member_unset
from tenants.services.sessions import sessions_end

SHOWN = 20


class PersonForm(GuardedForm, UserChangeForm):
    """Nobody locks the door behind themselves. ``acting`` is who has the form open."""

    acting: Any = None
    password = None  # type: ignore[assignment]

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        for name in ("is_active", "is_superuser"):
            if self.instance.pk == self.acting.pk and name in self.changed_data:
                self.add_error(name, "You cannot take this from yourself; another platform admin can.")
        return cleaned


@admin.register(User)
class PersonAdmin(AuditedAdmin, DjangoUserAdmin):  # type: ignore[misc]
    kind = "person"
    secret = ("password",)
    unaudited = ("last_login", "date_joined", "is_staff")
    form = PersonForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = (
        "username",
        "full_name",
        "email",
        "teams",
        "rank",
        "second_factor",
        "seen",
        "is_active",
    )
    list_filter = ("is_active", "is_superuser", ("memberships__tenant", AutocompleteSelectFilter))
    search_fields = ("username", "first_name", "last_name", "email")
    search_help_text = "By user name, name or e-mail address"
    ordering = ("username",)
    filter_horizontal = ()
    actions = ("activate", "deactivate", "sign_out", "remove_factors")
    readonly_fields = ("password_link", "in_teams", "signed_in", "factors", "granted_by", "last_login", "date_joined")
    fieldsets = (
        (None, {"fields": ("username", "password_link", ("first_name", "last_name"), "email")}),
        ("What they may do", {"fields": ("is_active", "is_superuser", "granted_by", "in_teams")}),
        ("Signing in", {"fields": ("factors", "signed_in", "last_login", "date_joined")}),
    )

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Jobs and the audit log name people: they are deactivated."""
        return False

    def get_queryset(self, request: HttpRequest) -> "QuerySet[User]":
        found: QuerySet[User] = super().get_queryset(request)
        return found.annotate(
            team_count=Count("memberships"), has_factor=Exists(Authenticator.objects.filter(user=OuterRef("pk")))
        )

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        if obj is not None:
            form.acting = request.user
        return form

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field: Any = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name == "is_superuser":
            field.label, field.help_text = "Platform admin", "May do everything in every team, and use this site."
        if db_field.name == "is_active":
            field.help_text = "Without it the person cannot sign in; their sessions and personal tokens end at once."
        return field

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        # One question with one answer: who administers the platform uses this site, and nobody else does.
        obj.is_staff = obj.is_superuser
        super().save_model(request, obj, form, change)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:  # type: ignore[override]
        if not hasattr(obj, "_state_before"):
            # Django's page that sets a password saves past ``save_model``.
            self.record(request, "password", obj)
            return
        super().log_change(request, obj, message)

    # ---- columns

    @admin.display(description="Name", ordering="last_name")
    def full_name(self, obj: Any) -> str:
        return str(obj.get_full_name())

    @admin.display(description="Teams", ordering="team_count")
    def teams(self, obj: Any) -> int:
        return int(obj.team_count)

    seen = moment("last_login", "Last sign-in")

    @admin.display(description="", ordering="is_superuser")
    def rank(self, obj: Any) -> str:
        return mark_safe('<span class="state state-applying">platform admin</span>') if obj.is_superuser else ""

    @admin.display(description="Second factor")
    def second_factor(self, obj: Any) -> str:
        return "yes" if obj.has_factor else "–"

    @admin.display(description="Password")
    def password_link(self, obj: Any) -> str:
        state = "set" if obj.has_usable_password() else "none: signs in by a provider"
        return format_html('{} <a class="button" href="../password/">Set a new one</a>', state)

    @admin.display(description="Teams")
    @shown_once
    def in_teams(self, obj: Any) -> str:
        found = list(obj.memberships.select_related("tenant")[:SHOWN])
        rows = ((one.tenant.slug, one.role, f", from a group at {one.source}" if one.source else "") for one in found)
        return format_html_join(" · ", "{} ({}{})", rows) or "none"

    @admin.display(description="Signed in at")
    @shown_once
    def signed_in(self, obj: Any) -> str:
        found = list(obj.sessions.all()[:SHOWN])
        rows = ((browser_name(one.browser), one.address or "somewhere", timesince(one.seen_at)) for one in found)
        return format_html_join(" · ", "{} from {}, {} ago", rows) or "nowhere"

    @admin.display(description="Second factors")
    @shown_once
    def factors(self, obj: Any) -> str:
        found = [Authenticator.Type(one.type).label for one in Authenticator.objects.filter(user=obj).defer("data")]
        return ", ".join(map(str, found)) or "none"

    @admin.display(description="Admin by")
    @shown_once
    def granted_by(self, obj: Any) -> str:
        found = [one.provider for one in obj.granted_admin.all()]
        if found:
            return f"groups at {', '.join(found)}; it comes back with the next sign-in while they say so"
        return "a person" if obj.is_superuser else "–"

    # ---- actions

    @admin.action(description="Activate")
    def activate(self, request: HttpRequest, queryset: "QuerySet[User]") -> None:
        self._set_active(request, queryset, True)

    @admin.action(description="Deactivate: sessions and personal tokens end at once")
    def deactivate(self, request: HttpRequest, queryset: "QuerySet[User]") -> None:
        self._set_active(request, queryset, False)

    @admin.action(description="Sign out everywhere")
    def sign_out(self, request: HttpRequest, queryset: "QuerySet[User]") -> None:
        ended = sum(sessions_end(user=user) for user in queryset)
        self.message_user(request, f"{ended} sessions ended.", messages.SUCCESS)

    @admin.action(description="Remove second factors, for a lost device; signs out everywhere")
    def remove_factors(self, request: HttpRequest, queryset: "QuerySet[User]") -> None:
        for user in queryset:
            known = Authenticator.objects.filter(user=user).defer("data")
            kinds = sorted(one.type for one in known)
            if kinds:
                known.delete()
                self.record(request, "factors-removed", user, before={"factors": kinds})
                sessions_end(user=user)
        self.message_user(request, "Second factors removed. Tell the person to set one up again.", messages.SUCCESS)

    def _set_active(self, request: HttpRequest, queryset: "QuerySet[User]", active: bool) -> None:
        changed = 0
        for user in queryset.filter(is_active=not active):
            if user.pk == request.user.pk:
                self.message_user(request, "You cannot deactivate yourself.", messages.ERROR)
                continue
            user.is_active = active
            user.save(update_fields=["is_active"])
            self.record(request, "change", user, before={"is_active": not active}, after={"is_active": active})
            changed += 1
        self.message_user(request, f"{changed} {'activated' if active else 'deactivated'}.", messages.SUCCESS)


@admin.register(UserSession)
class UserSessionAdmin(ReadOnlyAdmin):
    kind = "session"
    list_display = ("user", "address", "program", "started", "seen")
    started = moment("started_at", "Signed in (UTC)")
    seen = moment("seen_at", "Last seen")
    list_display_links = None
    list_select_related = ("user",)
    search_fields = ("user__username", "address", "browser")
    search_help_text = "By person, address or browser"
    actions = ("end",)
    fields = ("user", "address", "browser", "started_at", "seen_at")

    @admin.display(description="Browser")
    def program(self, obj: UserSession) -> str:
        return browser_name(obj.browser)

    @admin.action(description="End these sessions")
    def end(self, request: HttpRequest, queryset: "QuerySet[UserSession]") -> None:
        by_user: dict[Any, list[int]] = {}
        for one in queryset.select_related("user"):
            by_user.setdefault(one.user, []).append(one.pk)
        ended = sum(sessions_end(user=user, ids=ids) for user, ids in by_user.items())
        self.message_user(request, f"{ended} sessions ended.", messages.SUCCESS)


class MembershipForm(GuardedForm):
    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if self.instance.source:
            raise ValidationError(f"This role comes from a group at {self.instance.source}; it changes there.")
        return cleaned


@admin.register(Membership)
class MembershipAdmin(FilesAdmin, ImportExportMixin, AuditedAdmin):
    """Each change is the service's: it tells the person, ends their tokens when they leave, and writes the line."""

    kind = "member"
    form = MembershipForm
    resource_classes = (MembershipResource,)
    list_display = ("user", "tenant", "role", "source")
    list_select_related = ("user", "tenant")
    list_filter = ("role", ("tenant", AutocompleteSelectFilter), ("user", AutocompleteSelectFilter))
    search_fields = ("user__username", "user__email", "tenant__slug", "tenant__name")
    search_help_text = "By person or team"
    autocomplete_fields = ("tenant", "user")
    fields = ("tenant", "user", "role")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("tenant", "user", "source") if obj else ()

    def save_model(self, request: HttpRequest, obj: Membership, form: Any, change: bool) -> None:
        by = audit.actor_of(request.user)
        obj.pk = member_set(tenant=obj.tenant, user=obj.user, role=obj.role, by=by).pk

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        member_unset(tenant=obj.tenant, user=obj.user, by=audit.actor_of(request.user))

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for one in queryset.select_related("tenant", "user"):
            self.delete_model(request, one)

    def history_of(self, obj: Membership) -> Any:
        found = super().history_of(obj.user)
        return found.filter(tenant_id=obj.tenant_id)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """The service has done so."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """The service has done so."""

    def log_deletions(self, request: HttpRequest, queryset: Any) -> None:
        """The service does so."""


@admin.register(RoleRule)
class RoleRuleAdmin(FilesAdmin, ImportExportMixin, AuditedAdmin):
    kind = "role-rule"
    resource_classes = (RoleRuleResource,)
    list_display = ("provider", "group", "gives", "is_active")
    list_display_links = ("provider", "group")
    list_editable = ("is_active",)
    list_select_related = ("tenant",)
    list_filter = ("is_active", "platform_admin", "role", ("tenant", AutocompleteSelectFilter))
    search_fields = ("provider", "group", "tenant__slug")
    search_help_text = "By provider, group or team"
    autocomplete_fields = ("tenant",)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name == "platform_admin":
            field.help_text = "The group's people administer the whole platform; then no team and no role."
        return field

    @admin.display(description="Gives")
    def gives(self, obj: RoleRule) -> str:
        return "platform admin" if obj.platform_admin else format_html("{} of {}", obj.role, obj.tenant)
