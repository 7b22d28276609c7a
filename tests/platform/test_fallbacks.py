"""An address that is none and a fault of ours, in the API and as pages."""

from typing import Any

import pytest
from django.test import Client

from platform_portal import fallbacks


@pytest.mark.parametrize(
    "path", ["/v1/nothing", "/v1/jobs/training/not-a-uuid", "/v1/jobs/training/", "/v1/jobs/training/%0A"]
)
def test_an_unknown_address_in_the_api_is_json(db: None, path: str) -> None:
    answer = Client().get(path)
    assert answer.status_code == 404 and answer.json()["code"] == "not_found"


def test_an_unknown_address_elsewhere_is_a_page(db: None) -> None:
    answer = Client().get("/nothing")
    assert answer.status_code == 404 and answer["Content-Type"].startswith("text/html")


def test_a_fault_of_ours_in_the_api_is_json_without_its_reason(rf: Any) -> None:
    answer = fallbacks.handle_500(rf.get("/v1/jobs/training"))
    assert answer.status_code == 500 and b"internal_error" in answer.content


def test_a_fault_of_ours_elsewhere_is_a_page(rf: Any) -> None:
    answer = fallbacks.handle_500(rf.get("/t/ours/jobs"))
    assert answer.status_code == 500 and answer["Content-Type"].startswith("text/html")
