"""Reading a JSON object by its fields' types: every bad or unknown field is named at once, as is one that no database keeps."""

from collections.abc import Mapping
from typing import Any

from rest_framework.request import Request

from platform_portal import safejson
from platform_portal.api import json_object
from platform_portal.errors import invalid

MUST_BE = {
    str: "must be text",
    int: "must be a whole number",
    bool: "must be true or false",
    list: "must be a list",
    dict: "must be a JSON object",
}


def read(request: Request, types: Mapping[str, type], *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields that are there. ``null`` is a field that is not; no body at all is an empty object."""
    body = json_object(request)
    given = {name: value for name, value in body.items() if value is not None}
    errors: dict[str, list[str]] = {name: ["is not known"] for name in body if name not in types}
    errors |= {name: ["is required"] for name in required if name not in given}
    for name, value in given.items():
        if name in types and not _is(value, types[name]):
            errors[name] = [MUST_BE[types[name]]]
        elif types.get(name) is list and not all(isinstance(one, str) for one in value):
            errors[name] = ["must be a list of texts"]
        elif name in types and (found := safejson.problem(value)):
            errors[name] = [found]
    if errors:
        raise invalid(errors)
    return given


def _is(value: Any, wanted: type) -> bool:
    return isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
