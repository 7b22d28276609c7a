"""The forms of the team's pages. What is valid is decided by the services; the forms put their answers beside the fields."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.conf import settings

from platform_portal.errors import DomainError
from tenants import amounts
from tenants.context import TenantContext
from tenants.models import SCOPES, Role, ServiceAccount

WANT = "want-"
SCOPE_HELP = {
    "read": "read: see jobs, logs, files and usage",
    "submit": "submit: run and cancel jobs",
    "deploy": "deploy: serve models",
    "admin": "admin: manage members, tokens and everybody's jobs",
}


class TeamForm(forms.Form):
    """A form whose fields look like the others of the portal, and that takes a service's refusal."""

    # Field of the form by the path that a service's error names.
    PATHS: Mapping[str, str] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"label_suffix": ""})
        for field in self.fields.values():
            widget = field.widget
            if isinstance(widget, forms.CheckboxSelectMultiple):
                continue
            widget.attrs.setdefault("class", "form-select" if isinstance(widget, forms.Select) else "form-control")

    def refuse(self, error: DomainError) -> None:
        """Puts the service's sentences beside their fields, and what belongs to none above them."""
        left = dict(error.fields)
        for path in error.fields:
            name = self.PATHS.get(path, path)
            if name in self.fields:
                for sentence in left.pop(path):
                    self.add_error(name, capital(sentence))
        for sentence in (one for found in left.values() for one in found):
            self.add_error(None, capital(sentence))
        if not error.fields:
            self.add_error(None, error.message)


class MemberForm(TeamForm):
    who = forms.CharField(
        label="User name or e-mail address",
        max_length=254,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}),
        error_messages={"required": "Give a user name or an e-mail address."},
    )
    role = forms.ChoiceField(label="Role", choices=Role.choices, initial=Role.MEMBER)


class QuotaRequestForm(TeamForm):
    """A number for each resource that should be more; those left empty stay as they are."""

    reason = forms.CharField(
        label="Reason",
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="What it is for and until when; whoever decides reads only this.",
        error_messages={"required": "Say what it is for: whoever decides reads this."},
    )

    def __init__(self, *args: Any, ctx: TenantContext, **kwargs: Any) -> None:
        present = amounts.lasting(ctx.tenant)
        self.PATHS = {f"wanted.{resource}": WANT + resource for resource in present}
        super().__init__(*args, **kwargs)
        wishes = {}
        for resource, limit in present.items():
            number = forms.IntegerField(
                label=amounts.label(resource),
                required=False,
                help_text=f"now {limit}",
                error_messages={"invalid": "Give a whole number."},
                widget=forms.NumberInput(attrs={"class": "form-control", "min": limit + 1, "inputmode": "numeric"}),
            )
            wishes[WANT + resource] = number
        self.fields = wishes | self.fields

    @property
    def wishes(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if name.startswith(WANT)]

    @property
    def wanted(self) -> dict[str, int]:
        values = (
            (name.removeprefix(WANT), self.cleaned_data.get(name)) for name in self.fields if name.startswith(WANT)
        )
        return {resource: number for resource, number in values if number is not None}


class TokenForm(TeamForm):
    PATHS = {"service_account": "holder", "kind": "holder", "expires_in_days": "days"}
    name = forms.CharField(
        label="What it is for",
        max_length=100,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": "Say what it is for, so that you know it again."},
    )
    holder = forms.ChoiceField(label="It acts for", required=False)
    scopes = forms.MultipleChoiceField(
        label="It may",
        widget=forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"}),
        choices=[(scope, SCOPE_HELP[scope]) for scope in SCOPES],
        initial=["read", "submit"],
        error_messages={"required": "Choose at least one."},
    )
    days = forms.TypedChoiceField(label="It ends after", coerce=int, initial=90)
    # So that a form that is sent again makes no second token.
    key = forms.UUIDField(widget=forms.HiddenInput())

    def __init__(self, *args: Any, ctx: TenantContext, accounts: list[ServiceAccount], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        holders = [("personal", f"you ({ctx.actor}, {ctx.role})")]
        if ctx.can(Role.LEAD):
            holders += [("team", f"the team {ctx.tenant.name}")]
            holders += [(f"service:{one.name}", f"service account {one.name}") for one in accounts if one.is_active]
        self.fields["holder"].choices = holders  # type: ignore[attr-defined]
        if len(holders) == 1:
            self.fields["holder"].widget = forms.HiddenInput()
            self.fields["holder"].initial = "personal"
        most = settings.TOKEN_MAX_DAYS
        days = sorted({one for one in (7, 30, 90, 180) if one < most} | {most})
        self.fields["days"].choices = [(one, f"{one} days") for one in days]  # type: ignore[attr-defined]
        useful = {Role.VIEWER: 1, Role.MEMBER: 3, Role.LEAD: 4}[Role(ctx.role)]
        self.fields["scopes"].choices = [(scope, SCOPE_HELP[scope]) for scope in SCOPES[:useful]]  # type: ignore[attr-defined]
        if useful == 1:
            self.fields["scopes"].initial = ["read"]

    @property
    def kind(self) -> str:
        return str(self.cleaned_data.get("holder") or "personal").partition(":")[0]

    @property
    def account(self) -> str | None:
        return str(self.cleaned_data.get("holder") or "").partition(":")[2] or None


class ServiceAccountForm(TeamForm):
    name = forms.CharField(
        label="Name",
        max_length=63,
        widget=forms.TextInput(attrs={"autocomplete": "off", "placeholder": "ci"}),
        error_messages={"required": "Give it a name, such as ci."},
    )
    role = forms.ChoiceField(label="Role", choices=Role.choices, initial=Role.MEMBER)
    description = forms.CharField(label="What it is", max_length=200, required=False)


def capital(sentence: str) -> str:
    """A service's remark on a field as a sentence of its own."""
    text = sentence[:1].upper() + sentence[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
