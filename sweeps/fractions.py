"""Fractions of two-level factorial designs: which words generate them, and what they confound.

A fraction 2^(k-p) runs the full factorial of the first k - p factors; each of the other p factors
is set to the product of some of them (its generator), with on = +1 and off = -1. A product of
factors that is constant over all runs is a defining word; the length of the shortest is the
resolution. At resolution V no main effect and no two-factor interaction is confounded with another
of them; at IV main effects are clear of two-factor interactions; at III they are not.

The generators are those of minimum aberration as the textbooks list them (Box, Hunter and Hunter,
"Statistics for Experimenters"; Montgomery, "Design and Analysis of Experiments", table 8.14). What
is stated of a fraction is never read from that list but computed from its words.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

#: I is left out, as it stands for the mean.
LETTERS = "ABCDEFGHJKLM"

#: Most factors of a fraction.
MOST = 11

# By number of factors and of generators; 2^(k-1) is the product of all others and not listed.
_GENERATORS = {
    (5, 2): "D=AB E=AC",
    (6, 2): "E=ABC F=BCD",
    (6, 3): "D=AB E=AC F=BC",
    (7, 2): "F=ABCD G=ABDE",
    (7, 3): "E=ABC F=BCD G=ACD",
    (7, 4): "D=AB E=AC F=BC G=ABC",
    (8, 2): "G=ABCD H=ABEF",
    (8, 3): "F=ABC G=ABD H=BCDE",
    (8, 4): "E=BCD F=ACD G=ABC H=ABD",
    (9, 2): "H=ACDFG J=BCEFG",
    (9, 3): "G=ABCD H=ACEF J=CDEF",
    (9, 4): "F=BCDE G=ACDE H=ABDE J=ABCE",
    (9, 5): "E=ABC F=BCD G=ACD H=ABD J=ABCD",
    (10, 3): "H=ABCG J=BCDE K=ACDF",
    (10, 4): "G=BCDF H=ACDF J=ABDE K=ABCE",
    (10, 5): "F=ABCD G=ABCE H=ABDE J=ACDE K=BCDE",
    (10, 6): "E=ABC F=BCD G=ACD H=ABD J=ABCD K=AB",
    (11, 4): "H=ABCG J=BCDE K=ACDF L=ABCDEFG",
    (11, 5): "G=CDE H=ABCD J=ABF K=BDEF L=ADEF",
    (11, 6): "F=ABC G=BCD H=CDE J=ACD K=ADE L=BDE",
    (11, 7): "E=ABC F=BCD G=ACD H=ABD J=ABCD K=AB L=AC",
}


@dataclass(frozen=True)
class Fraction:
    """A 2^(k-p) fraction.

    Attributes:
        factors: k.
        generators: of the last p factors, in their order: the set of the first factors' indices
            whose product each is.
    """

    factors: int
    generators: tuple[frozenset[int], ...]

    @property
    def runs(self) -> int:
        """How many rows it has."""
        return 2 ** (self.factors - len(self.generators))

    def words(self) -> list[frozenset[int]]:
        """The defining words, shortest first: every product of generators, 2^p - 1 of them."""
        basic = self.factors - len(self.generators)
        given = [word | {basic + i} for i, word in enumerate(self.generators)]
        found = [
            reduce(frozenset.__xor__, some, frozenset[int]())
            for size in range(1, len(given) + 1)
            for some in itertools.combinations(given, size)
        ]
        return sorted(found, key=lambda word: (len(word), sorted(word)))

    @property
    def resolution(self) -> int:
        """The length of the shortest defining word."""
        return min(len(word) for word in self.words())

    def pattern(self) -> tuple[int, ...]:
        """How many defining words have the length 1, 2, ..., k: what aberration compares."""
        lengths = [len(word) for word in self.words()]
        return tuple(lengths.count(n) for n in range(1, self.factors + 1))

    def rows(self) -> Iterator[tuple[bool, ...]]:
        """The rows, True for on; the one with all on is first."""
        for basic in itertools.product((True, False), repeat=self.factors - len(self.generators)):
            # A product of +1 and -1 is +1 where an even number of them is -1.
            made = (sum(not basic[i] for i in word) % 2 == 0 for word in self.generators)
            yield (*basic, *made)

    def texts(self) -> list[str]:
        """The generators as `E=ABCD`."""
        basic = self.factors - len(self.generators)
        return [f"{LETTERS[basic + i]}={spell(word)}" for i, word in enumerate(self.generators)]


def spell(word: frozenset[int]) -> str:
    """A word in letters: `ABE`."""
    return "".join(LETTERS[i] for i in sorted(word))


def fractions(factors: int) -> list[Fraction]:
    """Every listed fraction of so many factors (3 to `MOST`), fewest runs first."""
    found = [Fraction(factors, (frozenset(range(factors - 1)),))]
    for (count, _), text in _GENERATORS.items():
        if count == factors:
            words = [generator.partition("=")[2] for generator in text.split()]
            found.append(Fraction(factors, tuple(frozenset(map(LETTERS.index, w)) for w in words)))
    return sorted(found, key=lambda fraction: fraction.runs)


def smallest(factors: int, resolution: int) -> Fraction:
    """The fraction with fewest runs of at least this resolution.

    Raises:
        ValueError: there is none; the line says what can be had.
    """
    if not 3 <= factors <= MOST:
        raise ValueError(
            f"fractional needs 3 to {MOST} components, not {factors}; take design: factorial"
        )
    known = fractions(factors)
    for fraction in known:
        if fraction.resolution >= resolution:
            return fraction
    best = {f.resolution: f.runs for f in reversed(known)}
    have = ", ".join(f"{r} ({best[r]} rows)" for r in sorted(best))
    raise ValueError(
        f"resolution {resolution} can't be had with {factors} components; there are {have}, "
        f"or design: factorial ({2**factors} rows)"
    )


def confounded(fraction: Fraction, names: Sequence[str], most: int = 2) -> list[str]:
    """The effects of up to `most` factors that can't be told apart, as `A:B = C:D` in `names`."""
    effects = [
        frozenset(some)
        for size in range(1, most + 1)
        for some in itertools.combinations(range(fraction.factors), size)
    ]
    words = [frozenset[int](), *fraction.words()]
    groups: dict[frozenset[frozenset[int]], list[str]] = {}
    for effect in effects:
        chain = frozenset(effect ^ word for word in words)
        groups.setdefault(chain, []).append(":".join(names[i] for i in sorted(effect)))
    return [" = ".join(group) for group in groups.values() if len(group) > 1]
