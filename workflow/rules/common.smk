import math
from pathlib import Path

from talon_lib.errors import TalonError
from talon_lib.sweep import points, spec


def planned(config):
    """The plan of the configured sweep; a mistake in it is one line, not a traceback."""
    own = {
        key: value
        for key, value in config.items()
        if key not in ("results_folder", "config_file")
    }
    try:
        return points.plan(
            spec.parse(own, str(config.get("config_file", "configuration")))
        )
    except TalonError as error:
        raise WorkflowError(str(error)) from None


def job(stage):
    """A params function: the command line of the job with the wildcards' key.

    The key stands for all that the result depends on, contents of files included, so nothing else makes a job run
    again: rules of jobs have no input, and Snakemake does not track params that are derived from the output.
    """
    return lambda wildcards, output: PLAN.jobs[stage][wildcards.key].command


def label(stage):
    """A params function: what to call the job in a log."""
    return lambda wildcards, output: PLAN.jobs[stage][wildcards.key].label


def results(*stages):
    """All results of the stages."""
    return [
        points.result_path(RESULTS, stage, key)
        for stage in stages
        for key in PLAN.jobs[stage]
    ]


def project_of(wildcards):
    """An input function: the project that the job works on."""
    return points.result_path(
        RESULTS, "project", PLAN.jobs["synth"][wildcards.key].after
    )


def minutes(programs):
    """What a synthesis may take that starts so many programs, with some time for itself."""
    return math.ceil(programs * PLAN.spec.synth.timeout_s / 60) + 10


PLAN = planned(config)
RESULTS = Path(str(config.get("results_folder", "results"))) / PLAN.spec.name
