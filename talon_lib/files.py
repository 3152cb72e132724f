"""Files that are written whole or not at all, and YAML that is read strictly."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from talon_lib.errors import ConfigError


def beside(path: Path) -> Path:
    """A temporary name in the folder of ``path`` that no other process takes, on other machines neither."""
    return path.with_name(f".{path.name}.talon-{socket.gethostname()}-{os.getpid()}")


LEFT_AFTER = 86400.0
"""Seconds without a change after which what another machine writes to is taken for left."""


def remove_leftovers(*folders: Path) -> None:
    """Remove temporary files and folders directly in ``folders`` whose processes were killed.

    Of this machine those go whose process has ended; of other machines, of which nobody can tell, those in which
    nothing has changed for LEFT_AFTER: a process of a killed run may go on there, and programs that it waits for.
    """
    for folder in folders:
        for path in folder.glob(".*"):
            if _is_left(path):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


def _is_left(path: Path) -> bool:
    """Whether it has a name of :func:`beside` and nobody will put it in its place any more."""
    if (named := re.fullmatch(r"\..+\.talon-(.+)-(\d+)(\.old)?", path.name)) is None:
        return False
    if named[1] == socket.gethostname():
        return not _lives(int(named[2]))
    try:
        return max(own.lstat().st_mtime for own in (path, *path.rglob("*"))) < time.time() - LEFT_AFTER
    except FileNotFoundError:  # somebody does
        return False


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's; no number of a process
        return True
    return True


def write_json(path: Path, content: Any, changed: int | None = None) -> None:
    """Write ``content`` whole or not at all, into a folder that is made if need be.

    changed: nanoseconds that the file is to have for its time of change, where that is not now.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial:
        partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
        if changed is not None:
            os.utime(partial, ns=(changed, changed))


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
