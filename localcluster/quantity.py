"""Kubernetes quantities ("500m", "1Gi", "0.5"): parsing, canonical text, and sums.

Values are Decimals, so nothing is lost between 1n and 1Ei.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

_PATTERN = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?\d+)?$")
_BINARY = {suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)}
_DECIMAL = {"k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18, "m": -3, "u": -6, "n": -9}
_LARGE = (("E", 18), ("P", 15), ("T", 12), ("G", 9), ("M", 6), ("k", 3))
_SMALL = (("m", 3), ("u", 6), ("n", 9))


def parse(text: object) -> Decimal:
    """The value; ValueError for what Kubernetes would not accept as a quantity."""
    match = _PATTERN.match(str(text).strip())
    if match is None or isinstance(text, bool):
        raise ValueError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    number, suffix = Decimal(match[1]), match[2] or ""
    if suffix in _BINARY:
        return number * _BINARY[suffix]
    if suffix in _DECIMAL:
        return number.scaleb(_DECIMAL[suffix])
    return number.scaleb(int(suffix[1:])) if suffix else number


def canonical(text: object) -> str:
    """The text Kubernetes would store: "0.5" is "500m", "1024Mi" is "1Gi", 2 is "2"."""
    value = parse(text)
    return render(value, binary=str(text).strip().endswith("i"))


def render(value: Decimal, *, binary: bool = False) -> str:
    """Canonical text of a value; with `binary`, power-of-1024 suffixes where they are exact."""
    if value == 0:
        return "0"
    if binary and value == value.to_integral_value():
        for suffix, factor in reversed(_BINARY.items()):
            if value % factor == 0:
                return f"{int(value / factor)}{suffix}"
        return str(int(value))
    for suffix, power in _LARGE:
        scaled = value.scaleb(-power)
        if scaled == scaled.to_integral_value():
            return f"{int(scaled)}{suffix}"
    if value == value.to_integral_value():
        return str(int(value))
    for suffix, power in _SMALL:
        scaled = value.scaleb(power)
        if scaled == scaled.to_integral_value():
            return f"{int(scaled)}{suffix}"
    return f"{int(value.scaleb(9).to_integral_value(ROUND_CEILING))}n"


def is_binary(text: object) -> bool:
    return str(text).strip().endswith("i")
