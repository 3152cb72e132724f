"""Reads files one after the other in a process of its own; one line of JSON for each: outcome and message.

A crash, a hang or a file that takes too much memory ends this process, and the last line tells which file it was. A
file that is refused after more than a second of this process is slow; the clock on the wall would count what other
processes take.
"""

import json
import resource
import signal
import sys
import time
from pathlib import Path

from talon_lib import data, ir
from talon_lib.cost.counts import count
from talon_lib.errors import TalonError
from talon_lib.formats import nir, t1c  # so that importing them takes nothing of the limit
from talon_lib.hls.lower import IO_TYPES, obstacles
from talon_lib.simulate import bind_graph

MEMORY = 2**30
SECONDS = 30  # what none comes near: reading takes milliseconds
SLOW = 1.0
READERS = {".nir": ir.read, ".t1c": ir.read, ".npz": data.load}


def attempt(path):
    try:
        found = READERS[path.suffix](path)
        if isinstance(found, ir.Graph):
            inspect(found)
    except TalonError as error:
        line = str(error)
        return ("refused" if line.isprintable() and str(path) in line else "refused in no clean line"), line
    except BaseException as error:
        return f"escaped: {type(error).__name__}", str(error)
    return "read", type(found).__name__


def inspect(graph):
    """What `talon-dse info` and a sweep's plan ask of a graph."""
    assert count(graph) and graph.fingerprint
    try:
        bound = bind_graph(graph, "ap_fixed<16,6>")
    except TalonError as error:
        assert str(error).isprintable()
        return
    for io_type in IO_TYPES:
        assert all(reason.isprintable() for reason in obstacles(graph, bound, io_type).values())


if __name__ == "__main__":
    assert nir and t1c
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        signal.alarm(SECONDS)
        before = time.process_time()
        outcome, message = attempt(Path(line.rstrip("\n")))
        taken = time.process_time() - before
        slow = taken >= SLOW and outcome != "read"  # what is sound may be large, and is looked into as well
        print(json.dumps((f"slow: {taken:.1f} s" if slow else outcome, message)), flush=True)
