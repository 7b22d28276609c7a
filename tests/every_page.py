"""What holds for every page and every template, whichever folder of tests opens them.

``check`` holds a page against the content policy; ``seeing`` collects the templates that requests render, and ``unseen`` says
which of some folders are not among them. Between them, the tests of pages, of signing in and of the admin site leave none out.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.test.signals import template_rendered

# Folders whose templates are rendered by tests/sign_in and tests/admin; all others by tests/pages.
SIGN_IN = ("account", "mfa", "socialaccount", "allauth", "usersessions")
ADMIN = ("admin",)
# A block of data is no script: nothing runs it, and the policy has nothing against it.
SCRIPTS = r"\son[a-z]+=\"|javascript:|<script(?![^>]*(?:\bsrc=|\btype=\"application/json\"))"
INLINE = re.compile(rf"<style|\sstyle=|{SCRIPTS}", re.IGNORECASE)
# The admin's policy allows attributes of style, and nothing else more that stands in a page.
INLINE_OF_ADMIN = re.compile(rf"<style|{SCRIPTS}", re.IGNORECASE)


def check(answer: Any, *, of_admin: bool = False) -> str:
    """The page's HTML, which needs nothing that the policy it came with forbids."""
    policy = answer["Content-Security-Policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'none'" and directives["style-src"] == "'self'"
    if of_admin:
        assert directives["script-src"].split() == ["'self'", "'unsafe-eval'"]
        assert policy.count("unsafe-inline") == 1 and "'unsafe-inline'" in directives["style-src-attr"]
    else:
        assert directives["script-src"] == "'self'" and "unsafe" not in policy
    page = str(answer.content.decode())
    found = (INLINE_OF_ADMIN if of_admin else INLINE).search(page)
    assert found is None, page[max(found.start() - 80, 0) : found.end() + 80]
    assert of_admin or "<main" not in page or page.count("<h1") == 1
    return page


@contextmanager
def seeing() -> Iterator[set[str]]:
    """The names of the templates that are rendered meanwhile."""
    seen: set[str] = set()

    def note(sender: Any, template: Any, **kwargs: Any) -> None:
        seen.add(str(template.name))

    template_rendered.connect(note)
    try:
        yield seen
    finally:
        template_rendered.disconnect(note)


def unseen(seen: set[str], *folders: str) -> list[str]:
    """The portal's templates in these folders, or in all but those of ``SIGN_IN`` and ``ADMIN``, that are not ``seen``."""
    root = Path(settings.BASE_DIR) / "templates"
    names = {path.relative_to(root) for path in root.rglob("*") if path.is_file()}
    mine = {str(one) for one in names if (one.parts[0] in folders if folders else one.parts[0] not in SIGN_IN + ADMIN)}
    assert mine
    return sorted(mine - seen)
