"""``tenant_page``: the one way a page comes by its tenant, so that no view can look at another's."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.cache import never_cache

from tenants.context import TenantContext
from tenants.selectors import context_for_user

View = Callable[Concatenate[HttpRequest, TenantContext, ...], HttpResponseBase]


def tenant_page(view: View) -> Callable[..., HttpResponseBase]:
    """Signs in first, then turns the URL's ``tenant`` into a context; a team one has no part in looks like none."""

    @wraps(view)
    def wrapped(request: HttpRequest, tenant: str, *args: Any, **kwargs: Any) -> HttpResponseBase:
        ctx = context_for_user(request.user, tenant)  # type: ignore[arg-type]
        if ctx is None:
            raise Http404("no such team")
        request.ctx = ctx  # type: ignore[attr-defined]
        return view(request, ctx, *args, **kwargs)

    return never_cache(login_required(wrapped))
