"""The process of a run: it starts, and is asked to stop once, whoever looks at its lock meanwhile."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tutelage.graph.task.samples import sample_task
from tutelage.graph.tool.job import Job

COUNTS_SIGNALS = """
import os, signal, sys
signal.signal(signal.SIGINT, lambda *rest: os.write(1, b"asked to stop\\n"))
os.write(1, b"ready\\n")
sys.stdin.read()
"""


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Return a job that has not begun."""
    found = Job(tmp_path, "job-00000000")
    found.folder.mkdir()
    return found


@contextmanager
def locked(job: Job, kind: int) -> Iterator[int]:
    """Hold the lock of a job as another process would, and give its file descriptor."""
    with (job.folder / "process.lock").open("ab") as lock:
        fcntl.flock(lock, kind)
        yield lock.fileno()


def ended() -> int:
    """Return the id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


@pytest.mark.parametrize("content", ["", "ended"])
def test_a_stop_while_the_process_starts_or_ends_does_nothing(content: str, job: Job) -> None:
    with locked(job, fcntl.LOCK_EX):
        (job.folder / "process.lock").write_text(content and str(ended()))
        assert job.at_work()
        job.stop()


def test_a_second_stop_is_no_second_interrupt(job: Job) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with locked(job, fcntl.LOCK_EX) as lock:
        command = [sys.executable, "-c", COUNTS_SIGNALS]
        process = subprocess.Popen(command, text=True, pass_fds=[lock], **pipes)  # type: ignore[call-overload]
    with process:
        (job.folder / "process.lock").write_text(str(process.pid))
        assert process.stdout.readline() == "ready\n"
        job.stop()
        assert process.stdout.readline() == "asked to stop\n"
        Job(job.folder.parent, job.id).stop()
        output, _ = process.communicate()
    assert output == ""
    assert not job.at_work()


def test_a_start_waits_for_those_who_only_look(job: Job) -> None:
    (job.folder / "stopping").touch()  # of an earlier process
    with locked(job, fcntl.LOCK_SH) as lock:
        release = threading.Timer(0.2, fcntl.flock, [lock, fcntl.LOCK_UN])
        release.start()
        job.start(sample_task())
        release.join()
    assert job.at_work()
    assert not (job.folder / "stopping").exists()
    os.kill(int((job.folder / "process.lock").read_text()), signal.SIGKILL)


def test_no_earlier_process_is_signalled_while_a_new_one_starts(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job.folder / "process.lock").write_text(str(os.getpid()))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(FileNotFoundError):
        job.start(sample_task())
    assert (job.folder / "process.lock").read_text() == ""
