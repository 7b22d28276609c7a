"""What the templates around signing in need: fields of django-allauth's forms in our looks."""

from typing import Any

from allauth.socialaccount.adapter import get_adapter
from django import template
from django.conf import settings
from django.forms import BoundField

register = template.Library()


@register.inclusion_tag("account/_field.html")
def account_field(field: BoundField, label: str = "", help: str = "", kind: str = "") -> dict[str, Any]:
    """The field with its label above it instead of in it, its error and its help, all tied together for screen readers."""
    widget = field.field.widget
    widget.attrs.pop("placeholder", None)
    described = [f"{field.auto_id}_{part}" for part, there in (("error", field.errors), ("helptext", help)) if there]
    attrs: dict[str, Any] = {
        "class": f"form-control{' is-invalid' if field.errors else ''}",
        "autocapitalize": "none",
        "spellcheck": "false",
    }
    if described:
        attrs["aria-describedby"] = " ".join(described)
    if kind == "code":
        attrs |= {"inputmode": "numeric", "autocomplete": "one-time-code", "autofocus": True}
    return {"field": field, "widget": field.as_widget(attrs=attrs), "label": label or field.label, "help": help}


@register.simple_tag(takes_context=True)
def sign_in_providers(context: dict[str, Any]) -> list[Any]:
    """The identity providers that one may sign in with; asks no database."""
    if not settings.OIDC:
        return []
    providers: list[Any] = get_adapter().list_providers(context["request"])
    return providers


@register.simple_tag
def mail_is_sent() -> bool:
    return bool(settings.EMAIL_URL)
