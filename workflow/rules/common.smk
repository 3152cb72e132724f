import atexit
import gc
import json
import math
from pathlib import Path


def prepared(config):
    """The results folder, and what is to be done: run/index.json, as sweep/chunks.py writes it.

    `talon-dse sweep` has prepared the run and says where. Where plain Snakemake was started it is prepared here; only
    then is talon_lib imported, which takes its time. Processes of single jobs, as on a cluster, read what the first
    process wrote: planning again would find other results.
    """
    if "run_folder" in config:
        folder = Path(config["run_folder"])
    else:
        folder = Path("results") / str(config.get("name"))
        if workflow.is_main_process:
            prepare(config, folder)
    return folder, json.loads((folder / "run" / "index.json").read_text())


def prepare(config, folder):
    """Plan here, as `talon-dse sweep` does; a mistake in the configuration is one line, not a traceback."""
    from talon_lib.errors import TalonError
    from talon_lib.sweep import launch, locks, points, spec

    try:
        plan = points.plan(spec.parse(config))
        locks.hold(folder)  # until this process ends
        launch.prepare(plan, folder)
    except TalonError as error:
        raise WorkflowError(str(error)) from None


def measured(wildcards=None):
    """The marker that all chunks have ended; nothing where none is to run."""
    return [RESULTS / "run" / "measured.done"] if ended() else []


def ended():
    """The markers of all chunks: each is there once its chunk has ended."""
    return [
        RESULTS / "run" / stage / f"{chunk}.done"
        for stage, chunks in TODO["chunks"].items()
        for chunk in chunks
    ]


def parts():
    """The rows of the table in parts, where it is too large for one job."""
    return [RESULTS / "parts" / f"{part}.parquet" for part in TODO["parts"]]


def collected():
    """The table, which is a folder where it is large."""
    path = RESULTS / "metrics.parquet"
    return directory(path) if TODO["folder"] else path


def projects(wildcards):
    """The chunks that write the projects which a chunk of syntheses works on."""
    after = TODO["chunks"]["synth"][wildcards.chunk]["after"]
    return [RESULTS / "run" / "project" / f"{chunk}.done" for chunk in after]


def minutes(stage, programs=0):
    """A resource function: the minutes that a chunk may take, at every attempt more.

    They are three times what is estimated, and the time limits of the programs that its jobs start, so many each.
    """

    def runtime(wildcards, attempt):
        chunk = TODO["chunks"][stage][wildcards.chunk]
        limit = TODO["timeouts"].get(stage, 0) * programs * chunk["jobs"]
        return math.ceil(limit / 60 + attempt * (10 + 3 * chunk["seconds"] / 60))

    return runtime


RESULTS, TODO = prepared(config)

# Python would end with a search for cycles in all that Snakemake has imported: 0.2 s or more, and of no use.
atexit.register(gc.freeze)
