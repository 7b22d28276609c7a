"""What the team's pages share: their tabs, and the answer to a form that a service refused."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from platform_portal.errors import DomainError
from tenants.context import TenantContext
from tenants.models import Role

# A form that is sent back with what is wrong, as the API answers it.
REFUSED = 400


def team_page(
    request: HttpRequest, ctx: TenantContext, tab: str, context: dict[str, Any], *, status: int = 200
) -> HttpResponse:
    """One of the pages under "Team", with its tabs."""
    tabs = [("members", "Members"), ("tokens", "Tokens")]
    tabs += [("audit", "Audit")] if ctx.can(Role.LEAD) else []
    tabs += [("settings", "Settings")]
    return render(request, f"tenants/{tab}.html", context | {"tab": tab, "tabs": tabs}, status=status)


def asked(
    request: HttpRequest, *, title: str, text: str, yes: str, no: str, after: str, hidden: dict[str, str]
) -> HttpResponse | None:
    """The question before something that cannot be taken back, for who has no script; ``None`` once it is answered."""
    if request.POST.get("confirmed"):
        return None
    context = {"title": title, "text": text, "yes": yes, "no": no, "after": after, "hidden": hidden}
    return render(request, "tenants/confirm.html", context)


def posted(request: HttpRequest, name: str) -> str:
    """A field of a form that is only a button; what no database keeps is replaced, so that it names nothing else."""
    return request.POST.get(name, "").replace("\x00", "\ufffd")


def say(request: HttpRequest, error: DomainError) -> None:
    """A refusal that belongs to no field, shown on the page that follows."""
    sentences = [sentence for found in error.fields.values() for sentence in found]
    messages.error(request, " ".join([error.message, *sentences]) if sentences else error.message)
