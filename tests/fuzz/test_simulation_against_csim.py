"""Random graphs: what is simulated must be equal to g++ C simulation, value by value.

``pytest tests/fuzz --graphs 300 --first-seed 1000`` runs others and more; so does ``make fuzz N=300 SEED=1000``.
"""

import shutil
from collections import Counter

import pytest
from graphs import KINDS, Case, draw

from talon_lib.errors import TalonError
from talon_lib.hls.csim import csim_project
from talon_lib.hls.project import ProjectSpec, build_project
from talon_lib.ir.node import primitives

pytest.importorskip("hls4ml")

FIRST_SEED = 0
GRAPHS = 2 * len(KINDS)
"""What `make test` runs: every kind, featured in both io types."""


def pytest_generate_tests(metafunc):
    if "seed" in metafunc.fixturenames:
        first, count = metafunc.config.getoption("first_seed"), metafunc.config.getoption("graphs")
        first, count = (FIRST_SEED if first is None else first), (GRAPHS if count is None else count)
        metafunc.parametrize("seed", range(first, first + count))


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_csim_equals_simulation(seed, tmp_path, record_property):
    case = draw(seed)
    spec = ProjectSpec(io_type=case.io_type, strategy=case.strategy, reuse_factor=case.reuse_factor)
    counts = {"equal": 0, "values": 0, "spikes": case.activity.spikes}
    try:
        project = build_project(case.graph, case.bound, spec, tmp_path / "project")
        result = csim_project(project, case.graph, case.bound, case.inputs, case.steps)
        counts |= {"equal": int(result.equal), "values": result.values}
    except TalonError as error:
        pytest.fail(f"{error}\n{_told(case)}")
    finally:
        record_property("fuzz", counts)
    assert result.equal, f"{result.difference}\n{_told(case)}"
    shutil.rmtree(project.path)  # those of failures stay, to be looked at


def _told(case: Case) -> str:
    return f"{case}\nrepeat with: pytest tests/fuzz --graphs 1 --first-seed {case.seed}"


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [draw(seed) for seed in range(FIRST_SEED, FIRST_SEED + GRAPHS)]


def test_every_kind_that_lowers_is_among_the_default_graphs_in_both_io_types(cases):
    for io_type in ("io_parallel", "io_stream"):
        lowered = {name for name, kind in primitives().items() if getattr(kind, io_type).runs}
        drawn = set().union(*(case.kinds for case in cases if case.io_type == io_type))
        assert drawn == lowered == {*KINDS, "Input", "Output"}


def test_the_default_graphs_vary_in_size_inputs_outputs_and_types(cases):
    sizes = Counter(len(case.graph.nodes) - len(case.graph.inputs) - len(case.graph.outputs) for case in cases)
    assert min(sizes) <= 2
    assert max(sizes) >= 6
    assert {len(case.graph.inputs) for case in cases} >= {1, 2}
    assert {len(case.graph.outputs) for case in cases} >= {1, 2}
    assert {len(node.shape) for case in cases for node in case.graph.inputs.values()} == {1, 2, 3}
    assert {type(case.precision) for case in cases} >= {str, dict}
    numbers = {number for case in cases for at in case.bound.values() for number in vars(at.types).values() if number}
    assert len({number.rounding for number in numbers}) == 7
    assert len({number.overflow for number in numbers}) == 4


def test_the_default_graphs_would_show_an_error(cases):
    """Neurons fire, and not always; outputs vary."""
    spiking = [case.activity for case in cases if any(node.spiking for node in case.graph.nodes.values())]
    assert len(spiking) > len(cases) / 2
    assert sum(0.01 < found.spikes / found.places < 0.9 for found in spiking) > 0.8 * len(spiking)
    assert sum(case.activity.informative for case in cases) > 0.9 * len(cases)


def test_a_seed_gives_the_same_case_again(cases):
    again = draw(cases[-1].seed)
    assert str(again) == str(cases[-1])
    assert again.graph.fingerprint == cases[-1].graph.fingerprint
    assert all((again.inputs[name] == x).all() for name, x in cases[-1].inputs.items())
