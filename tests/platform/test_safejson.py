"""JSON in: what passes can be stored and read again; what does not is refused with a sentence."""

import json
from typing import Any

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from platform_portal.safejson import MAX_DEPTH, BadJSON, loads, problem, text_problem

ANY_TEXT = st.text(st.characters(), max_size=20)  # surrogates and NUL included
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"a": 1,}', "not valid JSON"),
        (b"'a'", "not valid JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"NaN", "NaN is not a JSON number"),
        (b'{"a": Infinity}', "Infinity is not"),
        (b"[-Infinity]", "-Infinity is not"),
        (b'{"a": 1, "a": 2}', "'a' occurs twice"),
        (b'[{"b": {"x": 1, "y": 2, "x": 3}}]', "'x' occurs twice"),
        (b"1" * 5000, "too many digits"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(BadJSON, match=sentence):
        loads(data)


@given(st.binary(max_size=60))
def test_reading_never_raises_anything_else(data: bytes) -> None:
    try:
        loads(data)
    except BadJSON as refused:
        assert str(refused)


@given(ANY_JSON.filter(lambda value: problem(value) is None))
def test_good_json_is_read_as_it_was_meant(value: Any) -> None:
    assert loads(json.dumps(value).encode()) == value


def nested(depth: int) -> Any:
    value: Any = 1
    for number in range(depth):
        value = [value] if number % 2 else {"a": value}
    return value


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("a\x00b", "NUL"),
        ({"a\x00": 1}, "NUL"),
        ([{"a": ["\x00"]}], "NUL"),
        ("\ud800", "surrogate"),
        ({"\udfff": 1}, "surrogate"),
        (float("nan"), "infinite or not a number"),
        ([float("-inf")], "infinite or not a number"),
        (2**1025, "300 digits"),
        ({"a": -(2**1025)}, "300 digits"),
        (nested(MAX_DEPTH + 1), "nested deeper than 32"),
        (None, None),
        (True, None),
        (2**1024 - 1, None),
        (1e308, None),
        (nested(MAX_DEPTH), None),
        ("ü😀\n\t\x7f", None),
        ({"": {}}, None),
    ],
)
def test_what_cannot_be_stored_is_named(value: Any, sentence: str | None) -> None:
    found = problem(value)
    assert (found is None) if sentence is None else (found is not None and sentence in found)


@given(ANY_TEXT)
def test_text_is_good_exactly_when_postgresql_could_take_it(text: str) -> None:
    storable = "\x00" not in text and not any(0xD800 <= ord(char) <= 0xDFFF for char in text)
    assert (text_problem(text) is None) == storable


def test_all_good_json_can_be_stored_and_comes_back_equal(db: None) -> None:
    def normal(value: Any) -> Any:
        """PostgreSQL's numbers are exact decimals: only their value is kept, not how Python spelled it."""
        if isinstance(value, dict):
            return {key: normal(item) for key, item in value.items()}
        if isinstance(value, list):
            return [normal(item) for item in value]
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    @given(ANY_JSON.filter(lambda value: problem(value) is None))
    def stores(value: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s::jsonb", [json.dumps(value)])
            (back,) = cursor.fetchone()
        assert normal(json.loads(back)) == normal(value)

    stores()
