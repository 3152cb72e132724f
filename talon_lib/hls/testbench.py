"""What hls4ml's C++ testbench feeds a design, for cosim: inputs of every step, and what ``simulate`` gives for them.

The testbench calls the top function once a line of ``tb_data/tb_input_features.dat``, with the values of all inputs in
the order of its arguments: ours in the order of the hardware, then ``restart``, 1 in the first step of a sample.
``tb_data/tb_output_predictions.dat`` holds the outputs of the same call; the testbench prints it and compares nothing,
so ``reports.compare_outputs`` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from talon_lib.errors import UnsupportedError
from talon_lib.files import whole
from talon_lib.fixed import Array
from talon_lib.hls.lower import RESTART
from talon_lib.hls.project import Project
from talon_lib.ir.graph import Graph
from talon_lib.ir.node import Bound, State
from talon_lib.simulate import batched_inputs, run


def write_stimuli(
    project: Project, graph: Graph, bound: Mapping[str, Bound], inputs: Mapping[str, Any] | None, steps: int
) -> int:
    """Write both files into the project; returns the number of calls, samples x steps.

    inputs: as of ``cpu.simulate``; every sample is run, one after the other. Raises UnsupportedError where the
    testbench, which reads ``float``, would round an input.
    """
    _, samples = batched_inputs(graph, inputs, steps)
    lowered = project.lowered
    given = {name: np.zeros((steps, samples, len(order))) for name, order in lowered.input_orders.items()}
    sinks = dict(zip(graph.outputs, lowered.output_orders, strict=True))
    made = {name: np.zeros((steps, samples, len(order))) for name, order in sinks.items()}

    def record(step: int, name: str, result: Array, state: State, x: Array) -> None:
        if name in given:  # as the input's type holds it
            given[name][step] = result.reshape(samples, -1)[:, lowered.input_orders[name]]
        if name in made:
            made[name][step] = result.reshape(samples, -1)[:, sinks[name]]

    run(graph, bound, inputs, steps, observers=(record,))
    for name, values in given.items():
        if not np.array_equal(values.astype(np.float32), values):
            raise UnsupportedError(
                f"input '{name}' ({bound[name].types.result}) holds values of more than 24 bits, which hls4ml's "
                "testbench would round; cosim needs a narrower input"
            )
    columns = list(given.values())
    if RESTART in lowered.inputs:
        restart = np.zeros((steps, samples, 1))
        restart[0] = 1
        columns.append(restart)
    folder = project.path / "tb_data"
    folder.mkdir(exist_ok=True)
    for file, blocks in (("tb_input_features.dat", columns), ("tb_output_predictions.dat", list(made.values()))):
        rows = np.concatenate(blocks, axis=-1).transpose(1, 0, 2).reshape(samples * steps, -1)
        with whole(folder / file) as partial:
            partial.write_text("".join(" ".join(f"{value:.17g}" for value in row) + "\n" for row in rows.tolist()))
    return samples * steps
