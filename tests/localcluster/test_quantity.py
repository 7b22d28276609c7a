"""Quantities: value and canonical text."""

from __future__ import annotations

import pytest

from localcluster.quantity import canonical, parse

CANONICAL = [
    ("1", "1"), ("0.5", "500m"), ("1000m", "1"), ("1500m", "1500m"), ("2.5", "2500m"), ("1000", "1k"), ("1024Mi", "1Gi"),
    ("1536Mi", "1536Mi"), ("0.5Gi", "512Mi"), ("1e3", "1k"), ("100n", "100n"), ("0", "0"), ("16Gi", "16Gi"), (4, "4"),
    ("1G", "1G"), ("128974848", "128974848"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), CANONICAL)
def test_quantities_are_stored_in_canonical_form(text: object, wanted: str) -> None:
    assert canonical(text) == wanted
    assert parse(wanted) == parse(text)


@pytest.mark.parametrize("text", ["", "x", "1.2.3", "1 Gi", "1gi", "--1", True, None])
def test_what_is_no_quantity_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="quantities must match"):
        parse(text)
