"""A throw-away Slurm on this machine: a controller and two nodes, with ports and a folder of their own.

It needs Debian's slurm-wlm and munge, and root; nothing outside its folder is written, and a Slurm that is there
already is not touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil

NODES = ("n1", "n2")
CPUS = 3
"""Of each node, whatever this machine has: room for the jobs of two runs at once."""

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
_SEARCH = os.pathsep.join([*os.get_exec_path(), "/usr/sbin", "/sbin"])

_CONFIGURATION = """\
ClusterName=throwaway
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# a requeued job waits until the credential of its lost run has expired, 120 s by default
AuthInfo=socket={folder}/munge.sock,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
# no cgroups, no accounting, no MPI: none of them is to be had without setting up the machine
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000,bf_interval=5
SlurmdParameters=config_overrides
ReturnToService=0
KillWait=2
MinJobAge=600
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def obstacle() -> str | None:
    """Why no Slurm can be started here, or None."""
    missing = [program for program in _PROGRAMS if shutil.which(program, path=_SEARCH) is None]
    if missing:
        return f"no Slurm here: {', '.join(missing)} missing (Debian: apt-get install slurm-wlm munge)"
    if os.geteuid() != 0:
        return "Slurm's node daemon needs root"
    return None


class Slurm:
    """The cluster; ``environment`` is what a program needs to use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.environment = {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": os.pathsep.join([str(folder / "bin"), _SEARCH]),
        }

    def start(self) -> None:
        """Return when all nodes are idle. Raises RuntimeError with the ends of the logs where that fails."""
        self._write_configuration()
        try:
            key, munge = self.folder / "munge.key", ["munged", "--foreground", "--force"]
            key.write_bytes(os.urandom(128))
            key.chmod(0o600)
            munge += [f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
            self._daemon(*munge, f"--socket={self.folder}/munge.sock")
            _wait(lambda: (self.folder / "munge.sock").is_socket(), 10, "munged did not start")
            self._daemon("slurmctld", "-D")
            for node in NODES:
                self._daemon("slurmd", "-D", "-N", node)
            _wait(lambda: set(self.states().values()) == {"idle"}, 60, "the nodes did not come up")
        except BaseException as error:
            self.stop()
            if isinstance(error, TimeoutError):
                raise RuntimeError(f"{error}\n{self._logs()}") from None
            raise

    def stop(self) -> None:
        """End the jobs, then the daemons, the last started first."""
        with contextlib.suppress(Exception):  # there may be no controller to ask
            self.clear()
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()
        for process in psutil.process_iter():  # what Slurm lost sight of: without cgroups it follows process groups
            with contextlib.suppress(psutil.Error):
                if str(self.folder / "bin") in process.environ().get("PATH", "").split(os.pathsep):
                    process.kill()

    def clear(self) -> None:
        """No jobs, and all nodes idle."""
        self.run("scancel", "--user", str(os.geteuid()))
        self.wait()
        for node, state in self.states().items():
            if state != "idle":
                self.run("scontrol", "update", f"NodeName={node}", "State=RESUME")
        _wait(lambda: set(self.states().values()) == {"idle"}, 30, "nodes are not idle without jobs")

    def wait(self) -> None:
        """Until no job runs or waits."""
        _wait(lambda: not self.run("squeue", "--noheader"), 60, "jobs are left")

    def run(self, *command: str) -> str:
        """What a command of Slurm prints."""
        done = subprocess.run(
            command, env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=30, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def states(self) -> dict[str, str]:
        """The state of each node, as sinfo calls it; empty while the controller does not answer."""
        try:
            lines = self.run("sinfo", "--Node", "--noheader", "--format=%N %T").splitlines()
        except RuntimeError:
            return {}
        return dict(line.split() for line in lines)

    def running(self) -> dict[str, str]:
        """The node of each job that runs, by its id."""
        lines = self.run("squeue", "--noheader", "--states=RUNNING", "--format=%i %N").splitlines()
        return dict(line.split() for line in lines)

    def job(self, job: str) -> dict[str, str]:
        """What Slurm knows of a job, also for some time after its end: JobState, NodeList, Restarts and more."""
        words = self.run("scontrol", "--oneliner", "show", "job", job).split()
        return {name: value for name, found, value in (word.partition("=") for word in words) if found}

    def _write_configuration(self) -> None:
        (self.folder / "state").mkdir()
        (self.folder / "bin").mkdir()
        for node in NODES:
            (self.folder / f"spool.{node}").mkdir()
        ports = _free_ports(1 + len(NODES))
        host = socket.gethostname().partition(".")[0]
        size = f"CPUs={CPUS} RealMemory=1000000"
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} {size} State=UNKNOWN"
            for node, port in zip(NODES, ports[1:], strict=True)
        )
        configuration = _CONFIGURATION.format(host=host, ports=ports, folder=self.folder, nodes=nodes)
        (self.folder / "slurm.conf").write_text(configuration)
        # Snakemake's jobs call srun in an environment without SLURM_*, where it would look into /etc
        srun = self.folder / "bin" / "srun"
        real = shutil.which("srun", path=_SEARCH)
        srun.write_text(f'#!/bin/sh\nSLURM_CONF="{self.folder}/slurm.conf" exec "{real}" "$@"\n')
        srun.chmod(0o755)

    def _daemon(self, *command: str) -> None:
        with (self.folder / "daemons.out").open("ab") as output:
            self._daemons.append(
                subprocess.Popen(
                    command,
                    env={**os.environ, **self.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is for pytest, which then stops them in order
                    preexec_fn=_end_with_parent,
                )
            )

    def _logs(self) -> str:
        logs = [*self.folder.glob("*.log"), self.folder / "daemons.out"]
        return "\n".join(f"{log.name}: {line}" for log in logs for line in log.read_text().splitlines()[-8:])


def _end_with_parent() -> None:
    """Ask the kernel to end this process when the one that started it does, even by SIGKILL (Linux's prctl)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait(happened: Callable[[], object], seconds: float, otherwise: str) -> None:
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError(otherwise)
        time.sleep(0.1)
