"""The whole loop with all faults at once: it ends with the samples of a run without faults."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tutelage.agents.rehearsal.faults import ALL_KINDS, STATUS_KINDS, WIRE_KINDS, Faults
from tutelage.agents.rehearsal.server import serve
from tutelage.graph.context import rehearsal_model
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import run
from tutelage.graph.task.load import parse_task
from tutelage.graph.task.samples import sample_task

# The rest of a truncated reply is requested separately, and the rehearsal teacher then writes other texts.
FAULT_KINDS = [kind for kind in ALL_KINDS if kind != "truncated json"]
# A repaired reply has another call id. Confidences are compared separately, up to rounding: a reply of
# another length has other tokens, whose log-probabilities are stored to six digits.
DIFFERENT = ("written_by", "labelled_by", "judged_by", "confidence", "confidence_raw")


def run_with(place: Path, encoder: Any, faults: Faults | None) -> RunFolder:
    """Return the folder of a run of three rounds over HTTP with the OpenAI client."""
    with serve(rehearsal_model(sample_task(), encoder=encoder), faults=faults) as url:
        raw = sample_task().model_dump(exclude_none=True)
        teacher = {"model": "openai:rehearsal", "base_url": url, "timeout": 2.5, "concurrency": 16}
        raw |= {"teacher": teacher, "student": {"mode": "head"}, "budget": {"rounds": 3}}
        raw |= {"strategy": {"base": "auto", "samples": 60, "critic": "all"}}
        return run(parse_task(raw, "test", Path()), place, encoder=encoder)


def samples(folder: RunFolder) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in folder.samples.read_text().splitlines()]
    return [{key: value for key, value in sample.items() if key not in DIFFERENT} for sample in found]


def confidences(folder: RunFolder) -> list[float]:
    found = [json.loads(line) for line in folder.samples.read_text().splitlines()]
    return [sample["confidence"] for sample in found if "confidence" in sample]


@pytest.mark.slow
def test_a_run_with_all_faults_has_the_samples_of_a_run_without_faults(encoder: Any, tmp_path: Path) -> None:
    faults = Faults(share=0.7, kinds=FAULT_KINDS, max_per_request=2, retry_after=0.05, hang=5, drip=5, seed=1)
    faulty = run_with(tmp_path / "faulty", encoder, faults)
    whole = run_with(tmp_path / "whole", encoder, None)
    assert set(faults.injected) == set(FAULT_KINDS), "every fault was injected"
    assert faults.injected.total() >= 60
    # Every sample, kept or refused, with label, reason and place.
    assert samples(faulty) == samples(whole)
    assert confidences(faulty) == pytest.approx(confidences(whole), abs=1e-5)
    for key in ("stop", "best", "test", "test_by_round", "overlap"):
        assert faulty.about()[key] == whole.about()[key], key
    counters = faulty.about()["teacher"]
    assert counters["incomplete after all repairs"] == counters["refused by the provider"] == 0
    assert counters["failed attempts"] >= sum(faults.injected[kind] for kind in (*STATUS_KINDS, *WIRE_KINDS))
    assert counters["replies"] == faulty.about()["spent"]["calls"] > whole.about()["spent"]["calls"]
    with sqlite3.connect(faulty.journal) as journal:
        [(paid,)] = journal.execute("SELECT count(*) FROM replies WHERE paid")
    assert paid == counters["replies"], "every received reply is in the journal"
