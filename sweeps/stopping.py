"""How the seeds of a sweep were decided, kept in the store for the reports.

    STORE/seeds/<id>.json    one a sweep, profile, data set and settings; replaced after each round

The rows alone can't tell a report that an arm has four seeds because a rule stopped there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from camsweep.shards.errors import InputError
from camsweep.sweeps.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

    from camsweep.sweeps.plan import Plan
    from camsweep.sweeps.sequential import Arm, Comparison

FOLDER = "seeds"
FORMAT = 1
#: What tells one file from another.
ABOUT = ("sweep", "profile", "data_digest", "first_seed", "overrides")


@dataclass(frozen=True)
class Stopping:
    """What a report says of a sweep whose seeds were added by a rule.

    Attributes:
        sweep: the sweep's name.
        profile: the profile's name.
        data_digest: of the data set.
        first_seed: of every arm.
        overrides: settings of `--set`, as text.
        rule: the rule in one sentence.
        arms: label and how it stopped, in words, of each arm.
    """

    sweep: str
    profile: str
    data_digest: str
    first_seed: int
    overrides: Mapping[str, str]
    rule: str
    arms: tuple[tuple[str, str], ...]


def as_json(found: Comparison) -> dict[str, Any]:
    """A comparison for `--json` and the store: the rule, and each arm with how it stopped.

    `mean`, `low` and `high` are arm minus reference in points of mIoU; null where they are unknown.
    """
    from camsweep.sweeps.seeds import rule_text

    return {
        "sweep": found.sweep,
        "reference": found.reference,
        "rule": found.rule.model_dump(),
        "text": rule_text(found.rule, found.reference),
        "arms": [
            {
                "label": arm.label,
                "seeds": list(arm.seeds),
                "paired": list(arm.paired),
                "verdict": arm.decision.verdict,
                "mean": arm.decision.mean,
                "low": arm.decision.low,
                "high": arm.decision.high,
                "text": arm_text(arm),
            }
            for arm in found.arms
        ],
    }


def arm_text(arm: Arm) -> str:
    """`4 seeds, excludes zero (+1.2 [+0.4, +2.0])`."""
    found = arm.decision
    count = len(arm.seeds)
    words = {
        "excludes zero": "excludes zero",
        "narrow enough": "narrow enough",
        "max seeds": "undecided at the most seeds",
        "open": "not decided yet",
    }
    text = f"{count} seed{'' if count == 1 else 's'}, {words[found.verdict]}"
    if found.low is not None:
        text += f" ({found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}])"
    if found.pairs < count:
        text += f", {found.pairs} of them in pairs"
    return text


def write_stopping(
    store: Store, plan: Plan, history: pa.Table, *, skip_damaged: bool = False
) -> None:
    """Keep how the seeds of the plan's sweeps were decided; call it after every round.

    Args:
        store: where.
        plan: of the round, or of all rounds.
        history: the store's trial rows.
        skip_damaged: whether trials count that left out damaged samples.
    """
    # Who writes has torch anyway; who only reads (the leaderboard) must not wait for it.
    from camsweep.sweeps.identity import content_id
    from camsweep.sweeps.sequential import comparisons

    for found in comparisons(plan, history, skip_damaged=skip_damaged):
        about = {
            "sweep": found.sweep,
            "profile": plan.profile.name,
            "data_digest": plan.data_digest,
            "first_seed": plan.asked.first_seed,
            "overrides": {key: str(value) for key, value in plan.asked.overrides.items()},
        }
        content = {"format": FORMAT, **about, **as_json(found)}
        name = f"{FOLDER}/{content_id(about)[:16]}.json"
        store.write(name, json.dumps(content, indent=1).encode())


def read_stopping(store: Store) -> list[Stopping]:
    """Everything that `write_stopping` kept, in the order of the sweeps' names and first seeds.

    Raises:
        InputError: a file is damaged, or a newer camsweep wrote it.
    """
    found = []
    for name in store.names(FOLDER, ".json"):
        where = f"{store}/{FOLDER}/{name}"
        try:
            content = json.loads(store.read(f"{FOLDER}/{name}"))
            if content["format"] > FORMAT:
                raise InputError(
                    f"{where}: written by a newer camsweep (format {content['format']}, this one "
                    f"reads {FORMAT}); update camsweep"
                )
            arms = tuple((arm["label"], arm["text"]) for arm in content["arms"])
            about = {key: content[key] for key in ABOUT}
            found.append(Stopping(**about, rule=content["text"], arms=arms))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{where}: damaged ({error}); delete it and run again") from error
    return sorted(found, key=lambda one: (one.sweep, one.first_seed))
