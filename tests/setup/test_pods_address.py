"""With a cluster of one's own, the laptop's web server also listens where pods reach it, and nowhere else."""

from typing import Any

import pytest

from platform_portal import laptop
from tests.setup.test_up import free_port


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost:8000", ""])
def test_the_laptops_own_address_needs_no_second_one(settings: Any, url: str) -> None:
    settings.PLATFORM_INTERNAL_URL = url
    assert laptop._address_for_pods() == ""


def test_an_address_of_this_machine_is_listened_on(settings: Any) -> None:
    port = free_port()
    settings.PLATFORM_INTERNAL_URL = f"http://127.0.0.2:{port}"
    assert laptop._address_for_pods() == f"127.0.0.2:{port}"
    assert f"127.0.0.2:{port}" in laptop._web().command


def test_another_machines_address_is_said_to_be_none_of_ours(settings: Any, capsys: pytest.CaptureFixture[str]) -> None:
    settings.PLATFORM_INTERNAL_URL = "http://192.0.2.10:8000"
    assert laptop._address_for_pods() == ""
    assert "192.0.2.10" in capsys.readouterr().out
