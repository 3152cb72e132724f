"""The parent of an external program, which kills the program's process group when whoever asked for it dies.

``process.run`` runs this file, alone and without the rest of the package, as leader of a new session, with a pipe as
its input whose other end only the caller has. Nothing is ever written into it: it ends when the caller does, even by
SIGKILL, which nobody can catch. The arguments are the command. The exit code is the command's, 128 + n where signal n
ended it, and 127 where it cannot be started, as a shell has it.
"""

import _thread  # not threading, subprocess: starting is half as long without them
import os
import signal
import sys


def main(command: list[str]) -> int:
    """Run ``command`` in this process' group; returns its exit code."""
    _thread.start_new_thread(_die_with_the_caller, ())
    try:
        program = os.posix_spawnp(
            command[0],
            command,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],  # the pipe is ours
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # which Python ignores, and programs do not expect to be
        )
    except OSError as error:
        print(f"ERROR: {command[0]} cannot be started: {error.strerror}")
        return 127
    code = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
    return code if code >= 0 else 128 - code


def _die_with_the_caller() -> None:
    os.read(0, 1)  # returns at the pipe's end
    os.kill(0, signal.SIGKILL)  # the whole group, which this process is of


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
