"""Datasets: what is read, what is refused with the path, and how values become the input of each step."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from talon_lib import data
from talon_lib.errors import ConfigError, FormatError

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
    assert refusal(file).startswith("not an .npz file of plain arrays (")


def test_a_single_array_is_no_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    assert refusal(tmp_path / "x.npy").startswith("not an .npz file of plain arrays (")


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    file = saved(tmp_path, x=np.zeros((100, 100)))
    file.write_bytes(file.read_bytes()[:5000])
    assert refusal(file).startswith("not an .npz file of plain arrays (")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = saved(tmp_path, x=np.ones((100, 100)))
    content = bytearray(file.read_bytes())
    content[4000] ^= 255
    file.write_bytes(content)
    assert refusal(file).startswith("not an .npz file of plain arrays (")


def test_a_folder_is_no_dataset(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith("not an .npz file of plain arrays (")


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    target = tmp_path / "executed"
    file = saved(tmp_path, x=np.array([[Bomb(target)]], dtype=object))
    assert "Object arrays cannot be loaded" in refusal(file)
    assert not target.exists()


def test_object_arrays_that_nobody_asked_for_are_refused_too(tmp_path: Path) -> None:
    assert "Object arrays cannot be loaded" in refusal(saved(tmp_path, x=X, notes=np.array([{}], dtype=object)))


def test_a_file_without_samples_says_what_it_holds(tmp_path: Path) -> None:
    assert refusal(saved(tmp_path, images=X, labels=Y)) == "holds neither x_test nor x, only images, labels"
    assert refusal(saved(tmp_path)) == "holds neither x_test nor x, only nothing"


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


# --- encodings -------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(("encoding", "shape"), [("current", (4,)), ("current", (2, 1)), ("frames", (4,))])
def test_data_that_does_not_fit_is_refused_with_both_shapes(encoding: Any, shape: tuple[int, ...]) -> None:
    x = X if encoding == "current" else X.reshape(2, 2, 3)
    with pytest.raises(ConfigError) as caught:
        data.encode(x, encoding, shape, 1)
    text = str(caught.value)
    assert f"data of shape {x.shape[1:]} " in text and f" the input {shape} (encoding '{encoding}')" in text


def test_more_steps_than_frames_are_refused() -> None:
    with pytest.raises(ConfigError, match="3 steps are asked for, but the data has 2 frames a sample"):
        data.encode(X.reshape(2, 2, 3), "frames", (3,), 3)


def test_single_values_a_sample_are_no_frames() -> None:
    with pytest.raises(ConfigError, match="no frames of the input"):
        data.encode(X, "frames", (3,), 1)


def test_an_unknown_encoding_lists_those_there_are() -> None:
    with pytest.raises(ConfigError, match="unknown encoding 'rate'; there are: current, frames"):
        data.encode(X, "rate", (3,), 1)  # type: ignore[arg-type]
