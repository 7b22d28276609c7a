"""Live parts of pages: which of them changed since the browser got them, and when to stop asking.

A page asks with the digests of what it shows. What is the same is not sent again; when nothing changed the answer is an empty
204. Once nothing can change any more the answer carries htmx's 286, which ends the polling. Times that tick in the browser do not
count as a change.
"""

import hashlib
import re
from collections.abc import Mapping

STOP_POLLING = 286
_TICKING = re.compile(r'(<time datetime="[^"]*" data-(?:ago|since)>)[^<]*')


def digest(html: str) -> str:
    """Names a fragment by what it says, whatever the time is."""
    return hashlib.sha256(_TICKING.sub(r"\1", html).encode()).hexdigest()[:12]


def digests(fragments: Mapping[str, str]) -> str:
    """What the page hands back when it asks again."""
    return ".".join(digest(html) for html in fragments.values())


def changed(fragments: Mapping[str, str], known: str) -> dict[str, str]:
    """Those fragments that differ from what the browser says it has."""
    have = known.split(".")
    if len(have) != len(fragments):
        return dict(fragments)
    return {name: html for (name, html), old in zip(fragments.items(), have, strict=True) if digest(html) != old}
