"""Test students that write a target text: training, predictions, beams, saving and loading."""

import json
from math import exp, log
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.task.load import Task
from tutelage.student.data.readers import read_rows
from tutelage.student.data.rows import Row
from tutelage.student.encoder import Encoder
from tutelage.student.evaluation.evaluate import evaluate
from tutelage.student.models.load import load_student
from tutelage.student.models.seq2seq import Seq2seqStudent
from tutelage.student.models.tiny_seq2seq import tiny_seq2seq
from tutelage.student.tasks.seq2seq import SEQ2SEQ
from tutelage.student.training.adapters.seq2seq import adapter, fresh
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train, untrained_student
from tutelage.student.training.losses import PLAIN, Objective, sample_losses
from tutelage.student.training.training_set import TrainingSet

# Texts and targets of different lengths, so that a batch has padding on both sides.
ODD = [
    ("3 May 2024", "2024-05-03"),
    ("since the 4th of July 2012, still nothing at all, and nobody answers", "2012"),
    ("away until 12.11.2019", "2019-11-12 or so"),
    ("2", "-"),
]


@pytest.fixture(scope="module")
def rows(seq2seq_task: Task) -> list[Row]:
    assert seq2seq_task.teacher.corpus
    return read_rows(seq2seq_task.teacher.corpus, [], task_type=SEQ2SEQ)


def training_config(seq2seq_task: Task, **parts: Any) -> TrainingConfig:
    given: dict[str, Any] = {"epochs": 30, "learning_rate": 3e-3, "max_target": 16, "device": "cpu"}
    return TrainingConfig(kind="seq2seq", base=seq2seq_task.student.base, **{**given, **parts})


@pytest.fixture(scope="module")
def student(seq2seq_task: Task, rows: list[Row], encoder: Encoder) -> Seq2seqStudent:
    made = train(rows[:400], [], training_config(seq2seq_task), seed=0, encoder=encoder)
    assert isinstance(made, Seq2seqStudent)
    return made


def with_beams(student: Seq2seqStudent, beams: int) -> Seq2seqStudent:
    return Seq2seqStudent(student.model, student.tokenizer, student.max_tokens, student.max_target, beams)


def test_a_small_untrained_t5_learns_to_write_dates(
    seq2seq_task: Task, student: Seq2seqStudent, seq2seq_test_rows: list[Row], encoder: Encoder
) -> None:
    before = evaluate(
        untrained_student([], training_config(seq2seq_task), seed=0, encoder=encoder), seq2seq_test_rows
    )
    assert before["metric"] < 0.02
    assert evaluate(student, seq2seq_test_rows)["metric"] > 0.5


def test_the_same_rows_and_seed_give_the_same_student(
    seq2seq_task: Task, rows: list[Row], encoder: Encoder
) -> None:
    quick = training_config(seq2seq_task, epochs=1)
    one, two, other = (
        train(rows[:64], [], quick, seed=seed, encoder=encoder).predict(["3 May 2024"], ["2024-05-03"])
        for seed in (1, 1, 2)
    )
    assert one.answers == two.answers
    assert one.nll is not None
    assert two.nll is not None
    assert other.nll is not None
    assert one.nll.tolist() == two.nll.tolist() != other.nll.tolist()


def test_symmetric_cross_entropy_also_trains_a_student(
    seq2seq_task: Task, rows: list[Row], encoder: Encoder
) -> None:
    texts, targets = [row["text"] for row in rows[:100]], [row["label"] for row in rows[:100]]
    quick = training_config(seq2seq_task, epochs=10)
    before = untrained_student([], quick, seed=0, encoder=encoder).predict(texts, targets).nll
    symmetric = training_config(seq2seq_task, epochs=10, objective=Objective(loss="sce", alpha=0.1))
    after = train(rows[:100], [], symmetric, seed=0, encoder=encoder)
    found = after.predict(texts, targets).nll
    assert before is not None
    assert found is not None
    assert found.mean() < 0.5 * before.mean()


def test_the_loss_is_the_mean_over_all_tokens_of_a_batch(student: Seq2seqStudent) -> None:
    import torch

    given = [Row(id=text, text=text, label=target) for text, target in ODD]
    made, batch = adapter(TrainingSet.of(given), student, TrainingConfig()), [3, 0, 1, 2]
    with torch.no_grad():
        logits, goals = student.teacher_forced(
            [made.texts[i] for i in batch], [made.targets[i] for i in batch]
        )
        plain = made.losses(logits, batch, PLAIN)
        objective = Objective(loss="sce", alpha=0.3)
        symmetric = made.losses(logits, batch, objective)
    flat, wanted = logits[goals != -100], goals[goals != -100]
    assert len(wanted) < goals.numel(), "there is padding"
    expected = torch.nn.functional.cross_entropy(flat, wanted)
    assert plain.mean().item() == pytest.approx(expected.item(), rel=1e-5)
    target = torch.nn.functional.one_hot(wanted, flat.shape[1]).float()
    expected = sample_losses(flat, target, objective).mean()
    assert symmetric.mean().item() == pytest.approx(expected.item(), rel=1e-5)


def by_hand(student: Seq2seqStudent, text: str, target: str) -> dict[str, float]:
    """Return the scores of one target from the model's own logits, with nothing else in the batch."""
    import torch

    goal = student.tokenizer(text_target=target, return_tensors="pt")["input_ids"][:, : student.max_target]
    with torch.no_grad():
        logits = student.model(**student.tokenizer(text, return_tensors="pt"), labels=goal).logits[0].double()
    p = logits.softmax(-1)
    top = p.topk(2).values
    of_goal = p[torch.arange(len(p)), goal[0]].log()
    return {
        "confidence": of_goal.mean().exp().item(),
        "entropy": -(p * p.log()).sum(-1).mean().item() / log(p.shape[1]),
        "margin": (top[:, 0] - top[:, 1]).min().item(),
        "energy": -logits.exp().sum(-1).log().mean().item(),
        "nll": -of_goal.mean().item(),
    }


def test_prediction_scores_are_means_over_the_written_tokens_without_padding(student: Seq2seqStudent) -> None:
    texts, targets = [text for text, _ in ODD], [target for _, target in ODD]
    alone, taught = student.predict(texts), student.predict(texts, targets)
    assert alone.nll is None
    assert taught.nll is not None
    assert taught.answers == alone.answers
    for i, (text, target) in enumerate(ODD):
        own, given = by_hand(student, text, alone.answers[i]), by_hand(student, text, target)
        for name in ("confidence", "entropy", "margin"):
            assert getattr(alone, name)[i] == pytest.approx(own[name], abs=1e-4), name
            assert getattr(taught, name)[i] == pytest.approx(own[name], abs=1e-4), name
        assert alone.energy[i] == pytest.approx(own["energy"], rel=1e-4)
        assert taught.energy[i] == pytest.approx(given["energy"], rel=1e-4)
        assert taught.nll[i] == pytest.approx(given["nll"], abs=1e-3)
        assert alone.confidence[i] == pytest.approx(exp(-own["nll"]), abs=1e-4)


def test_prediction_scores_do_not_depend_on_the_batch(
    student: Seq2seqStudent, seq2seq_test_rows: list[Row]
) -> None:
    texts = [row["text"] for row in seq2seq_test_rows[:40]] + [text for text, _ in ODD]
    targets = [row["label"] for row in seq2seq_test_rows[:40]] + [target for _, target in ODD]
    together = student.predict(texts, targets)
    back = student.predict(texts[::-1], targets[::-1])
    assert back.answers[::-1] == together.answers
    for name in ("confidence", "entropy", "margin", "energy", "nll"):
        assert getattr(back, name)[::-1] == pytest.approx(getattr(together, name), abs=1e-3), name
    for i in (0, 17, 41, 43):
        one = student.predict([texts[i]], [targets[i]])
        assert one.answers == [together.answers[i]]
        for name in ("confidence", "entropy", "margin", "energy", "nll"):
            assert getattr(one, name) == pytest.approx(getattr(together, name)[i : i + 1], abs=1e-3), name


def test_no_texts_give_no_predictions(student: Seq2seqStudent) -> None:
    found = student.predict([], [])
    assert found.answers == student.predict_best([]) == []
    assert found.energy.shape == found.confidence.shape == (0,)


def test_beams_are_used_only_for_the_best_answer(
    student: Seq2seqStudent, seq2seq_test_rows: list[Row]
) -> None:
    texts = [row["text"] for row in seq2seq_test_rows]
    wide = with_beams(student, 3)
    greedy, best = student.predict_best(texts), wide.predict_best(texts)
    assert best != greedy
    assert wide.predict(texts).answers == student.predict(texts).answers == greedy
    assert wide.predict(texts, best=True).answers == best
    place = next(i for i, (a, b) in enumerate(zip(best, greedy, strict=True)) if a != b)
    made = student.model.generate(
        **student.tokenizer(texts[place], return_tensors="pt"),
        max_new_tokens=16,
        num_beams=3,
        do_sample=False,
    )
    assert student.tokenizer.decode(made[0], skip_special_tokens=True).strip() == best[place]


def test_max_target_limits_the_written_tokens_and_max_tokens_those_of_the_text(
    student: Seq2seqStudent,
) -> None:
    short = Seq2seqStudent(student.model, student.tokenizer, 8, 4, 1)
    [answer] = short.predict_best(["I need it by 3 May 2024"])
    [whole] = student.predict_best(["I need it by 3 May 2024"])
    assert whole.startswith(answer)
    assert len(answer) < len(whole)
    long = TrainingSet.of([Row(id="1", text="3 May 2024", label="2024-05-03")])
    assert [len(cut) for cut in adapter(long, short, TrainingConfig(kind="seq2seq")).targets] == [4]
    assert {len(ids) for ids in short.ids(["I need it by 3 May 2024, " * 9])} == {8}


def test_a_saved_student_predicts_the_same_with_its_own_settings(
    student: Seq2seqStudent, seq2seq_test_rows: list[Row], tmp_path: Path
) -> None:
    texts = [row["text"] for row in seq2seq_test_rows[:40]]
    made = Seq2seqStudent(student.model, student.tokenizer, 40, 12, 2)
    made.save(tmp_path / "student")
    loaded = load_student(tmp_path / "student", device_name="cpu")
    assert isinstance(loaded, Seq2seqStudent)
    assert (loaded.kind, loaded.labels, loaded.fields) == ("seq2seq", [], ("text",))
    assert (loaded.max_tokens, loaded.max_target, loaded.beams) == (40, 12, 2)
    assert loaded.predict_best(texts) == made.predict_best(texts)
    one, two = loaded.predict(texts), made.predict(texts)
    assert one.answers == two.answers
    assert one.energy == pytest.approx(two.energy, abs=1e-3)


def test_an_exported_student_writes_the_same_in_transformers(
    student: Seq2seqStudent, seq2seq_test_rows: list[Row], tmp_path: Path
) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    texts = [row["text"] for row in seq2seq_test_rows[:24]]
    for beams in (1, 3):
        made = with_beams(student, beams)
        folder = str(tmp_path / f"student-{beams}")
        made.export(Path(folder))
        model, tokenizer = (
            AutoModelForSeq2SeqLM.from_pretrained(folder),
            AutoTokenizer.from_pretrained(folder),
        )
        written = model.generate(**tokenizer(texts, padding=True, return_tensors="pt"))
        found = tokenizer.batch_decode(written, skip_special_tokens=True)
        assert [one.strip() for one in found] == made.predict_best(texts)


@pytest.mark.parametrize(
    "text",
    [
        "3 May 2024",
        "two  spaces, a\ttab and\nanother line",
        "straße, naïve, e\u0301, ﬁ",
        "注文は2024年5月3日です。",
        "🎂👩\u200d👩\u200d👧 on 3 May 🇩🇪",
        "don't , won 't , 1 . 5 % !",
        "x",
    ],
)
def test_a_byte_vocabulary_reproduces_every_text(student: Seq2seqStudent, text: str) -> None:
    made = Seq2seqStudent(student.model, student.tokenizer, 200, 200, 1)
    for ids in (*made.ids([text]), *made.targets([text])):
        assert student.tokenizer.unk_token_id not in ids
        assert ids[-1] == student.tokenizer.eos_token_id
        assert student.tokenizer.decode(ids, skip_special_tokens=True).strip() == text


def test_the_same_texts_give_the_same_tiny_model(tmp_path: Path) -> None:
    texts = [text for pair in ODD for text in pair]
    one, two = (tiny_seq2seq(tmp_path / name, texts, width=32, words=270) for name in ("one", "two"))
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    assert load_student(one, device_name="cpu").kind == "seq2seq"
    assert json.loads((one / "config.json").read_text())["d_model"] == 32


def test_a_target_longer_than_max_target_is_not_trained_on(tmp_path: Path) -> None:
    base = tiny_seq2seq(tmp_path / "base", ["one two three"], words=260)
    student = fresh(TrainingConfig(kind="seq2seq", base=str(base), max_target=4, device="cpu"), 0)
    assert student.why_unlearnable("o") == ""
    assert "more than 4" in student.why_unlearnable("one two three four five six")
