import numpy as np
import pytest

from talon_lib import ir
from talon_lib.ir import node as contract
from talon_lib.ir.node import CONTRACT, Bound, Memoryless, Operations, Primitive, primitive
from talon_lib.ir.structure import Wiring
from talon_lib.simulate import bind_graph


@pytest.fixture(autouse=True)
def registry_as_it_was(monkeypatch):
    monkeypatch.setattr(contract, "_REGISTRY", dict(contract._REGISTRY))


def methods(*names):
    return {name: (lambda self, *args: None) for name in names}


def define(name, *bases, doc="Computes what a test needs.", **body):
    return primitive(type(name, bases, {"__doc__": doc, "__annotations__": {}, **body}))


WHOLE = sorted(CONTRACT)


def test_the_contract_asks_for_what_the_design_names():
    assert set(WHOLE) == {
        "check", "output_shape", "parameters", "initial_state", "span", "step", "macs", "effective_operations",
        "lower",
    }  # fmt: skip


@pytest.mark.parametrize("missing", WHOLE)
def test_a_class_that_lacks_a_method_is_refused_when_it_is_defined(missing):
    present = methods(*(name for name in WHOLE if name != missing))
    with pytest.raises(TypeError, match=f"primitive Partial lacks {missing}$"):
        define("Partial", Primitive, **present)
    assert "Partial" not in ir.list_primitives()


def test_a_whole_class_is_registered_under_its_name():
    made = define("Whole", Primitive, **methods(*WHOLE))
    assert ir.list_primitives()[-1] == "Whole"
    assert contract.primitives()["Whole"] is made
    assert made().kind == "Whole"


def test_a_class_that_overrides_its_family_is_refused():
    with pytest.raises(TypeError, match="Hasty overrides macs of its family"):
        define("Hasty", Wiring, **methods("check", "output_shape", "step", "lower", "macs"))
    with pytest.raises(TypeError, match="Forgetful overrides initial_state of its family"):
        define("Forgetful", Memoryless, **methods(*WHOLE))
    assert not {"Hasty", "Forgetful"} & set(ir.list_primitives())


@pytest.mark.parametrize("base", [ir.Affine, ir.LIF, ir.Flatten])
def test_a_subclass_of_a_primitive_is_refused(base):
    with pytest.raises(TypeError, match="Child derives from another primitive: primitives are final"):
        define("Child", base)
    assert "Child" not in ir.list_primitives()


def test_a_class_that_does_not_say_what_it_computes_is_refused():
    with pytest.raises(TypeError, match="Silent lacks a docstring"):
        define("Silent", Primitive, doc=None, **methods(*WHOLE))


def test_all_primitives_of_the_first_issue_are_there():
    assert {"Input", "Output", "Affine", "LIF", "IF", "Flatten", "ReLU"} <= set(ir.list_primitives())


@pytest.mark.parametrize("kind", ir.list_primitives())
def test_every_registered_primitive_is_frozen_documented_and_compared_by_identity(kind):
    cls = contract.primitives()[kind]
    assert cls.__dataclass_params__.frozen
    assert not cls.__dataclass_params__.eq
    assert cls.__doc__ and not cls.__doc__.startswith(f"{kind}(")
    assert not cls.__abstractmethods__


def test_macs_are_counted_where_weights_and_inputs_are_not_zero():
    node = ir.Affine([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]])
    graph = ir.Graph({"x": ir.Input((3,)), "fc": node, "y": ir.Output((2,))}, [("x", "fc"), ("fc", "y")])
    bound: Bound = bind_graph(graph, "fp32")["fc"]
    assert node.macs((3,)) == 6
    x = np.array([[1.0, 1.0, 1.0], [0.0, 5.0, 0.0], [0.0, 0.0, -1.0]])
    assert node.effective_operations(x, bound) == Operations(macs=3 + 0 + 2, reached_macs=2 * (3 + 1 + 1))
