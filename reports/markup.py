"""HTML as nested calls. Plain strings are escaped always; only what `tag` built is markup."""

from __future__ import annotations

import html
import json
from typing import Any

_VOID = frozenset({"img", "br", "input", "meta", "hr"})


class Html(str):
    """Text that is markup already. Made by `tag`, `join` and `raw` alone."""

    __slots__ = ()


def raw(text: str) -> Html:
    """Our own constant text as markup; never for anything read from a store."""
    return Html(text)


def text(value: object) -> Html:
    """Anything as markup: `Html` as it is, all else escaped."""
    return value if isinstance(value, Html) else Html(html.escape(str(value), quote=True))


def join(*parts: object) -> Html:
    """Parts one after the other; None is nothing."""
    return Html("".join(text(part) for part in parts if part is not None))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """An element.

    Args:
        name: of the element.
        *children: `Html` as it is, other values escaped, None left out.
        **attributes: values are escaped; None leaves one out, a trailing underscore is dropped
            (``class_``) and inner ones become dashes (``aria_label``).
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{join(*children)}</{name}>")


def script_json(value: Any) -> Html:
    """JSON that may stand inside a script element: no ``<`` that could close it."""
    encoded = value if isinstance(value, str) else json.dumps(value)
    for char in "<>&\u2028\u2029":
        encoded = encoded.replace(char, f"\\u{ord(char):04x}")
    return Html(encoded)
