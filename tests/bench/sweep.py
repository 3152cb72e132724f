"""What a sweep costs, beside its work: ``make bench CONFIG=configs/large.yaml``.

Runs the sweep from nothing, with a program in the place of ``talon-dse`` that keeps when each job began and ended.
Snakemake's share is the time in which it ran and no job did: its start, its graph, its scheduling, its end. What
talon-dse itself takes before and after (planning, the summary) is told apart. Memory is the largest resident set of a
process, and the largest sum over all of them at a time.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

from talon_lib.sweep import points, spec
from talon_lib.sweep.chunks import TABLE

BIN = Path(sys.executable).parent

SHIM = """#!/bin/sh
start=$(date +%s.%N)
"{program}" "$@"
code=$?
echo "$start $(date +%s.%N) $1" >> "{log}"
exit $code
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--cores", default="2")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "jobs"
        shim = folder / "bin" / "talon-dse"
        shim.parent.mkdir()
        shim.write_text(SHIM.format(program=BIN / "talon-dse", log=log))
        shim.chmod(0o755)
        results = folder / "results"
        start = time.time()
        points.plan(spec.load(arguments.config))
        planning = time.time() - start
        environment = {**os.environ, "PATH": os.pathsep.join([str(shim.parent), str(BIN), os.environ["PATH"]])}
        command = [str(BIN / "talon-dse"), "sweep", str(arguments.config), f"--cores={arguments.cores}"]
        start = time.time()
        with (folder / "log").open("wb") as output:
            run = subprocess.Popen(
                [*command, f"--results={results}"], env=environment, stdout=output, stderr=subprocess.STDOUT
            )
            one, all_together, first, last = _watch(run)
        wall = time.time() - start
        if run.returncode not in (0, 1):
            sys.exit((folder / "log").read_text())
        jobs = [line.split() for line in log.read_text().splitlines()]
        intervals = sorted((float(begin), float(end)) for begin, end, _ in jobs)
        busy = _union(intervals)
        sweep = results / yaml.safe_load(arguments.config.read_text())["name"]
        many = int((folder / "log").read_text().rpartition(" points: ")[0].rpartition("\n")[2])
        size = sum(path.stat().st_size for path in sweep.rglob("*") if path.is_file())
        table = sweep / TABLE
        rows = [table] if table.is_file() else [path for path in table.rglob("*") if path.is_file()]
        print(f"{many:,} points in {wall:.1f} s, {1e3 * wall / many:.2f} ms a point, on {arguments.cores} cores")
        snakemake = last - first
        own, before, after = snakemake - busy, intervals[0][0] - first, last - max(end for _, end in intervals)
        between = own - before - after
        print(f"Snakemake: {len(jobs)} jobs; it ran without any of them for {own:.2f} s, {own / wall:.1%} of the time:")
        print(f"  before the first {before:.2f} s, between {between:.2f} s, after the last {after:.2f} s")
        if importlib.util.find_spec("snakemake_executor_plugin_slurm"):
            print("  note: the Slurm plugin (make cluster) is installed, which each start of Snakemake imports")
        print(f"talon-dse before and after it: {wall - snakemake:.1f} s; planning takes {planning:.1f} s of that")
        print(f"memory: {one / 1e6:,.0f} MB in one process, {all_together / 1e6:,.0f} MB in all at a time")
        print(f"disk: {size / 1e6:,.1f} MB, the table {sum(path.stat().st_size for path in rows) / 1e6:,.1f} MB of it")


def _watch(run: subprocess.Popen[bytes]) -> tuple[int, int, float, float]:
    """Bytes of the largest process and of all together, and from when to when Snakemake was there."""
    one = together = 0
    first = last = 0.0
    while run.poll() is None:
        sizes = []
        try:
            for process in [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]:
                try:
                    sizes.append(process.memory_info().rss)
                    if process.cmdline()[1:3] == ["-m", "snakemake"]:
                        first, last = process.create_time(), time.time()
                except psutil.NoSuchProcess:
                    continue
        except psutil.NoSuchProcess:
            break
        one, together = max([one, *sizes]), max(together, sum(sizes))
        time.sleep(0.05)
    return one, together, first, last


def _union(intervals: list[tuple[float, float]]) -> float:
    """The time in which at least one of them goes on."""
    total, until = 0.0, 0.0
    for begin, end in intervals:
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


if __name__ == "__main__":
    main()
