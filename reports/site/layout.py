"""Which pages the site has, in which order, and the id that each exhibit is linked by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from camsweep.reports.exhibit import Exhibit
from camsweep.reports.spec import paper

PAPERS = ("cpn", "sipe", "ppl", "cpmc", "study")
#: Pages in order; those that exhibits name and this does not come behind `own`.
BEFORE = (*PAPERS, "ablate", "searches", "own")
AFTER = ("leaderboard", "pictures", "training", "provenance")
TITLES = {
    "overview": "Overview",
    "ablate": "Ablation designs",
    "searches": "Searches",
    "own": "Your own sweeps",
    "leaderboard": "Leaderboard",
    "pictures": "Pictures",
    "training": "Training",
    "provenance": "Provenance",
}


@dataclass(frozen=True)
class Placed:
    """An exhibit and its id; empty where the page's own id leads to it."""

    anchor: str
    exhibit: Exhibit


@dataclass(frozen=True)
class Page:
    """A page: its id, its title and the exhibits on it."""

    name: str
    title: str
    placed: tuple[Placed, ...] = ()


def anchor(name: str) -> str:
    """An id for links: letters, digits and dashes only."""
    return "".join(c if c.isalnum() else "-" for c in name)


def title(name: str) -> str:
    """How a page is called: a paper by its short name."""
    if name in TITLES:
        return TITLES[name]
    if name in PAPERS:
        return paper(name).title.split(":")[0]
    return name[:1].upper() + name[1:]


def pages(
    exhibits: Sequence[Exhibit], *, board: bool = True, pictures: bool = False
) -> tuple[Page, ...]:
    """The pages that have something to show, overview first.

    Args:
        exhibits: in order.
        board: whether the leaderboard has any variant.
        pictures: whether the picture browser has anything to show.
    """
    named = dict.fromkeys(e.page for e in exhibits)
    others = [name for name in named if name not in BEFORE + AFTER + ("overview",)]
    given = {"overview": True, "leaderboard": board, "pictures": pictures, "provenance": True}
    always = {name for name, there in given.items() if there}
    order = [n for n in ("overview", *BEFORE, *others, *AFTER) if n in always or n in named]
    taken = {anchor(name) for name in order}
    found: dict[str, Page] = {}
    for name in order:
        placed = []
        for exhibit in exhibits:
            if exhibit.page == name:
                own = anchor(exhibit.id) == anchor(name)
                placed.append(Placed("" if own else _free(exhibit.id, taken), exhibit))
        known = found.get(anchor(name))  # two names that differ by signs alone share a page
        before = known.placed if known else ()
        heading = known.title if known else title(name)
        found[anchor(name)] = Page(anchor(name), heading, (*before, *placed))
    return tuple(found.values())


def _free(name: str, taken: set[str]) -> str:
    """An id nothing else has: names that differ by signs alone get numbers."""
    wanted = anchor(name)
    chosen, number = wanted, 2
    while chosen in taken:
        chosen, number = f"{wanted}-{number}", number + 1
    taken.add(chosen)
    return chosen
