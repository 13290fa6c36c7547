"""The site's colours, light and dark; text on any ground has a contrast of 4.5 or more."""

from __future__ import annotations

from collections.abc import Mapping

LIGHT = {
    "page": "#f5f7f9", "card": "#ffffff", "text": "#1b2430", "muted": "#556170",
    "line": "#d9dee5", "edge": "#7d8896", "soft": "#eef2f6", "accent": "#0068a3",
    "warn": "#9a4300", "hole": "#f7efe3", "on-accent": "#ffffff",
}  # fmt: skip
DARK = {
    "page": "#12171d", "card": "#1a2129", "text": "#e4e9ef", "muted": "#9fabb9",
    "line": "#323c48", "edge": "#75818f", "soft": "#232c36", "accent": "#56b4e9",
    "warn": "#f0a860", "hole": "#2e2920", "on-accent": "#10161c",
}  # fmt: skip

#: What stands on what: pairs of (text, ground) that must be readable.
TEXTS = ("text", "muted", "accent", "warn")
GROUNDS = ("page", "card", "soft", "hole")


def _rule(selector: str, colours: Mapping[str, str], scheme: str) -> str:
    values = "".join(f"--{name}:{value};" for name, value in colours.items())
    return f"{selector}{{color-scheme:{scheme};{values}}}\n"


def stylesheet() -> str:
    """The colours as custom properties: the system's choice, unless the page's switch says other.

    Paper is light, whatever the screen is.
    """
    dark = _rule(":root:not([data-theme=light])", DARK, "dark")
    return (
        _rule(":root", LIGHT, "light")
        + f"@media screen and (prefers-color-scheme: dark) {{\n{dark}}}\n"
        + f"@media screen {{\n{_rule(':root[data-theme=dark]', DARK, 'dark')}}}\n"
    )


def contrast(first: str, second: str) -> float:
    """The contrast ratio of two colours ``#rrggbb``, 1 to 21 (WCAG 2.2, "contrast ratio")."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)
