"""Quota and queue in a real browser: the form answers as it is filled in, and a waiting job starts when there is room."""

from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Page
from tests.browser.test_journeys import CONTRAST, TALK, TEAM

pytestmark = pytest.mark.browser

# The demo team's quota holds 200 GB, the laptop's cluster more than either of these.
MOST, MORE = 110, 100


def choose(page: Page, machine: str) -> None:
    page.script(
        "const s = document.querySelector('#id_instance_type'); s.value = arguments[0];"
        " s.dispatchEvent(new Event('change', {bubbles: true}))",
        machine,
    )


def fill_in(page: Page, name: str, memory: int, folder: Path) -> None:
    """A job of one core with so much memory, and its program; nothing is submitted yet."""
    file = folder / "train.py"
    file.write_text(TALK)
    page.open(f"{TEAM}/jobs/new")
    page.type("#id_name", name)
    page.find("#id_file").send_keys(str(file))
    choose(page, "custom")
    page.type("#id_cpu_cores", "1")
    page.type("#id_memory_gb", str(memory))


def submit(page: Page) -> str:
    page.click("#submit-button")
    page.wait(lambda: "/jobs/new" not in page.driver.current_url, "the job's page")
    return str(page.driver.current_url).removeprefix(page.base)


def cancel(page: Page, address: str) -> None:
    page.open(address)
    page.click("#do-cancel")
    page.click("#confirm button[value=yes]")
    page.sees("Cancelled", "#job-head")


def test_the_form_answers_as_it_is_filled_in_and_a_waiting_job_starts_when_there_is_room(
    page: Page, tmp_path: Path
) -> None:
    page.sign_in()
    fill_in(page, "holds-most", MOST, tmp_path)
    page.script("window.notReloaded = true")
    page.sees("Starts now", "#quota-verdict")
    choose(page, "gpu-8x-a100")
    page.sees("Never fits", "#quota-verdict")
    page.sees("it can never start", "#quota-verdict")
    choose(page, "custom")
    page.sees("Starts now", "#quota-verdict")
    assert page.script("return window.notReloaded"), "the page was loaded again"
    running = submit(page)
    page.sees("Running", "#job-head")

    fill_in(page, "waits-its-turn", MORE, tmp_path)
    page.sees("Would wait, 1st in the queue", "#quota-verdict")
    page.sees(f"{200 - MOST} of 200 left", "#quota-left")
    page.sees("It would be refused unless the box below is ticked.", "#quota-verdict")
    # Who submits all the same keeps everything that was typed, and is offered the queue.
    page.click("#submit-button")
    page.sees("Nothing was submitted yet")
    assert any("429" in complaint for complaint in page.complaints()), "the refused form is a 429"
    assert page.script("return document.querySelector('#id_memory_gb').value") == str(MORE)
    page.click('#summary a[href="#id_queue"]')
    assert page.script("return document.activeElement.id") == "id_queue"
    page.click("#id_queue")
    page.sees("starts by itself", "#quota-verdict")
    waiting = submit(page)
    page.sees("Waiting for quota, 1st in the queue.", "#job-head")
    page.script("window.notReloaded = true")

    page.open_tab()
    page.open(f"{TEAM}/")
    page.sees("waits-its-turn", ".queue")
    cancel(page, running)
    page.close_tab()
    page.sees("Running", "#job-head")
    assert page.script("return window.notReloaded"), "the page was loaded again"
    assert "Waiting for quota" not in page.text("#job-head")
    cancel(page, waiting)


@pytest.mark.parametrize(("width", "height", "scheme"), [(1280, 900, "light"), (390, 844, "dark")])
def test_whatever_the_quota_says_nothing_moves_and_everything_can_be_read(
    page: Page, width: int, height: int, scheme: str
) -> None:
    page.size(width, height)
    page.prefer(scheme)
    page.sign_in()
    page.open(f"{TEAM}/jobs/new")

    def place() -> Any:
        return page.script(
            "return ['#id_queue', '#submit-button'].map(css =>"
            " Math.round(document.querySelector(css).getBoundingClientRect().top + scrollY))"
        )

    page.sees("Starts now", "#quota-verdict")
    before = place()
    poor = page.script(CONTRAST)
    # The longest sentences that there are, put where the server puts them.
    choose(page, "gpu-8x-a100")
    page.sees("Never fits", "#quota-verdict")
    assert place() == before
    poor += page.script(CONTRAST)
    page.script("document.querySelector('#quota-verdict').innerHTML = arguments[0]", LONGEST)
    assert place() == before
    poor += page.script(CONTRAST)
    assert poor == []
    assert not page.script("return document.documentElement.scrollWidth > innerWidth")


def test_the_keyboard_changes_the_machine_and_ticks_the_queue(page: Page) -> None:
    from selenium.webdriver import ActionChains, Keys

    page.sign_in()
    page.open(f"{TEAM}/jobs/new")
    page.script("document.querySelector('#id_instance_type').focus()")

    def press(*keys: str) -> None:
        ActionChains(page.driver).send_keys(*keys).perform()

    press("gpu-8x")
    page.sees("Never fits", "#quota-verdict")
    assert page.script("return document.activeElement.id") == "id_instance_type", "the answer does not take the focus"
    press(Keys.TAB)
    assert page.script("return document.activeElement.id") == "id_queue"
    press(Keys.SPACE)
    assert page.script("return document.querySelector('#id_queue').checked")
    page.sees('"queue": true', "#preview")
    assert page.find("#quota-verdict").get_attribute("aria-live") == "polite"


LONGEST = (
    '<p class="verdict verdict-wait"><b><svg class="icon" viewBox="0 0 16 16"></svg>Would wait, 112th in the queue'
    '<span class="price">23.20 EUR/h</span></b>'
    " The team's quota of 100 nvidia-tesla-v100 GPUs is reached: 100 in use, 8 asked for. It fits once 8"
    " nvidia-tesla-v100 GPUs are free; that takes a job of the team to end or to be cancelled."
    ' <span class="advice">It would be refused unless the box below is ticked.</span></p>'
)
