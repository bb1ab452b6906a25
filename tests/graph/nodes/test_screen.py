"""Screening: whom the student would have labelled, by formulas worked out by hand and in a run."""

import json
import random
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tutelage.graph.runs.run import run
from tutelage.graph.task.load import Task, parse_task
from tutelage.graph.task.samples import sample_task
from tutelage.graph.task.splits import load_splits
from tutelage.student.data.rows import Row
from tutelage.student.encoder import Encoder
from tutelage.student.models.load import load_student
from tutelage.student.models.predictions import UncertaintyMeasure, entropy, predictions_single
from tutelage.student.training.loop import train

# Probabilities (1/2, 1/4, 1/4) and (3/5, 2/5 - ε, ε): the second is surer of its first label, and less torn
# between many, but more between two.
LABELS = ["a", "b", "c"]
TORN = np.log(np.array([[0.5, 0.25, 0.25], [0.6, 0.3999, 0.0001]], np.float32))


@pytest.mark.parametrize(
    ("selection", "first", "second"),
    [
        ("entropy", 1.5 * log(2) / log(3), (0.00092 - 0.6 * log(0.6) - 0.3999 * log(0.3999)) / log(3)),
        ("least_confidence", 0.5, 0.4),
        ("margin", -0.25, -0.2001),
        ("energy", 0.0, 0.0),  # logits that are log-probabilities sum to 1
    ],
)
def test_what_is_wanted_most(selection: UncertaintyMeasure, first: float, second: float) -> None:
    assert predictions_single(TORN, LABELS, None).uncertainty(selection) == pytest.approx(
        [first, second], abs=1e-4
    )


def test_energy_wants_what_all_logits_are_low_for() -> None:
    logits = np.array([[0.0, 0.0], [3.0, 0.0]], np.float32)
    far, near = predictions_single(logits, LABELS, None).uncertainty("energy")
    assert far == pytest.approx(-log(2))
    assert far > near


def pool_task(strategy: dict[str, Any], rounds: int = 1) -> Task:
    raw = sample_task().model_dump(exclude_none=True)
    raw["data"]["unlabelled"] = {"path": raw["teacher"]["corpus"]}
    raw |= {"student": {"mode": "head"}, "strategy": strategy, "budget": {"rounds": rounds}}
    raw["teacher"]["calibrate"] = 0
    return parse_task(raw, "test", Path())


def test_the_student_s_choice_is_of_what_it_doubts_most(encoder: Encoder, tmp_path: Path) -> None:
    task = pool_task({"base": "entropy", "samples": 20, "oversample": 3, "attempts": 0})
    folder = run(task, tmp_path / "run", encoder=encoder)
    samples = [json.loads(line) for line in folder.samples.read_text().splitlines()]
    seeds = load_splits(task).seed
    student = train(seeds, list(task.labels), task.training_config(), seed=0, encoder=encoder)

    def doubts(*status_counts: str) -> np.ndarray:
        return entropy(student.probabilities([s["text"] for s in samples if s["status"] in status_counts]))

    assert doubts("kept").min() >= doubts("surplus").max() - 1e-6
    assert len(doubts("surplus")) >= 30


def test_a_choice_by_chance_is_no_run_of_neighbours(encoder: Encoder, tmp_path: Path) -> None:
    task = pool_task({"base": "entropy", "samples": 20, "oversample": 3, "selection": "random"})
    folder = run(task, tmp_path / "run", encoder=encoder)
    samples = [json.loads(line) for line in folder.samples.read_text().splitlines()]
    places = [s["place"] for s in samples if s["status"] == "kept"]
    assert max(places) > 40
    assert min(places) < 20


def test_a_carried_student_goes_on_from_the_last_on_new_and_old_rows(
    encoder: Encoder, tmp_path: Path
) -> None:
    raw = sample_task().model_dump(exclude_none=True)
    raw |= {
        "student": {"mode": "head"},
        "strategy": {"base": "evokd", "samples": 18, "replay": 3.0, "repeat": 1},
    }
    raw["budget"]["rounds"] = 1
    raw["teacher"]["calibrate"] = 0
    task = parse_task(raw, "test", Path())
    folder = run(task, tmp_path / "run", encoder=encoder)
    assert folder.about()["best"] == 1
    samples = [json.loads(line) for line in folder.samples.read_text().splitlines()]
    new = [
        Row(id=s["id"], text=s["text"], label=s["label"], confidence=s["confidence"])
        for s in samples
        if s["status"] == "kept"
    ]
    seeds, labels, training_config = load_splits(task).seed, list(task.labels), task.training_config()
    old = random.Random("0 1 replay").sample(seeds, min(len(seeds), 3 * len(new)))
    first = train(seeds, labels, training_config, seed=0, encoder=encoder)
    passes = type(training_config)(**{**vars(training_config), "epochs": 1})
    expected = train([*new, *old], labels, passes, seed=0, encoder=encoder, start=first)
    texts = [row["text"] for row in seeds]
    found = load_student(folder.student).logits(texts)
    fresh = train([*new, *old], labels, passes, seed=0, encoder=encoder)
    assert np.abs(found - expected.logits(texts)).max() < 1e-3
    assert np.abs(found - fresh.logits(texts)).max() > 0.1


def test_who_wrote_a_text_and_who_labelled_it_are_to_agree(encoder: Encoder, tmp_path: Path) -> None:
    raw = sample_task().model_dump(exclude_none=True)
    strategy = {"base": "random", "samples": 24, "critic": "none", "agree": True, "attempts": 0}
    raw |= {"student": {"mode": "head"}, "strategy": strategy}
    raw["budget"]["rounds"] = 1
    raw["teacher"] |= {"calibrate": 0, "label_noise": 0.3}
    folder = run(parse_task(raw, "test", Path()), tmp_path / "run", encoder=encoder)
    samples = [json.loads(line) for line in folder.samples.read_text().splitlines()]
    labelled = [s for s in samples if "label" in s]
    assert all((s["status"] == "kept") == (s["label"] == s["requested"]) for s in labelled)
    refused = [s for s in labelled if s["status"] == "refused"]
    assert len(refused) >= 5
    assert (
        refused[0]["reason"] == f"written for {refused[0]['requested']}, and labelled {refused[0]['label']}"
    )


def test_a_text_refused_over_its_label_is_not_paid_for_again(encoder: Encoder, tmp_path: Path) -> None:
    raw = sample_task().model_dump(exclude_none=True)
    strategy = {"base": "random", "samples": 60, "critic": "none", "agree": True, "attempts": 2}
    raw |= {"student": {"mode": "head"}, "strategy": strategy}
    raw["budget"]["rounds"] = 2
    raw["teacher"] |= {"calibrate": 0, "label_noise": 0.4}
    folder = run(parse_task(raw, "test", Path()), tmp_path / "run", encoder=encoder)
    samples = [json.loads(line) for line in folder.samples.read_text().splitlines()]
    refused = {s["id"] for s in samples if s["status"] == "refused"}
    again = [s["id"] for s in samples if s["id"] in refused and s["status"] != "refused"]
    assert again, "the teacher wrote some of them once more"
    labelled = [s["id"] for s in samples if "label" in s]
    assert len(labelled) == len(set(labelled))
