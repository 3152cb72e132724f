import math
from pathlib import Path

from talon_lib.errors import TalonError
from talon_lib.sweep import chunks, launch, points, spec


def prepared(config):
    """What is to be done, written by `talon-dse sweep`, or here where plain Snakemake was started.

    A mistake in the configuration is one line, not a traceback. Processes of single jobs, as on a cluster, read what
    the first process wrote: planning again would find other results, and take its time.
    """
    if launch.RUN_FOLDER in config:
        folder = Path(config[launch.RUN_FOLDER])
    else:
        folder = Path("results") / str(config.get("name"))
        try:
            if workflow.is_main_process:
                launch.hold(folder)  # until this process ends
                launch.prepare(points.plan(spec.parse(config)), folder)
        except TalonError as error:
            raise WorkflowError(str(error)) from None
    return folder, chunks.read_index(folder)


def ended(*stages):
    """The markers of all chunks of the stages: each is there once its chunk has ended."""
    return [
        RESULTS / chunks.RUN / stage / f"{chunk}.done"
        for stage in stages
        for chunk in TODO["chunks"][stage]
    ]


def measured(wildcards=None):
    """The marker that all chunks have ended; nothing where none is to run."""
    return [RESULTS / chunks.RUN / "measured.done"] if ended(*points.STAGES) else []


def parts():
    """The rows of the table in parts, where it is too large for one job."""
    return [RESULTS / chunks.PARTS / f"{part}.parquet" for part in TODO["parts"]]


def collected():
    """The table, which is a folder where it is large."""
    path = RESULTS / chunks.TABLE
    return directory(path) if TODO["folder"] else path


def projects(wildcards):
    """The chunks that write the projects which a chunk of syntheses works on."""
    after = TODO["chunks"]["synth"][wildcards.chunk]["after"]
    return [RESULTS / chunks.RUN / "project" / f"{chunk}.done" for chunk in after]


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
