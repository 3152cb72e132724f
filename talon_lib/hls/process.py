"""External programs, each in a process group of its own that does not outlive the call, nor the caller."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from talon_lib.errors import ToolTimeout


def run(
    command: Sequence[str],
    folder: Path,
    timeout: float,
    what: str,
    output: IO[bytes],
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run ``command`` in ``folder`` with all it prints going to ``output``; returns its exit code.

    That is 128 + n where signal n ended it, and 127 where it could not be started. It gets no input, and its whole
    process group is killed when this call ends, however it ends, SIGKILL of this process included (``supervisor``):
    tools start children that would otherwise go on, and hold licences. Raises ToolTimeout, naming ``what``, after
    ``timeout`` seconds.
    """
    with (
        _signals_as_exit(),
        subprocess.Popen(
            [*_SUPERVISOR, *command],
            cwd=folder,
            env=None if environment is None else dict(environment),
            stdin=subprocess.PIPE,  # ours alone: no other child inherits this side
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as supervisor,
    ):
        try:
            code = supervisor.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ToolTimeout(f"{what} did not end in {timeout:g} s; give it more time or less work") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(supervisor.pid, signal.SIGKILL)
            supervisor.wait()
    return code if code >= 0 else 128 - code  # below 0 where the tool signalled all of its group


_SUPERVISOR = (sys.executable, "-I", "-S", str(Path(__file__).with_name("supervisor.py")))
"""Without the environment's Python path and installed packages, which cost time and are not needed."""

_ENDINGS = (signal.SIGTERM, signal.SIGHUP)
"""What a batch system sends to end a job, and a terminal that is closed."""


@contextlib.contextmanager
def _signals_as_exit() -> Iterator[None]:
    """Leave by an exception when such a signal comes; by default Python would die without cleaning up.

    A signal that the caller handles or ignores (``nohup``) is left to it.
    """
    main = threading.current_thread() is threading.main_thread()
    ours = [number for number in _ENDINGS if main and signal.getsignal(number) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
