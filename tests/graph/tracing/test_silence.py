"""Without being asked, tutelage opens no connection to anything but the teacher."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from tutelage.agents.rehearsal.server import serve
from tutelage.graph.context import rehearsal_model
from tutelage.graph.task.samples import sample_task
from tutelage.graph.task.schema import Task
from tutelage.student.encoder import Encoder

# Python reports every connection and look-up of a host, by any library, to an audit hook.
COMMANDS = """
import json, sys

reached = []

def watch(event, arguments):
    if event == "socket.connect":
        reached.append(arguments[1])
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        reached.append(arguments[-1] if event == "socket.sendto" else arguments[0])

sys.addaudithook(watch)
import tutelage.cli

for arguments in json.loads(sys.argv[1]):
    sys.argv = ["tutelage", *arguments]
    try:
        tutelage.cli.main()
    except SystemExit as end:
        assert not end.code, arguments
print(json.dumps([one.decode() if isinstance(one, bytes) else one for one in reached]))
"""
# What `import` finds in the environment when it loads onnxruntime.
ONNXRUNTIME = """
import os, sys

def watch(event, arguments):
    if event == "import" and arguments[0] == "onnxruntime":
        print("at its import:", os.environ.get("ORT_DISABLE_TELEMETRY"))

sys.addaudithook(watch)
import tutelage.student.models.standalone
"""


@pytest.mark.slow
def test_a_run_a_report_and_predictions_reach_nothing_but_the_teacher(
    folded: Callable[..., Task], encoder: Encoder, collecting: Any, tmp_path: Path
) -> None:
    """The addresses of collectors alone, which other programs may need, are no consent."""
    forced = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "NO_PROXY", "no_proxy")
    clean = {name: value for name, value in os.environ.items() if name not in forced}
    commands = [
        ["run", str(tmp_path / "task.yaml"), "--out", str(tmp_path / "run")],
        ["report", str(tmp_path / "run")],
        ["predict", str(tmp_path / "run"), "where is my parcel?"],
    ]
    with (
        collecting() as (collector, received),
        serve(rehearsal_model(sample_task(), encoder=encoder)) as url,
    ):
        task = folded(
            strategy={"base": "auto", "samples": 12, "pool_share": 0.5},
            teacher={"model": "openai:rehearsal", "base_url": url, "calibrate": 12},
            budget={"rounds": 1},
        )
        text = yaml.safe_dump(json.loads(task.model_dump_json(exclude_none=True)))
        (tmp_path / "task.yaml").write_text(text)
        environment = {
            **clean,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
            "LANGSMITH_ENDPOINT": collector,
            "LANGSMITH_API_KEY": "of-the-tracer",
            "MLFLOW_TRACKING_URI": collector,
            # Code outside Python, which the hook does not see, would ask this proxy.
            **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "https_proxy"), collector),
            "NO_PROXY": "127.0.0.1",
        }
        done = subprocess.run(
            [sys.executable, "-c", COMMANDS, json.dumps(commands)],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
    assert done.returncode == 0, done.stderr
    reached = json.loads(done.stdout.splitlines()[-1])
    assert [urlsplit(url).hostname, urlsplit(url).port] in reached, "the test can see connections"
    hosts = {one if isinstance(one, str) else tuple(one) for one in reached}
    assert hosts <= {"127.0.0.1", ("127.0.0.1", urlsplit(url).port)}
    assert received == []


def test_onnxruntime_is_loaded_without_the_telemetry_of_its_maker() -> None:
    clean = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    arguments = [sys.executable, "-c", ONNXRUNTIME]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, env=clean)
    assert done.stdout == "at its import: 1\n"
