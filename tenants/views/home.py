"""Where a person lands: the dashboard of their team."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from tenants.selectors import tenants_of


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """The first team of the signed-in person, or a page that says how to get one."""
    mine = tenants_of(request.user)  # type: ignore[arg-type]
    if mine:
        return redirect("jobs:dashboard", mine[0].slug)
    return render(request, "tenants/none.html")
