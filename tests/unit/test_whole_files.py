"""Files that are written whole or not at all."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from talon_lib.files import LEFT_AFTER, beside, remove_leftovers, whole, write_json


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "table.json"
    with pytest.raises(FileNotFoundError) as caught, whole(path) as partial:
        partial.write_text("{}")
    assert caught.value.filename == str(path)
    assert str(partial) not in str(caught.value)


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def left(path: Path, age: float = 0.0) -> Path:
    """A temporary file, or for a name with a slash a folder with a file, in which nothing has changed for so long."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("half")
    stamp = time.time() - age
    for own in (path, path.parent):
        os.utime(own, (stamp, stamp))
    return path


def test_what_processes_of_this_machine_left_goes_at_once_and_what_they_write_stays(tmp_path: Path, dead: int) -> None:
    here = socket.gethostname()
    mine = f"talon-{here}-{dead}"
    gone = [f".a.json.{mine}", f".metrics.parquet.{mine}.old", f".key.{mine}/made"]
    stays = [
        beside(tmp_path / "b.json").name,  # ours
        f".c.json.talon-{here}-1",  # somebody else's
        f".d.json.talon-{here}-{10**30}",
        *(f".e.json.talon-{other}-{dead}" for other in (f"other.{here}", f"{here}.old", f"{here}-2")),
        f".f.json.{here}.{dead}",
        ".lock",
        f".{dead}.started",
        f"g.json.{mine}",
    ]
    for name in (*gone, *stays):
        left(tmp_path / name)
    remove_leftovers(tmp_path, tmp_path / "missing")
    assert {path.name for path in tmp_path.iterdir()} == set(stays)


def test_what_processes_of_other_machines_left_goes_after_a_day_without_a_change(tmp_path: Path, dead: int) -> None:
    names = (f".a.json.talon-elsewhere-{dead}", f".key.talon-elsewhere-{dead}/made")
    gone = [left(tmp_path / name, LEFT_AFTER + 60) for name in names]
    stays = [left(tmp_path / name.replace("elsewhere", "far"), LEFT_AFTER - 60) for name in names]
    os.utime(stays[1].parent, (0, 0))  # a tool writes into a file that was there
    others = [
        left(tmp_path / name, 9 * LEFT_AFTER) for name in (".python-3.11", ".backup.2024/notes", ".venv.3.11/bin")
    ]
    remove_leftovers(tmp_path)
    assert all(path.exists() for path in others)
    assert [path.exists() for path in gone] == [False, False] and not gone[1].parent.exists()
    assert [path.exists() for path in stays] == [True, True]


def test_a_time_that_is_asked_for_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "made" / "a.json"
    write_json(path, {"a": 1}, 123_456_789)
    assert (path.read_text(), path.stat().st_mtime_ns) == ('{\n "a": 1\n}\n', 123_456_789)
