"""What the frame of every page shows: the team it is about, those the person may switch to, and whether there is news.

All of it is read when a template asks for it, so the parts of a page that are polled cost no query here.
"""

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from tenants.selectors import teams_of, unread_count


def tenancy(request: HttpRequest) -> dict[str, Any]:
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {"my_teams": [], "ctx": None, "unread": 0}
    return {
        "my_teams": SimpleLazyObject(lambda: teams_of(user)),
        "ctx": getattr(request, "ctx", None),
        "unread": SimpleLazyObject(lambda: unread_count(user)),
    }
