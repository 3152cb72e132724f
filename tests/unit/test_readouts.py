import numpy as np
import pytest

from talon_lib import ir
from talon_lib.errors import ConfigError, GraphError
from talon_lib.simulate import bind_graph, run


def two_classes():
    """Neuron 0 integrates 0.5 a step, neuron 1 what its input says; both fire at 1 and start over."""
    nodes = {"x": ir.Input((2,)), "fc": ir.Affine(np.eye(2)), "if": ir.IF(1.0), "y": ir.Output((2,))}
    return ir.Graph(nodes, list(zip(nodes, list(nodes)[1:], strict=False)))


def simulate(x, steps, graph=None):
    graph = graph or two_classes()
    return run(graph, bind_graph(graph, "fp32"), {"x": np.asarray(x, float)}, steps)


def test_counts_add_up_step_by_step():
    simulation = simulate([[0.5, 1.0], [1.0, 0.25]], 4)
    assert simulation.outputs["y"].shape == (4, 2, 2)
    assert simulation.scores("y").tolist() == [
        [[0, 1], [1, 0]],
        [[1, 2], [2, 0]],
        [[1, 3], [3, 0]],
        [[2, 4], [4, 1]],
    ]
    assert simulation.last["y"].tolist() == [[1, 1], [1, 1]]
    assert simulation.activity["if"].spikes == 11


def test_the_first_spike_decides_and_no_spike_scores_nothing():
    simulation = simulate([[0.5, 0.34], [0.1, 0.25], [0.0, 0.0]], 4)
    assert simulation.first_spikes["y"].tolist() == [[1, 2], [4, 3], [4, 4]]
    scores = simulation.scores("y", "first_spike")
    assert scores[:, 0].tolist() == [[0, 0], [3, 0], [3, 2], [3, 2]]
    assert scores[:, 1].tolist() == [[0, 0], [0, 0], [0, 0], [0, 1]]
    assert simulation.predictions("y", "first_spike")[-1].tolist() == [0, 1, 0]


def test_the_membrane_is_read_after_its_reset():
    simulation = simulate([[0.5, 0.25]], 4)
    assert simulation.scores("y", "membrane")[:, 0].tolist() == [[0.5, 0.25], [0.0, 0.5], [0.5, 0.75], [0.0, 0.0]]
    assert simulation.predictions("y", "membrane")[:, 0].tolist() == [0, 1, 1, 0]


def test_predictions_have_one_row_a_step_and_ties_go_to_the_lowest_class():
    simulation = simulate([[0.5, 0.5], [0.25, 1.0], [1.0, 1.0]], 4)
    for readout in ("count", "first_spike", "membrane"):
        assert simulation.predictions("y", readout).shape == (4, 3)
        assert simulation.predictions("y", readout)[:, 2].tolist() == [0] * 4
    labels = np.array([0, 1, 1])
    accuracy = (simulation.predictions("y") == labels).mean(axis=1)
    assert accuracy.tolist() == [2 / 3] * 4


def test_a_membrane_readout_needs_neurons_before_the_output():
    nodes = {"x": ir.Input((2,)), "fc": ir.Affine(np.eye(2)), "y": ir.Output((2,))}
    simulation = simulate([[0.5, 1.0]], 2, ir.Graph(nodes, [("x", "fc"), ("fc", "y")]))
    assert simulation.scores("y").tolist() == [[[0.5, 1.0]], [[1.0, 2.0]]]
    with pytest.raises(ConfigError, match="output 'y' is not fed by one node of neurons"):
        simulation.scores("y", "membrane")


def test_scores_of_a_shaped_output_are_flat():
    nodes = {"x": ir.Input((2, 3)), "if": ir.IF(1.0), "y": ir.Output((2, 3))}
    simulation = simulate(np.ones((4, 2, 3)), 2, ir.Graph(nodes, [("x", "if"), ("if", "y")]))
    assert simulation.outputs["y"].shape == (2, 4, 2, 3)
    assert simulation.scores("y", "count").shape == (2, 4, 6)
    assert simulation.scores("y", "first_spike").shape == (2, 4, 6)


def test_every_sample_starts_anew():
    graph = two_classes()
    bound = bind_graph(graph, "fp32")
    one = run(graph, bound, {"x": [0.6, 0.3]}, 3)
    again = run(graph, bound, {"x": [0.6, 0.3]}, 3)
    np.testing.assert_array_equal(one.outputs["y"], again.outputs["y"])


def test_no_input_is_zeros():
    assert simulate(np.zeros(2), 2).outputs["y"].sum() == 0
    graph = two_classes()
    assert run(graph, bind_graph(graph, "fp32"), None, 2).batch == 1


@pytest.mark.parametrize(
    ("inputs", "steps", "said"),
    [
        ({"z": [1.0, 2.0]}, 1, "there is no input 'z'; the graph's inputs are: x"),
        ({"x": np.ones(3)}, 1, r"input 'x' has shape \(3,\); expected"),
        ({"x": np.ones((1, 1, 1, 2))}, 1, "input 'x' has shape"),
        ({"x": np.ones((3, 1, 2))}, 4, "has 3 steps of data, but 4 steps"),
        ({"x": [np.nan, 1.0]}, 1, "input 'x' holds NaN or infinity"),
        ({"x": ["a", "b"]}, 1, "input 'x' must be an array of numbers"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_by_name(inputs, steps, said):
    graph = two_classes()
    with pytest.raises(GraphError, match=said):
        run(graph, bind_graph(graph, "fp32"), inputs, steps)


@pytest.mark.parametrize("steps", [0, -1])
def test_no_steps_are_refused(steps):
    with pytest.raises(ConfigError, match="must be a whole number of 1 or more"):
        simulate([1.0, 1.0], steps)


def test_effective_operations_are_macs_for_real_inputs_and_acs_for_spikes():
    nodes = {
        "x": ir.Input((2,)),
        "fc": ir.Affine([[1.0, 1.0], [1.0, 0.0]]),
        "if": ir.IF(1.0),
        "fc2": ir.Affine([[1.0, 1.0]]),
        "y": ir.Output((1,)),
    }
    graph = ir.Graph(nodes, list(zip(nodes, list(nodes)[1:], strict=False)))
    simulation = simulate([[1.0, 0.0], [0.5, 0.5]], 2, graph)
    # sample 0: x0 meets 2 weights a step; sample 1: all 3. Neuron 0 fires always, neuron 1 at 1, 1 and at 0, 1
    assert (simulation.activity["fc"].effective_macs, simulation.activity["fc"].effective_acs) == (2 * (2 + 3), 0)
    assert simulation.activity["if"].spikes == 4 + 3
    assert (simulation.activity["fc2"].effective_macs, simulation.activity["fc2"].effective_acs) == (0, 7)
