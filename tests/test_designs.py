from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from camsweep.shards.errors import InputError
from camsweep.sweeps.designs import Ablation, describe, expand
from camsweep.sweeps.fractions import MOST, Fraction, fractions, smallest, spell
from camsweep.sweeps.plan import Plan, make_plan
from camsweep.sweeps.profile import load_profile
from camsweep.sweeps.spec import Sweep, SweepSpec, load_sweep

ABC = ["a", "b", "c"]
PARTS = ["tcp", "cpcr", "ohem", "prcm"]


def rows(components: list[str], design: str, **more: Any) -> dict[str, str]:
    """Labels, and which components are on, as `ac`."""
    ablation = Ablation.model_validate({"components": components, "design": design, **more})
    return {r.label: "".join(n for n in components if r.on[n]) for r in expand(ablation)}


def sweep(text: str) -> Sweep:
    return Sweep("mine", "mine.yaml", SweepSpec.model_validate(yaml.safe_load(text)))


def plan(text: str, profile: str = "embedded", **options: Any) -> Plan:
    return make_plan([sweep(text)], load_profile(profile), "digest", seeds=1, **options)


def test_leave_one_out_is_the_whole_and_each_one_off() -> None:
    assert rows(ABC, "leave-one-out") == {
        "all": "abc",
        "all - a": "bc",
        "all - b": "ac",
        "all - c": "ab",
    }


def test_add_one_in_is_nothing_and_each_one_on() -> None:
    assert rows(ABC, "add-one-in") == {
        "none": "",
        "none + a": "a",
        "none + b": "b",
        "none + c": "c",
    }


def test_cumulative_switches_one_after_the_other_on() -> None:
    assert rows(ABC, "cumulative") == {"none": "", "+ a": "a", "+ b": "ab", "+ c": "abc"}
    ordered = rows(ABC, "cumulative", order=["c", "a", "b"])
    assert ordered == {"none": "", "+ c": "c", "+ a": "ac", "+ b": "abc"}


def test_factorial_has_every_combination_once() -> None:
    found = rows(ABC, "factorial")
    subsets = {"".join(s) for n in range(4) for s in itertools.combinations("abc", n)}
    assert len(found) == 8
    assert set(found.values()) == subsets
    assert next(iter(found)) == "a=on, b=on, c=on"


def test_half_of_five_has_resolution_v_by_e_is_abcd() -> None:
    fraction = smallest(5, 5)
    assert (fraction.runs, fraction.resolution) == (16, 5)
    assert fraction.texts() == ["E=ABCD"]
    assert [spell(word) for word in fraction.words()] == ["ABCDE"]
    signs = [[1 if on else -1 for on in row] for row in fraction.rows()]
    assert len({tuple(row) for row in signs}) == 16
    assert all(math.prod(row[:4]) == row[4] for row in signs)
    # Resolution V: all main effects and two-factor interactions are orthogonal to each other.
    effects = [s for n in (1, 2) for s in itertools.combinations(range(5), n)]
    columns = [[math.prod(row[i] for i in effect) for row in signs] for effect in effects]
    for one, two in itertools.combinations(columns, 2):
        assert sum(a * b for a, b in zip(one, two, strict=True)) == 0


@pytest.mark.parametrize("factors", range(3, MOST + 1))
def test_the_rows_of_every_fraction_have_the_resolution_of_its_words(factors: int) -> None:
    """Independent of the words: effects that share a column in the rows are confounded."""
    for fraction in fractions(factors):
        if fraction.runs > 128:
            continue
        signs = [[1 if on else -1 for on in row] for row in fraction.rows()]
        assert signs[0] == [1] * factors
        length = 1
        while True:
            constant = any(
                len({math.prod(row[i] for i in effect) for row in signs}) == 1
                for effect in itertools.combinations(range(factors), length)
            )
            if constant:
                break
            length += 1
        assert length == fraction.resolution


@pytest.mark.parametrize("factors", [5, 6, 7, 8])
def test_no_other_generators_have_less_aberration(factors: int) -> None:
    for fraction in fractions(factors):
        basic = range(factors - len(fraction.generators))
        words = [frozenset(w) for n in basic for w in itertools.combinations(basic, n + 1) if n]
        others = itertools.combinations(words, len(fraction.generators))
        assert fraction.pattern() == min(Fraction(factors, g).pattern() for g in others)


def test_textbook_resolutions() -> None:
    """Montgomery, table 8.14: resolution by factors and runs."""
    found = {(f.factors, f.runs): f.resolution for k in range(3, 12) for f in fractions(k)}
    assert found[3, 4] == 3
    assert found[4, 8] == 4
    assert (found[5, 8], found[5, 16]) == (3, 5)
    assert (found[6, 8], found[6, 16], found[6, 32]) == (3, 4, 6)
    assert (found[7, 8], found[7, 16], found[7, 32], found[7, 64]) == (3, 4, 4, 7)
    assert (found[8, 16], found[8, 32], found[8, 64]) == (4, 4, 5)
    assert (found[9, 16], found[9, 32], found[9, 64], found[9, 128]) == (3, 4, 4, 6)
    assert (found[10, 16], found[10, 128], found[11, 16], found[11, 128]) == (3, 5, 3, 5)


def test_a_fraction_is_described_with_what_it_confounds() -> None:
    ablation = Ablation(components=list("abcd"), design="fractional", resolution=4)  # type: ignore[arg-type]
    found = describe(ablation)
    assert (found["rows"], found["resolution"], found["generators"]) == (8, 4, ["D=ABC"])
    assert found["confounded"] == ["a:b = c:d", "a:c = b:d", "a:d = b:c"]


def test_on_and_off_may_be_any_settings() -> None:
    text = """
    title: x
    base: {method: cpn}
    ablate:
      components:
        patches: {on: {patches: superpixel, s_n: 50}, off: {patches: grid}}
        prcm: {on: {prcm: true}, off: {prcm: false}}
      design: factorial
    """
    cells = dict(sweep(text).cells())
    assert cells["patches=on, prcm=off"] == {
        "method": "cpn", "patches": "superpixel", "s_n": 50, "prcm": False
    }  # fmt: skip
    assert [t.config.active().get("s_n") for t in plan(text).trials] == [50, 50, None, None]


def test_designs_go_with_arms_and_axes() -> None:
    text = """
    title: x
    base: {method: cpn}
    arms: {fine: {s_n: 500}, coarse: {s_n: 50}}
    ablate: {components: [tcp, prcm], design: leave-one-out}
    axes: {epochs: [1, 2]}
    """
    labels = [label for label, _ in sweep(text).cells()]
    assert len(labels) == 2 * 3 * 2
    assert labels[:3] == ["fine, all, epochs=1", "fine, all, epochs=2", "fine, all - tcp, epochs=1"]


def test_what_the_method_can_not_do_is_excluded_by_its_declared_rule() -> None:
    text = (
        "title: x\nbase: {method: cpn}\nablate: "
        "{components: [tcp, cpcr, ohem, pcm, prcm], design: factorial}"
    )
    found = plan(text, "voc12")
    excluded = {row.label: (row.rule, row.source) for row in found.excluded}
    assert len(excluded) + len(found.trials) == 32
    on = [
        {part for part in ("tcp", "cpcr", "ohem", "pcm", "prcm") if getattr(t.config, part)}
        for t in found.trials
    ]
    assert not any("prcm" in parts and "pcm" not in parts for parts in on)
    assert not any("ohem" in parts and "cpcr" not in parts for parts in on)
    off = "tcp=on, cpcr=on, ohem=off, pcm=off, prcm=off"
    assert excluded[off] == ("cpcr needs pcm", "cpn")
    assert excluded["tcp=off, cpcr=off, ohem=off, pcm=off, prcm=on"] == ("prcm needs pcm", "cpn")
    assert excluded["tcp=on, cpcr=off, ohem=on, pcm=on, prcm=off"] == ("ohem needs cpcr", "cpn")
    assert "tcp=off, cpcr=off, ohem=off, pcm=on, prcm=on" not in excluded
    assert found.to_json(None)["excluded"][0]["rule"]


def test_rules_see_the_profile() -> None:
    """Under `embedded` CPN has no min-pooling term, so PCM needs TCP or CPCR to be trained."""
    text = (
        "title: x\nbase: {method: cpn}\nablate: {components: [tcp, cpcr, pcm], design: factorial}"
    )
    rules = {row.label: row.rule for row in plan(text).excluded}
    assert rules["tcp=off, cpcr=off, pcm=on"] == "pcm needs min_pool or tcp or cpcr"
    assert "tcp=off, cpcr=off, pcm=on" not in {r.label for r in plan(text, "voc12").excluded}


def test_rules_of_the_file_exclude_too() -> None:
    text = """
    title: x
    base: {method: cpn}
    ablate: {components: [tcp, cpcr, prcm], design: factorial, rules: {prcm: [tcp, cpcr]}}
    """
    found = plan(text)
    assert all(t.config.tcp and t.config.cpcr for t in found.trials if t.config.prcm)  # type: ignore[attr-defined]
    of_file = [row for row in found.excluded if row.source == "mine.yaml"]
    assert [row.rule for row in of_file] == ["prcm needs cpcr", "prcm needs tcp", "prcm needs tcp"]
    assert len(sweep(text).cells()) == 5


def test_rows_that_are_one_trial_share_it() -> None:
    text = "title: x\nbase: {method: cpn}\nablate: {components: [tcp, cpcr, prcm], design: %s}"
    both = [sweep(text % "leave-one-out"), sweep(text % "factorial")]
    both[1] = Sweep("other", "other.yaml", both[1].spec)
    found = make_plan(both, load_profile("voc12"), "digest", seeds=1)
    assert len(found.trials) < found.requested
    (full,) = (t for t in found.trials if ("mine", "all") in t.uses)
    assert ("other", "tcp=on, cpcr=on, prcm=on") in full.uses


def test_components_can_not_be_set_beside() -> None:
    text = "title: x\nbase: {method: cpn}\nablate: {components: [tcp], design: add-one-in}"
    with pytest.raises(InputError, match=r"--set tcp: mine.yaml varies it"):
        plan(text, overrides={"tcp": True})


def test_a_design_without_a_possible_row_is_refused() -> None:
    text = (
        "title: x\nbase: {method: cpn, pair: false}\n"
        "ablate: {components: {A: {on: {tcp: true}, off: {cpcr: true}}}, design: add-one-in}"
    )
    with pytest.raises(InputError, match=r"rules exclude every row \(none \+ A: tcp needs pair\)"):
        plan(text)


def test_a_row_that_no_rule_knows_of_is_named_in_the_error() -> None:
    text = (
        "title: x\nbase: {method: cpmc, context: learned}\n"
        "ablate: {components: [gsc], design: leave-one-out}"
    )
    with pytest.raises(InputError, match=r"mine.yaml: all - gsc: context: learned needs gsc"):
        plan(text)


@pytest.mark.parametrize(
    ("ablate", "says"),
    [
        ("{components: [tcp]}", "ablate: design: .*required"),
        ("{components: [], design: factorial}", "ablate: components: .*at least 1"),
        ("{components: [tcp], desgin: factorial}", "desgin: unknown .* did you mean 'design'"),
        ("{components: [tcp], design: latin}", "design: .*'factorial'.*not 'latin'"),
        ("{components: [tcp, tcp], design: factorial}", "names a component twice"),
        ("{components: [tcp, ohem], design: cumulative, order: [tcp]}", "each component once"),
        ("{components: [tcp], design: factorial, order: [tcp]}", "order is for .*cumulative"),
        ("{components: [tcp], design: factorial, resolution: 4}", "resolution is for .*fract"),
        ("{components: [tcp, ohem], design: factorial, rules: {ohm: tcp}}", "mean 'ohem'"),
        ("{components: [a, b, c, d], design: fractional}", r"there are 4 \(8 rows\).*16 rows"),
        ("{components: [a, b, c, d, e], design: fractional, resolution: 6}", "3 .*5 .*32 rows"),
        ("{components: [a, b], design: fractional}", "needs 3 to 11 components, not 2"),
        ("{components: {a: {on: {x: 1}, off: {x: 1}}}, design: factorial}", "same settings"),
        ("{components: {a: {on: {x: 1}}}, design: factorial}", "components.a: off: .*required"),
        (
            "{components: {a: {on: {x: 1}, off: {}}, b: {on: {x: 2}, off: {}}}, design: factorial}",
            "components.b and components.a both set x",
        ),
        (f"{{components: {list(range(13))}, design: factorial}}", "13 components has 8192 rows"),
    ],
)
def test_a_wrong_design_is_one_line(tmp_path: Path, ablate: str, says: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"title: x\nbase: {{method: cpn}}\nablate: {ablate}")
    with pytest.raises(InputError, match=says) as error:
        load_sweep(str(path))
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_unknown_components_come_with_the_nearest_setting(tmp_path: Path) -> None:
    text = "title: x\nbase: {method: cpn}\nablate: {components: [prmc], design: add-one-in}"
    with pytest.raises(InputError, match=r"prmc: unknown .* did you mean 'prcm'"):
        plan(text)


def test_one_setting_is_varied_in_one_place() -> None:
    base = {"title": "x", "base": {"method": "cpn"}}
    ablate = {"components": ["tcp"], "design": "factorial"}
    for clash in ({"axes": {"tcp": [True]}}, {"arms": {"a": {"tcp": True}}}):
        with pytest.raises(ValidationError, match="tcp is varied by"):
            SweepSpec.model_validate({**base, "ablate": ablate, **clash})
