"""Errors that talon_lib raises on purpose. Each message is one line that says what to do.

The tree:

    TalonError
    ├── GraphError         a node or a graph that cannot be right
    ├── PrecisionError     a number type that is unknown, or too wide to stay exact
    ├── FormatError        a file that cannot be read or written
    ├── ConfigError        a sweep configuration, or an argument, that cannot be right
    ├── ChangedError       a file is another than the sweep was planned with
    ├── UnsupportedError   valid, but this target cannot hold it
    └── ToolError          an external program failed
        ├── MissingToolError   it is not installed
        └── ToolTimeout        it did not end in the time it was given
"""


class TalonError(Exception):
    """Base of all errors that talon_lib raises on purpose; the command line prints it and exits with 2."""

    def __init__(self, message: object = "") -> None:
        super().__init__(" ".join(str(message).splitlines()))  # whatever a user has put into it


class GraphError(TalonError):
    """A node or a graph that cannot be right."""


class PrecisionError(TalonError):
    """A number type that is unknown, or a sum that would not stay exact."""


class FormatError(TalonError):
    """A file that cannot be read or written."""


class ConfigError(TalonError):
    """A sweep configuration, or an argument, that cannot be right."""


class ChangedError(TalonError):
    """A file is another than the sweep was planned with, so that its results would be another's."""


class UnsupportedError(TalonError):
    """Something valid that this target cannot hold; the message says why."""


class ToolError(TalonError):
    """An external program failed."""


class MissingToolError(ToolError):
    """An external program is not installed; the message says how to get it."""


class ToolTimeout(ToolError):  # noqa: N818 (a timeout is an error by name)
    """An external program did not end in the time it was given."""
