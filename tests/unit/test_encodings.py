"""Encodings: against snnTorch and Tonic, against formulas written out, and bits that are the same everywhere."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from talon_lib import data
from talon_lib.data.encode import Delta, Events, Latency, Rate
from talon_lib.data.events import Recordings, recordings
from talon_lib.errors import ConfigError

X = np.arange(12.0).reshape(4, 3)
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "encodings.json").read_text())["cases"]


def golden(kind: str) -> list[Any]:
    cases = [case for case in GOLDEN if case["encoding"]["kind"] == kind]
    assert cases
    return [pytest.param(*case.values(), id=str(list(case["encoding"].values())[1:])) for case in cases]


# --- current and frames ----------------------------------------------------------------------------------------------


def test_a_current_is_held_for_all_steps() -> None:
    np.testing.assert_array_equal(data.encode(X, "current", (3,), 7), X)


def test_a_current_takes_the_shape_of_the_input_in_row_major_order() -> None:
    found = data.encode(np.arange(24).reshape(2, 12), "current", (3, 2, 2), 1)
    assert found.shape == (2, 3, 2, 2)
    assert found[1, 2, 0, 1] == 12 + 2 * 4 + 0 * 2 + 1


def test_frames_are_fed_one_a_step() -> None:
    frames = np.arange(2 * 5 * 3).reshape(2, 5, 3)
    found = data.encode(frames, "frames", (3,), 4)
    assert found.shape == (4, 2, 3)
    for step in range(4):
        for sample in range(2):
            np.testing.assert_array_equal(found[step, sample], frames[sample, step])


def test_frames_take_the_shape_of_the_input() -> None:
    frames = np.arange(2 * 3 * 8).reshape(2, 3, 8)
    found = data.encode(frames, "frames", (2, 2, 2), 3)
    np.testing.assert_array_equal(found[1, 0, 1, 0], frames[0, 1, 4:6])


# --- rate ------------------------------------------------------------------------------------------------------------


def philox(key: tuple[int, int], counter: int) -> list[int]:
    """Philox4x64-10 as Salmon et al. (SC 2011) define it, in Python's integers."""
    mask = 2**64 - 1
    words = [counter >> 64 * i & mask for i in range(4)]
    k0, k1 = key
    for _ in range(10):
        a, b = words[0] * 0xD2E7470EE14C6C93, words[2] * 0xCA5A826395121157
        words = [b >> 64 ^ words[1] ^ k0, b & mask, a >> 64 ^ words[3] ^ k1, a & mask]
        k0, k1 = k0 + 0x9E3779B97F4A7C15 & mask, k1 + 0xBB67AE8584CAA73B & mask
    return words


def test_the_generator_of_this_test_gives_the_published_vectors() -> None:
    """Random123's kat_vectors, philox4x64 with 10 rounds."""
    ones = 2**64 - 1
    assert philox((0, 0), 0) == [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    assert philox((ones, ones), 2**256 - 1) == [
        0x87B092C3013FE90B,
        0x438C3C67BE8D0224,
        0x9CC7D7C69CD777B6,
        0xA09CAEBF594F0BA0,
    ]


@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
def test_rates_compare_the_published_generator_with_the_probability_in_53_bits(seed: int) -> None:
    x = np.array([[0.0, 0.25, 0.5, 0.75, 1.0], [0.1, 0.9, 1e-16, 1 - 2**-53, 0.5]])
    steps, first = 9, 1000
    found = Rate(seed=seed).encode(x, (5,), steps, first)
    for sample in range(2):
        blocks = [philox((seed, first + sample), 1 + block) for block in range(math.ceil(steps * 5 / 4))]
        numbers = [number >> 11 for block in blocks for number in block][: steps * 5]
        expected = [number < math.floor(p * 2**53) for number, p in zip(numbers, [*x[sample]] * steps, strict=True)]
        np.testing.assert_array_equal(found[:, sample].ravel(), expected)


def test_the_bits_of_a_rate_are_written_down() -> None:
    found = data.encode(np.full((3, 8), 0.5), {"kind": "rate", "seed": 7}, (8,), 2)
    lines = ["".join(map(str, sample)) for step in found for sample in step]
    assert lines == ["01111010", "01010010", "11001011", "10001000", "01011101", "10011010"]
    whole = data.encode(np.linspace(0, 1, 320).reshape(5, 64), "rate", (8, 8), 50)
    assert hashlib.sha256(whole.tobytes()).hexdigest().startswith("910c4d26bbfe0577814e96e8ab45a46105e4d3ac")


def test_the_mean_of_a_rate_is_its_probability() -> None:
    p = np.array([[0.0, 0.05, 0.3, 0.5, 0.8, 1.0]])
    steps = 20_000
    mean = data.encode(p, "rate", (6,), steps).mean(axis=0)
    np.testing.assert_array_less(np.abs(mean - p), 5 * np.sqrt(p * (1 - p) / steps) + 1e-12)


def test_neighbouring_places_steps_and_samples_are_not_correlated() -> None:
    spikes = data.encode(np.full((40, 40), 0.5), "rate", (40,), 40) * 2.0 - 1.0
    for axis in range(3):
        ahead, behind = np.split(spikes, [1], axis=axis)[1], np.split(spikes, [39], axis=axis)[0]
        assert abs((ahead * behind).mean()) < 5 / math.sqrt(ahead.size)


def test_rates_are_scaled_shifted_and_clipped() -> None:
    x = np.array([[0, 51, 255, 127]], np.uint8)
    scaled = data.encode(x, {"kind": "rate", "gain": 1 / 255}, (4,), 30)
    np.testing.assert_array_equal(scaled, data.encode(x * (1 / 255), "rate", (4,), 30))
    shifted = data.encode(np.array([[-9.0, 1e308, -0.5]]), {"kind": "rate", "gain": 1e3, "offset": 0.5}, (3,), 8)
    assert shifted.sum(axis=0).tolist() == [[0, 8, 0]]


def test_seeds_and_samples_have_random_numbers_of_their_own() -> None:
    x = np.full((2, 50), 0.5)
    one, other = (data.encode(x, {"kind": "rate", "seed": seed}, (50,), 4) for seed in (1, 2))
    assert (one != other).any() and (one[:, 0] != one[:, 1]).any() and (one[0] != one[1]).any()


# --- latency ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("encoding", "x", "spikes"), golden("latency"))
def test_latencies_are_those_of_snntorch(encoding: dict[str, Any], x: Any, spikes: Any) -> None:
    found = data.encode(np.array([x]), encoding, (len(x),), len(spikes))
    np.testing.assert_array_equal(found[:, 0], spikes)


def steps_of(x: Any, steps: int, **parameters: Any) -> list[int]:
    """The step of each value's spike; -1 where there is none."""
    spikes = Latency(**parameters).encode(np.array([x]), (len(x),), steps)[:, 0]
    assert set(np.unique(spikes)) <= {0, 1} and (spikes.sum(axis=0) <= 1).all()
    return [int(at) if any_ else -1 for at, any_ in zip(spikes.argmax(axis=0), spikes.any(axis=0), strict=True)]


def test_a_linear_latency_fills_all_steps_and_ends_halves_at_the_even_step() -> None:
    assert steps_of([1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0.01], 5) == [0, 0, 1, 2, 2, 2, 3, 4, 4]


@pytest.mark.parametrize("form", ["linear", "log"])
def test_zero_and_what_is_below_the_threshold_never_spikes(form: Any) -> None:
    assert steps_of([0, -1, 0.0999, np.nextafter(0.1, 0)], 50, form=form, threshold=0.1, tau=2) == [-1] * 4
    assert steps_of([0.1], 50, form=form, threshold=0.1, tau=2) == [2 if form == "linear" else -1]


@pytest.mark.parametrize("form", ["linear", "log"])
def test_values_above_one_come_first(form: Any) -> None:
    assert steps_of([1e9, 1e300], 4, form=form, threshold=0.5, tau=1) == [0, 0]


def test_a_spike_beyond_the_last_step_is_left_out() -> None:
    assert steps_of([1, 0.9, 0.8, 0.7], 3, tau=10) == [0, 1, 2, -1]


def test_one_step_is_enough() -> None:
    assert steps_of([1, 0.75, 0.2, 0], 1) == [0, 0, -1, -1]
    assert steps_of([1, 0.75, 0.2, 0], 1, form="log") == [0, 0, 0, -1]


@given(
    st.lists(st.floats(-1, 2), min_size=2, max_size=20),
    st.sampled_from(["linear", "log"]),
    st.floats(0.01, 50),
    st.floats(0.001, 1),
    st.integers(1, 40),
)
def test_larger_values_never_spike_later(x: list[float], form: Any, tau: float, threshold: float, steps: int) -> None:
    found = steps_of(sorted(x), steps, form=form, tau=tau, threshold=threshold)
    late = [steps if at < 0 else at for at in found]
    assert late == sorted(late, reverse=True)


@given(st.floats(0.02, 20), st.floats(0.001, 1), st.floats(0.0011, 3), st.integers(1, 60))
def test_the_log_latency_is_the_time_that_a_membrane_takes(tau: float, threshold: float, x: float, steps: int) -> None:
    time = math.inf if x <= threshold else tau * math.log(x / (x - threshold))
    if abs(time % 1 - 0.5) < 1e-6:  # a logarithm in float64 does not say which side it is
        return
    expected = round(time) if time < steps - 0.5 else -1
    assert steps_of([x], steps, form="log", tau=tau, threshold=threshold) == [expected]


def test_the_bits_of_latencies_are_written_down() -> None:
    x = np.linspace(0, 1, 1000)[None]
    sums = {
        form: data.encode(x, {"kind": "latency", "form": form, "tau": 6.5, "threshold": 0.05}, (1000,), 8).sum((1, 2))
        for form in ("linear", "log")
    }
    assert sums["linear"].tolist() == [77, 154, 154, 153, 154, 154, 104, 0]
    assert sums["log"].tolist() == [325, 432, 86, 37, 20, 12, 8, 7]


# --- delta -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("encoding", "x", "spikes"), golden("delta"))
def test_deltas_are_those_of_snntorch(encoding: dict[str, Any], x: Any, spikes: Any) -> None:
    found = data.encode(np.array([x]), encoding, (6,), len(spikes))
    np.testing.assert_array_equal(found[:, 0], spikes)


def test_a_fall_of_unsigned_numbers_is_no_rise() -> None:
    x = np.array([[[200], [10], [11], [0]]], np.uint8)
    found = Delta(threshold=1, off_spikes=True).encode(x, (1,), 4)
    assert found.ravel().tolist() == [1, -1, 1, -1]


# --- events ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("encoding", "x", "frames"), golden("events"))
def test_events_are_counted_as_tonic_does_and_none_is_lost(encoding: dict[str, Any], x: Any, frames: Any) -> None:
    found = data.encode(recordings(np.array(x), None, None), encoding, (2, 3, 4), len(frames))[:, 0]
    expected = np.array(frames)
    if encoding["bin_width"] is None:  # Tonic leaves out what the last of its equal bins does not reach
        assert found.sum() == len(x) > expected.sum()
        assert (found[-1] >= expected[-1]).all()
        found, expected = found[:-1], expected[:-1]
    np.testing.assert_array_equal(found, expected)


EVENT = st.tuples(st.integers(-1000, 1000), st.integers(0, 3), st.integers(0, 2), st.integers(0, 1))


@given(st.lists(st.lists(EVENT, max_size=20), min_size=1, max_size=4), st.integers(1, 9), st.randoms())
def test_every_event_is_in_one_frame_at_its_place_whatever_their_order(
    given_: list[list[tuple[int, int, int, int]]], steps: int, random: Any
) -> None:
    made = []
    for each in (given_, [random.sample(own, len(own)) for own in given_]):
        offsets = np.cumsum([0, *map(len, each)])
        events = np.array([event for own in each for event in own]).reshape(-1, 4)
        made.append(recordings(events, offsets, None))
    frames = Events().encode(made[0], (2, 3, 4), steps)
    assert frames.shape == (steps, len(given_), 2, 3, 4)
    for index, own in enumerate(given_):
        counts = np.zeros((2, 3, 4))
        for _, x, y, p in own:
            counts[p, y, x] += 1
        np.testing.assert_array_equal(frames[:, index].sum(axis=0), counts)
        if own:
            assert frames[0, index].any()
    np.testing.assert_array_equal(Events().encode(made[1], (2, 3, 4), steps), frames)
    np.testing.assert_array_equal(Events(binary=True).encode(made[0], (2, 3, 4), steps), frames > 0)


def one(*events: tuple[int, int, int, int], sensor: Any = None) -> Recordings:
    return recordings(np.array(events), None, None if sensor is None else np.array(sensor))


def test_bins_of_a_given_width_start_at_the_first_event_and_end_with_the_run() -> None:
    found = Events(bin_width=10).encode(one((5, 0, 0, 0), (14, 1, 0, 0), (15, 2, 0, 0), (35, 3, 0, 0)), (1, 1, 4), 3)
    assert [frame.ravel().tolist() for frame in found[:, 0]] == [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]


def test_a_recording_shorter_than_the_steps_fills_the_first_of_them() -> None:
    found = Events().encode(one((7, 0, 0, 0), (8, 1, 0, 0), (9, 0, 0, 0)), (2,), 9)[:, 0]
    assert found.tolist() == [[1, 0], [0, 1], [1, 0]] + [[0, 0]] * 6


def test_an_input_of_one_channel_does_not_tell_polarities_apart() -> None:
    assert Events().encode(one((0, 1, 2, 0), (0, 1, 2, 1), (0, 1, 2, -1)), (1, 3, 4), 1)[0, 0, 0, 2, 1] == 3


def test_a_polarity_of_minus_one_is_that_of_zero() -> None:
    found = Events().encode(one((0, 0, 0, -1), (0, 1, 0, 1), (0, 1, 0, 0)), (2, 1, 2), 1)
    assert found[0, 0].ravel().tolist() == [1, 1, 0, 1]


def test_a_known_sensor_fills_a_flat_input_in_row_major_order() -> None:
    events = ((0, 3, 1, 0), (0, 0, 2, 1), (0, 0, 2, 1))
    image = Events().encode(one(*events), (2, 3, 4), 1)
    flat = Events().encode(one(*events, sensor=(4, 3, 2)), (24,), 1)
    np.testing.assert_array_equal(flat, image.reshape(1, 1, 24))
    np.testing.assert_array_equal(Events().encode(one(*events, sensor=(4, 3, 2)), (2, 3, 4), 1), image)
    merged = Events().encode(one(*events, sensor=(4, 3, 2)), (1, 3, 4), 1)
    np.testing.assert_array_equal(merged, image.sum(axis=2, keepdims=True))


@pytest.mark.parametrize("shape", [(2, 4, 3), (1, 4, 3), (23,), (4, 3)])
def test_an_input_of_another_size_than_the_sensor_is_refused(shape: Any) -> None:
    with pytest.raises(ConfigError, match=r"a sensor with 4 x 3 places and 2 polarities do not fit the input \("):
        Events().encode(one((0, 0, 0, 0), sensor=(4, 3, 2)), shape, 1)


@pytest.mark.parametrize("event", [(0, 4, 0, 0), (0, 0, 3, 0), (0, 0, 0, 2)])
def test_an_event_outside_of_the_input_is_named_with_its_recording(event: Any) -> None:
    many = recordings(np.array([(0, 0, 0, 0), event]), np.array([0, 1, 1, 2]), None)
    with pytest.raises(ConfigError) as caught:
        Events().encode(many[1:], (2, 3, 4), 1, first=1)
    _, x, y, p = event
    assert str(caught.value) == (
        f"recording 2 has an event at x {x}, y {y}, p {p}, which lies outside of 4 x 3 places with 2 polarities "
        "(input (2, 3, 4))"
    )


def test_events_at_the_ends_of_time_are_told_apart() -> None:
    assert Events().encode(one((-(2**61), 0, 0, 0), (2**61, 0, 0, 0)), (1,), 2).ravel().tolist() == [1, 1]
    assert Events(bin_width=1).encode(one((-(2**61), 0, 0, 0), (2**61, 0, 0, 0)), (1,), 2).ravel().tolist() == [1, 0]


# --- all of them -----------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(40)
FLAT, FILM = RNG.uniform(-0.2, 1.2, (11, 6)), RNG.uniform(-1, 1, (11, 9, 6))
EVENTS = recordings(
    RNG.integers(0, (500, 3, 2, 2), (120, 4)), np.array([0, *np.sort(RNG.integers(0, 120, 10)), 120]), None
)
ALL: list[tuple[Any, Any, tuple[int, ...]]] = [
    ("current", FLAT, (2, 3)),
    ("frames", FILM, (2, 3)),
    ({"kind": "rate", "seed": 3}, FLAT, (2, 3)),
    ("latency", FLAT, (2, 3)),
    ({"kind": "latency", "form": "log", "threshold": 0.2}, FLAT, (2, 3)),
    ({"kind": "delta", "off_spikes": True}, FILM, (2, 3)),
    ("events", EVENTS, (2, 2, 3)),
    ({"kind": "events", "bin_width": 60, "binary": True}, EVENTS, (2, 2, 3)),
]


def test_every_encoding_is_in_the_list_that_the_tests_below_go_through() -> None:
    assert {data.parse(encoding).kind for encoding, _, _ in ALL} == set(data.ENCODINGS)


@pytest.mark.parametrize(("encoding", "x", "shape"), ALL, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("batch", [1, 4, 10])
def test_how_samples_are_batched_changes_nothing(encoding: Any, x: Any, shape: Any, batch: int) -> None:
    whole = data.encode(x, encoding, shape, 6, 5)
    parts = [data.encode(x[at : at + batch], encoding, shape, 6, 5 + at) for at in range(0, 11, batch)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=0 if encoding == "current" else 1), whole)


PREFIX = [row for row in ALL if row[0] not in ("latency", "events") and "form" not in row[0]]


@pytest.mark.parametrize(("encoding", "x", "shape"), PREFIX, ids=lambda value: str(value)[:40])
def test_more_steps_begin_with_the_same(encoding: Any, x: Any, shape: Any) -> None:
    few, many = (data.encode(x, encoding, shape, steps) for steps in (3, 7))
    np.testing.assert_array_equal(few, many if encoding == "current" else many[:3])


@pytest.mark.parametrize(("encoding", "x", "shape"), ALL, ids=lambda value: str(value)[:40])
def test_an_encoding_is_itself_again_after_a_configuration_and_a_command_line(
    encoding: Any, x: Any, shape: Any
) -> None:
    parsed = data.parse(encoding)
    assert data.parse(parsed) is parsed
    assert data.parse(json.loads(json.dumps(parsed.describe()))) == parsed
    assert data.parse(parsed.argument()) == parsed


def test_one_encoding_has_one_description() -> None:
    assert data.parse({"kind": "rate", "gain": 1}).argument() == data.parse({"kind": "rate", "gain": 1.0}).argument()
    assert data.parse("rate") == data.parse({"kind": "rate", "seed": 0})
    assert (data.parse("current").describe(), data.parse("frames").argument()) == ("current", "frames")


def refusal(encoding: Any, x: Any = FLAT, shape: tuple[int, ...] = (6,), steps: int = 1) -> str:
    with pytest.raises(ConfigError) as caught:
        data.encode(x, encoding, shape, steps)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("encoding", ["current", "rate", "latency"])
@pytest.mark.parametrize("shape", [(5,), (2, 4)])
def test_data_that_does_not_fit_is_refused_with_both_shapes(encoding: str, shape: tuple[int, ...]) -> None:
    assert refusal(encoding, shape=shape) == (
        f"data of shape (6,) a sample does not fit the input {shape} (encoding '{encoding}')"
    )


@pytest.mark.parametrize("encoding", ["frames", "delta"])
def test_what_is_no_frames_or_too_few_is_refused(encoding: str) -> None:
    said = f"a sample is no frames of the input (6,) (encoding '{encoding}')"
    assert refusal(encoding) == f"data of shape (6,) {said}"
    assert refusal(encoding, np.zeros((2, 6, 2))) == f"data of shape (6, 2) {said}"
    assert refusal(encoding, FILM, steps=10) == "10 steps are asked for, but the data has 9 frames a sample"


@pytest.mark.parametrize("encoding", ["current", "frames", "rate", "latency", "delta"])
def test_events_are_fed_as_events_alone(encoding: str) -> None:
    assert refusal(encoding, EVENTS) == (
        f"the data is recordings of events, which encoding '{encoding}' cannot feed; use events"
    )


def test_plain_arrays_are_no_events() -> None:
    assert refusal("events") == (
        "encoding 'events' needs recordings of events, but the data is plain arrays, (6,) a sample"
    )


KINDS = "current, frames, rate, latency, delta, events"


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("poisson", f"unknown encoding 'poisson'; there are: {KINDS}"),
        ("", f"unknown encoding ''; there are: {KINDS}"),
        ({"kind": ["rate"]}, f"unknown encoding ['rate']; there are: {KINDS}"),
        ({"seed": 1}, f"an encoding is {KINDS}, or a mapping with the key kind, not {{'seed': 1}}"),
        (None, f"an encoding is {KINDS}, or a mapping with the key kind, not None"),
        (3, f"an encoding is {KINDS}, or a mapping with the key kind, not 3"),
        ('{"kind": ', "the encoding is no JSON: Expecting value: line 1 column 10 (char 9)"),
        ({"kind": "rate", "sed": 1}, "encoding 'rate': unknown key 'sed'; allowed: kind, seed, gain, offset"),
        ({"kind": "current", "seed": 1}, "encoding 'current': unknown key 'seed'; allowed: kind"),
        ({"kind": "rate", "seed": -1}, f"encoding 'rate': seed must be a whole number of 0 to {2**64 - 1}, not -1"),
        ({"kind": "rate", "seed": 2**64}, f"encoding 'rate': seed must be a whole number of 0 to {2**64 - 1}, not "),
        ({"kind": "rate", "seed": 1.0}, "encoding 'rate': seed must be a whole number of "),
        ({"kind": "rate", "seed": True}, "encoding 'rate': seed must be a whole number of "),
        ({"kind": "rate", "seed": "1"}, "encoding 'rate': seed must be a whole number of "),
        ({"kind": "rate", "gain": "2"}, "encoding 'rate': gain must be a number of -1e+300 to 1e+300, not '2'"),
        ({"kind": "rate", "gain": math.nan}, "encoding 'rate': gain must be a number of -1e+300 to 1e+300, not nan"),
        ({"kind": "rate", "offset": math.inf}, "encoding 'rate': offset must be a number of "),
        ({"kind": "latency", "form": "ln"}, "encoding 'latency': form must be linear or log, not 'ln'"),
        ({"kind": "latency", "form": ["log"]}, "encoding 'latency': form must be linear or log, not ['log']"),
        ({"kind": "latency", "tau": 0}, "encoding 'latency': tau must be a number of 1e-06 to 1e+06, not 0"),
        ({"kind": "latency", "tau": 10**400}, "encoding 'latency': tau must be a number of 1e-06 to 1e+06, not 1000"),
        ({"kind": "latency", "threshold": 0}, "encoding 'latency': threshold must be a number of 1e-06 to 1, not 0"),
        ({"kind": "latency", "threshold": 1.5}, "encoding 'latency': threshold must be a number of 1e-06 to 1, not "),
        ({"kind": "delta", "threshold": 0}, "encoding 'delta': threshold must be a number of 1e-300 to 1e+300, not 0"),
        ({"kind": "delta", "threshold": None}, "encoding 'delta': threshold must be a number of "),
        ({"kind": "delta", "off_spikes": 1}, "encoding 'delta': off_spikes must be true or false, not 1"),
        ({"kind": "delta", "padding": "no"}, "encoding 'delta': padding must be true or false, not 'no'"),
        ({"kind": "events", "bin_width": 0}, "encoding 'events': bin_width must be a whole number of 1 to "),
        ({"kind": "events", "bin_width": 0.5}, "encoding 'events': bin_width must be a whole number of 1 to "),
        ({"kind": "events", "binary": None}, "encoding 'events': binary must be true or false, not None"),
    ],
)
def test_an_encoding_that_cannot_be_right_says_what_is_allowed(encoding: Any, said: str) -> None:
    assert refusal(encoding).startswith(said)


def test_encodings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Rate().seed = 1  # type: ignore[misc]
