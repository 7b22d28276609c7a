"""What people do, in a real browser against the whole platform: no page is loaded again to see what has become of a job."""

import re
from pathlib import Path

import pytest

from tests.browser.conftest import Page

pytestmark = pytest.mark.browser
TEAM = "/t/team-ml-analytics"

TRAIN = """
import json, os, time, urllib.request
from pathlib import Path
from urllib.parse import urlsplit

for step in range(1, 9):
    body = json.dumps({"step": step, "values": {"loss": 1 / step}}).encode()
    url = f"{os.environ['ML_PLATFORM_URL']}/v1/jobs/training/{os.environ['ML_PLATFORM_JOB_ID']}/metrics"
    head = {"Authorization": f"Bearer {os.environ['ML_PLATFORM_JOB_TOKEN']}", "Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(url, body, head)).close()
    print(f"step {step} of 8", flush=True)
    time.sleep(0.4)
folder = Path(urlsplit(os.environ["MODEL_OUTPUT_PATH"]).path)
folder.mkdir(parents=True, exist_ok=True)
(folder / "model.txt").write_text("weights")
"""
TALK = "import time\nfor n in range(100000):\n    print('tick', n, flush=True)\n    time.sleep(0.05)\n"


def test_submit_an_upload_and_watch_it_succeed_without_a_reload(page: Page, tmp_path: Path) -> None:
    page.sign_in()
    address = page.submit_job("first-light", TRAIN, tmp_path)
    page.script("window.notReloaded = true")
    page.sees("Running", "#job-head")
    page.sees("loss", "#tab-body")
    page.sees("Succeeded", "#job-head")
    assert page.text("#announce") == "first-light: Succeeded. The program ended with exit code 0."
    page.wait(lambda: page.driver.title.startswith("first-light · Succeeded"), "the title")
    page.click("#tab-log")
    page.sees("step 8 of 8", "#log-lines")
    page.sees("End of the log.", "#log")
    assert page.text("#log-lines").count("step") == 8
    page.click("#tab-metrics")
    page.wait(lambda: page.all(".chart .curve[d^=M]"), "a curve")
    page.click("#tab-timeline")
    page.sees("The program ended with exit code 0.")
    page.click("#tab-files")
    page.sees("model.txt")
    assert page.script("return window.notReloaded"), "the page was loaded again"
    assert page.driver.current_url.endswith(f"{address}/files")
    # Each tab is an address of its own, and the way back works.
    page.driver.back()
    page.sees("Submitted", "#tab-body") if page.driver.current_url.endswith(address) else page.sees("exit code 0")


def test_follow_a_live_log_then_read_further_up_in_peace(page: Page, tmp_path: Path) -> None:
    page.sign_in()
    address = page.submit_job("talker", TALK, tmp_path)
    page.click("#tab-log")
    page.sees("tick 3\n", "#log-lines")
    first = page.text("#log-lines").count("tick")
    page.wait(lambda: page.text("#log-lines").count("tick") > first + 20, "more lines")
    overflows = "const l = document.querySelector('#log'); return l.scrollHeight > l.clientHeight + 100"
    page.wait(lambda: page.script(overflows), "more lines than the box shows")
    at_end = "const l = document.querySelector('#log'); return l.scrollHeight - l.scrollTop - l.clientHeight < 40"
    page.wait(lambda: page.script(at_end), "the end to be followed")
    scroll_up = "document.querySelector('#log').scrollTop = 0; return !document.querySelector('#log-follow').checked"
    page.wait(lambda: page.script(scroll_up), "following to stop")
    lines = page.text("#log-lines").count("tick")
    page.wait(lambda: page.text("#log-lines").count("tick") > lines, "lines that still come")
    assert page.script("return document.querySelector('#log').scrollTop") == 0
    page.type("#log-q", "tick 7")
    page.click(".log-search button")
    page.sees("lines with “tick 7”")
    page.open(address)
    page.click("#do-cancel")
    page.click("#confirm button[value=yes]")
    page.sees("Cancelled", "#job-head")


def test_cancel_in_the_row_asks_first_and_the_list_follows(page: Page, tmp_path: Path) -> None:
    page.sign_in()
    page.submit_job("doomed", TALK, tmp_path)
    page.open(f"{TEAM}/jobs?name=doomed")
    page.script("window.notReloaded = true")
    page.sees("Running", "#jobs-table")
    assert page.script("return window.notReloaded")
    page.click(".c-do button")
    page.sees("Cancel doomed?", "#confirm")
    page.click("#confirm button[value=no]")
    page.sees("Running", "#jobs-table")
    page.click(".c-do button")
    page.click("#confirm button[value=yes]")
    page.sees("doomed was asked to end.")
    page.sees("Cancelled", "#jobs-table .c-state")
    page.wait(lambda: not page.all("#poll[hx-get]"), "the polling to stop")
    page.click(".c-do button")
    page.wait(lambda: page.text("h1") == "doomed-2", "the job that runs again")
    page.click("#do-cancel")
    page.click("#confirm button[value=yes]")
    page.sees("Cancelled", "#job-head")


def test_what_is_selected_stays_selected_while_the_list_changes(page: Page, tmp_path: Path) -> None:
    page.sign_in()
    for name in ("pair-a", "pair-b"):
        page.submit_job(name, TALK, tmp_path)
    page.open(f"{TEAM}/jobs?name=pair-")
    page.wait(lambda: len(page.all("#jobs-table input[name=job]")) == 2, "two that can be cancelled")
    page.click("#pick-all")
    page.sees("2 selected", "#bulk")
    page.script("htmx.swap('#jobs-table', document.querySelector('#jobs-table').innerHTML, {swapStyle: 'innerHTML'})")
    page.script("document.dispatchEvent(new CustomEvent('htmx:oobAfterSwap'))")
    assert page.script("return document.querySelectorAll('#jobs-table input[name=job]:checked').length") == 2
    page.click("#bulk button")
    page.sees("Cancel 2 jobs?", "#confirm")
    page.click("#confirm button[value=yes]")
    page.sees("2 jobs asked to end.")
    page.wait(lambda: page.text("#jobs-table").count("Cancelled") == 2, "both to end")


def test_recover_from_a_bad_form_without_choosing_the_file_again(page: Page, tmp_path: Path) -> None:
    page.sign_in("ben")
    file = tmp_path / "fit.py"
    file.write_text("print('fitted')\n")
    page.open(f"{TEAM}/jobs/new")
    page.type("#id_name", "Not A Name")
    page.find("#id_file").send_keys(str(file))
    page.click(".more summary")
    page.type("#id_hyperparameters", "lr=0.1\nepochs")
    page.sees('"lr": 0.1', "#preview")
    page.click("#submit-button")
    page.sees("Nothing was submitted yet")
    assert page.script("return document.activeElement.id") == "summary"
    page.sees("fit.py, uploaded, 16 bytes")
    page.click('#summary a[href="#id_hyperparameters"]')
    assert page.script("return document.activeElement.id") == "id_hyperparameters"
    assert page.script("return document.querySelector('#id_name').value") == "Not A Name"
    page.type("#id_name", "recovered")
    page.type("#id_hyperparameters", "lr=0.1\nepochs=2")
    assert any("400" in complaint for complaint in page.complaints()), "the refused form is a 400"
    page.click("#submit-button")
    page.sees("Succeeded", "#job-head")
    page.click("#tab-log")
    page.sees("fitted", "#log-lines")
    page.click("#do-edit")
    page.sees("fit.py, uploaded, 16 bytes")
    assert page.script("return document.querySelector('#id_name').value") == "recovered-2"


def test_the_form_shows_only_what_the_choices_need(page: Page) -> None:
    page.sign_in()
    page.open(f"{TEAM}/jobs/new")

    def visible(css: str) -> bool:
        return bool(page.find(css).is_displayed())

    assert visible("#id_file") and not visible("#id_code_repo") and not visible("#id_cpu_cores")
    page.click("label[for=id_source_kind_1]")
    assert visible("#id_code_repo") and not visible("#id_file")
    page.script("const s = document.querySelector('#id_instance_type'); s.value = 'custom'")
    assert visible("#id_cpu_cores") and not visible("#id_gpu_count")
    page.script("document.querySelector('#id_compute_type').value = 'gpu'")
    assert visible("#id_gpu_count")


def test_the_filter_narrows_while_typing_and_is_in_the_address(page: Page) -> None:
    page.sign_in()
    page.open(f"{TEAM}/jobs")
    page.sees("digits-example")
    page.type("#f-name", "no-such-job")
    page.sees("No job matches")
    page.wait(lambda: "name=no-such-job" in page.driver.current_url, "the address")
    page.click(".empty a")
    page.sees("digits-example")
    page.click('label[for="s-failed"]')
    page.wait(lambda: "status=failed" in page.driver.current_url, "the address")


def test_dark_is_remembered_and_there_before_the_page_is_drawn(page: Page) -> None:
    page.prefer("light")
    page.sign_in()
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = page.script(ground)
    page.click("#theme")
    dark = page.script(ground)
    assert dark != light
    page.driver.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument",
        {
            "source": "new MutationObserver(() => { if (document.body && !window.firstTheme)"
            " window.firstTheme = document.documentElement.dataset.bsTheme || 'none' })"
            ".observe(document, {childList: true, subtree: true})"
        },
    )
    page.open(f"{TEAM}/jobs")
    assert page.script("return window.firstTheme") == "dark"
    assert page.script(ground) == dark
    page.click("#theme")
    page.prefer("dark")
    page.open(f"{TEAM}/jobs")
    assert page.script(ground) == dark, "without a choice of one's own the system's counts"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(page: Page, scheme: str) -> None:
    page.prefer(scheme)
    page.sign_in()
    page.open(f"{TEAM}/jobs?name=digits")
    example = re.search(r"/jobs/[0-9a-f-]{36}", page.find(".c-name a").get_attribute("href"))
    assert example is not None
    poor = []
    for path in (
        "/",
        "/jobs",
        "/jobs/new",
        *(example[0] + tab for tab in ("", "/logs", "/metrics", "/timeline", "/spec")),
    ):
        page.open(TEAM + path)
        poor += [f"{path}: {found}" for found in page.script(CONTRAST)]
    assert poor == []


def test_a_phone_needs_no_scrolling_sideways(page: Page) -> None:
    page.size(390, 844)
    page.sign_in()
    page.open(f"{TEAM}/jobs?name=digits")
    example = page.find(".c-name a").get_attribute("href").removeprefix(page.base)
    pages = [f"{TEAM}/", f"{TEAM}/jobs", f"{TEAM}/jobs/new", "/accounts/password/change/", f"{example}/edit"]
    pages += [example + tab for tab in ("", "/logs", "/metrics", "/timeline", "/files", "/spec")]
    wide = []
    for path in pages:
        page.open(path)
        if page.script("return document.documentElement.scrollWidth > innerWidth"):
            wide.append(path)
    assert wide == []


def test_the_keyboard_reaches_everything(page: Page) -> None:
    from selenium.webdriver import ActionChains, Keys

    page.sign_in()
    page.open(f"{TEAM}/jobs")

    def press(*keys: str) -> None:
        ActionChains(page.driver).send_keys(*keys).perform()

    press(Keys.TAB)
    assert page.script("return document.activeElement.className") == "skip"
    press(Keys.TAB, Keys.TAB, Keys.ENTER)
    assert page.script("return document.querySelector('.menu.team').open")
    press(Keys.ESCAPE)
    assert not page.script("return document.querySelector('.menu.team').open")
    assert page.script("return document.activeElement.tagName") == "SUMMARY"
    unnamed = page.script(
        "return [...document.querySelectorAll('a, button, input:not([type=hidden]), select, textarea, summary')]"
        ".filter(e => !(e.textContent.trim() || e.getAttribute('aria-label') || (e.labels && e.labels.length)))"
        ".map(e => e.outerHTML)"
    )
    assert unnamed == []


def test_a_viewer_watches_but_is_offered_nothing_to_do(page: Page) -> None:
    page.sign_in("vera")
    page.open(f"{TEAM}/jobs?name=digits")
    assert page.all(".c-do button") == [] and page.all(".new-job") == []
    page.click(".c-name a")
    page.sees("exit code 0")
    assert page.all(".job-do .btn") == []


# WCAG's contrast of every visible text with the nearest ground behind it; 4.5, or 3 for large text.
CONTRAST = """
const canvas = document.createElement('canvas'), pen = canvas.getContext('2d', {willReadFrequently: true});
canvas.width = canvas.height = 1;
function rgba(text) {
  pen.clearRect(0, 0, 1, 1); pen.fillStyle = text; pen.fillRect(0, 0, 1, 1);
  return [...pen.getImageData(0, 0, 1, 1).data];
}
function light(c) {
  return c.slice(0, 3).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
}
const poor = new Set();
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const el = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !el.checkVisibility()) continue;
  if (el.closest('.visually-hidden, .skip, script, noscript, option')) continue;
  let ground = el;
  while (ground && rgba(getComputedStyle(ground).backgroundColor)[3] < 255) ground = ground.parentElement;
  const style = getComputedStyle(el), svg = el.closest('svg');
  const a = light(rgba(svg ? style.fill : style.color));
  const b = light(rgba(getComputedStyle(ground || document.body).backgroundColor));
  const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05), size = parseFloat(style.fontSize);
  if (ratio < (size >= 24 || (size >= 18.6 && style.fontWeight >= 700) ? 3 : 4.5))
    poor.add(walker.currentNode.data.trim().slice(0, 40) + ' ' + ratio.toFixed(2) + ' .' + el.className);
}
return [...poor];
"""
