"""The bundled sample task is what it claims to be."""

import json
from collections import Counter
from pathlib import Path

from tutelage.graph.task.samples import sample_task
from tutelage.graph.task.splits import load_corpus, load_splits
from tutelage.student.encoder import Encoder


def test_it_has_enough_texts_of_every_label_and_a_tail() -> None:
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


def test_no_two_of_its_texts_are_near_duplicates_across_sets(encoder: Encoder) -> None:
    task = sample_task()
    splits = load_splits(task)
    corpus = task.teacher.corpus or Path()
    taught = [row["text"] for row in [*load_corpus(task, splits, corpus), *splits.seed, *splits.diagnose]]
    sealed = [row["text"] for row in [*splits.gate, *splits.test]]
    assert (encoder.encode(taught) @ encoder.encode(sealed).T).max() < 0.9
