"""What every API view shares: JSON in and out, keyset pages with a ``Link`` header, and idempotent POSTs."""

import base64
import binascii
import hashlib
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import orjson
from django.conf import settings
from django.http import HttpRequest
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from platform_portal import safejson
from platform_portal.errors import DomainError, invalid, too_large

DEFAULT_LIMIT, MAX_LIMIT = 50, 200


class JSONParser(BaseParser):
    """Reads at most ``API_MAX_BODY_BYTES``; a longer body is a 413, bad JSON a 400."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        limit = settings.API_MAX_BODY_BYTES
        check_content_length(parser_context["request"] if parser_context else None, limit)
        data = stream.read(limit + 1)
        if len(data) > limit:
            raise too_large(f"The body is larger than {limit} bytes.")
        try:
            return safejson.loads(data)
        except safejson.BadJSON as exc:
            raise DomainError("parse_error", str(exc)) from exc


class JSONRenderer(BaseRenderer):
    """Times come out as ISO 8601 in UTC with a ``Z``; whole numbers of any size as they are."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        if data is None:
            return b""
        try:
            return orjson.dumps(data, default=str, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)
        except TypeError:
            # orjson knows no number beyond 64 bits; JSON does, and PostgreSQL gives 1e30 back as one.
            return json.dumps(data, default=_json_text, ensure_ascii=False, separators=(",", ":")).encode()


def check_content_length(request: HttpRequest | Request | None, limit: int) -> None:
    """Refuses a body by its announced length, before any of it is read."""
    announced = request.META.get("CONTENT_LENGTH") if request is not None else None
    if announced and str(announced).isdigit() and int(announced) > limit:
        raise too_large(f"The body is larger than {limit} bytes.")


def json_object(request: Request) -> dict[str, Any]:
    """The request's JSON object, or a 400."""
    if not isinstance(request.data, dict):
        raise invalid({"": ["must be a JSON object"]}, "The body must be a JSON object.")
    return request.data


def page_limit(request: Request | HttpRequest) -> int:
    """``limit=`` as a whole number from 1 to 200; 50 when it is absent."""
    given = request.GET.get("limit", "")
    if not given:
        return DEFAULT_LIMIT
    if not given.isascii() or not given.isdigit() or len(given) > 9 or not 1 <= int(given) <= MAX_LIMIT:
        raise invalid({"limit": [f"must be a whole number from 1 to {MAX_LIMIT}"]})
    return int(given)


def encode_cursor(created_at: datetime, row_id: UUID) -> str:
    """The place after a row in a newest-first list, opaque to callers."""
    raw = f"{created_at.astimezone(UTC).isoformat()}|{row_id}"
    return base64.urlsafe_b64encode(raw.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[datetime, UUID] | None:
    """The place a cursor names; ``None`` for none given, a 400 for one that we did not make."""
    if not cursor:
        return None
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        at, _, row_id = raw.partition("|")
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None:
            raise ValueError("no time zone")
        return moment.astimezone(UTC), UUID(row_id)
    except (ValueError, OverflowError, binascii.Error) as exc:
        raise invalid({"cursor": ["must be taken from the Link header of a page before"]}) from exc


def next_link(request: Request, cursor: str) -> str:
    """An RFC 8288 ``Link`` header's value for the next page."""
    query = {key: value for key, value in request.GET.items() if key != "cursor"} | {"cursor": cursor}
    return f'<{request.build_absolute_uri(request.path)}?{urlencode(query)}>; rel="next"'


def fingerprint(request: Request | HttpRequest, content: bytes) -> str:
    """What makes two requests the same for ``Idempotency-Key``: method, path and body."""
    head = f"{request.method} {request.path}\n".encode()
    return hashlib.sha256(head + content).hexdigest()


def canonical(body: Any) -> bytes:
    """One spelling for equal JSON bodies."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), default=str).encode("utf-8", "surrogatepass")


def _json_text(value: Any) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)


def plain(body: Any) -> Any:
    """The body as JSON values, so that a repeated answer is the same as the first to the letter."""
    return orjson.loads(JSONRenderer().render(body))
