"""Labelled rows in folds: no student predicts a row after training on it or on a text written from it."""

import json
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from langchain_core.messages import BaseMessage
from tutelage.agents.rehearsal.rehearsal_model import RehearsalModel
from tutelage.agents.rehearsal.server import serve
from tutelage.graph.context import rehearsal_model
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import run
from tutelage.graph.task.load import Task, parse_task
from tutelage.graph.task.samples import sample_task
from tutelage.graph.task.splits import load_splits
from tutelage.prompts import read_payload
from tutelage.student.data.folds import labels_below, stratified_folds
from tutelage.student.data.rows import Row
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.models.load import load_student
from tutelage.student.tasks.classification import CLASSIFICATION
from tutelage.student.tasks.multilabel import MULTILABEL

Make = Callable[..., Task]


@pytest.fixture(scope="module")
def finished(folded: Make, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(folded(), tmp_path_factory.mktemp("run") / "run", encoder=encoder)


def test_with_one_labelled_file_every_score_is_out_of_fold(finished: RunFolder, folded: Make) -> None:
    about, rounds = finished.about(), finished.read_rounds()
    assert about["data"]["labelled"] == 210
    assert [line["round"] for line in rounds] == [0, 1, 2]
    assert all(line["metric"] == line["gate"] for line in rounds), "one set is used for both"
    assert 0.5 < rounds[0]["metric"] < 0.95, "a student would be right on rows it was trained on"
    assert rounds[0]["trained_on"] == 210
    assert load_student(finished.student).labels == list(folded().labels)
    assert about["test"]["metric"] > about["test_untrained"] + 0.4
    assert about["test_by_round"] is None, "fold students are not measured on test"


def test_a_request_to_analyst_or_generator_shows_rows_of_one_fold_and_none_of_test(
    finished: RunFolder, folded: Make
) -> None:
    splits = load_splits(folded())
    fold_of = {row["text"]: splits.folds[row["id"]] for row in splits.labelled}
    held_out = [row["text"] for row in splits.test]
    shown = Counter[str]()
    for request in _requests(finished):
        prompt = "\n".join(text for _, text in request["messages"])
        assert [text for text in held_out if _quoted(text) in prompt] == []
        if request["form"]["title"] in ("Diagnosis", "Drafts"):
            found = {fold for text, fold in fold_of.items() if f'"{_quoted(text)}"' in prompt}
            assert len(found) == 1
            shown[request["form"]["title"]] += 1
    assert shown["Diagnosis"] > 0
    assert shown["Drafts"] > 0


def test_a_written_text_has_a_fold_and_an_unlabelled_text_has_none(finished: RunFolder, folded: Make) -> None:
    samples = _samples(finished)
    kept = [sample for sample in samples if sample["status"] == "kept"]
    drawn = [sample for sample in kept if sample["kind"] == "pool"]
    written = [sample for sample in kept if sample["kind"] != "pool"]
    assert drawn
    assert all("fold" not in sample for sample in drawn)
    assert all("uncertainty" in sample for sample in drawn), "their uncertainty at selection is stored"
    assert written
    assert {sample["fold"] for sample in written} <= set(range(folded().fold_count))
    cards = {card["id"]: card for card in json.loads(finished.weaknesses.read_text())}
    assert all(cards[s["weakness"]]["fold"] == s["fold"] for s in written if s["weakness"])


class CopyingTeacher(RehearsalModel):
    """A rehearsal teacher that writes near-copies of the rows it is shown, if they are of the first fold, or
    unrelated texts as the control, and labels all texts wrong.
    """

    first_fold: set[str]
    copies: bool

    def _generate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> Any:
        result = super()._generate(messages, *args, **options)
        payload = read_payload(messages[1].text)
        if "requests" in payload and {shot["text"] for shot in payload["shots"]} <= self.first_fold:
            texts = [shot["text"] for shot in payload["shots"]] * 12
            drafts = [
                {"label": request["label"], "kind": request["kind"], "weakness": request["weakness"]}
                for request in payload["requests"]
                for _ in range(request["count"])
            ]
            for number, draft in enumerate(drafts):
                copy = f"{texts[number]} ({number})"
                draft["text"] = copy if self.copies else f"nothing to see here, number {number} {copy[::-1]}"
            return _with_content(result, {"drafts": drafts})
        if "texts" in payload and "samples" not in payload:
            labels = [
                {"id": one["id"], "reason": "", "label": "account_privacy", "confidence": 1.0}
                for one in payload["texts"]
            ]
            return _with_content(result, {"labels": labels})
        return result


def test_a_near_copy_of_a_row_does_not_train_the_student_that_predicts_the_row(
    folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    strategy = {
        "base": "auto", "samples": 30, "pool_share": 0.0, "agree": False, "critic": "none", "refit": False,
    }  # fmt: skip
    parts = {"strategy": strategy, "budget": {"rounds": 1}, "duplicate_above": 1.0}
    plain = folded(**parts)
    splits = load_splits(plain)
    first = [row for row in splits.labelled if splits.folds[row["id"]] == 0]
    rehearsal = rehearsal_model(plain, encoder=encoder)
    found = []
    for copies in (True, False):
        model = CopyingTeacher(
            rehearsal=rehearsal.rehearsal,  # type: ignore[attr-defined]
            first_fold={row["text"] for row in first},
            copies=copies,
        )
        with serve(model) as url:
            teacher = {"model": "openai:rehearsal", "base_url": url, "force": True, "logprobs": False}
            task = folded(**parts, teacher={**teacher, "corpus": None})
            folder = run(task, tmp_path / f"{copies}", encoder=encoder)
        kept = [s for s in _samples(folder) if s["status"] == "kept"]
        assert any(s["fold"] == 0 for s in kept)
        if copies:
            copied = {row["text"] for row in first}
            assert any(s["text"].rsplit(" (", 1)[0] in copied for s in kept if s["fold"] == 0)
        with np.load(folder.path / "predictions" / "round-01.npz") as stored:
            found.append(stored["probabilities"])
    own = [i for i, row in enumerate(splits.labelled) if splits.folds[row["id"]] == 0]
    others = [i for i in range(len(splits.labelled)) if i not in set(own)]
    assert np.array_equal(found[0][own], found[1][own]), (
        "the student of the first fold is not trained on the copies"
    )
    assert not np.allclose(found[0][others], found[1][others], atol=1e-3), "the other students are"


def test_folds_have_equal_sizes_and_equal_shares_of_every_label() -> None:
    labels = ["a"] * 31 + ["b"] * 10 + ["c"] * 2
    rows = [Row(id=f"{i:02d}", text=f"text {i}", label=label) for i, label in enumerate(labels)]
    folds = stratified_folds(rows, CLASSIFICATION, 3, seed=0)
    sizes = Counter(folds.values())
    assert max(sizes.values()) - min(sizes.values()) <= 1
    for label in "abc":
        of_label = Counter(folds[row["id"]] for row in rows if row["label"] == label)
        assert max(of_label.values()) - min(of_label.get(fold, 0) for fold in range(3)) <= 1
    assert folds == stratified_folds(rows, CLASSIFICATION, 3, seed=0)
    assert folds != stratified_folds(rows, CLASSIFICATION, 3, seed=1)
    assert labels_below(rows, CLASSIFICATION, 3) == ["c"]


def test_a_row_of_several_labels_is_stratified_by_its_rarest_label() -> None:
    rng = random.Random(0)
    sets = [["common", "rare"] if i % 10 == 0 else ["common"] for i in range(60)]
    rows = [Row(id=f"{i:02d}", text=str(i), label=json.dumps(labels)) for i, labels in enumerate(sets)]
    rng.shuffle(rows)
    folds = stratified_folds(rows, MULTILABEL, 3, seed=0)
    rare = Counter(folds[row["id"]] for row in rows if "rare" in row["label"])
    assert set(rare.values()) == {2}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"labelled": "labelled.jsonl", "seed": "labelled.jsonl"}, "`labelled` and `seed` are two ways"),
        ({"diagnose": "labelled.jsonl"}, "`diagnose` goes with `seed`, which is missing"),
        ({"seed": "labelled.jsonl", "folds": 3}, "`folds` divides `labelled` rows"),
        ({"labelled": "labelled.jsonl", "folds": 1}, "greater than or equal to 2"),
    ],
    ids=["both", "no seed", "folds of seeds", "one fold"],
)
def test_sections_of_data_that_contradict_each_other_are_refused(
    data: dict[str, Any], words: str, folded: Make
) -> None:
    with pytest.raises(InputError, match=words):
        folded(data=data)


@pytest.mark.parametrize("strategy", ["evokd", "gold", {"base": "auto", "probe": "batch"}], ids=str)
def test_a_strategy_that_would_mix_folds_needs_separate_sets(strategy: Any, folded: Make) -> None:
    with pytest.raises(InputError, match=r"needs separate sets: give `data.seed`"):
        folded(strategy=strategy)


def test_too_few_rows_are_refused_and_rare_labels_are_noted(folded: Make, tmp_path: Path) -> None:
    lines = _lines(sample_task(), "seed")
    by_label = {
        label: [x for x in lines if json.loads(x)["label"] == label] for label in sample_task().labels
    }
    rare = [line for number, part in enumerate(by_label.values()) for line in part[: 2 if number == 0 else 5]]
    (tmp_path / "rare.jsonl").write_text("".join(rare))
    notes = load_splits(folded(data={"labelled": str(tmp_path / "rare.jsonl"), "folds": 3})).notes
    assert "labels with fewer labelled rows than the 3 folds: order_status" in notes
    (tmp_path / "few.jsonl").write_text("".join(lines[:5]))
    with pytest.raises(InputError, match="5 labelled rows are too few for 3 folds: label at least 6"):
        load_splits(folded(data={"labelled": str(tmp_path / "few.jsonl"), "folds": 3}))


def test_a_text_in_both_labelled_and_test_is_refused(folded: Make, tmp_path: Path) -> None:
    lines = _lines(sample_task(), "seed")
    (tmp_path / "test.jsonl").write_text(lines[0])
    (tmp_path / "labelled.jsonl").write_text("".join(lines))
    data = {"labelled": str(tmp_path / "labelled.jsonl"), "test": str(tmp_path / "test.jsonl")}
    with pytest.raises(InputError, match="1 texts are both in labelled and in test"):
        load_splits(folded(data=data))


def _lines(task: Task, name: str) -> Sequence[str]:
    folder = Path(task.data.seed.path).parent  # type: ignore[union-attr, arg-type]
    return (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)


def _samples(folder: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in folder.samples.read_text().splitlines()]


def _requests(folder: RunFolder) -> list[dict[str, Any]]:
    with sqlite3.connect(folder.journal) as journal:
        return [json.loads(row[0]) for row in journal.execute("SELECT request FROM replies")]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _with_content(result: Any, reply: dict[str, Any]) -> Any:
    generation = result.generations[0]
    generation.message = generation.message.model_copy(update={"content": json.dumps(reply)})
    return result


def test_the_resolved_task_can_be_read_again(folded: Make, finished: RunFolder) -> None:
    again = parse_task(yaml.safe_load(yaml.safe_dump(finished.about()["task"])), "test", Path())
    assert again.data == folded().data
