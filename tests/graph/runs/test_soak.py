"""The whole loop while everything goes wrong at once: it ends with the samples of a faultless run."""

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

# The rest of a truncated reply is asked for in other requests, to which other texts are written.
TASK_TYPES = [kind for kind in ALL_KINDS if kind != "truncated json"]
# Ids of calls: a repaired reply has another. Confidences: a reply of other length is cut into other
# tokens, whose log-probabilities are kept to six digits; they are compared up to that.
DIFFERENT = ("written_by", "labelled_by", "judged_by", "confidence", "confidence_raw")


def ran(place: Path, encoder: Any, faults: Faults | None) -> RunFolder:
    """A run of three rounds through HTTP and the real client."""
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


def test_under_all_faults_at_once_a_run_ends_with_the_samples_of_a_faultless_one(
    encoder: Any, tmp_path: Path
) -> None:
    # A seed that leaves each diagnosis whole: one with fewer weaknesses is an answer, and no fault to repair.
    faults = Faults(share=0.7, kinds=TASK_TYPES, stubborn=2, retry_after=0.05, hang=5, drip=5, seed=1)
    spoilt = ran(tmp_path / "spoilt", encoder, faults)
    whole = ran(tmp_path / "whole", encoder, None)
    assert set(faults.injected) == set(TASK_TYPES), "every fault came, or this test shows nothing"
    assert faults.injected.total() >= 60
    # Every sample, kept or refused, with label, reason and place.
    assert samples(spoilt) == samples(whole)
    assert confidences(spoilt) == pytest.approx(confidences(whole), abs=1e-5)
    for key in ("stop", "best", "test", "test_by_round", "overlap"):
        assert spoilt.about()[key] == whole.about()[key], key
    told = spoilt.about()["teacher"]
    assert told["set aside"] == told["refused by the provider"] == 0
    assert told["tries that failed"] >= sum(faults.injected[kind] for kind in (*STATUS_KINDS, *WIRE_KINDS))
    assert told["replies"] == spoilt.about()["spent"]["calls"] > whole.about()["spent"]["calls"]
    with sqlite3.connect(spoilt.journal) as journal:
        [(paid,)] = journal.execute("SELECT count(*) FROM replies WHERE paid")
    assert paid == told["replies"], "every reply that came is in the journal"
