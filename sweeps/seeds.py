"""When a comparison has seeds enough: the rule of a sweep file, and what it says of differences.

    seeds: {min: 3, max: 10, until: 0.5, compare: CAM}

Every arm but the reference gets further seeds until the 95 % interval of its difference to the
reference, paired by seed (Student's t), is narrower than `until` points of mIoU from end to end, or
excludes zero, or `max` seeds are run.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from camsweep.sweeps.nested import section

#: Most seeds of a cell.
MOST = 1000

Verdict = Literal["excludes zero", "narrow enough", "max seeds", "open"]


class SeedRule(BaseModel):
    """The `seeds:` section of a sweep that adds them as they pay.

    Attributes:
        min: seeds that every cell gets.
        max: seeds that no cell gets more than, failed ones counted.
        until: width of the 95 % interval that is narrow enough, in points of mIoU (percent).
        compare: label of the cell that the others are compared with; the first if not given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    min: int = Field(default=3, ge=2, le=MOST)
    max: int = Field(default=10, ge=2, le=MOST)
    until: float = Field(gt=0)
    compare: str | None = None

    def __str__(self) -> str:
        """How many seeds, `3 to 10`."""
        return f"{self.min} to {self.max}"

    @model_validator(mode="after")
    def _in_order(self) -> SeedRule:
        if self.max < self.min:
            raise ValueError(f"max must be at least min ({self.min}), not {self.max}")
        return self


@dataclass(frozen=True)
class Decision:
    """Where an arm stands.

    Attributes:
        verdict: why it gets no more seeds, or `open`.
        pairs: seeds that both it and the reference have.
        mean: the mean difference, arm minus reference, in points of mIoU; None without a pair.
        low: lower end of its 95 % interval; None with fewer than two pairs.
        high: upper end.
    """

    verdict: Verdict
    pairs: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None


def number_or_rule(value: Any) -> int | SeedRule:
    """What `seeds:` of a sweep file holds.

    Raises:
        ValueError: neither a number of seeds nor a rule.
    """
    if isinstance(value, SeedRule):
        return value
    if isinstance(value, dict):
        rule: SeedRule = section(SeedRule)(value)
        return rule
    # YAML's `yes` is true, which Python counts as 1.
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
        raise ValueError(
            f"must be a number from 1 to {MOST} or a rule such as "
            f"{{min: 3, max: 10, until: 0.5}}, not {value!r}"
        )
    return value


def t_975(freedom: int) -> float:
    """The 97.5 % point of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))


def decide(differences: Sequence[float], tried: int, rule: SeedRule) -> Decision:
    """Whether an arm gets another seed.

    Args:
        differences: arm minus reference of each seed that both have, in points of mIoU.
        tried: seeds that were run or tried, failed ones too.
        rule: when to stop.
    """
    count = len(differences)
    mean = statistics.fmean(differences) if count else None
    low = high = None
    if mean is not None and count > 1:
        half = t_975(count - 1) * statistics.stdev(differences) / math.sqrt(count)
        low, high = mean - half, mean + half
    verdict: Verdict = "open"
    if low is not None and high is not None and tried >= rule.min:
        if low > 0 or high < 0:
            verdict = "excludes zero"
        elif high - low < rule.until:
            verdict = "narrow enough"
    if verdict == "open" and tried >= rule.max:
        verdict = "max seeds"
    return Decision(verdict, count, mean, low, high)


def rule_text(rule: SeedRule, reference: str) -> str:
    """The rule in one sentence."""
    return (
        f"{rule} seeds an arm, added until the 95 % interval of the difference to {reference}, "
        f"paired by seed, is narrower than {rule.until:g} points of mIoU from end to end or "
        "excludes zero"
    )
