"""The bundled task: its size, its labels, and the distance between its sets."""

import json
from collections import Counter
from pathlib import Path

import pytest
from tutelage.graph.task.samples import demo_task, sample_task
from tutelage.graph.task.splits import load_corpus, load_splits
from tutelage.student.encoder import Encoder


def test_the_bundled_task_has_enough_texts_of_every_label_and_some_untypical_ones() -> None:
    task = sample_task()
    splits = load_splits(task)
    assert task.teacher.corpus
    corpus = load_corpus(task, splits, task.teacher.corpus)
    assert len(task.labels) == 6
    assert set(Counter(row["label"] for row in splits.seed).values()) == {5}
    assert min(Counter(row["label"] for row in corpus).values()) >= 60
    assert len(splits.test) >= 150
    assert task.teacher.corpus
    typical = [json.loads(line)["typical"] for line in task.teacher.corpus.read_text().splitlines()]
    assert 0.6 < sum(typical) / len(typical) < 0.8


def test_no_held_out_text_is_a_near_duplicate_of_another_set(encoder: Encoder) -> None:
    task = sample_task()
    splits = load_splits(task)
    corpus = task.teacher.corpus or Path()
    shown = [row["text"] for row in [*load_corpus(task, splits, corpus), *splits.seed, *splits.diagnose]]
    held_out = [row["text"] for row in [*splits.gate, *splits.test]]
    assert (encoder.encode(shown) @ encoder.encode(held_out).T).max() < 0.9


def test_a_demo_task_whose_writing_was_interrupted_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*rest: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("yaml.safe_dump", killed)  # the last step, when all sets are written
        with pytest.raises(KeyboardInterrupt):
            demo_task("classification", tmp_path / "task")
    assert not (tmp_path / "task").exists()
    task = demo_task("classification", tmp_path / "task")
    assert task.data.labelled
    assert task.data.labelled.path == tmp_path / "task" / "labelled.jsonl"
    assert [path.name for path in tmp_path.iterdir()] == ["task"]
