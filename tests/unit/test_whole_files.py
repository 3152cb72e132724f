"""Files that are written whole or not at all."""

from pathlib import Path

import pytest

from talon_lib.files import whole


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "table.json"
    with pytest.raises(FileNotFoundError) as caught, whole(path) as partial:
        partial.write_text("{}")
    assert caught.value.filename == str(path)
    assert str(partial) not in str(caught.value)
