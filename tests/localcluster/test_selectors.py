"""Label and field selectors."""

from __future__ import annotations

import pytest

from localcluster.errors import ApiError
from localcluster.selectors import parse_fields, parse_labels

LABELS = {"app": "web", "tier": "front", "empty": ""}
MATCHES = [
    ("", True),
    ("app=web", True),
    ("app==web", True),
    ("app = web", True),
    ("app!=web", False),
    ("other!=x", True),
    ("app", True),
    ("!app", False),
    ("!other", True),
    ("other", False),
    ("empty=", True),
    ("app in (web, api)", True),
    ("app notin (web)", False),
    ("other notin (web)", True),
    ("app in (api),tier=front", False),
    ("app in (web),tier in (front),!gone", True),
]


@pytest.mark.parametrize(("text", "wanted"), MATCHES)
def test_label_selectors_match(text: str, wanted: bool) -> None:
    assert parse_labels(text).matches(LABELS) is wanted


@pytest.mark.parametrize("text", ["a=b=c", "a in b", "(x)", "a,,b", "=x", "a in (x"])
def test_what_is_no_label_selector_is_a_400(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        parse_labels(text)
    assert refused.value.code == 400


POD = {"metadata": {"name": "a", "namespace": "n"}, "spec": {"nodeName": "local"}, "status": {"phase": "Running"}}
FIELDS = [
    ("metadata.name=a", True),
    ("metadata.name!=a", False),
    ("status.phase=Running,spec.nodeName=local", True),
    ("status.phase!=Succeeded,status.phase!=Failed", True),
    ("spec.nodeName=", False),
]


@pytest.mark.parametrize(("text", "wanted"), FIELDS)
def test_field_selectors_match(text: str, wanted: bool) -> None:
    assert parse_fields(text, "pods").matches(POD) is wanted


def test_a_field_that_is_not_indexed_is_a_400() -> None:
    with pytest.raises(ApiError) as refused:
        parse_fields("spec.containers=x", "pods")
    assert "field label not supported" in refused.value.message
