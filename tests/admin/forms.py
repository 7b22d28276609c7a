"""The admin site as its user has it: pages with forms, filled in as they came, changed, and sent."""

from html.parser import HTMLParser
from typing import Any

from django.test import Client


class Form(HTMLParser):
    """The fields of the page's forms as a browser would send them, buttons apart."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.values: dict[str, list[str]] = {}
        self._select = self._textarea = ""
        self._first: str | None = None
        self._chosen = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name = given.get("name") or ""
        if tag == "input" and name and "disabled" not in given:
            kind = given.get("type") or "text"
            if kind in ("submit", "file", "image") or (kind in ("checkbox", "radio") and "checked" not in given):
                return
            self._add(name, given.get("value") or ("on" if kind == "checkbox" else ""))
        elif tag == "textarea":
            self._textarea = name
            self._add(name, "")
        elif tag == "select":
            self._select, self._first, self._chosen = name, None, "multiple" in given
        elif tag == "option" and self._select:
            value = given.get("value") or ""
            self._first = value if self._first is None else self._first
            if "selected" in given:
                self._add(self._select, value)
                self._chosen = True

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.values[self._textarea][-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._textarea:
            self.values[self._textarea][-1] = self.values[self._textarea][-1].removeprefix("\n")
            self._textarea = ""
        elif tag == "select":
            if self._select and not self._chosen and self._first is not None:
                self._add(self._select, self._first)
            self._select = ""

    def _add(self, name: str, value: str) -> None:
        self.values.setdefault(name, []).append(value)


class Admin:
    """A signed-in client. ``opened`` gives a page's values, ``send`` posts them with changes."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def get(self, path: str) -> Any:
        return self.client.get(f"/admin/{path}")

    def text(self, path: str) -> str:
        answer = self.get(path)
        assert answer.status_code == 200, f"{path}: {answer.status_code}"
        return str(answer.content.decode())

    def opened(self, path: str) -> dict[str, Any]:
        return dict(Form(self.text(path)).values)

    def post(self, path: str, values: dict[str, Any]) -> Any:
        return self.client.post(f"/admin/{path}", values)

    def save(self, path: str, values: Any = None, **changes: Any) -> Any:
        """Opens the form, unless its values are given, and sends it with these changes."""
        values = dict(values if values is not None else self.opened(path))
        values.pop("action", None)
        return self.post(path, values | changes)

    def act(self, path: str, action: str, keys: list[Any], **more: Any) -> Any:
        return self.client.post(f"/admin/{path}", {"action": action, "_selected_action": keys, **more})
