"""What a lead, a member and an administrator do with a team, in a real browser and by HTTP."""

import urllib.error
import urllib.request

import pytest

from tests.browser.conftest import Page

pytestmark = pytest.mark.browser
TEAM = "/t/team-ml-analytics"


def status(base: str, secret: str) -> int:
    request = urllib.request.Request(f"{base}/v1/jobs/training", headers={"Authorization": f"Bearer {secret}"})
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def sign_out(page: Page) -> None:
    page.driver.delete_all_cookies()


def confirm(page: Page, button: str, question: str) -> None:
    """Presses the button and says yes to what is asked."""
    page.click(button)
    page.wait(lambda: question in page.text("#confirm"), f"the question {question!r}")
    page.click("#confirm-yes")


def test_a_lead_adds_a_member_makes_a_token_uses_it_and_revokes_it(page: Page) -> None:
    page.sign_in()
    page.open(f"{TEAM}/members")
    page.type("#id_who", "admin@example.com")
    page.script("document.querySelector('#id_role').value = 'viewer'")
    page.click("main .box form .btn-primary")
    page.sees("admin is in the team now, as viewer.")
    # The way to the tokens is one click, and says where one is.
    page.click("#tab-tokens")
    page.sees("Tokens of the team")
    page.type("#id_name", "from the browser")
    page.click("main .box form .btn-primary")
    page.sees("it is shown this once")
    secret = page.text(".made code")
    assert status(page.base, secret) == 200
    page.open(f"{TEAM}/tokens")
    page.sees("from the browser")
    assert secret not in page.driver.page_source
    row = "//tr[td/b[text()='from the browser']]//button"
    button = page.driver.find_element("xpath", row)
    page.script("arguments[0].id = 'the-button'", button)
    confirm(page, "#the-button", "Revoke from the browser?")
    page.sees("from the browser is revoked.")
    assert status(page.base, secret) == 401


def test_no_means_no_and_the_keyboard_is_enough(page: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    page.sign_in()
    page.open(f"{TEAM}/members")
    page.script("document.querySelector('button[data-confirm]').id = 'first'; document.querySelector('#first').focus()")
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    page.wait(lambda: page.script("return document.querySelector('#confirm').open"), "the question")
    assert page.text("#confirm-no") == "Keep" and page.text("#confirm-yes") == "Remove"
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    page.wait(lambda: not page.script("return document.querySelector('#confirm').open"), "the answer")
    assert page.script("return document.activeElement.id") == "first"
    page.open(f"{TEAM}/members")
    page.sees("ben")


def test_a_member_asks_for_more_and_an_administrator_grants_it(page: Page) -> None:
    page.sign_in()
    page.open("/t/test/usage")
    # How many is another test's to change.
    page.sees(" cores")
    page.click("#ask summary")
    page.type("[name=want-cpu]", "180")
    page.type("#id_reason", "Many seeds at once")
    page.click("#ask .btn-primary")
    page.sees("Awaiting a decision")
    address = page.driver.current_url
    sign_out(page)

    page.sign_in("admin")
    page.click(".bell")
    page.sees("ada asks for 180 CPU cores for Test team: Many seeds at once")
    page.click(".unread button")
    page.sees("Many seeds at once", "body")
    page.click("button[name=decision][value=grant]")
    page.sees("ada has been told", "body")
    sign_out(page)

    page.sign_in()
    page.wait(lambda: page.all(".bell .count"), "the bell")
    page.click(".bell")
    page.sees("Test team now has 180 CPU cores.")
    page.click(".unread button")
    page.wait(lambda: address.partition("#")[0] in page.driver.current_url, "the usage page")
    page.sees("of 180 cores")
    page.sees("Granted")
