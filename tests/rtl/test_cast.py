"""The RTL's casts against talon_lib.fixed, which a test of its own holds to the ap_types headers."""

import itertools
import subprocess

import numpy as np
from tools import needs_verilator

from talon_lib.fixed import OVERFLOWS, ROUNDINGS, FixedType, ScaledInt
from talon_lib.rtl import verilator
from talon_lib.rtl.generate import CAST, TEMPLATES
from talon_lib.rtl.modules import memory

BITS, VALUES = 10, 2**10


def types():
    """Every pair of modes: fewer fraction bits than the value's 5 or more, wide and narrow, signed or not."""
    for (rounding, overflow), (width, fraction) in itertools.product(
        itertools.product(ROUNDINGS, OVERFLOWS), [(1, 3), (4, 2), (3, 4), (5, 5), (9, 7), (2, -2), (3, -8), (14, 6)]
    ):
        for signed in (True, False):
            if signed or overflow != "AP_WRAP_SM":
                yield FixedType(width, width - fraction, signed, rounding, overflow)


@needs_verilator
def test_every_cast_equals_that_of_the_simulation(tmp_path):
    numbers = list(types())
    codes = np.arange(-VALUES // 2, VALUES // 2)
    lines = ["module testbench;", f"  logic signed [{BITS - 1}:0] value;", "  integer i, wrong = 0;"]
    checks = []
    for n, number in enumerate(numbers):
        expected = number.code(number.cast(ScaledInt(codes, 5)))
        (tmp_path / f"{n}.hex").write_text(memory(expected[:, None], number.width))
        lines += [
            f"  logic [{number.width - 1}:0] expected_{n} [0:{VALUES - 1}];",
            f'  initial $readmemh("{n}.hex", expected_{n});',
            f"  wire [{number.width - 1}:0] found_{n};",
            f"  talon_cast #(.IN({BITS}), .SHIFT({5 - number.fraction}), .OUT({number.width}), "
            f'.SIGNED({int(number.signed)}), .ROUNDING("{number.rounding}"), .OVERFLOW("{number.overflow}")) '
            f"cast_{n} (.value(value), .result(found_{n}));",
        ]
        checks.append(
            f'      if (found_{n} !== expected_{n}[i]) begin wrong = wrong + 1; $display("{n} %0d", value); end'
        )
    lines += [
        "  initial begin",
        f"    for (i = 0; i < {VALUES}; i = i + 1) begin",
        f"      value = i - {VALUES // 2};",
        "      #1;",
        *checks,
        "    end",
        '    $display("wrong %0d", wrong);',
        "    $finish;",
        "  end",
        "endmodule",
    ]
    (tmp_path / "testbench.sv").write_text("\n".join(lines) + "\n")
    (tmp_path / CAST).write_text((TEMPLATES / CAST).read_text())
    command, environment = verilator.find()
    subprocess.run(
        [*command, *verilator.OPTIONS, CAST, "testbench.sv"],
        cwd=tmp_path,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    done = subprocess.run(
        [tmp_path / "obj_dir" / "Vtestbench"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    said = [line for line in done.stdout.splitlines() if line[:1].isdigit() or line.startswith("wrong")]
    named = [f"{numbers[int(line.split()[0])]} of {int(line.split()[1]) / 32}" for line in said[:-1]]
    assert said[-1] == "wrong 0", named[:10]
