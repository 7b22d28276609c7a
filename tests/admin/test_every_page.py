"""Every page of the admin site: it is there, keeps its content policy, and asks as many questions for 30 rows as for 3."""

from collections.abc import Callable, Iterator
from typing import Any

from django.contrib import admin as django_admin
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import NoReverseMatch, reverse

from tests.admin.forms import Admin
from tests.every_page import ADMIN, check, seeing, unseen

MOST = 14
# What Django's and the packages' own addresses of the site are for, and where they lead.
ELSEWHERE = {
    "login",
    "logout",
    "password_change",
    "password_change_done",
    "autocomplete",
    "jsi18n",
    "view_on_site",
    "search",
}


def pages() -> Iterator[tuple[str, str, dict[str, Any] | None]]:
    """Name, path and what is posted there (nothing: it is only opened) of each page that the site has now."""
    yield "overview", reverse("admin:index"), None
    yield "health", reverse("admin:health"), None
    for model, options in django_admin.site._registry.items():
        base = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        keys = [str(pk) for pk in model._base_manager.values_list("pk", flat=True)[:40]]
        first = richest(model)
        for page in ("changelist", "add", "import", "export"):
            try:
                yield f"{base} {page}", reverse(f"{base}_{page}"), None
            except NoReverseMatch:
                continue
        for page in ("change", "delete", "history"):
            yield f"{base} {page}", reverse(f"{base}_{page}", args=[first]), None
        for action in options.get_actions(_request()):
            if action in ASKING:
                values = {"action": action, "_selected_action": keys}
                yield f"{base} action {action}", reverse(f"{base}_changelist"), values
        for filters in FILTERS.get(model._meta.model_name or "", []):
            yield f"{base} {filters}", f"{reverse(f'{base}_changelist')}?{filters}", None


# Actions that ask before they do anything; the others do it.
ASKING = ("delete_selected", "set_cost_center", "change_quota", "delete_teams", "export_admin_action")
FILTERS = {
    "tenant": ["q=team", "state=ready", "state=error", "state=drift", "usage=high", "usage=idle", "usage=waiting"],
    "trainingjob": ["q=job", "state=all", "state=waiting", "state=ended"],
    "auditentry": ["q=team", "what=tenant.*", "who=root", "team=team-1", "via=admin"],
    "apitoken": ["q=team", "state=active", "state=unused"],
    "quotarequest": ["status__exact=pending"],
}


def richest(model: Any) -> Any:
    """The row on which most hangs: a page about it must not ask for each."""
    keys = {
        "tenant": {"slug": "crowded"},
        "user": {"username": "everywhere"},
        "trustedissuer": {"name": "issuer-all"},
    }
    return model._base_manager.filter(**keys.get(model._meta.model_name, {})).values_list("pk", flat=True).first()


def _request() -> Any:
    from django.test import RequestFactory

    request = RequestFactory().get("/admin/")
    request.user = get_user_model()(is_superuser=True, is_staff=True, is_active=True)
    return request


def counted(admin: Admin) -> dict[str, tuple[int, int, str]]:
    """Page to (status, number of queries, which)."""
    found = {}
    for name, path, values in pages():
        ContentType.objects.clear_cache()
        with CaptureQueriesContext(connection) as queries:
            answer = admin.client.get(path) if values is None else admin.client.post(path, values)
            answer.getvalue()
        found[name] = (answer.status_code, len(queries), "\n".join(query["sql"][:160] for query in queries))
    return found


def test_no_page_asks_more_for_more_rows_and_none_asks_more_than_fourteen_questions(
    admin: Admin, fill: Callable[[int], None]
) -> None:
    from django.db import transaction

    results = []
    for number in (3, 30):
        with transaction.atomic():
            fill(number)
            results.append(counted(admin))
            transaction.set_rollback(True)
    few, many = results
    assert few.keys() == many.keys() and len(few) > 80
    wrong = []
    for name, (status, number, _) in many.items():
        if status not in (200, 403) or status != few[name][0]:
            wrong.append(f"{name}: answers {few[name][0]} and {status}")
        if number != few[name][1] or number > MOST:
            wrong.append(f"{name}: {few[name][1]} queries for 3 rows, {number} for 30\n{many[name][2]}")
    assert not wrong, "\n".join(wrong)


def test_every_template_is_rendered_and_every_page_keeps_the_admins_content_policy(
    admin: Admin, fill: Callable[[int], None]
) -> None:
    fill(3)
    with seeing() as seen:
        for name, path, values in pages():
            answer = admin.client.get(path) if values is None else admin.client.post(path, values)
            if answer.status_code == 200 and answer["Content-Type"].startswith("text/html"):
                assert check(answer, of_admin=True), name
    assert not unseen(seen, *ADMIN)
