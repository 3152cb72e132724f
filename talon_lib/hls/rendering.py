"""Templates of text files, as everything that writes hardware uses them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2


def environment(folder: Path) -> jinja2.Environment:
    """The templates in ``folder``: statements leave no lines behind, and a name that is not given is an error."""
    import jinja2  # `import talon_lib` needs numpy alone

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
