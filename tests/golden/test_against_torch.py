"""Small vectors that PyTorch made (tests/peers/make_golden_*.py): every primitive has some."""

import json
from pathlib import Path

import numpy as np
import pytest

from talon_lib import ir
from talon_lib.ir.node import primitives
from talon_lib.simulate import bind_graph, run

FOLDER = Path(__file__).parent
CASES = json.loads((FOLDER / "steps.json").read_text())["cases"]


def around(node, inputs, outputs):
    """The node between as many Inputs and Outputs as it takes, by the shapes of a sample."""
    sources = ["n"] if isinstance(node, ir.Input) else [f"x{i}" for i in range(len(inputs))]
    targets = ["n"] if isinstance(node, ir.Output) else [f"y{i}" for i in range(outputs)]
    nodes = {name: ir.Input(shape) for name, shape in zip(sources, inputs, strict=True)}
    nodes |= {name: ir.Output() for name in targets} | {"n": node}
    edges = [(name, "n") for name in sources if name != "n"] + [("n", name) for name in targets if name != "n"]
    return ir.Graph(nodes, edges), sources, targets


@pytest.mark.parametrize("case", [c for c in CASES if "inputs" in c], ids=lambda case: case["kind"])
def test_one_step_is_what_torch_gives(case):
    node = primitives()[case["kind"]](**case["arguments"])
    inputs, outputs = ([np.array(x) for x in case[key]] for key in ("inputs", "outputs"))
    graph, sources, targets = around(node, [x.shape[1:] for x in inputs], len(outputs))
    found = run(graph, bind_graph(graph, "fp32"), dict(zip(sources, inputs, strict=True)), 1).last
    for name, expected in zip(targets, outputs, strict=True):
        np.testing.assert_array_equal(found[name], expected)


@pytest.mark.parametrize("case", [c for c in CASES if "steps" in c], ids=lambda case: case["kind"])
def test_every_step_is_what_torch_gives(case):
    node, x = primitives()[case["kind"]](**case["arguments"]), np.array(case["steps"])
    graph, _, _ = around(node, [x.shape[2:]], 1)
    seen = []

    def observe(step, name, result, state, arrived):
        if name == "n":
            seen.append((result, state.get("membrane")))

    run(graph, bind_graph(graph, "fp32"), {"x0": x}, len(x), (observe,))
    np.testing.assert_array_equal([result for result, _ in seen], case["results"])
    if "membranes" in case:
        np.testing.assert_array_equal([membrane for _, membrane in seen], case["membranes"])


def test_every_primitive_has_golden_vectors():
    files = [FOLDER / f"{name}.json" for name in ("steps", "windows", "activations")]
    named = {case["kind"] for file in files for case in json.loads(file.read_text())["cases"]}
    assert named == set(ir.list_primitives())


def test_the_neurons_fire_and_not_always():
    for case in CASES:
        if "v_threshold" in case["arguments"]:
            assert 0.05 < np.mean(case["results"]) < 0.9
