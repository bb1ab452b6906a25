"""A run that an agent asked for: its files, and the process that works on it."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.task.schema import Task

BUSY = 1.0  # seconds for which a lock may be held by those who only look whether it is held


class Job:
    """The folder of one run under the folder of all runs: `task.yaml`, the plan that a person approves, the
    log of the process, and, once it has begun, the run folder `run/`.
    """

    def __init__(self, runs: Path, id: str):
        self.id, self.folder = id, runs / id
        self.task = self.folder / "task.yaml"
        self.plan = self.folder / "plan.json"
        self.request = self.folder / "request.json"
        self.log = self.folder / "log.txt"
        self.run = RunFolder(self.folder / "run")
        self._lock = self.folder / "process.lock"
        self._stopping = self.folder / "stopping"  # exists once the process has been asked to stop

    @property
    def begun(self) -> bool:
        """Whether the run was approved and has begun; it may be continued without another approval."""
        return self.run.run_json.exists()

    @property
    def about(self) -> dict[str, Any]:
        """The content of the run's run.json; {} before it has begun."""
        return self.run.about() if self.begun else {}

    @property
    def finished(self) -> bool:
        """Whether the run has ended with a student."""
        return "stop" in self.about and self.run.student.exists()

    def at_work(self) -> bool:
        """Return whether a process works on the run, started by this process or by another one."""
        if not self._lock.exists():
            return False
        with self._lock.open("rb") as lock:
            return not _take(lock, fcntl.LOCK_SH)

    def stop(self) -> None:
        """Ask the process to stop after its current step, as Ctrl-C does; the run can be continued.

        It is asked once: at a second Ctrl-C it would stop at once, and lose the calls in flight.
        """
        if not self.at_work():
            return
        # The file is empty while the process is being started, and the process may end at any time.
        with suppress(ValueError, FileExistsError, ProcessLookupError):
            process = int(self._lock.read_text())
            self._stopping.touch(exist_ok=False)
            os.kill(process, signal.SIGINT)

    def start(self, task: Task) -> None:
        """Begin the run, or continue it, in a process that survives this one; do nothing if it is at work.

        The process inherits a lock, which the system releases when it dies, however it dies.
        """
        with self._lock.open("ab") as lock:
            if not _take_soon(lock):
                return
            lock.truncate(0)  # the number of an earlier process, which `stop` must not signal
            self._stopping.unlink(missing_ok=True)
            if self.begun:
                command = ["resume", str(self.run.path)]
            else:
                fields = task.model_dump(mode="json", exclude_none=True)
                self.run.write(self.task, yaml.safe_dump(fields, sort_keys=False, allow_unicode=True))
                command = ["run", str(self.task), "--out", str(self.run.path)]
            with self.log.open("wb") as log:
                process = subprocess.Popen(
                    # -P: no module in the current folder hides a package.
                    [sys.executable, "-P", "-m", "tutelage.cli", *command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C in the agent's terminal does not reach it
                    pass_fds=[lock.fileno()],
                )
            self._lock.write_text(str(process.pid))
        # Without someone who waits for it, an ended process would stay as a zombie.
        threading.Thread(target=process.wait, daemon=True).start()

    def error(self) -> str | None:
        """Return why the process ended early, in the words of the command line; None if it was killed."""
        if not self.log.exists():
            return None
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return errors[-1] if errors else None

    def drop(self) -> None:
        """Delete a run that was refused."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _take(lock: Any, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _take_soon(lock: Any) -> bool:
    """Take a lock for the process that starts, even if `at_work` holds it at this moment elsewhere."""
    end = time.monotonic() + BUSY
    while not (taken := _take(lock, fcntl.LOCK_EX)) and time.monotonic() < end:
        time.sleep(0.02)
    return taken
