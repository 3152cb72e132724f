"""Files that are written whole or not at all, and YAML that is read strictly."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from talon_lib.errors import ConfigError


def beside(path: Path) -> Path:
    """A temporary name in the folder of ``path`` that no other process takes, on other machines neither."""
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` whole or not at all, into a folder that is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial:
        partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; it takes the place of ``path`` at the end, and goes on an error.

    Two processes that write one file do not meet: each has its own temporary name, and the last rename wins.
    """
    partial = beside(path)
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        # the message names the file that was asked for; where a disk is full, it would name none
        if error.filename is None or str(error.filename) == str(partial):
            error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def replace_folder(made: Path, path: Path) -> None:
    """Move the folder ``made`` to ``path`` on the same file system, in the place of an earlier one.

    Of two processes that do so at once, one's folder stays, whole.
    """
    old = path.with_name(f"{beside(path).name}.old")
    while True:
        with contextlib.suppress(FileNotFoundError):
            path.rename(old)
        shutil.rmtree(old, ignore_errors=True)
        try:
            made.rename(path)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise  # else another process has put its own there since


def parse_yaml(text: str, source: str) -> Any:
    """The content of a YAML document, which may hold plain data alone and no key of a mapping twice.

    Raises ConfigError, naming ``source``.
    """
    import yaml  # `import talon_lib` needs numpy alone

    class Loader(yaml.SafeLoader):
        """Refuses a key that stands twice in a mapping; YAML's own way is to drop the first without a word."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            for key in keys:
                if keys.count(key) > 1:
                    raise yaml.YAMLError(f"key {key!r} is there twice, in line {node.start_mark.line + 1} or after")
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not YAML ({' '.join(str(error).split())})") from None
