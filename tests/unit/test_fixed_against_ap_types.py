"""FixedType against the ap_types headers that hls4ml ships: random casts, bit by bit.

Two ways lead into an ap_fixed: assignment from another ap_fixed, which is what hardware does, and construction from a
double, which is what a test bench does. Where the headers themselves differ between the two, we are held to assignment.
"""

import importlib.util
import random
import shutil
import subprocess
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from talon_lib.errors import PrecisionError
from talon_lib.fixed import OVERFLOWS, ROUNDINGS, FixedType, ScaledInt

CASTS_A_TYPE = 600

# ap_ufixed has no AP_WRAP_SM: see the last test
MODES = [
    (rounding, overflow, signed)
    for rounding, overflow, signed in product(ROUNDINGS, OVERFLOWS, (True, False))
    if signed or overflow != "AP_WRAP_SM"
]


@dataclass(frozen=True)
class Source:
    width: int
    integer: int
    signed: bool

    @property
    def fraction(self) -> int:
        return self.width - self.integer

    @property
    def least(self) -> int:
        return -(2 ** (self.width - 1)) if self.signed else 0

    @property
    def greatest(self) -> int:
        return 2 ** (self.width - self.signed) - 1

    def __str__(self) -> str:
        return f"ap_{'' if self.signed else 'u'}fixed<{self.width},{self.integer}>"


def _targets(rng: random.Random) -> list[FixedType]:
    targets = []
    for rounding, overflow, signed in MODES:
        for width in (rng.choice([1, 2, 3]), rng.randint(4, 48)):
            integer = rng.choice([rng.randint(-6, width + 6), rng.randint(0, width)])
            targets.append(FixedType(width, integer, signed, rounding, overflow))
    return targets


def _source_for(target: FixedType, rng: random.Random) -> Source:
    """Mostly one that is finer and wider than the target, so that both rounding and overflow happen.

    Half a step of the target is a bit of the source where there is one: the headers abort on what lies beyond.
    """
    finer = rng.choice([1, 1, 2, 3, 8, rng.randint(-4, 40), rng.randint(20, 62)])
    larger = rng.choice([1, 2, 3, 8, 20, rng.randint(-target.width - 2, 10)])
    fraction, integer = target.fraction + finer, target.integer + larger
    width = min(max(fraction + integer, finer, rng.randint(1, 8)), 63)
    return Source(width, width - fraction, rng.random() < 0.75)


def _codes(target: FixedType, source: Source, rng: random.Random) -> list[int]:
    """Codes of the source: ties, the target's extremes and just beyond, multiples of its period, and random ones."""

    def at(steps_of_target: int, half: int = 0) -> int:
        shift = source.fraction - target.fraction
        doubled = 2 * steps_of_target + half
        return doubled << (shift - 1) if shift >= 1 else doubled >> (1 - shift)

    low, high = target.code(target.min).item(), target.code(target.max).item()
    codes = [0, 1, -1, source.least, source.greatest, source.least + 1]
    for corner in (low, high, 0, low - 1, high + 1, 2 * low, 2 * high, 2**target.width, -(2**target.width)):
        codes += [at(corner, half) + lsb for half in (-1, 0, 1) for lsb in (-1, 0, 1)]
    while len(codes) < CASTS_A_TYPE:
        codes += [
            at(rng.randint(low, high), 1),
            at(rng.randint(3 * low - 5, 3 * high + 5), rng.choice([0, 1])) + rng.choice([-1, 0, 1]),
            rng.randint(source.least, source.greatest),
            rng.randint(source.least, source.greatest) >> rng.randint(0, source.width),
        ]
    return [code for code in codes[:CASTS_A_TYPE] if source.least <= code <= source.greatest]


def _doubles(target: FixedType, rng: random.Random) -> list[float]:
    step = target.step
    corners = [target.min, target.max, 2 * target.min, 2 * target.max, target.step * 2.0**target.width]
    values = [0.0, -0.0, step, -step, step / 2, -step / 2, 3 * step / 2, -3 * step / 2, 5e-324, -5e-324]
    for corner in corners:
        for near in (corner, -corner):
            values += [near + offset * step for offset in (-1, -0.5, -0.25, 0, 0.25, 0.5, 1)]
            values += [float(np.nextafter(near, np.inf)), float(np.nextafter(near, -np.inf))]
    while len(values) < CASTS_A_TYPE:
        low, high = target.code(target.min).item(), target.code(target.max).item()
        values += [
            (rng.randint(low, high) + 0.5) * step,
            rng.randint(4 * low - 8, 4 * high + 8) * step / 2,
            rng.uniform(3 * low - 2, 3 * high + 2) * step,
            rng.gauss(0.0, 1.0) * step * 2.0 ** rng.randint(-8, target.width + 8),
        ]
    return values[:CASTS_A_TYPE]


_PROGRAM = """
#include "ap_fixed.h"
#include <cstdio>
#include <vector>
typedef long long code_t;
template <class S, class T> void assigned(FILE *in, FILE *out, unsigned n) {
    std::vector<code_t> codes(n);
    std::vector<double> results(n);
    if (fread(codes.data(), 8, n, in) != n) return;
    for (unsigned i = 0; i < n; i++) {
        S source;
        source.setBits((ap_ulong)codes[i]);
        T target = source;
        results[i] = target.to_double();
    }
    fwrite(results.data(), 8, n, out);
}
template <class T> void constructed(FILE *in, FILE *out, unsigned n) {
    std::vector<double> values(n);
    if (fread(values.data(), 8, n, in) != n) return;
    for (unsigned i = 0; i < n; i++) values[i] = T(values[i]).to_double();
    fwrite(values.data(), 8, n, out);
}
int main(int argc, char **argv) {
    if (argc == 1) return ap_ufixed<8, 4, AP_TRN, AP_WRAP_SM>(1.0) == 1.0 ? 0 : 3;
    FILE *in = fopen(argv[1], "rb"), *out = fopen(argv[2], "wb");
CALLS
    return fclose(out);
}
"""


Drawn = tuple[FixedType, Source, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Case:
    target: FixedType
    source: Source
    codes: np.ndarray
    doubles: np.ndarray
    assigned: np.ndarray
    constructed: np.ndarray


@pytest.fixture(scope="module")
def drawn() -> list[Drawn]:
    rng = random.Random(20240607)
    made = []
    for target in _targets(rng):
        source = _source_for(target, rng)
        codes = np.array(_codes(target, source, rng), np.int64)
        made.append((target, source, codes, np.array(_doubles(target, rng))))
    return made


@pytest.fixture(scope="module")
def casts_program(drawn: list[Drawn], tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    found = importlib.util.find_spec("hls4ml")
    if found is None:
        pytest.skip("hls4ml, which ships the ap_types headers, is not installed")
    headers = Path(found.submodule_search_locations[0]) / "templates" / "vivado" / "ap_types"
    folder = tmp_path_factory.mktemp("ap_types")
    calls = [
        f"    assigned<{source}, {_in_full(target)}>(in, out, {len(codes)});\n"
        f"    constructed<{_in_full(target)}>(in, out, {len(doubles)});\n"
        for target, source, codes, doubles in drawn
    ]
    (folder / "casts.cpp").write_text(_PROGRAM.replace("CALLS", "".join(calls)))
    command = ["g++", "-O0", "-w", "-std=c++17", f"-I{headers}", "casts.cpp", "-o", "casts"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "casts"


@pytest.fixture(scope="module")
def cases(drawn: list[Drawn], casts_program: Path) -> list[Case]:
    folder = casts_program.parent
    (folder / "in.bin").write_bytes(b"".join(codes.tobytes() + doubles.tobytes() for _, _, codes, doubles in drawn))
    subprocess.run([casts_program, "in.bin", "out.bin"], cwd=folder, check=True)
    results = np.fromfile(folder / "out.bin")
    assert results.size == sum(codes.size + doubles.size for _, _, codes, doubles in drawn) >= 100_000
    made, at = [], 0
    for target, source, codes, doubles in drawn:
        middle, end = at + codes.size, at + codes.size + doubles.size
        made.append(Case(target, source, codes, doubles, results[at:middle], results[middle:end]))
        at = end
    return made


def _in_full(target: FixedType) -> str:
    kind = "ap_fixed" if target.signed else "ap_ufixed"
    return f"{kind}<{target.width},{target.integer},{target.rounding},{target.overflow}>"


def _differences(case: Case, given: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> list[str]:
    """One line for a pair of types that differs, with its first difference."""
    differing = np.flatnonzero(ours != theirs)
    if not differing.size:
        return []
    i, cast = differing[0], f"{case.source} -> {_in_full(case.target)}"
    return [f"{cast}: {differing.size} differ; {given[i]} gives {ours[i]}, the headers give {theirs[i]}"]


def test_all_modes_are_drawn_with_narrow_and_wide_types(cases):
    assert {(c.target.rounding, c.target.overflow, c.target.signed) for c in cases} == set(MODES)
    assert {1, 2, 3} <= {c.target.width for c in cases}
    assert max(c.target.width for c in cases) > 32
    assert any(c.target.integer < 0 for c in cases)
    assert any(c.target.integer > c.target.width for c in cases)


def test_cast_of_exact_integers_equals_assignment_between_ap_fixed(cases):
    wrong = []
    for case in cases:
        ours = case.target.cast(ScaledInt(case.codes, case.source.fraction))
        wrong += _differences(case, case.codes, ours, case.assigned)
    assert not wrong, "\n".join(wrong)


def test_cast_of_floats_equals_assignment_between_ap_fixed(cases):
    wrong, compared = [], 0
    for case in cases:
        exact = np.abs(case.codes) <= 2**53
        values = np.ldexp(case.codes[exact].astype(np.float64), -case.source.fraction)
        compared += values.size
        wrong += _differences(case, values, case.target.cast(values), case.assigned[exact])
    assert compared > 50_000
    assert not wrong, "\n".join(wrong)


def test_cast_of_floats_equals_construction_from_double(cases):
    wrong = []
    for case in cases:
        ours = case.target.cast(case.doubles)
        wrong += _differences(case, case.doubles, ours, case.constructed)
    assert not wrong, "\n".join(wrong)


def test_headers_have_no_unsigned_wrap_sm_and_we_refuse_it(casts_program):
    done = subprocess.run([casts_program], capture_output=True, text=True, check=False)
    assert (done.returncode, "cannot support AP_WRAP_SM" in done.stderr) == (1, True)
    with pytest.raises(PrecisionError, match="AP_WRAP_SM"):
        FixedType(8, 4, signed=False, overflow="AP_WRAP_SM")
