"""The processes that train students, as their parent sees them: a child, or a launcher and its ranks."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import tutelage
from tutelage.student.errors import InputError
from tutelage.student.training.processes.child import STUDENT

Report = dict[str, Any]
_MODULE = ["-m", "tutelage.student.training.processes.child"]
_PATIENCE = 40  # seconds for a launcher to end its ranks; torchrun kills those that do not end after 30


class Worker(Protocol):
    """What trains one job after the other."""

    def reports(self, folder: Path) -> Iterator[Report]:
        """Train the student of a job, and yield reports; one with `done` or `error` ends the job."""
        ...

    def end(self) -> None:
        """End all processes."""
        ...


class Child:
    """A child process. `environment` is added to that of this process."""

    def __init__(self, environment: Mapping[str, str]):
        self._process = _start([sys.executable, *_MODULE], environment, stdin=subprocess.PIPE)

    def reports(self, folder: Path) -> Iterator[Report]:
        """Train the student of a job, and yield the reports."""
        assert self._process.stdin
        with suppress(OSError):  # it has ended, which the next lines find
            self._process.stdin.write(f"{folder}\n")
            self._process.stdin.flush()
        yield from _reports(self._process)
        yield {"error": "the process that trained a student ended", "input": False}

    def end(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()


@dataclass(frozen=True)
class Launcher:
    """A command that starts the ranks of a training, such as `torchrun --standalone --nproc-per-node 2`, and
    the file for what they print.
    """

    command: str
    log: Path

    def check(self) -> None:
        """Check that the program of the command is installed.

        Raises:
            InputError: it is not.
        """
        program = shlex.split(self.command)[0]
        if not shutil.which(program, path=_environment()["PATH"]):
            raise InputError(
                f"`student.launcher`: the program {program!r} was not found; give its whole path, or leave"
                " `launcher` out"
            )


class Launched:
    """A launcher at work, whose ranks train the students of all folders one after the other."""

    def __init__(self, launcher: Launcher, folders: Sequence[Path]):
        launcher.check()
        self._launcher, self._last, self._ending = launcher, folders[-1], False
        command = [*shlex.split(launcher.command), *_MODULE, *(str(folder.resolve()) for folder in folders)]
        with launcher.log.open("wb") as log:
            self._process = _start(command, {}, stdin=subprocess.DEVNULL, stderr=log)

    def reports(self, folder: Path) -> Iterator[Report]:
        """Yield the reports of rank 0 on the job of a folder, and the InputError of any rank."""
        if self._ending:
            return
        for report in _reports(self._process):
            yield report
            if self._ending:
                assert self._process.stdout
                self._process.stdout.close()  # a rank that has lost its launcher ends at its next report
                return
        if (folder / STUDENT).exists():  # the launcher keeps the reports to itself
            yield {"done": True}
        message = (
            f"`{self._launcher.command}` (`student.launcher`) ended before the student was trained;"
            f" {self._launcher.log} has what it printed"
        )
        yield {"error": message, "input": True}

    def end(self) -> None:
        """Wait for a launcher that has done its work; make another end its ranks, or kill it."""
        self._ending = True
        done = (self._last / STUDENT).exists()
        for number in (0, signal.SIGTERM, signal.SIGKILL) if done else (signal.SIGTERM, signal.SIGKILL):
            with suppress(OSError):  # all have ended
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE)
                return


def visible_devices(children: int, devices: int, visible: str | None) -> list[dict[str, str]]:
    """Deal out CUDA devices to children in turn; return for each the variable that shows it a single one.

    Args:
        children: how many there are.
        devices: how many devices this process sees.
        visible: CUDA_VISIBLE_DEVICES of this process, if it is set.
    """
    if devices < 2:
        return [{}] * children
    names = visible.split(",") if visible else [str(number) for number in range(devices)]
    return [{"CUDA_VISIBLE_DEVICES": names[number % devices]} for number in range(children)]


def _environment() -> dict[str, str]:
    """Return the environment in which a process imports this package and finds the programs beside Python."""
    root, programs = str(Path(tutelage.__file__).parent.parent), str(Path(sys.executable).parent)
    paths = {"PYTHONPATH": root, "PATH": programs}
    before = {name: os.environ.get(name, "") for name in paths}
    return {**os.environ, **{n: os.pathsep.join(filter(None, (paths[n], before[n]))) for n in paths}}


def _start(command: Sequence[str], environment: Mapping[str, str], **streams: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**_environment(), **environment},
        start_new_session=True,  # Ctrl-C reaches only the parent, which ends its children
        **streams,
    )


def _reports(process: "subprocess.Popen[str]") -> Iterator[Report]:
    """Yield the reports on the standard output of a process until its end; a launcher may print there too."""
    assert process.stdout
    for line in process.stdout:
        if line.startswith("{"):
            with suppress(json.JSONDecodeError):
                yield json.loads(line)
