"""The stimuli of cosim: hls4ml's own testbench, compiled with g++ and run on them, gives what simulate gives."""

import subprocess

import numpy as np
import pytest

from talon_lib import ir
from talon_lib.errors import UnsupportedError
from talon_lib.hls.project import ProjectSpec, build_project
from talon_lib.hls.reports import compare_outputs
from talon_lib.hls.testbench import write_stimuli
from talon_lib.simulate import bind_graph

RNG = np.random.default_rng(8)


def lif(shape):
    return ir.LIF(*(np.full(shape, v) for v in (4.0, 1.0, 0.0, 0.5)))


def affine(n_out, n_in):
    rng = np.random.default_rng(n_out * 100 + n_in)
    return ir.Affine(rng.normal(size=(n_out, n_in)), rng.normal(size=n_out) / 4)


def chain(**nodes):
    return ir.Graph(nodes, list(zip(nodes, list(nodes)[1:], strict=False)))


def dense():
    return chain(i=ir.Input([4]), fc1=affine(6, 4), lif1=lif(6), fc2=affine(3, 6), lif2=lif(3), o=ir.Output([3]))


def image():
    """Channels first here and last in hardware: the order of the values differs."""
    weight = RNG.normal(size=(3, 2, 2, 2))
    conv = ir.Conv2d(weight=weight, bias=RNG.normal(size=3) / 4)
    return chain(i=ir.Input([2, 4, 4]), c=conv, l=lif((3, 3, 3)), o=ir.Output([3, 3, 3]))


def two_outputs():
    nodes = {
        "i": ir.Input([3]),
        "a": affine(4, 3),
        "l": lif(4),
        "b": affine(2, 4),
        "o": ir.Output([4]),
        "p": ir.Output([2]),
    }
    return ir.Graph(nodes, [("i", "a"), ("a", "l"), ("l", "b"), ("l", "o"), ("b", "p")])


def made(graph, folder, precision, samples, steps, io_type="io_parallel"):
    inputs = {name: RNG.uniform(-2, 2, (steps, samples, *node.shape)) for name, node in graph.inputs.items()}
    bound = bind_graph(graph, precision, inputs, steps)
    project = build_project(graph, bound, ProjectSpec(io_type=io_type), folder / "p")
    assert write_stimuli(project, graph, bound, inputs, steps) == samples * steps
    return project.path


def run_testbench(project):
    flags = ["-O1", "-std=c++17", "-w", "-DRTL_SIM", '-DWEIGHTS_DIR="firmware/weights"', "-I.", "-Ifirmware/ap_types"]
    subprocess.run(["g++", *flags, "snn_test.cpp", "firmware/snn.cpp", "-o", "bench"], cwd=project, check=True)
    return again(project)


def again(project):
    subprocess.run(["./bench"], cwd=project, check=True, capture_output=True)
    return (project / "tb_data/rtl_cosim_results.log").read_text()


@pytest.mark.parametrize(
    ("graph", "precision", "io_type"),
    [
        (dense(), "int8", "io_parallel"),
        (image(), "ap_fixed<12,5>", "io_stream"),
        (two_outputs(), "ap_fixed<16,6>", "io_parallel"),
    ],
    ids=["dense", "image", "two outputs"],
)
def test_the_testbench_gives_what_was_simulated(tmp_path, graph, precision, io_type):
    project = made(graph, tmp_path, precision, 3, 5, io_type)
    expected = (project / "tb_data/tb_output_predictions.dat").read_text()
    values = 15 * sum(int(np.prod(graph.output_shapes[name])) for name in graph.outputs)
    assert len(set(expected.split())) > 1
    assert compare_outputs(expected, run_testbench(project)) == (values, None)

    # without the restart the second sample goes on from the first one's state
    stimuli = project / "tb_data/tb_input_features.dat"
    rows = [line.split() for line in stimuli.read_text().splitlines()]
    assert [row[-1] for row in rows] == ["1", "0", "0", "0", "0"] * 3
    stimuli.write_text("".join(" ".join([*row[:-1], str(int(i == 0))]) + "\n" for i, row in enumerate(rows)))
    assert compare_outputs(expected, again(project))[1] is not None


def test_no_restart_without_neurons(tmp_path):
    project = made(chain(i=ir.Input([4]), a=affine(2, 4), o=ir.Output([2])), tmp_path, "int8", 2, 1)
    rows = (project / "tb_data/tb_input_features.dat").read_text().splitlines()
    assert [len(row.split()) for row in rows] == [4, 4]


def test_inputs_that_the_testbench_would_round_are_refused(tmp_path):
    with pytest.raises(UnsupportedError, match=r"^input 'i' \(ap_fixed<30,4.*\) holds values of more than 24 bits"):
        made(
            dense(),
            tmp_path,
            {
                "name": "w",
                "weight": "ap_fixed<8,3>",
                "input": "ap_fixed<30,4>",
                "result": "ap_fixed<16,6>",
                "membrane": "ap_fixed<16,6>",
            },
            2,
            2,
        )
