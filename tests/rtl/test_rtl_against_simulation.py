"""Random networks: the RTL must equal the simulation in every result of every layer, and in every membrane.

``pytest tests/rtl --graphs 40 --first-seed 1000`` runs others and more; so does ``make fuzz-rtl N=40 SEED=1000``.
"""

from networks import CLASSES, draw
from tools import needs_verilator

from talon_lib.rtl.generate import generate
from talon_lib.rtl.verilator import verify

NETWORKS = 6
"""What `make test` runs."""


def pytest_generate_tests(metafunc):
    if "seed" in metafunc.fixturenames:
        first, count = metafunc.config.getoption("first_seed"), metafunc.config.getoption("graphs")
        first, count = (0 if first is None else first), (NETWORKS if count is None else count)
        metafunc.parametrize("seed", range(first, first + count))


@needs_verilator
def test_rtl_equals_simulation(seed, record_property):
    case = draw(seed)
    result = verify(case.graph, case.bound, case.inputs, case.steps)
    record_property("fuzz-rtl", {"equal": int(result.equal), "values": result.values, "spikes": case.spikes})
    assert result.equal, f"{result.difference}\n{case}"
    assert result.cycles == generate(case.graph, case.bound).cycles


def test_the_networks_are_of_all_kinds():
    """Over 40 seeds: depths, both inputs, all classes of reuse factors, all fields of neurons; most show an error."""
    cases = [draw(seed) for seed in range(40)]
    nodes = [node for case in cases for node in case.graph.nodes.values()]
    assert {name for case in cases for name in case.classes} == set(CLASSES)
    assert {case.bound["x"].types.result.width == 1 for case in cases} == {True, False}
    assert {len(case.graph.input_shapes["x"]) for case in cases} == {1, 2, 3}
    matrices = ("Affine", "SpikingAffine", "Conv1d", "Conv2d")
    depths = {sum(node.kind in matrices for node in case.graph.nodes.values()) for case in cases}
    assert depths >= {1, 2, 3, 4}
    assert {node.kind for node in nodes} >= {*matrices, "LIF", "IF", "CubaLIF", "LI", "I", "Threshold", "MaxPool2d"}
    firing = [node for node in nodes if node.kind in ("LIF", "IF", "CubaLIF")]
    for name in ("reset", "reset_delay", "strict"):
        assert len({getattr(node, name) for node in firing}) == 2
    assert {node.v_reset is None for node in firing} == {True, False}
    numbers = {n for case in cases for at in case.bound.values() for n in at.types.assigned().values()}
    assert {number.width for number in numbers} >= set(range(3, 17))
    assert len({number.rounding for number in numbers}) == 7
    assert len({number.overflow for number in numbers}) == 4
    assert sum(0 < case.spikes < case.places for case in cases) > 30
