"""Energy presets: what is in them, which files are refused, and how widths and capacities are priced."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from talon_lib.cost.preset import EnergyPreset, get_preset, parse_preset, preset_dicts, presets
from talon_lib.errors import ConfigError

TUTORIAL = ["45nm_cmos", "28nm_cmos", "neuromorphic_int8", "zynq_us_plus", "zcu102", "zynq_7020"]
HOROWITZ = get_preset("horowitz_45nm").operations
LOIHI = get_preset("loihi").events
assert HOROWITZ is not None and LOIHI is not None


# --- what there is ---------------------------------------------------------------------------------------------------


def test_the_presets_of_the_tutorial_come_first_in_its_order() -> None:
    assert list(presets()) == [*TUTORIAL, "horowitz_45nm", "loihi"]
    assert list(preset_dicts()) == TUTORIAL
    assert all(get_preset(name).name == name and get_preset(name).source for name in presets())


def test_an_unknown_preset_lists_those_there_are() -> None:
    with pytest.raises(ConfigError, match=f"unknown energy preset 'zcu'; there are: {', '.join(presets())}; or give "):
        get_preset("zcu")


def test_presets_cannot_be_changed_from_outside() -> None:
    with pytest.raises(TypeError):
        presets()["mine"] = get_preset("zcu102")  # type: ignore[index]
    with pytest.raises(TypeError):
        preset_dicts()["zcu102"]["mac_pj"] = 0.0  # type: ignore[index]
    with pytest.raises(AttributeError):
        get_preset("zcu102").mac_pj = 0.0  # type: ignore[misc]


@pytest.mark.parametrize("name", list(presets()))
def test_a_preset_goes_through_plain_data(name: str) -> None:
    assert parse_preset(name, json.loads(json.dumps(get_preset(name).as_dict()))) == get_preset(name)


def test_single_prices_can_be_replaced() -> None:
    preset = get_preset("zcu102")
    made = preset.having(mac_pj=9.0, spike_pj=None, sram_read_pj=0.0)
    assert (made.mac_pj, made.spike_pj, made.sram_read_pj) == (9.0, preset.spike_pj, 0.0)
    assert (made.sram_write_pj, made.name) == (preset.sram_write_pj, preset.name)
    with pytest.raises(ConfigError, match="spike_pj must be picojoules of 0 or more, not -1"):
        preset.having(spike_pj=-1)


# --- prices by width -------------------------------------------------------------------------------------------------


def test_horowitz_figures_come_out_as_they_are_published() -> None:
    """ISSCC 2014, 45 nm; 64-bit reads."""
    assert [HOROWITZ.add(bits) for bits in (8, 32)] == pytest.approx([0.03, 0.1])
    assert [HOROWITZ.multiply(bits, bits) for bits in (8, 32)] == pytest.approx([0.2, 3.1])
    assert [HOROWITZ.add(bits, True) for bits in (16, 32)] == [0.4, 0.9]
    assert [HOROWITZ.multiply(bits, bits, True) for bits in (16, 32)] == [1.1, 3.7]
    assert HOROWITZ.multiply(16, 32, True) == 3.7
    for kilobytes, picojoules in ((8, 10), (32, 20), (1024, 100)):
        assert HOROWITZ.read(64, kilobytes * 8192) == pytest.approx(picojoules)
        assert HOROWITZ.write(32, kilobytes * 8192) == pytest.approx(picojoules / 2)


def test_multipliers_are_those_of_qkeras_and_adders_close_to_them() -> None:
    """Its qtools fit to the same source: E_mul = 0.002994791667 b^2 + 0.001041666667 b, E_add = 0.003125 b."""
    for bits in range(1, 54):
        assert HOROWITZ.multiply(bits, bits) == pytest.approx(0.002994791667 * bits**2 + 0.001041666667 * bits)
        assert abs(HOROWITZ.add(bits) - 0.003125 * bits) < 0.0066


@given(st.integers(1, 60), st.integers(1, 60))
def test_a_product_costs_the_same_from_both_sides_and_more_the_wider(left: int, right: int) -> None:
    assert HOROWITZ.multiply(left, right) == HOROWITZ.multiply(right, left) > 0
    assert HOROWITZ.multiply(left + 1, right) > HOROWITZ.multiply(left, right)
    assert HOROWITZ.add(left + 1) > HOROWITZ.add(left) > 0


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.integers(0, 64))
def test_a_larger_memory_never_costs_less_and_a_wider_access_its_share(a: float, b: float, bits: int) -> None:
    low, high = sorted((a, b))
    assert HOROWITZ.read(bits, low) <= HOROWITZ.read(bits, high)
    assert HOROWITZ.read(2 * bits, high) == pytest.approx(2 * HOROWITZ.read(bits, high))


def test_capacities_between_the_published_ones_lie_on_lines() -> None:
    of = {kb: HOROWITZ.read(64, kb * 8192) for kb in (0, 4, 8, 20, 32, 528, 1024, 2016)}
    assert (of[0], of[4]) == (0, pytest.approx(5))  # to nothing below 8 KB
    assert (of[20], of[528]) == (pytest.approx(15), pytest.approx(60))
    assert of[2016] == pytest.approx(180)  # the last line goes on


def test_loihi_figures_are_those_of_sana_fe() -> None:
    assert vars(LOIHI) == {
        "synapse_dense_pj": 35.5, "synapse_sparse_pj": 33.6, "synapse_conv_pj": 24.0, "neuron_access_pj": 51.2,
        "neuron_update_pj": 21.6, "spike_pj": 69.3, "message_pj": 111.0, "hop_pj": 3.0, "hops": 0,
    }  # fmt: skip


# --- files of one's own ----------------------------------------------------------------------------------------------

GOOD = {"description": "", "source": "", "mac_pj": 1, "spike_pj": 0.5, "sram_read_pj": 0, "sram_write_pj": 2.0}
SRAM = {"word_bits": 32, "read_pj": {1024: 1.0}, "write_pj": {1024: 2.0, 2048: 2.0}}
OPERATIONS = {
    "int_add_pj": {8: 0.1, 16: 0.2}, "int_multiply_pj": {8: 0.5, 16: 2.0}, "fp16_add_pj": 1, "fp16_multiply_pj": 2,
    "fp32_add_pj": 3, "fp32_multiply_pj": 4, "sram": SRAM,
}  # fmt: skip
EVENTS = dict.fromkeys(vars(LOIHI), 1.0)


def write(path: Path, values: Any) -> str:
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return str(path)


def test_a_file_of_ones_own_is_a_preset_named_after_it(tmp_path: Path) -> None:
    preset = get_preset(write(tmp_path / "mine.yaml", GOOD | {"operations": OPERATIONS, "static_mw": 3}))
    assert (preset.name, preset.sram_write_pj, preset.static_mw) == ("mine", 2.0, 3)
    assert preset.prices.add(12) == pytest.approx(0.15)
    assert preset.prices.write(16, 8 * 1536) == pytest.approx(1.0)
    assert get_preset(write(tmp_path / "chip.yml", GOOD | {"events": EVENTS})).events is not None


def test_what_is_wrong_with_a_file_is_said_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    with pytest.raises(ConfigError, match=r"energy preset .*mine\.yaml: No such file"):
        get_preset(str(path))
    for text, message in (
        ("mac_pj: 1\nmac_pj: 2", r"mine\.yaml: not YAML \(key 'mac_pj' is there twice, in line 1 or after\)"),
        ("a: [", r"mine\.yaml: not YAML"),
        ("[1]", "energy preset 'mine' must have exactly the keys description, mac_pj, "),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            get_preset(write(path, text))
        assert "\n" not in str(caught.value)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"mine\.yaml: not text"):
        get_preset(str(path))
    with pytest.raises(ConfigError, match="'zcu102' is a preset of talon-dse; rename the file"):
        get_preset(write(tmp_path / "zcu102.yaml", GOOD))


def test_a_preset_has_exactly_the_keys() -> None:
    for wrong in (None, [], "x", {}, GOOD | {"mac": 1}, {k: v for k, v in GOOD.items() if k != "source"}):
        with pytest.raises(ConfigError, match="energy preset 'mine' must have exactly the keys description, mac_pj, "):
            parse_preset("mine", wrong)
    for key, own in (("operations", OPERATIONS), ("events", EVENTS)):
        for wrong in ({}, own | {"x": 1}, [1], dict(itertools.islice(own.items(), 2))):
            with pytest.raises(ConfigError, match=f"'mine': {key} must have exactly the keys"):
                parse_preset("mine", GOOD | {key: wrong})
    with pytest.raises(ConfigError, match=r"'mine': operations\.sram must have exactly the keys read_pj, word_bits"):
        parse_preset("mine", GOOD | {"operations": OPERATIONS | {"sram": {}}})
    with pytest.raises(ConfigError, match="give operations or events, not both"):
        parse_preset("mine", GOOD | {"operations": OPERATIONS, "events": EVENTS})
    with pytest.raises(ConfigError, match="'mine': source must be text, not 3"):
        parse_preset("mine", GOOD | {"source": 3})


def test_keys_that_are_wrong_are_named() -> None:
    misspelt = {"spkie_pj" if key == "spike_pj" else key: value for key, value in GOOD.items()} | {1: 2}
    with pytest.raises(ConfigError, match=r"static_mw\); unknown: 1, spkie_pj; missing: spike_pj$"):
        parse_preset("mine", misspelt)
    with pytest.raises(ConfigError, match=r"must have exactly the keys [a-z0-9_, ]*; unknown: fp64_add_pj$"):
        parse_preset("mine", GOOD | {"operations": OPERATIONS | {"fp64_add_pj": 1.0}})


def test_prices_of_memory_that_are_wrong_are_shown_how_to_be_right() -> None:
    with pytest.raises(ConfigError, match=r"prices by bytes, e\.g\. \{8192: 10\.0, 32768: 20\.0\}, not \{0: 1\.0\}$"):
        parse_preset("mine", GOOD | {"operations": OPERATIONS | {"sram": SRAM | {"read_pj": {0: 1.0}}}})


def test_static_power_without_a_latency_is_said_to_be_left_out() -> None:
    plain = parse_preset("mine", GOOD)
    powered = parse_preset("mine", GOOD | {"static_mw": 3})
    assert plain.basis_at(None) == plain.basis == powered.basis_at(2.0)
    assert powered.basis_at(None) == f"{plain.basis}; static power left out: no latency is known"


NO_ENERGY = [-1, -0.001, float("nan"), float("inf"), "3", None, True, [1]]


@pytest.mark.parametrize("price", ["mac_pj", "spike_pj", "sram_read_pj", "sram_write_pj"])
@pytest.mark.parametrize("value", NO_ENERGY)
def test_a_price_that_is_no_energy_is_refused_by_name(price: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"energy preset 'mine': {price} must be picojoules of 0 or more, not "):
        parse_preset("mine", GOOD | {price: value})


@pytest.mark.parametrize("value", NO_ENERGY)
def test_so_is_one_deeper_in_the_file(value: Any) -> None:
    for wrong, key in (
        ({"operations": OPERATIONS | {"fp16_add_pj": value}}, r"operations\.fp16_add_pj"),
        ({"operations": OPERATIONS | {"int_add_pj": {8: value, 32: 1}}}, r"operations\.int_add_pj\.8"),
        ({"operations": OPERATIONS | {"sram": SRAM | {"read_pj": {64: value}}}}, r"operations\.sram\.read_pj\.64"),
        ({"events": EVENTS | {"message_pj": value}}, r"events\.message_pj"),
    ):
        with pytest.raises(ConfigError, match=f"energy preset 'mine': {key} must be picojoules of 0 or more, not "):
            parse_preset("mine", GOOD | wrong)
    if value is not None:
        with pytest.raises(ConfigError, match="'mine': static_mw must be milliwatts of 0 or more"):
            parse_preset("mine", GOOD | {"static_mw": value})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"int_add_pj": {8: 0.1}}, r"operations\.int_add_pj must be two prices by bits"),
        ({"int_add_pj": {8: 0.1, 16: 0.2, 32: 0.3}}, "must be two prices by bits"),
        ({"int_add_pj": {0: 0.1, 16: 0.2}}, "must be two prices by bits"),
        ({"int_add_pj": {"wide": 0.1, 16: 0.2}}, "must be two prices by bits"),
        ({"int_add_pj": {8.5: 0.1, 16: 0.2}}, "must be two prices by bits"),
        ({"int_add_pj": [8, 16]}, "must be two prices by bits"),
        ({"int_add_pj": {8: 0.1, 16: 0.05}}, "what is larger must not cost less"),
        ({"int_add_pj": {8: 0.1, 16: 1.0}}, "1 bit has a price below 0"),
        ({"int_multiply_pj": {8: 1.0, 16: 1.5}}, "1 bit has a price below 0"),
        ({"sram": SRAM | {"word_bits": 0}}, r"operations\.sram\.word_bits must be 1 or more, not 0"),
        ({"sram": SRAM | {"word_bits": 6.4}}, r"operations\.sram\.word_bits must be 1 or more, not 6\.4"),
        ({"sram": SRAM | {"read_pj": {}}}, r"operations\.sram\.read_pj must be one or more prices by bytes"),
        ({"sram": SRAM | {"read_pj": {64: 2, 128: 1}}}, "what is larger must not cost less"),
    ],
)
def test_prices_by_width_that_cannot_be_right_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_preset("mine", GOOD | {"operations": OPERATIONS | changed})


def test_a_preset_without_widths_prices_every_width_alike_and_memory_by_32_bits() -> None:
    prices = EnergyPreset("p", "", "", mac_pj=4, spike_pj=1, sram_read_pj=5, sram_write_pj=6).prices
    for bits in (1, 8, 64):
        assert (prices.add(bits), prices.multiply(bits, bits), prices.accumulate(bits)) == (1, 4, 1)
        assert prices.multiply_accumulate(bits, bits, bits) == 4
        assert (prices.read(bits, 1), prices.write(bits, 10**9)) == (5 * bits / 32, 6 * bits / 32)
