"""What makes a page that is watched read itself again."""

from __future__ import annotations

from importlib import resources

from camsweep.reports.markup import Html, join, raw, tag


def refreshing(seconds: int | None) -> Html | None:
    """For the page's head: it is read again after some seconds; None for a page that stays.

    A page from a disk may not fetch anything, so it can't ask whether there is something new.

    Args:
        seconds: until then, at least 1.
    """
    if seconds is None:
        return None
    code = resources.files("camsweep.reports").joinpath("refresh.js").read_text(encoding="utf-8")
    told = max(1, seconds)
    # By itself a browser takes an address with a hash for the place that it is at already.
    without = tag("noscript", tag("meta", http_equiv="refresh", content=told))
    return join(
        tag("meta", name="camsweep-refresh", content=told), without, tag("script", raw(code))
    )
