"""The admin site in Chromium: its pages run under their policy without a complaint, and what is edited in place is saved.

The ``page`` fixture fails a test for whatever the console says is wrong, violations of the Content-Security-Policy among it.
"""

import pytest

from tests.browser.conftest import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LIST = "/admin/tenants/tenant/"
PATHS = (
    "/admin/", "/admin/health/", LIST, f"{LIST}add/", f"{LIST}import/", f"{LIST}export/", f"{LIST}1/change/",
    f"{LIST}1/history/", "/admin/tenants/quotarequest/", "/admin/tenants/costcenter/", "/admin/tenants/membership/",
    "/admin/tenants/membership/add/", "/admin/tenants/instancetype/", "/admin/tenants/instancetype/gpu-1x-v100/change/",
    "/admin/tenants/instancetype/gpu-1x-v100/delete/", "/admin/jobs/trainingjob/", "/admin/auth/user/",
    "/admin/auth/user/1/change/", "/admin/tenants/usersession/", "/admin/tenants/rolerule/",
    "/admin/tenants/rolerule/add/", "/admin/tenants/serviceaccount/", "/admin/tenants/apitoken/",
    "/admin/tenants/trustedissuer/add/", "/admin/tenants/signingkey/", "/admin/tenants/auditentry/",
    "/admin/tenants/notification/",
)  # fmt: skip
RUNS = "return Boolean(window.Alpine) && !document.querySelector('[x-cloak]:not(template)')?.matches('html')"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_kind_of_page_runs_without_a_complaint_and_fits(page: Page, width: int, scheme: str) -> None:
    page.sign_in("admin")
    page.size(width, 900)
    page.prefer(scheme)
    for path in PATHS:
        page.open(path)
        page.wait(lambda: page.script(RUNS), f"the page's scripts at {path}")
        assert page.script("return document.documentElement.scrollWidth - window.innerWidth") <= 0, path
        assert page.complaints() == [], path


def test_a_quota_is_edited_in_place(page: Page) -> None:
    page.sign_in("admin")
    page.open(f"{LIST}?q=test")
    field = 'input[aria-label="CPU of test"]'
    before = page.find(field).get_attribute("value")
    page.type(field, "64")
    page.click('button[name="_save"]')
    page.sees("1 tenant was changed successfully", "body")
    assert page.find(field).get_attribute("value") == "64"
    page.open("/admin/tenants/auditentry/?what=tenant.change")
    page.sees(f"quota_cpu {before} → 64", "#result_list")


def test_an_action_on_chosen_teams_shows_what_it_makes_before_it_is_done(page: Page) -> None:
    page.sign_in("admin")
    page.open(f"{LIST}?q=test")
    page.click("input.action-select")
    page.script(
        "const list = document.querySelector('select[name=action]'); list.value = 'change_quota';"
        "list.dispatchEvent(new Event('change', {bubbles: true}))"
    )
    page.click("#changelist-actions button[type=submit]")
    page.type("#id_amount", "2")
    page.script("document.querySelector('#id_resource').value = 'quota_gpus'")
    page.click("form.ask button[type=submit]")
    page.sees("Limit then", "form.ask")
    page.click("form.ask button[type=submit]")
    page.sees("1 team given another quota: test", "body")


def test_a_cost_center_is_found_by_typing(page: Page) -> None:
    page.sign_in("admin")
    page.open(f"{LIST}1/change/")
    page.click(".select2-selection")
    page.find(".select2-search__field").send_keys("unassi")
    page.sees("unassigned (Not assigned)", ".select2-results")
