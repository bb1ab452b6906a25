"""Test training on the reasons of labels as second targets."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tutelage.agents.labeler import label
from tutelage.graph.task.load import parse_task
from tutelage.graph.task.samples import sample_task
from tutelage.student.data.readers import Columns, read_rows
from tutelage.student.data.rows import Row, content_id
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.models.load import load_student
from tutelage.student.models.seq2seq import Seq2seqStudent
from tutelage.student.models.tiny_seq2seq import tiny_seq2seq
from tutelage.student.training.adapters.seq2seq import adapter, fresh
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train
from tutelage.student.training.losses import Objective
from tutelage.student.training.training_set import TrainingSet

PAIRS = [("say a", "aa"), ("say b", "bb"), ("say c", "cc"), ("say it: d", "dd")] * 6
ROWS = [Row(id=content_id(f"{text}{i}"), text=text, label=target) for i, (text, target) in enumerate(PAIRS)]
TEXTS, TARGETS = [text for text, _ in PAIRS[:4]], [target for _, target in PAIRS[:4]]


@pytest.fixture(scope="module")
def t5_base(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("writer")
    return str(tiny_seq2seq(folder / "t5", [part for pair in PAIRS for part in pair], words=270))


LONG = "because it says so, and says it more than once"


def test_a_reason_is_a_second_target_of_its_text(t5_base: str) -> None:
    training_config = TrainingConfig(kind="seq2seq", base=t5_base, max_target=8, device="cpu")
    rows = [ROWS[0], Row(**{**ROWS[1], "rationale": LONG})]
    student = fresh(training_config, 0)
    taught = adapter(
        TrainingSet.of(rows), student, replace(training_config, objective=Objective(rationale=0.5))
    )
    [(text, reason)] = taught.reasons.values()
    decoded = [
        student.tokenizer.decode(ids, skip_special_tokens=True) for ids in (*taught.texts, text, reason)
    ]
    assert decoded == [" say a", " say b", " [rationale] say b", f" {LONG}"], (
        "a reason is not cut like a target"
    )
    assert reason[-1] == student.tokenizer.eos_token_id
    assert [*taught.reasons] == [1]
    assert taught.lengths[1] - taught.lengths[0] == len(text) + len(reason)


@pytest.mark.parametrize("batch", [[0, 1, 2], [1, 2], [0], [2, 1]], ids=str)
@pytest.mark.parametrize("weight", [1.0, 0.1])
def test_the_loss_is_that_of_the_targets_plus_the_weighted_loss_of_the_reasons(
    t5_base: str, batch: list[int], weight: float
) -> None:
    training_config, objective = (
        TrainingConfig(kind="seq2seq", base=t5_base, device="cpu"),
        Objective(rationale=weight),
    )
    rows = [ROWS[0], Row(**{**ROWS[1], "rationale": LONG}), Row(**{**ROWS[2], "rationale": "why"})]
    student = fresh(training_config, 0)
    student.model.eval()
    taught = adapter(TrainingSet.of(rows), student, replace(training_config, objective=objective))
    of_targets = mean_loss(student, [rows[i]["text"] for i in batch], [rows[i]["label"] for i in batch])
    with_reasons = [rows[i] for i in batch if "rationale" in rows[i]]
    texts = [f"[rationale] {row['text']}" for row in with_reasons]
    of_reasons = (
        mean_loss(student, texts, [row["rationale"] for row in with_reasons]) if with_reasons else 0.0
    )
    found = taught.losses(taught.logits(batch), batch, objective).mean()
    assert found.item() == pytest.approx(of_targets + weight * of_reasons, rel=1e-5)


def mean_loss(student: Seq2seqStudent, texts: list[str], targets: list[str]) -> float:
    """Return the loss as transformers computes it: the mean over all tokens."""
    import torch

    ids = student.tokenizer(text_target=targets, padding=True, return_tensors="pt")
    labels = ids["input_ids"].masked_fill(ids["attention_mask"] == 0, -100)
    with torch.no_grad():
        inputs = student.tokenizer(texts, padding=True, return_tensors="pt")
        return float(student.model(**inputs, labels=labels).loss)


def test_reasons_change_the_student_according_to_their_weight(t5_base: str, encoder: Encoder) -> None:
    training_config = TrainingConfig(kind="seq2seq", base=t5_base, epochs=2, max_target=8, device="cpu")
    rows = [Row(**{**row, "rationale": LONG}) for row in ROWS]
    plain, hardly, much = (
        train(
            rows, [], replace(training_config, objective=Objective(rationale=weight)), seed=0, encoder=encoder
        )
        for weight in (0.0, 1e-6, 1.0)
    )
    figures = [one.predict(TEXTS, TARGETS).nll for one in (plain, hardly, much)]
    assert figures[1] == pytest.approx(figures[0], abs=1e-3)
    assert figures[2] != pytest.approx(figures[0], abs=1e-2)


def test_reasons_without_a_weight_are_ignored(t5_base: str) -> None:
    training_config = TrainingConfig(kind="seq2seq", base=t5_base, max_target=8, device="cpu")
    student = fresh(training_config, 0)
    taught = adapter(TrainingSet.of([Row(**{**ROWS[0], "rationale": "why"})]), student, training_config)
    assert not taught.reasons


def test_a_student_trained_on_reasons_writes_targets_wherever_it_is_loaded(
    t5_base: str, encoder: Encoder, tmp_path: Path
) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    training_config = TrainingConfig(
        kind="seq2seq", base=t5_base, epochs=20, learning_rate=0.01, max_target=8, device="cpu"
    )
    rows = [Row(**{**row, "rationale": LONG}) for row in ROWS]
    made = train(
        rows, [], replace(training_config, objective=Objective(rationale=1.0)), seed=0, encoder=encoder
    )
    assert made.predict_best(TEXTS) == TARGETS
    made.save(tmp_path / "student")
    assert load_student(tmp_path / "student").predict_best(TEXTS) == TARGETS
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "student")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "student")
    written = model.generate(**tokenizer(TEXTS, return_tensors="pt", padding=True))
    assert [one.strip() for one in tokenizer.batch_decode(written, skip_special_tokens=True)] == TARGETS


def test_reasons_are_read_from_a_column(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "target": "b", "why": "c"}\n')
    task_type = sample_task("seq2seq", tmp_path / "task").type
    [row] = read_rows(tmp_path / "rows.jsonl", [], task_type=task_type, columns=Columns(rationale="why"))
    assert row["rationale"] == "c"
    with pytest.raises(InputError, match="line 1: field 'because' is NoneType, expected a string"):
        read_rows(tmp_path / "rows.jsonl", [], task_type=task_type, columns=Columns(rationale="because"))


def test_the_reason_of_the_labeler_is_kept_for_target_texts(
    scripted: Callable[..., Any], teacher_at: Callable[..., Any], draft: Callable[..., Any]
) -> None:
    reply = {"labels": [{"id": "1", "reason": "it says so", "target": "2024-05-03", "confidence": 0.9}]}
    url, _ = scripted(json.dumps(reply))
    brief: Any = {"task": "dates", "kind": "seq2seq"}
    [sample] = label(teacher_at(url, logprobs=False), brief, [draft("on 3 May 2024")], seed=0)
    assert (sample["label"], sample["rationale"]) == ("2024-05-03", "it says so")


@pytest.mark.parametrize(
    ("kind", "strategy", "message"),
    [
        ("classification", {"objective": {"rationale": 1}}, "`objective.rationale` is not for"),
        ("seq2seq", {"base": "zerogen", "objective": {"rationale": 1}}, "set `blind_labels: true`"),
    ],
)
def test_training_on_reasons_is_refused_where_there_are_none(
    kind: str, strategy: dict[str, Any], message: str, tmp_path: Path
) -> None:
    labels = {"labels": ["a", "b"]} if kind == "classification" else {}
    raw = {"name": "x", "kind": kind, "instruction": "x", "data": {"seed": "seed.jsonl"}, **labels}
    with pytest.raises(InputError, match=message):
        parse_task({**raw, "strategy": strategy, "teacher": {"model": "openai:x"}}, "task", tmp_path)
