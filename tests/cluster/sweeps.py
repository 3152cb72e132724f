"""Sweeps through Slurm, and jobs that wait in the middle of one until a test has done its harm."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sandbox import BASE, BIN, Sandbox, environment

SMALL: dict[str, Any] = {"networks": BASE["networks"][:1], "precisions": ["int8"], "reuse_factors": [2]}
"""One network at one precision: a job for each stage."""

PROFILE = ("--profile", "workflow/profiles/slurm")

# Snakemake asks for the state of jobs this often, and waits 10 s longer each time when none has ended: a little more
# than a job takes is quicker than asking all the time
ASKING = ("--slurm-init-seconds-before-status-checks", "6")

# as docs/cluster.md has it: a Slurm job costs more than a C simulation of the example
SHARED = ("--chunk-seconds", "60", "--cores", "1")
GROUPED = ("--groups", "csim=short", "--group-components", "short=9")

GENERIC = ("--profile", "workflow/profiles/cluster-generic")

# Slurm in the place of PBS, whose commands the profile has: the rest of it runs as it is
_STATUS = """\
#!/bin/sh
case "$(squeue --noheader --states=all --format=%T --jobs="$1")" in
  COMPLETED) echo success ;;
  PENDING | CONFIGURING | RUNNING | COMPLETING) echo running ;;
  *) echo failed ;;
esac
"""


def slurm_for_pbs(folder: Path) -> list[str]:
    """Options of Snakemake that name Slurm's commands, written to ``folder`` where a script is needed."""
    status = folder / "status.sh"
    status.write_text(_STATUS)
    return [
        *("--cluster-generic-submit-cmd", "sbatch --parsable --mem={resources.mem_mb} --time={resources.runtime}"),
        *("--cluster-generic-status-cmd", f"sh {status}"),
        *("--cluster-generic-cancel-cmd", "scancel"),
        *("--seconds-between-status-checks", "2"),
    ]


_SHIM = """\
#!/bin/sh
if [ -n "$SLURM_JOB_ID" ] && [ -e "{hold}" ]; then
  echo "$*" > "{held}/$SLURM_JOB_ID"
  for i in $(seq 3000); do [ -e "{hold}" ] && sleep 0.1; done
fi
exec "{bin}/talon-dse" "$@"
"""


class Held:
    """Stands before talon-dse on PATH, and holds it in every Slurm job that begins before :meth:`release`."""

    def __init__(self, folder: Path) -> None:
        self.first = folder / "first"
        self._hold, self._held = folder / "hold", folder / "held"
        self.first.mkdir(parents=True)
        self._held.mkdir()
        self._hold.touch()
        shim = self.first / "talon-dse"
        shim.write_text(_SHIM.format(hold=self._hold, held=self._held, bin=BIN))
        shim.chmod(0o755)

    def jobs(self) -> dict[str, str]:
        """The arguments of talon-dse in each Slurm job that was held, by the job's id."""
        return {file.name: file.read_text().strip() for file in self._held.iterdir()}

    def release(self) -> None:
        self._hold.unlink()


def start(sandbox: Sandbox, held: Held, *options: str, profile: Sequence[str] = PROFILE) -> subprocess.Popen[str]:
    """Start the sweep through Slurm without waiting for it."""
    return begin([str(BIN / "talon-dse"), "sweep", "sweep.yaml", *profile, "--", *options], sandbox.path, held.first)


def begin(command: Sequence[str], folder: Path, first: Path | None = None) -> subprocess.Popen[str]:
    """Start a program in a folder and in a session of its own; ``first`` as for :func:`environment`."""
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment(first=first),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(happened: Callable[[], Any], run: subprocess.Popen[str], seconds: float = 120) -> None:
    """Until something has happened in a run that goes on."""
    end = time.monotonic() + seconds
    while not happened():
        assert run.poll() is None, f"the run ended early: {run.communicate()}"
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
