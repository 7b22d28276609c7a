"""What acts without a person: service accounts, tokens, and the issuers whose JWTs are taken. No secret is ever shown."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AutocompleteSelect
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextareaWidget

from tenants import audit
from tenants.admin.base import AuditedAdmin, GuardedForm, JSONField, ReadOnlyAdmin, moment
from tenants.context import TenantContext
from tenants.models import SCOPES, ApiToken, IssuerRule, Role, ServiceAccount, SigningKey, TrustedIssuer
from tenants.services import token_revoke


@admin.register(ServiceAccount)
class ServiceAccountAdmin(AuditedAdmin):
    kind = "service-account"
    unaudited = ("created_by", "created_at", "tenant")
    list_display = ("name", "tenant", "role", "description", "made", "is_active")
    made = moment("created_at", "Made (UTC)")
    list_select_related = ("tenant",)
    list_editable = ("is_active",)
    list_filter = ("is_active", "role", ("tenant", AutocompleteSelectFilter))
    search_fields = ("name", "description", "tenant__slug")
    search_help_text = "By name, description or team"
    autocomplete_fields = ("tenant",)
    fields = ("tenant", "name", "role", "description", "is_active")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Jobs carry its name as their submitter's."""
        return ("tenant", "name") if obj else ()

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = request.user
        super().save_model(request, obj, form, change)


class TokenStateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("active", "Active"), ("expired", "Expired"), ("revoked", "Revoked"), ("unused", "Active, never used")]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[ApiToken]") -> "QuerySet[ApiToken]":
        now = timezone.now()
        active = Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=now))
        conditions = {
            "active": active,
            "expired": Q(revoked_at=None, expires_at__lte=now),
            "revoked": Q(revoked_at__isnull=False),
            "unused": active & Q(last_used_at=None),
        }
        condition = conditions.get(self.value() or "")
        return queryset.filter(condition) if condition else queryset


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    """Tokens are made where their secret is shown once: on the team's page, or by ``manage.py token``."""

    kind = "token"
    list_display = ("name", "begins", "tenant", "acts_for", "may", "expires", "used", "now")
    expires = moment("expires_at", "Expires (UTC)")
    used = moment("last_used_at", "Last used")
    list_select_related = ("tenant", "user", "service_account")
    list_filter = (TokenStateFilter, ("tenant", AutocompleteSelectFilter), ("user", AutocompleteSelectFilter))
    search_fields = ("name", "prefix", "tenant__slug", "user__username", "service_account__name")
    search_help_text = "By name, first characters, team, person or service account"
    actions = ("revoke",)
    fields = (
        "name", "begins", "tenant", "acts_for", "may", "created_by", "created_at", "expires_at", "revoked_at",
        "last_used_at", "last_used_from",
    )  # fmt: skip
    readonly_fields = ("begins", "acts_for", "may")

    @admin.display(description="Begins with")
    def begins(self, obj: ApiToken) -> str:
        return f"{obj.prefix}…" if obj.prefix else ""

    @admin.display(description="Acts for")
    def acts_for(self, obj: ApiToken) -> str:
        return f"{obj.holder} ({obj.kind})"

    @admin.display(description="Scopes")
    def may(self, obj: ApiToken) -> str:
        return ", ".join(obj.scopes)

    @admin.display(description="State")
    def now(self, obj: ApiToken) -> str:
        return obj.state

    @admin.action(description="Revoke: what uses them stops working at once")
    def revoke(self, request: HttpRequest, queryset: "QuerySet[ApiToken]") -> None:
        live = list(queryset.filter(revoked_at=None).select_related("tenant"))
        for token in live:
            ctx = TenantContext(tenant=token.tenant, role=Role.LEAD, user=request.user)  # type: ignore[arg-type]
            token_revoke(ctx=ctx, token_id=token.pk)
        self.message_user(request, f"{len(live)} revoked.", messages.SUCCESS)


class KnownChoice(AutocompleteSelect):
    """An autocomplete that has its chosen row at hand, where each of many forms would ask for its own."""

    known: ServiceAccount | None = None

    def optgroups(self, name: str, value: Any, attr: Any = None) -> Any:
        if self.known is None or [str(one) for one in value] != [str(self.known.pk)]:
            return super().optgroups(name, value, attr)
        chosen = {str(self.known.pk)}
        return [(None, [self.create_option(name, self.known.pk, str(self.known), chosen, 0)], 0)]  # type: ignore[arg-type]


class IssuerRuleForm(GuardedForm):
    scopes = forms.TypedMultipleChoiceField(
        choices=[(scope, scope) for scope in SCOPES],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        initial=list(SCOPES),
    )

    class Meta:
        model = IssuerRule
        fields = ("claims", "service_account", "scopes", "order", "is_active")
        field_classes = {"claims": JSONField}
        widgets = {"claims": UnfoldAdminTextareaWidget(attrs={"rows": 3, "class": "code", "spellcheck": "false"})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.service_account_id and (field := self.fields.get("service_account")):
            widget: Any = getattr(field.widget, "widget", field.widget)
            widget.known = self.instance.service_account

    def clean_claims(self) -> Any:
        """A rule without claims would let in whomever the issuer knows."""
        claims = self.cleaned_data["claims"]
        good = (
            isinstance(claims, dict) and claims and all(isinstance(value, str) and value for value in claims.values())
        )
        if not good:
            raise forms.ValidationError('Write {"sub": "repo:org/app:*"}: at least one claim, each with a pattern.')
        return claims


class IssuerRuleInline(TabularInline):
    model = IssuerRule
    form = IssuerRuleForm
    extra = 0

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "service_account":
            kwargs["widget"] = KnownChoice(db_field, self.admin_site, attrs={"class": "unfold-admin-autocomplete"})
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def get_queryset(self, request: HttpRequest) -> "QuerySet[IssuerRule]":
        found: QuerySet[IssuerRule] = super().get_queryset(request)
        return found.select_related("issuer", "service_account__tenant")


@admin.register(TrustedIssuer)
class TrustedIssuerAdmin(AuditedAdmin):
    kind = "issuer"
    list_display = ("name", "issuer", "audience", "is_active")
    list_editable = ("is_active",)
    list_filter = ("is_active",)
    search_fields = ("name", "issuer", "audience")
    inlines = (IssuerRuleInline,)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """The rules are written down one by one, each with what it was."""
        before = {one.pk: self.state_of(one) for one in IssuerRule.objects.filter(issuer=form.instance)}
        doomed = {id(one.instance): one.instance.pk for one in formset.deleted_forms}
        super().save_formset(request, form, formset, change)
        for rule in formset.new_objects:
            self._record_rule(request, "create", rule, {}, self.state_of(rule))
        for rule, _ in formset.changed_objects:
            self._record_rule(request, "change", rule, *audit.changes(before.get(rule.pk, {}), self.state_of(rule)))
        for rule in formset.deleted_objects:
            # A row that is gone has lost its key.
            rule.pk = doomed.get(id(rule))
            self._record_rule(request, "delete", rule, before.get(rule.pk or 0, {}), {})

    def _record_rule(
        self, request: HttpRequest, verb: str, rule: IssuerRule, before: dict[str, Any], after: dict[str, Any]
    ) -> None:
        audit.record(
            audit.actor_of(request.user),
            f"issuer-rule.{verb}",
            tenant=rule.service_account.tenant,
            target=f"{rule.issuer.name} to {rule.service_account.name}",
            target_id=rule.pk or "",
            before=before or None,
            after=after or None,
        )


@admin.register(SigningKey)
class SigningKeyAdmin(ReadOnlyAdmin):
    """Which keys sign and verify the platform's JWTs; they are made and retired by the program."""

    kind = "signing-key"
    list_display = ("kid", "made", "retires")
    made = moment("created_at", "Made (UTC)")
    retires = moment("retires_at", "Retires")
    list_display_links = None
    fields = ("kid", "created_at", "retires_at")

    def get_queryset(self, request: HttpRequest) -> "QuerySet[SigningKey]":
        return super().get_queryset(request).defer("private_key")
