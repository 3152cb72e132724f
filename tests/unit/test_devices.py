"""The device table: figures of AMD's product tables, read strictly, and what a design takes of them."""

from __future__ import annotations

from typing import Any

import pytest

from talon_lib.cost.devices import RESOURCES, device_of, devices, dsp_slice_of, fit, read
from talon_lib.cost.resources import Usage
from talon_lib.errors import ConfigError
from talon_lib.hls.boards import BOARDS, resolve_part


@pytest.mark.parametrize("board", BOARDS)
def test_every_board_has_its_device_in_the_table(board: str) -> None:
    device = device_of(resolve_part(board))
    assert device is not None and device.source.startswith("AMD DS")


@pytest.mark.parametrize(
    ("part", "figures"),
    [
        ("xc7z020clg400-1", (53200, 106400, 220, 140, 0, "DSP48E1")),  # DS190
        ("xczu9eg-ffvb1156-2-e", (274080, 548160, 2520, 912, 0, "DSP48E2")),  # DS891
        ("XCZU7EV-ffvc1156-2-e", (230400, 460800, 1728, 312, 96, "DSP48E2")),
        ("xczu3eg-sbva484-1-e", (70560, 141120, 360, 216, 0, "DSP48E2")),
        ("xck26-sfvc784-2LV-c", (117120, 234240, 1248, 144, 64, "DSP48E2")),
        ("xczu28dr-ffvg1517-2-e", (425280, 850560, 4272, 1080, 80, "DSP48E2")),  # DS889
        ("xcvu9p-flga2104-2L-e", (1182240, 2364480, 6840, 2160, 960, "DSP48E2")),  # DS890
        ("xcvc1902-vsva2197-2MP-e-S", (899840, 1799680, 1968, 967, 463, "DSP58")),  # DS950
    ],
)
def test_figures_are_those_of_the_product_tables(part: str, figures: tuple[Any, ...]) -> None:
    device = device_of(part)
    assert device is not None
    assert (device.lut, device.ff, device.dsp, device.bram36, device.uram, device.dsp_slice) == figures


# What the same product tables say in other columns: logic cells, and block RAM in Mb (of 1024 Kb) or Kb
TOTALS = {
    "xc7a35t": (33_280, "1,800 Kb"),
    "xc7a100t": (101_440, "4,860 Kb"),
    "xc7a200t": (215_360, "13,140 Kb"),
    "xc7k325t": (326_080, "16,020 Kb"),
    "xc7k410t": (406_720, "28,620 Kb"),
    "xc7vx485t": (485_760, "37,080 Kb"),
    "xc7vx690t": (693_120, "52,920 Kb"),
    "xc7z010": (28_000, "2.1 Mb"),
    "xc7z020": (85_000, "4.9 Mb"),
    "xc7z035": (275_000, "17.6 Mb"),
    "xc7z045": (350_000, "19.2 Mb"),
    "xc7z100": (444_000, "26.5 Mb"),
    "xcku060": (725_550, "38.0 Mb"),
    "xcku115": (1_451_100, "75.9 Mb"),
    "xcku3p": (355_950, "12.7 Mb"),
    "xcku5p": (474_600, "16.9 Mb"),
    "xcvu9p": (2_586_150, "75.9 Mb"),
    "xcu200": (2_586_150, "75.9 Mb"),  # the Alveo cards' names for the same silicon (DS962)
    "xcvu13p": (3_780_000, "94.5 Mb"),
    "xcu250": (3_780_000, "94.5 Mb"),
    "xczu3eg": (154_350, "7.6 Mb"),
    "xczu4ev": (192_150, "4.5 Mb"),
    "xczu5ev": (256_200, "5.1 Mb"),
    "xczu7ev": (504_000, "11.0 Mb"),
    "xczu9eg": (599_550, "32.1 Mb"),
    "xczu15eg": (746_550, "26.2 Mb"),
    "xczu19eg": (1_143_450, "34.6 Mb"),
    "xczu28dr": (930_300, "38.0 Mb"),
    "xcvc1902": (1_968_400, "34.0 Mb"),
}


def test_every_device_has_its_totals() -> None:
    figures = {name: (own.lut, own.ff, own.dsp, own.bram36, own.uram) for name, own in devices().items()}
    assert {figures[name] for name in TOTALS} == set(figures.values())  # other names are the same silicon


@pytest.mark.parametrize("name", TOTALS)
def test_figures_agree_with_the_totals_of_the_product_tables(name: str) -> None:
    device, (cells, block_ram) = devices()[name], TOTALS[name]
    # AMD counts 1.6 logic cells a LUT in the 7 series, 2.1875 since; the Zynq-7000 table rounds to thousands
    per_lut, rounding = (1.6, 500 if name.startswith("xc7z") else 0) if name.startswith("xc7") else (2.1875, 0)
    assert abs(device.lut * per_lut - cells) <= rounding
    amount, unit = block_ram.replace(",", "").split()
    kilobits = device.bram36 * 36
    assert f"{kilobits / 1024:.1f}" == amount if unit == "Mb" else kilobits == int(amount)


BLOCKS = {"DSP48E1": 4, "DSP48E2": 8, "DSP58": 32}
"""LUTs of what a device is made of: a slice (UG474), a CLB (UG574, AM005)."""


def test_luts_and_flip_flops_come_in_blocks() -> None:
    for device in devices().values():
        assert device.ff == 2 * device.lut  # true of all these families
        assert device.lut % BLOCKS[device.dsp_slice] == 0


def test_a_part_that_is_not_in_the_table_has_no_device_but_a_kind_of_slice() -> None:
    assert device_of("xczu99eg-ffvb1156-2-e") is None
    slices = [dsp_slice_of(part) for part in ("xc7a12t-1", "xcku025-x", "xcvm1802-y", "xcvu440-z")]
    assert slices == ["DSP48E1", "DSP48E2", "DSP58", "DSP48E2"]


def test_what_is_used_up_first_has_the_largest_share() -> None:
    device = devices()["xc7z020"]
    found = fit(Usage(lut=5320, ff=1064, dsp=110, bram=28), device)
    assert dict(found.utilisation) == pytest.approx({"lut": 0.1, "ff": 0.01, "dsp": 0.5, "bram": 0.1})
    assert (found.fits, found.limiting) == (True, "dsp")


@pytest.mark.parametrize("resource", RESOURCES)
def test_a_design_fits_up_to_the_last_of_every_resource(resource: str) -> None:
    device = devices()["xc7z020"]
    assert device.available("bram") == 280  # RAMB18
    full = fit(Usage(**{resource: device.available(resource)}), device)
    over = fit(Usage(**{resource: device.available(resource) + 1}), device)
    assert (full.fits, over.fits, over.limiting) == (True, False, resource)


ENTRY = {"names": ["xcnew"], "lut": 10, "ff": 20, "dsp": 1, "bram36": 2, "uram": 0}


def file(**changes: Any) -> dict[str, Any]:
    return {"source": "s", "dsp_slice": "DSP48E2", "devices": [ENTRY]} | changes


def test_a_device_file_has_exactly_the_keys() -> None:
    (device,) = read("x.yaml", file())
    assert (device.name, device.lut, device.source) == ("xcnew", 10, "s")
    for wrong in (None, [], {}, file(more=1), file(devices={})):
        with pytest.raises(ConfigError, match=r"x\.yaml: must have exactly the keys devices, dsp_slice, source"):
            read("x.yaml", wrong)
    for entry in ({}, "xc", ENTRY | {"luts": 1}, ENTRY | {"names": "xcnew"}):
        with pytest.raises(
            ConfigError, match=r"x\.yaml: each device must have exactly the keys bram36, dsp, ff, lut, "
        ):
            read("x.yaml", file(devices=[entry]))


@pytest.mark.parametrize("value", [0, -1, 1.5, "10", None, True])
def test_a_figure_that_is_no_number_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ConfigError, match="device 'xcnew': lut must be a whole number of 1 or more, not "):
        read("x.yaml", file(devices=[ENTRY | {"lut": value}]))


def test_an_unknown_kind_of_slice_is_refused() -> None:
    with pytest.raises(ConfigError, match="dsp_slice must be one of DSP48E1, DSP48E2, DSP58, not 'DSP'"):
        read("x.yaml", file(dsp_slice="DSP"))
