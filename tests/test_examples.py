"""The applications in examples/: offline, then killed inside the distillation and started again, in a process
that also imports openai-agents.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tutelage.agents.rehearsal.server import serve
from tutelage.graph.context import rehearsal_model
from tutelage.graph.task.samples import demo_task
from tutelage.student.encoder import Encoder

EXAMPLES = Path(__file__).parent.parent / "examples"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not EXAMPLES.exists(), reason="the wheel has no examples"),
]
BESIDE_AGENTS = """
import runpy, sys
import agents
import tutelage.agents
assert agents.__file__ != tutelage.agents.__file__ and hasattr(agents, "Runner")
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
PREDICTED = {
    "parent_graph": "order_status     where is my parcel?",
    "agent_with_tool": '"label": "order_status"',
}


class DeadlyTeacher:
    """A rehearsal teacher that answers `replies` requests and calls `kill` at the next one, once. Requests
    that wait at this moment get no reply either.
    """

    def __init__(self, folder: Path, encoder: Encoder, replies: int, kill: Callable[[], None]):
        self.model = rehearsal_model(demo_task("classification", folder), encoder=encoder)
        self.paid: list[str] = []
        self.paid_before = 0
        self._replies, self._kill, self._lock = replies, kill, threading.Lock()

    def invoke(self, messages: Any, **options: Any) -> Any:
        before = self.paid_before
        with self._lock:
            if not self.paid_before and len(self.paid) == self._replies:
                time.sleep(1)  # the replies so far are stored by now
                self._kill()
                self.paid_before = len(self.paid)
            if self.paid_before != before:
                raise ValueError("no reply to this request")
            reply = self.model.invoke(messages, **options)
            self.paid.append(json.dumps([messages, options.get("seed")]))
            return reply


@dataclass
class Application:
    """An example, started in a folder of its own once or again."""

    name: str
    folder: Path
    processes: list["subprocess.Popen[str]"] = field(default_factory=list)

    def run(self, answer: str, *arguments: str) -> str:
        """Run it with a person's answer, and return what it printed."""
        command = [sys.executable, "-c", BESIDE_AGENTS, str(EXAMPLES / f"{self.name}.py"), *arguments]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, cwd=self.folder, text=True, **pipes) as process:
            self.processes.append(process)
            output, errors = process.communicate(answer)
        assert process.returncode in (0, -signal.SIGKILL), errors
        return output

    def is_killed_and_continues(self, teacher: DeadlyTeacher) -> str:
        """Run it until the teacher kills it, and again; return what it printed the second time."""
        with serve(teacher) as url:  # type: ignore[arg-type]
            arguments = ("--teacher", "openai:rehearsal", "--base-url", url)
            self.run("yes\n", *arguments)
            output = self.run("", *arguments)  # what was approved needs no other approval
        assert [process.returncode for process in self.processes] == [-signal.SIGKILL, 0]
        assert 0 < teacher.paid_before < len(teacher.paid)
        assert max(Counter(teacher.paid).values()) == 1, "a reply was paid for twice"
        assert PREDICTED[self.name] in output
        return output


@pytest.mark.parametrize("name", PREDICTED)
def test_an_example_runs_offline_and_asks_first(name: str, tmp_path: Path) -> None:
    output = Application(name, tmp_path).run("yes\n")
    assert len(re.findall(r"(yes or no|reason for a refusal): ", output)) == 1
    assert PREDICTED[name] in output


def test_a_refused_plan_is_not_run(tmp_path: Path) -> None:
    output = Application("parent_graph", tmp_path).run("no\n")
    assert "distillation:" not in output
    assert not list(tmp_path.glob("**/run.json"))


def test_a_killed_parent_continues_inside_the_distillation(encoder: Encoder, tmp_path: Path) -> None:
    application = Application("parent_graph", tmp_path)
    teacher = DeadlyTeacher(tmp_path / "t", encoder, 6, lambda: application.processes[0].kill())
    output = application.is_killed_and_continues(teacher)
    nodes = [line.split()[-1] for line in output.splitlines() if line.startswith("    distillation:")]
    assert nodes[0] in ("calibrate", "labeler"), "it continues where the teacher was asked"
    assert nodes[-1] == "report"


def test_a_killed_agent_and_its_killed_run_both_continue(encoder: Encoder, tmp_path: Path) -> None:
    application = Application("agent_with_tool", tmp_path)

    def kill() -> None:
        [lock] = tmp_path.glob("runs/agent/classifiers/*/process.lock")
        os.kill(int(lock.read_text()), signal.SIGKILL)
        application.processes[0].kill()

    output = application.is_killed_and_continues(DeadlyTeacher(tmp_path / "t", encoder, 6, kill))
    assert '"state": "stopped"' in output
    assert "its process was stopped or killed" in output
