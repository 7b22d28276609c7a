"""PURE: Kubernetes quantities ("100m", "1Gi", "1e3") by value."""

import re
from decimal import Decimal
from typing import Any

_PATTERN = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?\d{1,3})?")
_BINARY = {suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)}
_DECIMAL = {"": 0, "n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def value(quantity: Any) -> Decimal | None:
    """The number that it stands for; ``None`` for what is no quantity."""
    if isinstance(quantity, bool) or not isinstance(quantity, str | int | float):
        return None
    found = _PATTERN.fullmatch(str(quantity).strip())
    if found is None:
        return None
    number, suffix = Decimal(found[1]), found[2] or ""
    if suffix in _BINARY:
        return number * _BINARY[suffix]
    return number.scaleb(_DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:]))


def same(left: Any, right: Any) -> bool:
    """Whether both say the same amount: ``1000m`` is ``1``, ``1Gi`` is ``1024Mi``."""
    one, other = value(left), value(right)
    return left == right if one is None or other is None else one == other
