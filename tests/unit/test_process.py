"""External programs: what they see, what comes back, and that nothing of them is left, however the caller ends."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from talon_lib.errors import ToolTimeout
from talon_lib.hls import process

MOCKS = Path(__file__).parent.parent / "mock_tools"
VITIS = [str(MOCKS / "vitis-run"), "--tcl", "build_prj.tcl", "--mode", "hls"]


@pytest.fixture
def run(tmp_path):
    """Run a command, or the text of a shell script: its exit code and what it printed."""

    def start(command, timeout=60.0, environment=None):
        command = ["/bin/sh", "-c", command] if isinstance(command, str) else command
        with (tmp_path / "log").open("wb") as output:
            code = process.run(command, tmp_path, timeout, "it", output, environment)
        return code, (tmp_path / "log").read_text()

    return start


@pytest.mark.parametrize("code", [0, 1, 3, 127, 255])
def test_exit_codes_and_output_pass_through(run, code):
    assert run(f"echo one; echo two >&2; echo three; exit {code}") == (code, "one\ntwo\nthree\n")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGINT, signal.SIGPIPE])
def test_a_signal_is_128_and_its_number(run, number):
    assert run(f"ulimit -c 0; kill -{number} $$") == (128 + number, "")


def test_a_tool_may_signal_its_whole_group(run):
    assert run("kill -TERM 0") == (128 + signal.SIGTERM, "")


def test_it_sees_the_callers_folder_and_environment_and_no_open_files(run, tmp_path):
    report = "import os, sys; print(os.getcwd(), os.environ.get('WHAT'), sys.argv[1:], sys.stdin.read() == '')\n"
    files = "print(sorted(int(name) for name in os.listdir('/dev/fd'))[:4])"  # the fourth lists the folder
    code, printed = run([sys.executable, "-c", report + files, "a b", "-c"], environment={"WHAT": "this"})
    assert (code, printed) == (0, f"{tmp_path} this ['a b', '-c'] True\n[0, 1, 2, 3]\n")


def test_a_program_that_is_not_there_is_one_line_of_the_log(run, tmp_path):
    assert run(["./missing"]) == (127, "ERROR: ./missing cannot be started: No such file or directory\n")
    (tmp_path / "text").touch(mode=0o644)
    assert run(["./text"]) == (127, "ERROR: ./text cannot be started: Permission denied\n")


def test_children_that_go_on_are_killed_at_the_end(run):
    before = set(psutil.Process().children(recursive=True))
    code, child = run("sleep 600 & echo $!")
    assert code == 0
    wait_for(lambda: ended(int(child)))
    with pytest.raises(ToolTimeout, match=r"^it did not end in 0\.5 s"):
        run("trap '' TERM; sleep 600 & wait", timeout=0.5)
    assert set(psutil.Process().children(recursive=True)) <= before  # no zombie of ours either


CALLER = """
import pathlib, sys, threading
from talon_lib.hls import process

def start(name):
    folder = pathlib.Path(sys.argv[1], name)
    with (folder / "log").open("wb") as output:
        process.run(sys.argv[2:], folder, 600, "vitis-run", output)

for name in ("a", "b"):
    threading.Thread(target=start, args=[name]).start()
"""


@pytest.mark.parametrize("mode", ["hang", "stubborn"])
def test_tools_and_their_children_die_with_a_caller_that_is_killed(tmp_path, mode):
    """Two side by side: neither may keep the other's pipe open."""
    pids = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for file in ("build_prj.tcl", "build_opt.tcl", "project.tcl"):
            (tmp_path / name / file).touch()
        pids.append(tmp_path / name / "child.pid")
    environment = os.environ | {"MOCK_VITIS": mode}
    with subprocess.Popen([sys.executable, "-c", CALLER, str(tmp_path), *VITIS], env=environment) as caller:
        try:
            wait_for(lambda: all(path.exists() and path.read_text().strip() for path in pids))
            started = psutil.Process(caller.pid).children(recursive=True)
        finally:
            caller.kill()
    assert len(started) == 6  # supervisor, vitis-run and sleep, twice
    assert {int(path.read_text()) for path in pids} <= {child.pid for child in started}
    try:
        wait_for(lambda: all(ended(child.pid) for child in started))
    finally:
        for child in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def ended(pid):
    """It is gone; where nothing reaps orphans, it may be left as a zombie."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
