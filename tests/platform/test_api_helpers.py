"""What all API views share: bodies, pages, cursors, and JSON out."""

import io
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings
from rest_framework.request import Request

from platform_portal import api
from platform_portal.errors import DomainError


def request(query: str = "") -> Request:
    return Request(RequestFactory().get(f"/v1/things?{query}"))


@pytest.mark.parametrize(
    ("query", "limit"),
    [("", 50), ("limit=", 50), ("limit=1", 1), ("limit=200", 200), ("limit=007", 7), ("limit=000000050", 50)],
)
def test_a_good_limit(query: str, limit: int) -> None:
    assert api.page_limit(request(query)) == limit


@pytest.mark.parametrize(
    "limit",
    ["0", "201", "-1", "x", "1.0", "+5", " 5", "٣", "²", "0000000011111", "000000001" + "9" * 5000, "9" * 5000, "\x00"],
)
def test_a_bad_limit_is_a_400(limit: str) -> None:
    with pytest.raises(DomainError) as refused:
        api.page_limit(Request(RequestFactory().get("/", {"limit": limit})))
    assert list(refused.value.fields) == ["limit"]


@given(st.datetimes(timezones=st.just(UTC)), st.uuids())
def test_a_cursor_gives_back_its_place(at: datetime, row: UUID) -> None:
    assert api.decode_cursor(api.encode_cursor(at, row)) == (at, row)


def test_a_cursor_is_in_utc_wherever_it_was_made() -> None:
    at = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    decoded = api.decode_cursor(api.encode_cursor(at, uuid4()))
    assert decoded is not None and decoded[0] == at and decoded[0].utcoffset() == timedelta(0)


@given(st.text(max_size=40).filter(bool))
def test_a_cursor_that_we_did_not_make_is_a_400(cursor: str) -> None:
    with pytest.raises(DomainError) as refused:
        api.decode_cursor(cursor)
    assert list(refused.value.fields) == ["cursor"]


@pytest.mark.parametrize(
    "inside",
    ["2026-01-01T00:00:00|{id}", "0001-01-01T00:00:00+14:00|{id}", "2026-01-01T00:00:00+00:00|x", "|", "x|{id}"],
)
def test_a_cursor_that_decodes_to_nonsense_is_a_400(inside: str) -> None:
    import base64

    with pytest.raises(DomainError):
        api.decode_cursor(base64.urlsafe_b64encode(inside.format(id=uuid4()).encode()).decode())


def test_no_cursor_is_the_beginning() -> None:
    assert api.decode_cursor("") is None


def test_the_next_page_keeps_the_question() -> None:
    link = api.next_link(request("status=live&limit=2&cursor=old&name=a%26b"), "NEW")
    assert link == '<http://testserver/v1/things?status=live&limit=2&name=a%26b&cursor=NEW>; rel="next"'


def rendered(value: Any) -> Any:
    return json.loads(api.JSONRenderer().render(value))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"at": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)}, {"at": "2026-01-02T03:04:05.678901Z"}),
        (
            {"at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "big": 10**30},
            {"at": "2026-01-02T03:04:05Z", "big": 10**30},
        ),
        ({"id": UUID(int=5)}, {"id": str(UUID(int=5))}),
        ({"id": UUID(int=5), "big": 2**70}, {"id": str(UUID(int=5)), "big": 2**70}),
        ({"text": "ü😀", "big": -(2**70)}, {"text": "ü😀", "big": -(2**70)}),
        ([1e30, 2**63, None, True], [1e30, 2**63, None, True]),
    ],
)
def test_json_out(value: Any, shown: Any) -> None:
    assert rendered(value) == shown


def test_nothing_is_rendered_as_nothing() -> None:
    assert api.JSONRenderer().render(None) == b""


def test_a_body_is_read_up_to_the_limit(settings: Settings) -> None:
    settings.API_MAX_BODY_BYTES = 20
    assert api.JSONParser().parse(io.BytesIO(b'{"a": 1}')) == {"a": 1}
    with pytest.raises(DomainError) as refused:
        api.JSONParser().parse(io.BytesIO(b'{"a": "' + b"x" * 20 + b'"}'))
    assert refused.value.http_status == 413
    announced = Request(RequestFactory().post("/", b"", content_type="application/json", CONTENT_LENGTH="21"))
    with pytest.raises(DomainError) as refused:
        api.JSONParser().parse(io.BytesIO(b"{}"), parser_context={"request": announced})
    assert refused.value.http_status == 413


@pytest.mark.parametrize("announced", ["", "nonsense", "20", "-5"])
def test_a_length_that_says_nothing_is_not_held_against_the_sender(announced: str) -> None:
    api.check_content_length(Request(RequestFactory().post("/", CONTENT_LENGTH=announced)), 20)
    api.check_content_length(None, 20)


def test_equal_bodies_have_one_spelling_and_a_fingerprint_with_method_and_path() -> None:
    assert api.canonical({"b": 1, "a": [2]}) == api.canonical({"a": [2], "b": 1}) != api.canonical({"a": [1], "b": 1})
    assert api.canonical({"a": "\ud800"})
    get, post = RequestFactory().get("/x"), RequestFactory().post("/x")
    prints = {api.fingerprint(get, b"1"), api.fingerprint(post, b"1"), api.fingerprint(post, b"2")}
    prints.add(api.fingerprint(RequestFactory().post("/y"), b"1"))
    assert len(prints) == 4
