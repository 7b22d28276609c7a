"""What the frame of every page shows: the team it is about and those the person may switch to."""

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from tenants.selectors import tenants_of


def tenancy(request: HttpRequest) -> dict[str, Any]:
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {"my_tenants": [], "ctx": None}
    return {"my_tenants": SimpleLazyObject(lambda: tenants_of(user)), "ctx": getattr(request, "ctx", None)}
