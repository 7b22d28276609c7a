"""A portal as `make run` starts it, and a headless Chromium that looks at it.

The portal is started once for all browser tests, with a database, a cluster and a port of its own. Without Chromium on the
machine the tests are skipped, each with a line that says so.
"""

import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.setup.running import Program

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
PATIENCE = 40.0


class Page:
    """The browser with the few verbs that the tests need; everything waits, nothing sleeps and hopes."""

    def __init__(self, driver: "Chrome", base: str) -> None:
        self.driver, self.base = driver, base

    def open(self, path: str) -> None:
        self.driver.get(self.base + path)

    def find(self, css: str) -> Any:
        return self.wait(lambda: self.all(css), f"an element {css}")[0]

    def all(self, css: str) -> list[Any]:
        return self.driver.find_elements("css selector", css)

    def text(self, css: str = "main") -> str:
        return str(self.script("return document.querySelector(arguments[0])?.innerText ?? ''", css))

    def click(self, css: str) -> None:
        def clicked() -> bool:
            self.find(css).click()
            return True

        # A live part may replace the element between being found and being clicked.
        self.wait(clicked, f"{css} to be clicked")

    def type(self, css: str, text: str) -> None:
        field = self.find(css)
        field.clear()
        field.send_keys(text)

    def script(self, code: str, *args: Any) -> Any:
        return self.driver.execute_script(code, *args)

    def sees(self, text: str, css: str = "main") -> None:
        self.wait(lambda: text in self.text(css), f"{text!r} in {css}")

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        from selenium.common.exceptions import ElementClickInterceptedException, StaleElementReferenceException

        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if found := condition():
                    return found
            except (StaleElementReferenceException, ElementClickInterceptedException):
                pass
            assert time.monotonic() < deadline, f"waited for {what}; the page says:\n{self.text('body')[:1500]}"
            time.sleep(0.1)

    def sign_in(self, name: str = "ada") -> None:
        self.open("/accounts/login/")
        self.type("#id_login", name)
        self.type("#id_password", f"{name}-demo")
        self.click(".local button[type=submit]")
        self.wait(lambda: "/t/" in self.driver.current_url, "the dashboard")

    def submit_job(self, name: str, program: str, folder: Path) -> str:
        """Submits an upload through the form; the address of the job's page."""
        file = folder / "train.py"
        file.write_text(program)
        self.open("/t/team-ml-analytics/jobs/new")
        self.type("#id_name", name)
        self.find("#id_file").send_keys(str(file))
        self.script("document.querySelector('#id_instance_type').value = 'cpu-1x'")
        self.click("#submit-button")
        self.wait(lambda: "/jobs/new" not in self.driver.current_url, "the job's page")
        return str(self.driver.current_url).removeprefix(self.base)

    def open_tab(self) -> None:
        """Another tab of the same person; ``close_tab`` goes back to the one before."""
        self.driver.switch_to.new_window("tab")

    def close_tab(self) -> None:
        self.driver.close()
        self.driver.switch_to.window(self.driver.window_handles[0])

    def size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def complaints(self) -> list[str]:
        """What the console says is wrong: blocked scripts and styles, errors of our scripts, missing files."""
        found = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        # A request that a click on a link cut off is told by htmx as an abort; nothing is wrong.
        cut_off = any("htmx:sendAbort" in message for message in found)
        return [
            message
            for message in found
            if not (cut_off and ("htmx:sendAbort" in message or "htmx:afterRequest" in message))
        ]


@pytest.fixture(scope="session")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    _chromium()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("portal")
    # An empty DATABASE_URL is none: the portal brings a database of its own, away from that of the tests.
    env = {"PLATFORM_MODE": "laptop", "PLATFORM_VAR": str(folder), "PORT": str(port), "DATABASE_URL": ""}
    program = Program("manage.py", "up", env=env)
    try:
        program.wait_for("The platform is ready", seconds=120)
        yield f"http://127.0.0.1:{port}"
        assert program.terminate() == 0
    finally:
        program.kill()


@pytest.fixture
def page(portal: str, tmp_path: Path) -> Iterator[Page]:
    """A fresh browser; what the console complained about fails the test, unless the test has asked for it before."""
    with browser(portal, tmp_path / "profile") as found:
        yield found
        assert found.complaints() == []


@contextmanager
def browser(portal: str, profile: Path) -> Iterator[Page]:
    from selenium import webdriver

    chromium, driver_path = _chromium()
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
    try:
        found = Page(driver, portal)
        found.size(1280, 900)
        yield found
    finally:
        driver.quit()


def _chromium() -> tuple[str, str]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("Chromium and its driver are not installed (Debian: apt-get install chromium chromium-driver)")
    return chromium, driver
