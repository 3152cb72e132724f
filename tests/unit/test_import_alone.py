import subprocess
import sys

import pytest

OPTIONAL = (
    "pandas",
    "pyarrow",
    "h5py",
    "nir",
    "hls4ml",
    "pydantic",
    "yaml",
    "bokeh",
    "snakemake",
    "click",
    "rich",
    "jinja2",
)

BLOCKED = f"""
import sys
OPTIONAL = set({OPTIONAL!r})
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in OPTIONAL:
            raise ModuleNotFoundError("blocked: " + name, name=name.split(".")[0])
sys.meta_path.insert(0, Refuse())
"""


def python(code):
    return subprocess.run([sys.executable, "-c", BLOCKED + code], capture_output=True, text=True, check=False)


def test_talon_lib_and_a_simulation_need_numpy_alone():
    done = python(
        """
from talon_lib import ir, backend
from talon_lib.simulate import bind_graph, run
nodes = {"x": ir.Input((2,)), "fc": ir.Affine([[1.0, 2.0]]), "if": ir.IF(1.0), "y": ir.Output((1,))}
graph = ir.Graph(nodes, [("x", "fc"), ("fc", "if"), ("if", "y")])
print(run(graph, bind_graph(graph, "int8"), {"x": [0.2, 0.2]}, 4).outputs["y"].ravel().tolist())
loaded = {name.split(".")[0] for name in sys.modules}
print(sorted(loaded & OPTIONAL))
"""
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[0.0, 1.0, 1.0, 2.0]", "[]"]


@pytest.mark.parametrize("module", OPTIONAL)
def test_the_blocker_of_the_test_above_works(module):
    assert "blocked: " + module in python(f"import {module}").stderr


def test_a_project_without_hls4ml_says_how_to_install_it():
    done = python(
        """
import pathlib, tempfile
from talon_lib import ir
from talon_lib.errors import MissingToolError
from talon_lib.hls.project import ProjectSpec, build_project
from talon_lib.simulate import bind_graph
nodes = {"x": ir.Input((2,)), "fc": ir.Affine([[1.0, 2.0]]), "y": ir.Output((1,))}
graph = ir.Graph(nodes, [("x", "fc"), ("fc", "y")])
folder = pathlib.Path(tempfile.mkdtemp())
try:
    build_project(graph, bind_graph(graph, "ap_fixed<8,4>"), ProjectSpec(), folder / "project")
except MissingToolError as error:
    print(error)
print(list(folder.iterdir()))
folder.rmdir()
"""
    )
    assert done.stdout.splitlines() == ["hls4ml is not installed; run: pip install 'talon-dse[fpga]'", "[]"], (
        done.stderr
    )
