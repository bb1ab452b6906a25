"""Screening: which texts the student is least certain of, by formulas worked out by hand and in runs."""

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
from tutelage.student.training.loop import continue_training, train

# Probabilities (1/2, 1/4, 1/4) and (3/5, 2/5 - ε, ε): the second has the higher maximum and the lower
# entropy, but the smaller margin between its first two labels.
LABELS = ["a", "b", "c"]
LOGITS = np.log(np.array([[0.5, 0.25, 0.25], [0.6, 0.3999, 0.0001]], np.float32))


@pytest.mark.parametrize(
    ("selection", "first", "second"),
    [
        ("entropy", 1.5 * log(2) / log(3), (0.00092 - 0.6 * log(0.6) - 0.3999 * log(0.3999)) / log(3)),
        ("least_confidence", 0.5, 0.4),
        ("margin", -0.25, -0.2001),
        ("energy", 0.0, 0.0),  # logits that are log-probabilities sum to 1
    ],
)
def test_uncertainty_of_two_texts_by_each_measure(
    selection: UncertaintyMeasure, first: float, second: float
) -> None:
    assert predictions_single(LOGITS, LABELS, None).uncertainty(selection) == pytest.approx(
        [first, second], abs=1e-4
    )


def test_energy_is_highest_where_all_logits_are_low() -> None:
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


def test_the_texts_that_the_student_is_least_certain_of_are_kept(encoder: Encoder, tmp_path: Path) -> None:
    task = pool_task({"base": "entropy", "samples": 20, "oversample": 3, "attempts": 0})
    folder = run(task, tmp_path / "run", encoder=encoder)
    samples = [json.loads(line) for line in folder.samples.read_text().splitlines()]
    seeds = load_splits(task).seed
    student = train(seeds, list(task.labels), task.training_config(), seed=0, encoder=encoder)

    def entropies(status: str) -> np.ndarray:
        return entropy(student.predict_proba([s["text"] for s in samples if s["status"] == status]))

    assert entropies("kept").min() >= entropies("surplus").max() - 1e-6
    assert len(entropies("surplus")) >= 30


def test_a_random_selection_is_spread_over_the_drafts(encoder: Encoder, tmp_path: Path) -> None:
    task = pool_task({"base": "entropy", "samples": 20, "oversample": 3, "selection": "random"})
    folder = run(task, tmp_path / "run", encoder=encoder)
    samples = [json.loads(line) for line in folder.samples.read_text().splitlines()]
    places = [s["place"] for s in samples if s["status"] == "kept"]
    assert max(places) > 40
    assert min(places) < 20


def test_a_carried_student_continues_from_the_last_round_on_new_and_replayed_rows(
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
    expected = continue_training(first, [*new, *old], passes, seed=0, encoder=encoder)
    texts = [row["text"] for row in seeds]
    found = load_student(folder.student).logits(texts)
    fresh = train([*new, *old], labels, passes, seed=0, encoder=encoder)
    assert np.abs(found - expected.logits(texts)).max() < 1e-3
    assert np.abs(found - fresh.logits(texts)).max() > 0.1


def test_a_text_is_kept_only_if_the_label_agrees_with_the_requested_one(
    encoder: Encoder, tmp_path: Path
) -> None:
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


def test_a_text_that_was_refused_for_its_label_is_not_labelled_again(
    encoder: Encoder, tmp_path: Path
) -> None:
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
