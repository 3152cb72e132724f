"""Datasets: what is read, and what is refused with the path, whatever a file claims."""

from __future__ import annotations

import io
import pickle
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from talon_lib import data
from talon_lib.data import files
from talon_lib.errors import FormatError

NO_FILE = "not an .npz or .npy file of plain arrays ("
X = np.arange(12.0).reshape(4, 3)
Y = np.array([0, 1, 2, 0])


def saved(path: Path, **arrays: Any) -> Path:
    file = path / "data.npz"
    np.savez(file, **arrays)
    return file


def test_a_dataset_has_test_samples_labels_and_calibration_samples(tmp_path: Path) -> None:
    found = data.load(saved(tmp_path, x_test=X, y_test=Y, x_train=X + 1, y_train=Y, ignored=np.zeros(1)))
    np.testing.assert_array_equal(found.x, X)
    np.testing.assert_array_equal(found.y, Y)
    np.testing.assert_array_equal(found.calibration, X + 1)


def test_x_and_y_alone_serve_for_both(tmp_path: Path) -> None:
    found = data.load(str(saved(tmp_path, x=X, y=Y)))
    np.testing.assert_array_equal(found.x, X)
    np.testing.assert_array_equal(found.calibration, X)
    np.testing.assert_array_equal(found.y, Y)


def test_labels_may_be_missing(tmp_path: Path) -> None:
    found = data.load(saved(tmp_path, x=X))
    assert found.y is None
    assert found.take(2).y is None


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int64, bool])
def test_numbers_of_any_kind_are_taken(tmp_path: Path, dtype: Any) -> None:
    assert data.load(saved(tmp_path, x=X.astype(dtype))).x.dtype == dtype


def test_take_takes_the_first_and_leaves_calibration_alone(tmp_path: Path) -> None:
    whole = data.load(saved(tmp_path, x_test=X, y_test=Y, x_train=X + 1))
    part = whole.take(3)
    np.testing.assert_array_equal(part.x, X[:3])
    np.testing.assert_array_equal(part.y, Y[:3])
    np.testing.assert_array_equal(part.calibration, X + 1)
    assert whole.take(None).fingerprint == whole.take(99).fingerprint == whole.fingerprint


def refusal(path: Path) -> str:
    with pytest.raises(FormatError) as caught:
        data.load(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and "\n" not in text
    return text.removeprefix(f"{path}: ")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.npz") == "there is no such file"


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 torn", b"\x93NUMPY\x01", pickle.dumps([1, 2])])
def test_a_file_that_is_no_npz_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "data.npz"
    file.write_bytes(content)
    assert refusal(file).startswith(NO_FILE)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    file = saved(tmp_path, x=np.zeros((100, 100)))
    file.write_bytes(file.read_bytes()[:5000])
    assert refusal(file).startswith(NO_FILE)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = saved(tmp_path, x=np.ones((100, 100)))
    content = bytearray(file.read_bytes())
    content[4000] ^= 255
    file.write_bytes(content)
    assert refusal(file).startswith(NO_FILE)


def test_a_folder_is_no_dataset(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(NO_FILE)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    target = tmp_path / "executed"
    file = saved(tmp_path, x=np.array([[Bomb(target)]], dtype=object))
    assert refusal(file) == f"{NO_FILE}x is an object array; save numbers)"
    assert not target.exists()


def test_object_arrays_that_nobody_asked_for_are_refused_too(tmp_path: Path) -> None:
    file = saved(tmp_path, x=X, notes=np.array([{}], dtype=object))
    assert refusal(file) == f"{NO_FILE}notes is an object array; save numbers)"


def test_a_file_without_samples_says_what_it_holds(tmp_path: Path) -> None:
    assert (
        refusal(saved(tmp_path, images=X, labels=Y)) == "holds neither x_test nor x (nor events), only images, labels"
    )
    assert refusal(saved(tmp_path)) == "holds neither x_test nor x (nor events), only nothing"


@pytest.mark.parametrize(
    "x", [np.zeros(3), np.zeros((0, 3)), np.array(1.0), np.array([["a"]]), np.zeros((2, 2), "datetime64[s]")]
)
def test_samples_that_are_no_numbers_or_none_at_all_are_refused(tmp_path: Path, x: np.ndarray) -> None:
    assert refusal(saved(tmp_path, x=x)) == f"x must hold numbers, (samples, …), not {x.dtype} {x.shape}"


def test_calibration_samples_are_checked_as_well(tmp_path: Path) -> None:
    assert refusal(saved(tmp_path, x_test=X, x_train=np.zeros((0, 3)))).startswith("x_train must hold numbers")
    assert refusal(saved(tmp_path, x_test=X, x_train=X * np.nan)) == "x_train holds NaN or infinity"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    x = X.copy()
    x[2, 1] = value
    assert refusal(saved(tmp_path, x=x)) == "x holds NaN or infinity"


@pytest.mark.parametrize("y", [Y[:3], Y.astype(float), np.eye(4, dtype=int), np.array(["a"] * 4), np.array(1)])
def test_labels_that_are_not_one_whole_number_a_sample_are_refused(tmp_path: Path, y: np.ndarray) -> None:
    assert refusal(saved(tmp_path, x=X, y=y)) == (
        f"y must hold one whole number for each of 4 samples, not {y.dtype} {y.shape}"
    )


def test_complex_samples_are_refused(tmp_path: Path) -> None:
    assert refusal(saved(tmp_path, x=X + 1j)).startswith("x must hold numbers")


# --- .npy files and labels -------------------------------------------------------------------------------------------


def npy(path: Path, array: np.ndarray, name: str = "x.npy") -> Path:
    np.save(path / name, array)
    return path / name


@pytest.mark.parametrize("x", [X, np.asfortranarray(X), X.astype(">f4"), X.astype(np.int8), X[:, :, None] > 3])
def test_a_single_array_is_a_dataset_without_labels(tmp_path: Path, x: np.ndarray) -> None:
    found = data.load(npy(tmp_path, x))
    np.testing.assert_array_equal(found.x, x)
    np.testing.assert_array_equal(found.calibration, x)
    assert found.y is None


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_any_order_and_size_are_read_back(tmp_path: Path, save: Any) -> None:
    x = np.random.default_rng(0).normal(size=(700, 2, 301)).astype(np.float32)  # more than one chunk
    save(tmp_path / "a.npz", x_test=np.asfortranarray(x), x_train=x[::-1])
    found = data.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(found.x, x)
    np.testing.assert_array_equal(found.calibration, x[::-1])


@pytest.mark.parametrize("name", ["data.npz", "x.npy"])
def test_labels_may_be_in_a_file_of_their_own(tmp_path: Path, name: str) -> None:
    file = saved(tmp_path, x=X) if name == "data.npz" else npy(tmp_path, X)
    np.testing.assert_array_equal(data.load(file, npy(tmp_path, Y, "y.npy")).y, Y)


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    labels = npy(tmp_path, Y[:3], "y.npy")
    with pytest.raises(
        FormatError, match=r"x\.npy: y must hold one whole number for each of 4 samples, not int64 \(3,"
    ):
        data.load(npy(tmp_path, X), labels)
    with pytest.raises(FormatError, match="holds labels itself, so give no others"):
        data.load(saved(tmp_path, x=X, y=Y), labels)
    with pytest.raises(FormatError, match=r"data\.npz: labels must be one array in an \.npy file, not x, y"):
        data.load(npy(tmp_path, X), saved(tmp_path, x=X, y=Y))
    with pytest.raises(FormatError, match=r"none\.npy: there is no such file"):
        data.load(npy(tmp_path, X), tmp_path / "none.npy")


# --- events ----------------------------------------------------------------------------------------------------------

EVENTS = np.array([[5, 0, 1, 1], [9, 2, 0, 0], [3, 1, 1, 1], [4, 1, 0, 0], [4, 2, 1, 1]])
OFFSETS = np.array([0, 2, 2, 5])
FIELDS = np.dtype([("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")])


def structured(events: np.ndarray = EVENTS, fields: np.dtype = FIELDS) -> np.ndarray:
    made = np.zeros(len(events), fields)
    for index, name in enumerate(("t", "x", "y", "p")):
        if name in fields.names:
            made[name] = events[:, index]
    return made


def frames(samples: Any, shape: tuple[int, ...] = (2, 2, 3), steps: int = 2) -> np.ndarray:
    return data.encode(samples, "events", shape, steps)


def test_recordings_stand_one_after_the_other_with_offsets(tmp_path: Path) -> None:
    found = data.load(saved(tmp_path, events=EVENTS, offsets=OFFSETS, y=np.array([2, 0, 1])))
    assert isinstance(found.x, data.Recordings) and len(found.x) == 3
    assert found.x is found.calibration
    np.testing.assert_array_equal(found.y, [2, 0, 1])
    made = frames(found.x)
    assert made.sum(axis=(0, 2, 3, 4)).tolist() == [2, 0, 3]
    assert made[0, 0, 1, 1, 0] == made[1, 0, 0, 0, 2] == 1  # recording 0: t 5 first, t 9 last
    assert len(found.take(2).x) == 2 and len(found.take(2).calibration) == 3


def test_events_with_fields_and_events_in_columns_are_the_same(tmp_path: Path) -> None:
    columns = data.load(saved(tmp_path, events=EVENTS.astype(float), offsets=OFFSETS))
    fields = data.load(saved(tmp_path, events=structured(), offsets=OFFSETS.astype(np.uint32)))
    np.testing.assert_array_equal(frames(columns.x), frames(fields.x))


def test_a_single_recording_needs_no_offsets(tmp_path: Path) -> None:
    for file in (saved(tmp_path, events=EVENTS), npy(tmp_path, structured())):
        found = data.load(file)
        assert len(found.x) == 1 and frames(found.x).sum() == 5


def test_events_of_test_and_training_are_told_apart(tmp_path: Path) -> None:
    arrays = {"events_test": EVENTS[:3], "offsets_test": np.array([0, 3]), "y_test": np.array([1])}
    found = data.load(saved(tmp_path, **arrays, events_train=EVENTS, offsets_train=OFFSETS, y_train=np.arange(3)))
    assert (len(found.x), len(found.calibration), found.y.tolist()) == (1, 3, [1])


def test_sounds_have_neither_rows_nor_polarities(tmp_path: Path) -> None:
    sound = structured(fields=np.dtype([("t", "<i8"), ("x", "<i2")]))
    assert frames(data.load(npy(tmp_path, sound)).x, (3,), 1).ravel().tolist() == [1, 2, 2]


EVENT_MISTAKES = {
    "no time": ({"events": structured(fields=np.dtype([("x", "i4"), ("p", "i4")]))}, "events has the fields x, p, and"),
    "three columns": ({"events": EVENTS[:, :3]}, "events must be (n, 4), the columns t, x, y, p, or have fields"),
    "no rows": ({"events": np.zeros(4)}, "events must be (n, 4), the columns"),
    "words": ({"events": np.full((2, 4), "a")}, "events: t must be whole numbers, not <U1"),
    "half a second": ({"events": EVENTS / 2}, "events: t must be whole numbers; give times in a smaller unit"),
    "no number": ({"events": EVENTS * np.nan}, "events: t must be whole numbers; "),
    "a place below 0": ({"events": EVENTS - [0, 1, 0, 0]}, "events: x goes from -1 to 1, which cannot be"),
    "a place beyond any sensor": ({"events": EVENTS * [1, 1, 2**20, 1]}, "events: y goes from 0 to 1048576, which"),
    "a polarity of -2": ({"events": EVENTS - [0, 0, 0, 2]}, "events: p goes from -2 to -1, which cannot be"),
    "the end of time": ({"events": EVENTS.astype(np.uint64) * [2**62, 1, 1, 1]}, "events: t goes from "),
    "a field in a field": (
        {"events": np.zeros(2, [("t", "i4", (2,)), ("x", "i4")])},
        "events: t must be whole numbers, not int32",
    ),
    "offsets of floats": ({"events": EVENTS, "offsets": OFFSETS * 1.0}, "offsets must be whole numbers (recordings"),
    "offsets of one": ({"events": EVENTS, "offsets": np.array([5])}, "offsets must be whole numbers (recordings + 1,)"),
    "offsets in rows": (
        {"events": EVENTS, "offsets": OFFSETS[None]},
        "offsets must be whole numbers (recordings + 1,)",
    ),
    "offsets from 1": (
        {"events": EVENTS, "offsets": np.array([1, 5])},
        "offsets must rise from 0 to the number of eve",
    ),
    "offsets beyond": (
        {"events": EVENTS, "offsets": np.array([0, 6])},
        "offsets must rise from 0 to the number of eve",
    ),
    "offsets that fall": ({"events": EVENTS, "offsets": np.array([0, 4, 3, 5])}, "offsets must rise from 0 to the"),
    "a sensor of two": ({"events": EVENTS, "sensor_size": np.array([3, 2])}, "sensor_size must be three whole numbers"),
    "a sensor of 0": ({"events": EVENTS, "sensor_size": np.array([3, 0, 2])}, "sensor_size must be three whole number"),
    "both": ({"events": EVENTS, "x": X}, "holds both x and events; it must be one of them"),
    "labels": ({"events": EVENTS, "offsets": OFFSETS, "y": Y}, "y must hold one whole number for each of 3 samples"),
}


@pytest.mark.parametrize(("arrays", "said"), EVENT_MISTAKES.values(), ids=EVENT_MISTAKES)
def test_events_that_cannot_be_are_refused(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    assert refusal(saved(tmp_path, **arrays)).startswith(said)


# --- files that lie --------------------------------------------------------------------------------------------------


def header(shape: Any, descr: Any = "<f8", version: int = 1) -> bytes:
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2 if version == 1 else 4, "little") + text


def zipped(path: Path, content: bytes, compression: int = zipfile.ZIP_STORED, name: str = "x.npy") -> Path:
    with zipfile.ZipFile(path / "data.npz", "w", compression) as archive:
        archive.writestr(name, content)
    return path / "data.npz"


def plain(path: Path, content: bytes) -> Path:
    (path / "x.npy").write_bytes(content)
    return path / "x.npy"


HUGE = 10**12


@pytest.mark.parametrize("write", [zipped, plain])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (header((HUGE,)) + b"12345678", "claims 8,000,000,000,000 bytes, (1000000000000,) of float64, and 8 are there"),
        (header((HUGE,) * 30), f"claims {8 * HUGE**30:,} bytes"),
        (header((2, -4)), "claims the shape (2, -4)"),
        (header((HUGE,), "|V0"), "holds |V0, which has no bytes"),
        (header((3,)) + bytes(23), "claims 24 bytes, (3,) of float64, and 23 are there"),
        (header((3,)) + bytes(25), "claims 24 bytes, (3,) of float64, and 25 are there"),
        (header((1,), "|O"), "is an object array; save numbers"),
        (header((1,), [("a", "|O")]), "is an object array; save numbers"),
        (header((3,), version=3) + bytes(24), "is written in version 3.0 of the format; save it anew"),
        (header("many"), ""),
        (header((1.5,)), ""),
        (header((1,), "no type"), ""),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", ""),  # a header of 4 GiB
        (b"\x93NUMPY\x01\x00\x08\x00((((((((", ""),
        (b"\x93NUMPY\x01\x00\x04\x00\xff\xfe\x00\x00", ""),
    ],
)
def test_what_a_header_claims_is_held_against_the_file_before_memory_is_taken(
    tmp_path: Path, write: Any, content: bytes, said: str
) -> None:
    file = write(tmp_path, content)
    tracemalloc.start()
    try:
        found = refusal(file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.startswith(NO_FILE) and said in found
    assert peak < 2**20


def test_arrays_that_unpack_to_more_than_the_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_UNPACKED", 2**20)
    bomb = header((2**17, 1)) + bytes(2**20)
    found = refusal(zipped(tmp_path, bomb, zipfile.ZIP_DEFLATED))
    assert found == f"{NO_FILE}its arrays unpack to more than 1,048,576 bytes; save it uncompressed)"
    assert len(data.load(zipped(tmp_path, bomb)).x) == 2**17  # uncompressed it is no larger than the file
    assert len(data.load(zipped(tmp_path, header((2**16, 1)) + bytes(2**19), zipfile.ZIP_DEFLATED)).x) == 2**16


def test_arrays_that_nobody_asked_for_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_UNPACKED", 2**20)
    with zipfile.ZipFile(tmp_path / "data.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights.npy", header((2**18,)) + bytes(2**21))
        archive.writestr("README.txt", "more than arrays")
        archive.writestr("x.npy", header((1, 1)) + bytes(8))
    assert data.load(tmp_path / "data.npz").x.shape == (1, 1)


@pytest.mark.parametrize("claimed", [2**20, 10])
def test_a_zip_that_lies_about_sizes_is_refused(tmp_path: Path, claimed: int) -> None:
    content = header((100, 1)) + bytes(800)
    file = zipped(tmp_path, content, zipfile.ZIP_DEFLATED)
    raw = file.read_bytes()
    assert raw.count(len(content).to_bytes(4, "little")) == 2  # in the entry and in the directory
    file.write_bytes(raw.replace(len(content).to_bytes(4, "little"), claimed.to_bytes(4, "little")))
    said = {2**20: "x claims 800 bytes, (100, 1) of float64, and ", 10: "Bad CRC-32 for file 'x.npy'"}
    assert refusal(file).startswith(NO_FILE + said[claimed])


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    zipped(tmp_path, header((1, 1)) + bytes(8))
    with zipfile.ZipFile(tmp_path / "data.npz", "a") as archive:
        archive.writestr("x.npy", header((1, 1)) + bytes(8))
    assert refusal(tmp_path / "data.npz") == f"{NO_FILE}x is there twice)"


def whole_file(compression: int) -> bytes:
    buffer = io.BytesIO()
    save = np.savez_compressed if compression else np.savez
    save(buffer, x_test=np.arange(40.0).reshape(10, 4), y_test=np.arange(10), x_train=np.ones((3, 4)))
    return buffer.getvalue()


@pytest.mark.parametrize("compression", [0, 1])
def test_a_file_cut_anywhere_is_refused_in_one_line(tmp_path: Path, compression: int) -> None:
    content = whole_file(compression)
    for length in [*range(0, len(content), 37), len(content) - 1]:
        (tmp_path / "cut.npz").write_bytes(content[:length])
        refusal(tmp_path / "cut.npz")


@pytest.mark.parametrize("compression", [0, 1])
def test_a_flipped_bit_is_refused_in_one_line_or_changes_nothing(tmp_path: Path, compression: int) -> None:
    content = whole_file(compression)
    directory = content.index(b"PK\x01\x02")  # behind the arrays; the format has no checksum for it
    (tmp_path / "whole.npz").write_bytes(content)
    fingerprint = data.load(tmp_path / "whole.npz").fingerprint
    rng = np.random.default_rng(3)
    refused = 0
    for _ in range(500):
        damaged = bytearray(content)
        place = int(rng.integers(len(content)))
        damaged[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "bit.npz").write_bytes(damaged)
        try:
            found = data.load(tmp_path / "bit.npz").fingerprint
            assert place >= directory or found == fingerprint
        except FormatError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 200


# --- fingerprints ----------------------------------------------------------------------------------------------------


def test_equal_values_have_equal_fingerprints_whatever_the_file(tmp_path: Path) -> None:
    first = data.load(saved(tmp_path, x_test=X, y_test=Y, x_train=X))
    (tmp_path / "other").mkdir()
    np.savez_compressed(tmp_path / "other" / "z.npz", more=X, x_train=X, y_test=Y, x_test=X)
    assert data.load(tmp_path / "other" / "z.npz").fingerprint == first.fingerprint


def test_every_array_its_type_and_its_shape_are_in_the_fingerprint(tmp_path: Path) -> None:
    arrays = {"x_test": X, "y_test": Y, "x_train": X + 1}
    changed = [
        arrays,
        arrays | {"x_test": X + 0.5},
        arrays | {"y_test": Y[::-1]},
        arrays | {"x_train": X + 2},
        arrays | {"x_test": X.astype(np.float32)},
        arrays | {"x_test": X.reshape(4, 3, 1)},
        {"x_test": X, "x_train": X + 1},
    ]
    prints = [data.load(saved(tmp_path, **own)).fingerprint for own in changed]
    assert len(set(prints)) == len(prints)


def test_a_fingerprint_does_not_depend_on_the_layout_in_memory() -> None:
    columns = np.asfortranarray(X)
    assert data.Dataset(columns, Y, columns).fingerprint == data.Dataset(X, Y, X).fingerprint


def test_the_events_their_offsets_and_the_sensor_are_in_the_fingerprint(tmp_path: Path) -> None:
    arrays = {"events": EVENTS, "offsets": OFFSETS, "y": np.arange(3), "sensor_size": np.array([3, 2, 2])}
    changed: list[dict[str, Any]] = [
        arrays,
        arrays | {"events": EVENTS * [1, 1, 1, 0]},
        arrays | {"offsets": np.array([0, 1, 2, 5])},
        arrays | {"y": np.arange(3)[::-1]},
        arrays | {"sensor_size": np.array([4, 2, 2])},
        arrays | {"events_train": EVENTS[:2]},
        {key: array for key, array in arrays.items() if key != "sensor_size"},
    ]
    prints = [data.load(saved(tmp_path, **own)).fingerprint for own in changed]
    assert len(set(prints)) == len(prints)
    assert data.load(saved(tmp_path, **arrays)).fingerprint == prints[0]
