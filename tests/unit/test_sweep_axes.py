"""Ranges, and precisions of which every node takes its own."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talon_lib.errors import ConfigError, PrecisionError
from talon_lib.formats import read
from talon_lib.precision import Precision, adjustable, mixed, widest
from talon_lib.sweep import spec, stages
from talon_lib.sweep.axes import LONGEST, PerNode, spread, spread_names

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "configs/graphs/digits.nir"


@given(st.integers(-20, 20), st.integers(0, 60), st.integers(1, 9))
def test_a_range_of_whole_numbers_is_python_s_own(start: int, length: int, step: int) -> None:
    found = spread({"start": start, "stop": start + length, "step": step})
    assert found == list(range(start, start + length + 1, step))
    assert all(type(value) is int for value in found)


@given(st.integers(1, 50), st.integers(0, 100), st.integers(1, 20))
def test_a_range_of_decimals_is_exact_in_decimals(start: int, length: int, step: int) -> None:
    ten = Decimal(10)
    given_ = {"start": float(start / ten), "stop": float((start + length) / ten), "step": float(step / ten)}
    assert spread(given_) == [float(value / ten) for value in range(start, start + length + 1, step)]


@pytest.mark.parametrize(
    ("value", "values"),
    [
        ({"start": 1, "stop": 1024, "factor": 2}, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]),
        ({"start": 3, "stop": 100, "factor": 3}, [3, 9, 27, 81]),
        ({"start": 0.5, "stop": 4, "factor": 2}, [0.5, 1.0, 2.0, 4.0]),
        ({"start": 5, "stop": 5, "step": 2}, [5]),
        (7, [7]),
        ([7, 8], [7, 8]),
    ],
)
def test_a_range_ends_at_stop_or_before_it(value: Any, values: list[float]) -> None:
    assert spread(value) == values


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"start": 1, "stop": 2}, "start, stop, step"),
        ({"start": 1, "stop": 2, "step": 1, "factor": 2}, "start, stop, step"),
        ({"start": 1, "stop": 2, "by": 1}, "start, stop, step"),
        ({"start": 1, "stop": 2, "step": 0}, "step of a range must be above 0, not 0"),
        ({"start": 1, "stop": 2, "factor": 1}, "factor above 1"),
        ({"start": 0, "stop": 2, "factor": 2}, "start above 0"),
        ({"start": 3, "stop": 2, "step": 1}, "stop of a range must not be below start, not 2"),
        ({"start": "1", "stop": 2, "step": 1}, "start of a range must be a number, not '1'"),
        ({"start": 1, "stop": float("inf"), "step": 1}, "stop of a range must be a number, not inf"),
        ({"start": 1, "stop": LONGEST + 1, "step": 1}, f"may stand for {LONGEST} values"),
    ],
)
def test_a_range_that_cannot_be_right_says_why(value: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        spread(value)
    assert len(spread({"start": 1, "stop": LONGEST, "step": 1})) == LONGEST


def test_two_names_of_precisions_stand_for_all_between() -> None:
    assert spread_names(["fp32", "int3..int6", "int8..int8"]) == ["fp32", "int3", "int4", "int5", "int6", "int8"]
    assert spread_names("int8") == ["int8"]
    with pytest.raises(ValueError, match=r"goes down; write int3\.\.int8"):
        spread_names("int8..int3")


def test_mixed_means_at_each_node_what_the_type_means_alone() -> None:
    """A graph in which every node has the same type of its own is that type, number by number."""
    work = stages.workload(DIGITS, ROOT / "configs/data/digits.npz", "current", 2, 20, 32)
    for name in ("int3", "int8", "ap_fixed<9,4>"):
        plain = stages.simulate(work, name, "count")
        assert (
            stages.simulate(work, mixed(dict.fromkeys(adjustable(work.graph), name), name).argument(), "count") == plain
        )
    types = stages.simulate(work, "mixed(fc1=int3,lif2=ap_fixed<9,4>,*=int6)", "count")["types"]
    ones = {name: stages.simulate(work, name, "count")["types"] for name in ("int3", "int6", "ap_fixed<9,4>")}
    assert types["fc1"]["weight"] == ones["int3"]["fc1"]["weight"]
    assert types["fc1"]["result"] == ones["int3"]["fc1"]["result"]
    assert types["lif1"]["membrane"] == ones["int6"]["lif1"]["membrane"]
    assert types["lif2"]["membrane"] == ones["ap_fixed<9,4>"]["lif2"]["membrane"]
    assert types["input"]["result"] == ones["int6"]["input"]["result"]


@given(
    st.dictionaries(st.text("abc,=*()<>{ .", min_size=1, max_size=6), st.sampled_from(["int3", "ap_fixed<8,3>"])),
    st.sampled_from(["int8", "ap_fixed<6,2,AP_RND,AP_SAT>"]),
)
def test_the_argument_of_a_mixed_precision_is_read_back_to_it(types: dict[str, str], others: str) -> None:
    made = mixed(types, others)
    assert Precision.parse(made.argument()) == made
    assert Precision.parse({"name": made.name, **json.loads(made.describe())}) == made


def test_the_name_of_a_mixed_precision_is_one_too() -> None:
    made = mixed({"fc1": "int4", "lif1": "ap_fixed<8,3>"}, "int8")
    assert made.name == made.argument() == "mixed(fc1=int4,lif1=ap_fixed<8,3>,*=int8)"
    for wrong in (
        "mixed()",
        "mixed(fc1=int4)",
        "mixed(a=int4,a=int3,*=int8)",
        "mixed(a=int4 *=int8)",
        "mixed(*=int8,)",
    ):
        with pytest.raises(PrecisionError):
            Precision.parse(wrong)
    for other in ("fp32", "mixed(*=int8)", "int17", "fixed"):
        with pytest.raises(PrecisionError):
            mixed({"fc1": other}, "int8")


def test_the_widest_type_is_that_of_the_most_bits() -> None:
    assert widest(["int3", "int8", "int6"]) == "int8"
    assert widest(["ap_fixed<8,3>", "int8", "ap_fixed<9,2>"]) == "ap_fixed<9,2>"
    assert widest(["int8", "ap_fixed<8,3>"]) == "int8"


def test_every_node_that_holds_something_has_a_type_of_its_own() -> None:
    graph = read(DIGITS)
    assert adjustable(graph) == ("fc1", "lif1", "fc2", "lif2")
    own = PerNode(per_node=["int3..int5"])
    assert own.nodes_of("digits", graph) == adjustable(graph)
    assert [(d.name, d.values) for d in own.dimensions(("fc1", "lif1"))] == [
        ("precision.fc1", ("int3", "int4", "int5")),
        ("precision.lif1", ("int3", "int4", "int5")),
    ]
    assert own.precision({"fc1": "int3"}).name == "mixed(fc1=int3,*=int5)"
    with pytest.raises(ConfigError, match="network 'digits' has no node 'fc9'; its nodes are: fc1, fc2"):
        PerNode(per_node=["int3"], nodes=["fc9"]).nodes_of("digits", graph)


def parsed(monkeypatch: pytest.MonkeyPatch, **more: Any) -> spec.SweepSpec:
    monkeypatch.chdir(ROOT)
    digits = {"name": "digits", "graph": str(DIGITS), "data": "configs/data/digits.npz", "timesteps": 8}
    return spec.parse({"name": "x", "networks": [digits], "precisions": "int8", **more}, "x.yaml")


def test_a_configuration_holds_the_values_that_ranges_stand_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"clock_period_ns": {"start": 2, "stop": 3, "step": 0.5}}
    made = parsed(monkeypatch, reuse_factors={"start": 1, "stop": 8, "factor": 2}, hardware=clock)
    assert made.reuse_factors == [1, 2, 4, 8] and made.hardware.clock_period_ns == [2.0, 2.5, 3.0]
    assert parsed(monkeypatch, precisions=["fp32", "int3..int5"]).precisions == ["fp32", "int3", "int4", "int5"]
    by_node = parsed(monkeypatch, precisions={"per_node": "int3..int5"})
    assert by_node.precisions == PerNode(per_node=["int3", "int4", "int5"])
    for again in (by_node, made):
        assert spec.parse(again.model_dump(mode="json")) == again


SEARCH = {"method": "nsga2", "objectives": ["accuracy max", "energy_uj min"], "budget": 9}
WRONG = [
    ({"precisions": {"per_node": []}}, "precisions.per_node: the list is empty; give at least one value"),
    ({"precisions": {"per_node": ["int3", "fp32"]}}, "precisions.per_node: mixed precision takes intN and ap_fixed"),
    ({"precisions": {"per_node": ["int3..int5", "int4"]}}, "precisions.per_node: 'int4' is listed twice"),
    ({"precisions": {"per_node": ["int3"], "node": 1}}, "precisions.node: unknown key; allowed here: per_node, nodes"),
    ({"precisions": {"per_node": ["int3"], "nodes": []}}, "precisions.nodes: the list is empty"),
    ({"reuse_factors": {"start": 1, "stop": 2, "step": 0.5}}, "reuse_factors.0: must be a whole number, not 1.0"),
    ({"reuse_factors": {"start": 1, "stop": 2}}, "reuse_factors: a range is {start, stop, step} or"),
    ({"sample": {}}, "sample: give either random or sobol"),
    ({"sample": {"random": 1, "sobol": 1}}, "sample: give either random or sobol"),
    ({"sample": {"random": 0}}, "sample.random: Input should be greater than or equal to 1, not 0"),
    ({"sample": {"grid": 1}}, "sample.grid: unknown key; allowed here: random, sobol, seed"),
    ({"sample": {"random": 1}, "search": SEARCH}, "give either sample or search"),
    ({"search": SEARCH | {"method": "grid"}}, "search.method: Input should be 'nsga2' or 'tpe', not 'grid'"),
    ({"search": SEARCH | {"budget": 0}}, "search.budget: "),
    (
        {"search": SEARCH | {"population": 8}},
        "search.population: unknown key; allowed here: method, objectives, budget",
    ),
    ({"search": SEARCH | {"objectives": []}}, "search.objectives: the list is empty"),
    ({"search": SEARCH | {"objectives": "accuracy"}}, "search.objectives: write a column and max or min"),
    ({"search": SEARCH | {"objectives": "accuracy up"}}, "search.objectives: write a column and max or min"),
    ({"search": SEARCH | {"objectives": "speed max"}}, "search.objectives: 'speed' is no column of numbers"),
    ({"search": SEARCH | {"objectives": "part min"}}, "search.objectives: 'part' is no column of numbers"),
    ({"search": SEARCH | {"objectives": ["accuracy max", "accuracy min"]}}, "search.objectives: 'accuracy' is listed"),
    ({"search": SEARCH | {"objectives": "open_rtl_lut min"}}, "search.objectives: open_rtl_lut needs open-rtl among"),
    ({"search": SEARCH | {"objectives": "vivado_lut min"}}, "search.objectives: vivado_lut needs vitis among"),
]


@pytest.mark.parametrize(("more", "says"), WRONG, ids=str)
def test_a_mistake_is_one_line_with_its_key(monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(monkeypatch, **more)
    assert str(caught.value).startswith(f"x.yaml: {says}") and "\n" not in str(caught.value)


def test_the_schema_takes_ranges_samples_and_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    import jsonschema

    valid = jsonschema.Draft202012Validator(json.loads(spec.json_schema())).is_valid
    base = parsed(monkeypatch).model_dump(mode="json", exclude_none=True)
    for more in (
        {"reuse_factors": {"start": 1, "stop": 8, "factor": 2}},
        {"reuse_factors": {"start": 1, "stop": 8, "step": 1}},
        {"precisions": {"per_node": ["int3..int8"]}},
        {"precisions": {"per_node": "int3", "nodes": ["fc1"]}},
        {"sample": {"sobol": 8}},
        {"search": SEARCH},
    ):
        assert valid(base | more)
        parsed(monkeypatch, **more)
    for more in (
        {"reuse_factors": {"start": 1, "stop": 8}},
        {"reuse_factors": {"start": 1, "stop": 8, "factor": 1}},
        {"sample": {"grid": 3}},
        {"search": {"method": "nsga2"}},
    ):
        assert not valid(base | more)


def test_what_a_sample_and_a_search_say(monkeypatch: pytest.MonkeyPatch) -> None:
    made = parsed(monkeypatch, sample={"sobol": 9, "seed": 4}).sample
    assert made is not None and (made.method, made.count, made.seed) == ("sobol", 9, 4)
    search = parsed(monkeypatch, search=SEARCH).search
    assert search is not None
    assert [(goal.column, goal.direction) for goal in search.goals] == [
        ("accuracy", "maximize"),
        ("energy_uj", "minimize"),
    ]
