"""JSON that is safe to store: read strictly, refused with a sentence.

PostgreSQL keeps neither NUL nor lone surrogates nor non-finite numbers, and a deep nesting exhausts the stack of whoever
reads it later; ``problem`` finds all four before anything is written.
"""

import json
import math
from typing import Any

MAX_DEPTH = 32


class BadJSON(ValueError):
    """The text is not JSON that the platform accepts; the message is for the sender."""


def loads(data: bytes) -> Any:
    """Parses UTF-8 JSON; raises ``BadJSON`` for anything that could not be stored."""
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_unique)
    except UnicodeDecodeError as exc:
        raise BadJSON("The body is not UTF-8 text.") from exc
    except RecursionError as exc:
        raise BadJSON("The JSON is nested too deeply.") from exc
    except BadJSON:
        raise
    except json.JSONDecodeError as exc:
        raise BadJSON(f"The body is not valid JSON: {exc}") from exc
    except ValueError as exc:
        # Python reads no whole number of thousands of digits; its advice is none for who sent it.
        raise BadJSON("The body holds a whole number with too many digits.") from exc
    return value


def problem(value: Any, depth: int = 0) -> str | None:
    """Why ``value`` cannot be stored, or ``None``."""
    if depth > MAX_DEPTH:
        return f"must not be nested deeper than {MAX_DEPTH} levels"
    if isinstance(value, str):
        return text_problem(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "must not hold a number that is infinite or not a number"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 1024:
        return "must not hold a whole number of more than 300 digits"
    if isinstance(value, dict):
        children = [*value.keys(), *value.values()]
    elif isinstance(value, list):
        children = value
    else:
        return None
    for child in children:
        found = problem(child, depth + 1)
        if found:
            return found
    return None


def text_problem(value: str) -> str | None:
    """Why the text cannot be stored, or ``None``."""
    if "\x00" in value:
        return "must not hold the NUL character"
    if any("\ud800" <= char <= "\udfff" for char in value):
        return "must not hold half of a surrogate pair"
    return None


def _no_constant(name: str) -> Any:
    raise BadJSON(f"{name} is not a JSON number.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        double = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise BadJSON(f"The key {double[:80]!r} occurs twice in one object.")
    return result
