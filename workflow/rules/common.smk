from pathlib import Path

from talon_lib.errors import TalonError
from talon_lib.sweep import points, spec


def planned(config):
    """The plan of the configured sweep; a mistake in it is one line, not a traceback."""
    own = {key: value for key, value in config.items() if key not in ("results_folder", "config_file")}
    try:
        return points.plan(spec.parse(own, config.get("config_file", "configuration")))
    except TalonError as error:
        raise WorkflowError(str(error)) from None


def job(stage):
    """A params function: the command line of the job with the wildcards' key."""
    return lambda wildcards: PLAN.jobs[stage][wildcards.key].command


def files(stage):
    """An input function: the files a job reads. Their content is in the key, so their age does not matter."""
    return lambda wildcards: [
        ancient(PLAN.jobs[stage][wildcards.key].graph),
        ancient(PLAN.jobs[stage][wildcards.key].data),
    ]


def results(*stages):
    """All results of the stages."""
    return [points.result_path(RESULTS, stage, key) for stage in stages for key in PLAN.jobs[stage]]


PLAN = planned(config)
RESULTS = Path(config.get("results_folder", "results")) / PLAN.spec.name
