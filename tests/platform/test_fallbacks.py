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


def test_a_request_that_is_none_is_json_in_the_api_and_a_page_elsewhere(db: None, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["ours.example.com"]
    in_api, page = (
        Client().get(path, headers={"host": "theirs.example.com"}) for path in ("/v1/health", "/accounts/login/")
    )
    assert in_api.status_code == page.status_code == 400
    assert in_api.json()["code"] == "bad_request" and page["Content-Type"].startswith("text/html")


def test_the_page_to_try_the_api_keeps_the_content_policy(db: None) -> None:
    page = Client().get("/v1/docs")
    script = Client().get("/v1/docs?script=")
    assert b"swagger-ui" in page.content and b"<style" not in page.content and b" style=" not in page.content
    assert script["Content-Type"].startswith("application/javascript") and b"/v1/schema" in script.content


@pytest.mark.parametrize("method", ["options", "post", "put", "delete"])
def test_the_page_to_try_the_api_is_only_read(db: None, method: str) -> None:
    assert getattr(Client(), method)("/v1/docs").status_code == 405
