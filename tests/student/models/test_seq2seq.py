"""Sequence to sequence: a target goes in, and the student writes one; also through a whole loop."""

import json
import sqlite3
from collections.abc import Callable
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tutelage.agents.schemas import drafts_schema, labels_schema
from tutelage.graph.planning.plan import plan
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import run
from tutelage.graph.task.load import Task, load_task, parse_task
from tutelage.graph.task.samples import sample_task
from tutelage.graph.task.templates import scaffold
from tutelage.prompts import read_payload
from tutelage.student.data.rows import Row, read_rows
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.evaluation.evaluate import evaluate, grade
from tutelage.student.models.load import load_student
from tutelage.student.models.seq2seq import Seq2seqStudent
from tutelage.student.models.tiny_seq2seq import tiny_seq2seq
from tutelage.student.tasks.seq2seq import SEQ2SEQ
from tutelage.student.training.adapters.seq2seq import adapter, fresh
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train, untrained_student
from tutelage.student.training.losses import PLAIN, Objective, sample_losses
from tutelage.student.training.training_set import TrainingSet

# Of several lengths, so that a batch of them has padding on both sides.
ODD = [
    ("3 May 2024", "2024-05-03"),
    ("since the 4th of July 2012, still nothing at all, and nobody answers", "2012"),
    ("away until 12.11.2019", "2019-11-12 or so"),
    ("2", "-"),
]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return sample_task("seq2seq", tmp_path_factory.mktemp("dates") / "task")


@pytest.fixture(scope="module")
def rows(task: Task) -> list[Row]:
    assert task.teacher.corpus
    return read_rows(task.teacher.corpus, [], task_type=SEQ2SEQ)


@pytest.fixture(scope="module")
def test_rows(task: Task) -> list[Row]:
    assert task.data.test
    assert task.data.test.path
    return read_rows(task.data.test.path, [], task_type=SEQ2SEQ)


def training_config(task: Task, **parts: Any) -> TrainingConfig:
    given: dict[str, Any] = {"epochs": 30, "learning_rate": 3e-3, "max_target": 16, "device": "cpu"}
    return TrainingConfig(kind="seq2seq", base=task.student.base, **{**given, **parts})


@pytest.fixture(scope="module")
def writer(task: Task, rows: list[Row], encoder: Encoder) -> Seq2seqStudent:
    made = train(rows[:400], [], training_config(task), seed=0, encoder=encoder)
    assert isinstance(made, Seq2seqStudent)
    return made


def with_beams(writer: Seq2seqStudent, beams: int) -> Seq2seqStudent:
    return Seq2seqStudent(writer.model, writer.tokenizer, writer.max_tokens, writer.max_target, beams)


def changed(task: Task, **parts: Any) -> dict[str, Any]:
    """The task as a file holds it, of few and quick steps."""
    raw: dict[str, Any] = json.loads(task.model_dump_json(exclude_none=True))
    raw["student"] |= {"epochs": 4, "device": "cpu"}
    raw["teacher"]["calibrate"] = 12
    return {**raw, **parts}


@pytest.fixture(scope="module")
def done(task: Task, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    raw = changed(task, strategy={"base": "auto", "samples": 60, "critic": "all"}, budget={"rounds": 1})
    raw["student"] |= {"epochs": 16, "beams": 3}
    made = parse_task(raw, "task.yaml", Path())
    return run(made, tmp_path_factory.mktemp("run") / "run", encoder=encoder)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def payloads(folder: RunFolder, role: str) -> list[dict[str, Any]]:
    with sqlite3.connect(folder.journal) as journal:
        found = journal.execute("SELECT request FROM replies WHERE role = ?", (role,)).fetchall()
    return [read_payload(dict(json.loads(request)["messages"])["human"]) for (request,) in found]


def test_the_loop_runs_on_targets_and_the_student_comes_nearer_to_them(done: RunFolder) -> None:
    about = done.about()
    assert about["stop"] == "1 round is done"
    assert about["test_untouched"] == 0
    assert about["test"]["figures"]["chrf"] > 0.25
    assert about["overlap"]["test"]["exact"] == about["overlap"]["gate"]["exact"] == 0
    assert about["samples"]["kept"] >= 40


def test_samples_are_exported_with_their_target_and_what_the_student_wrote(done: RunFolder) -> None:
    kept = [sample for sample in lines(done.samples) if sample["status"] == "kept"]
    for sample in kept:
        assert "label" not in sample
        assert sample["target"]
        assert isinstance(sample["answered"], str)
        assert sample["nll"] > 0
        assert sample["energy"] < 0
    dates = [sample["target"] for sample in kept if len(sample["target"]) == 10]
    assert len(dates) > 0.9 * len(kept), "of the others the rehearsal teacher broke off"


def test_a_labeler_is_shown_seeds_with_their_targets_to_learn_the_form_by(
    done: RunFolder, task: Task
) -> None:
    assert task.data.seed.path
    seeds = {row["text"]: row["target"] for row in lines(task.data.seed.path)}
    sent = payloads(done, "labeler")
    assert sent
    for payload in sent:
        assert payload["kind"] == "seq2seq"
        assert len(payload["shots"]) == 3
        assert all(seeds[shot["text"]] == shot["target"] for shot in payload["shots"])
        assert all(set(entry) == {"id", "text"} for entry in payload["texts"])


def test_a_weakness_is_measured_on_the_ten_nearest_texts_that_did_not_show_it(
    done: RunFolder, task: Task, encoder: Encoder
) -> None:
    assert task.data.diagnose
    assert task.data.diagnose.path
    asked = read_rows(task.data.diagnose.path, [], task_type=SEQ2SEQ)
    cards = json.loads(done.weaknesses.read_text(encoding="utf-8"))
    assert cards
    place = {row["id"]: i for i, row in enumerate(asked)}
    vectors = encoder.encode([row["text"] for row in asked])
    wrong = {
        round: {
            row["id"]
            for row, given in zip(asked, done.load_predictions(f"round-0{round}", "diagnose"), strict=True)
            if given != row["label"]
        }
        for round in (0, 1)
    }
    for card in cards:
        measured, shown = set(card["slice"]), set(card["evidence"])
        assert len(card["slice"]) == len(measured) == card["support"] == 10
        assert not measured & shown
        near = vectors @ vectors[[place[key] for key in shown]].T
        others = set(place) - measured - shown
        assert min(near[place[key]].max() for key in measured) >= max(
            near[place[key]].max() for key in others
        )
        assert card["errors"] == len(measured & wrong[0])
        assert card["history"] == [[1, len(measured & wrong[1])]]


def test_the_report_names_the_figures_of_what_was_written(done: RunFolder) -> None:
    page = done.report.read_text(encoding="utf-8")
    assert all(name in page for name in ("exact match", "ROUGE-L", "chrF", "wrong answers"))


def test_predict_prints_the_best_that_the_student_writes(
    command: Callable[..., Any], done: RunFolder, test_rows: list[Row]
) -> None:
    student = load_student(done.student, device_name="cpu")
    all_texts = [row["text"] for row in test_rows[:60]]
    best, quick = student.predict_best(all_texts), student.predict(all_texts).answers
    chosen = [i for i in range(60) if best[i] != quick[i]][:2]
    assert chosen, "three beams find what one does not"
    texts, expected = [all_texts[i] for i in chosen], [best[i] for i in chosen]
    told = command("predict", done.path, *texts, "--json")
    answers = [json.loads(line) for line in told.stdout.splitlines()]
    assert [(answer["text"], answer["target"]) for answer in answers] == list(
        zip(texts, expected, strict=True)
    )
    assert all(0 < answer["confidence"] < 1 for answer in answers)
    plain = command("predict", done.path, input="\n".join(texts) + "\n").stdout.splitlines()
    for line, answer in zip(plain, answers, strict=True):
        target, sure, text = line.split("\t")
        assert (target, text) == (answer["target"], answer["text"])
        assert float(sure) == pytest.approx(answer["confidence"], abs=0.001)


def test_evaluate_grades_a_writer_as_the_run_did(
    command: Callable[..., Any], done: RunFolder, task: Task
) -> None:
    assert task.data.test
    told = json.loads(command("evaluate", done.path, task.data.test.path or "", "--json").stdout)
    of_run = done.about()["test"]
    assert told["metric"] == pytest.approx(of_run["metric"], abs=1e-6)
    assert told["figures"] == pytest.approx(of_run["figures"], abs=1e-6)


def test_gold_has_targets_written_with_their_texts_and_feeds_its_band_back(
    task: Task, encoder: Encoder, tmp_path: Path
) -> None:
    raw = changed(task, strategy={"base": "gold", "samples": 24}, budget={"rounds": 2})
    folder = run(parse_task(raw, "task.yaml", Path()), tmp_path / "run", encoder=encoder)
    assert folder.about()["stop"] == "2 rounds are done"
    sent = payloads(folder, "generator")
    assert sent
    assert all(payload["answers"] for payload in sent)
    samples = {sample["text"]: sample for sample in lines(folder.samples)}
    fed = [entry for payload in sent for entry in payload.get("feedback", [])]
    assert fed
    assert all(samples[entry["text"]]["target"] == entry["target"] for entry in fed)
    # Not of `samples`: a text that was written again, and refused, stands there in place of the kept one.
    batch = [s for s in lines(folder.samples) if (s["round"], s["kind"], s["status"]) == (1, "ood", "kept")]
    ranked = sorted(batch, key=lambda sample: sample["energy"])
    band = ranked[int(0.5 * len(ranked)) : int(0.8 * len(ranked))]
    assert {entry["text"] for entry in fed} <= {sample["text"] for sample in band}


def test_a_pool_is_drawn_from_by_doubt_and_graded_by_a_figure_of_one_s_own(
    task: Task, encoder: Encoder, tmp_path: Path
) -> None:
    (tmp_path / "own_year.py").write_text(
        "def same(answer, target, text):\n    return answer[:4] == target[:4]\n"
    )
    raw = changed(task, strategy={"base": "entropy", "samples": 16}, budget={"rounds": 1})
    raw |= {"metric": "own_year.py:same"}
    raw["data"]["unlabelled"] = {"path": raw["teacher"]["corpus"]}
    folder = run(parse_task(raw, "task.yaml", tmp_path), tmp_path / "run", encoder=encoder)
    status_counts = [(sample["status"], sample.get("reason", "")) for sample in lines(folder.samples)]
    assert [status for status, _ in status_counts].count("kept") == 16
    passed = [reason for status, reason in status_counts if status == "surplus"]
    assert len(passed) == 48
    assert all(reason.startswith("other texts were chosen for labelling (entropy ") for reason in passed)
    test = folder.about()["test"]
    assert test["metric"] == test["figures"]["own_year:same"] >= test["figures"]["exact_match"]
    assert "own_year:same on test" in folder.report.read_text(encoding="utf-8")


def test_a_small_t5_begun_from_nothing_learns_to_write_dates(
    task: Task, writer: Seq2seqStudent, test_rows: list[Row], encoder: Encoder
) -> None:
    before = evaluate(untrained_student([], training_config(task), seed=0, encoder=encoder), test_rows)
    assert before["metric"] < 0.02
    assert evaluate(writer, test_rows)["metric"] > 0.5


def test_the_same_rows_and_seed_give_the_same_student(task: Task, rows: list[Row], encoder: Encoder) -> None:
    quick = training_config(task, epochs=1)
    one, two, other = (
        train(rows[:64], [], quick, seed=seed, encoder=encoder).predict(["3 May 2024"], ["2024-05-03"])
        for seed in (1, 1, 2)
    )
    assert one.answers == two.answers
    assert one.nll is not None
    assert two.nll is not None
    assert other.nll is not None
    assert one.nll.tolist() == two.nll.tolist() != other.nll.tolist()


def test_symmetric_cross_entropy_trains_a_writer_too(task: Task, rows: list[Row], encoder: Encoder) -> None:
    texts, targets = [row["text"] for row in rows[:100]], [row["label"] for row in rows[:100]]
    quick = training_config(task, epochs=6)
    before = untrained_student([], quick, seed=0, encoder=encoder).predict(texts, targets).nll
    objective = Objective(loss="sce", alpha=0.1)
    after = train(rows[:100], [], quick, seed=0, encoder=encoder, objective=objective)
    found = after.predict(texts, targets).nll
    assert before is not None
    assert found is not None
    assert found.mean() < 0.5 * before.mean()


def test_the_loss_is_the_mean_over_all_tokens_of_a_batch(writer: Seq2seqStudent) -> None:
    import torch

    given = [Row(id=text, text=text, label=target) for text, target in ODD]
    made, batch = adapter(TrainingSet.of(given), writer, TrainingConfig(), PLAIN), [3, 0, 1, 2]
    with torch.no_grad():
        logits, goals = writer.teacher_forced(
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


def by_hand(writer: Seq2seqStudent, text: str, target: str) -> dict[str, float]:
    """The figures of one target from the model's own logits, with nothing else in the batch."""
    import torch

    goal = writer.tokenizer(text_target=target, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = writer.model(**writer.tokenizer(text, return_tensors="pt"), labels=goal).logits[0].double()
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


def test_figures_are_means_over_the_tokens_of_what_is_written_without_padding(writer: Seq2seqStudent) -> None:
    texts, targets = [text for text, _ in ODD], [target for _, target in ODD]
    alone, taught = writer.predict(texts), writer.predict(texts, targets)
    assert alone.nll is None
    assert taught.nll is not None
    assert taught.answers == alone.answers
    for i, (text, target) in enumerate(ODD):
        own, given = by_hand(writer, text, alone.answers[i]), by_hand(writer, text, target)
        for name in ("confidence", "entropy", "margin"):
            assert getattr(alone, name)[i] == pytest.approx(own[name], abs=1e-4), name
            assert getattr(taught, name)[i] == pytest.approx(own[name], abs=1e-4), name
        assert alone.energy[i] == pytest.approx(own["energy"], rel=1e-4)
        assert taught.energy[i] == pytest.approx(given["energy"], rel=1e-4)
        assert taught.nll[i] == pytest.approx(given["nll"], abs=1e-3)
        assert alone.confidence[i] == pytest.approx(exp(-own["nll"]), abs=1e-4)


def test_what_else_is_in_a_batch_changes_no_figure_of_a_text(
    writer: Seq2seqStudent, test_rows: list[Row]
) -> None:
    texts = [row["text"] for row in test_rows[:40]] + [text for text, _ in ODD]
    targets = [row["label"] for row in test_rows[:40]] + [target for _, target in ODD]
    together = writer.predict(texts, targets)
    back = writer.predict(texts[::-1], targets[::-1])
    assert back.answers[::-1] == together.answers
    for name in ("confidence", "entropy", "margin", "energy", "nll"):
        assert getattr(back, name)[::-1] == pytest.approx(getattr(together, name), abs=1e-3), name
    for i in (0, 17, 41, 43):
        one = writer.predict([texts[i]], [targets[i]])
        assert one.answers == [together.answers[i]]
        for name in ("confidence", "entropy", "margin", "energy", "nll"):
            assert getattr(one, name) == pytest.approx(getattr(together, name)[i : i + 1], abs=1e-3), name


def test_nothing_is_read_of_no_texts(writer: Seq2seqStudent) -> None:
    found = writer.predict([], [])
    assert found.answers == writer.predict_best([]) == []
    assert found.energy.shape == found.confidence.shape == (0,)


def test_beams_are_tried_where_the_best_is_wanted_and_nowhere_else(
    writer: Seq2seqStudent, test_rows: list[Row]
) -> None:
    texts = [row["text"] for row in test_rows]
    wide = with_beams(writer, 3)
    greedy, best = writer.predict_best(texts), wide.predict_best(texts)
    assert best != greedy
    assert wide.predict(texts).answers == writer.predict(texts).answers == greedy
    assert wide.predict(texts, best=True).answers == best
    place = next(i for i, (a, b) in enumerate(zip(best, greedy, strict=True)) if a != b)
    made = writer.model.generate(
        **writer.tokenizer(texts[place], return_tensors="pt"), max_new_tokens=16, num_beams=3, do_sample=False
    )
    assert writer.tokenizer.decode(made[0], skip_special_tokens=True).strip() == best[place]


def test_no_more_than_max_target_tokens_are_written_and_max_tokens_read(writer: Seq2seqStudent) -> None:
    short = Seq2seqStudent(writer.model, writer.tokenizer, 8, 4, 1)
    [answer] = short.predict_best(["I need it by 3 May 2024"])
    [whole] = writer.predict_best(["I need it by 3 May 2024"])
    assert whole.startswith(answer)
    assert len(answer) < len(whole)
    long = TrainingSet.of([Row(id="1", text="3 May 2024", label="2024-05-03")])
    assert [len(cut) for cut in adapter(long, short, TrainingConfig(kind="seq2seq"), PLAIN).targets] == [4]
    assert {len(ids) for ids in short.ids(["I need it by 3 May 2024, " * 9])} == {8}


def test_a_saved_writer_answers_as_before_with_its_own_settings(
    writer: Seq2seqStudent, test_rows: list[Row], tmp_path: Path
) -> None:
    texts = [row["text"] for row in test_rows[:40]]
    made = Seq2seqStudent(writer.model, writer.tokenizer, 40, 12, 2)
    made.save(tmp_path / "student")
    loaded = load_student(tmp_path / "student", device_name="cpu")
    assert isinstance(loaded, Seq2seqStudent)
    assert (loaded.kind, loaded.labels, loaded.fields) == ("seq2seq", [], ("text",))
    assert (loaded.max_tokens, loaded.max_target, loaded.beams) == (40, 12, 2)
    assert loaded.predict_best(texts) == made.predict_best(texts)
    one, two = loaded.predict(texts), made.predict(texts)
    assert one.answers == two.answers
    assert one.energy == pytest.approx(two.energy, abs=1e-3)


def test_a_saved_writer_opens_in_transformers_alone_and_writes_the_same(
    writer: Seq2seqStudent, test_rows: list[Row], tmp_path: Path
) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    texts = [row["text"] for row in test_rows[:24]]
    for beams in (1, 3):
        made = with_beams(writer, beams)
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
def test_every_text_comes_back_from_a_vocabulary_of_bytes_as_it_went_in(
    writer: Seq2seqStudent, text: str
) -> None:
    made = Seq2seqStudent(writer.model, writer.tokenizer, 200, 200, 1)
    for ids in (*made.ids([text]), *made.targets([text])):
        assert writer.tokenizer.unk_token_id not in ids
        assert ids[-1] == writer.tokenizer.eos_token_id
        assert writer.tokenizer.decode(ids, skip_special_tokens=True).strip() == text


def test_the_same_texts_give_the_same_scratch_writer(tmp_path: Path) -> None:
    texts = [text for pair in ODD for text in pair]
    one, two = (tiny_seq2seq(tmp_path / name, texts, width=32, words=270) for name in ("one", "two"))
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    assert load_student(one, device_name="cpu").kind == "seq2seq"
    assert json.loads((one / "config.json").read_text())["d_model"] == 32


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (" \n\t", "is blank; a target is what the student is to write"),
        (20240503, "is int, expected a string"),
        (None, "is NoneType, expected a string"),
        (["2024-05-03"], "is list, expected a string"),
        ("x" * 20_001, "has 20,001 characters"),
        ("2024\0", "a NUL byte"),
    ],
)
def test_a_bad_target_in_a_file_is_told_in_one_line(tmp_path: Path, value: object, told: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": "3 May 2024", "target": value}) + "\n")
    with pytest.raises(InputError) as raised:
        read_rows(path, [], task_type=SEQ2SEQ)
    assert told in str(raised.value)
    assert str(raised.value).startswith(f"{path} line 1: target ")
    assert "\n" not in str(raised.value)


def test_a_target_is_what_stands_between_the_spaces_around_it(tmp_path: Path) -> None:
    assert SEQ2SEQ.parse_label("  a  b\n", "text", []) == SEQ2SEQ.parse_reply("\ta  b ", "text") == "a  b"
    assert SEQ2SEQ.to_text("a  b\nc", "text") == "a b c"
    path = tmp_path / "rows.csv"
    path.write_text("asked,wanted\n3 May 2024, 2024-05-03 \n")
    [row] = read_rows(path, [], task_type=SEQ2SEQ, fields=("asked",), label_field="wanted")
    assert (row["text"], row["label"]) == ("3 May 2024", "2024-05-03")


def test_a_teacher_s_blank_target_is_no_reply_and_its_number_is_written_out() -> None:
    def given(**parts: Any) -> dict[str, Any]:
        return {"id": "1", "reason": "r", "confidence": 1, **parts}

    labels = [given(target="  "), given(id="2", target=7), given(id="3", target=" a\n"), given(id="4")]
    found, problems = labels_schema([], SEQ2SEQ).read(json.dumps({"labels": labels}))
    assert [one.item.target for one in found] == ["7", "a"]  # type: ignore[attr-defined]
    assert len(problems) == 2
    with pytest.raises(ValueError, match="is blank"):
        SEQ2SEQ.parse_reply(" ", "text")
    form = drafts_schema([], task_type=SEQ2SEQ, answered=True)
    schema = form.json_schema["properties"]["drafts"]["items"]  # type: ignore[index]
    assert schema["required"] == ["kind", "weakness", "text", "target"]


def test_an_answer_slips_unless_it_is_the_target_word_for_word() -> None:
    assert SEQ2SEQ.error_pairs("2024-05-03", "2024-05-03") == []
    assert SEQ2SEQ.error_pairs("2024-05-03", "2024-05-3") == [("", "")]
    assert SEQ2SEQ.labels_in("2024-05-03") == [""]


@pytest.mark.parametrize("target", ["x", "2024-05-03", "one two", "a b c d e f", "日本", "line\nline"])
def test_a_careless_reader_s_target_is_another_one(target: str) -> None:
    for chance in (0.0, 0.3, 0.7, 0.999):
        wrong = SEQ2SEQ.corrupted(target, [], chance)
        assert wrong.strip() == wrong != target
        assert SEQ2SEQ.parse_label(wrong, "text", []) == wrong
    assert SEQ2SEQ.corrupted("a b c", [], 0.5) == "a c"
    assert SEQ2SEQ.corrupted("2024-05-03", [], 0.5) == "2024-05-0"


def graded(answers: list[str], targets: list[str], metric: str = "exact_match") -> dict[str, float]:
    report = grade(SEQ2SEQ, ["text"] * len(answers), targets, answers, [], metric)
    assert report["metric"] == report["figures"][metric]
    assert (report["classes"], report["confusion"]) == ([], [])
    return report["figures"]


def test_exact_match_is_the_share_of_answers_that_are_their_target() -> None:
    assert graded(["a", "b", "c c", ""], ["a", "B", "c c", "d"])["exact_match"] == 0.5


def test_rouge_l_is_the_f_measure_of_the_longest_common_subsequence_of_words() -> None:
    # "the cat on mat" is common: 4 of 4 words answered, 4 of the 6 of the target.
    assert graded(["The cat on mat"], ["the cat sat on the mat"])["rouge_l"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("answer", "target", "expected"),
    [
        ("кошка на столе", "Кошка сидит на столе", 6 / 7),
        ("猫在垫上", "猫坐在垫上", 8 / 9),
        ("un café", "UN CAFE\u0301 noir", 4 / 5),
        ("नमस्ते दुनिया", "नमस्ते दुनिया", 1),
        ("कि", "की", 0),
        ("ｱｲ", "ｱｲｳ", 4 / 5),
        ("?!", "?!", 1),
        ("?!", "!", 0),
        ("!", "a", 0),
    ],
    ids=[
        *("cyrillic", "no spaces", "accents", "vowel signs", "other vowel sign", "half width"),
        *("signs alone", "other signs", "no word"),
    ],
)
def test_rouge_l_knows_words_of_every_script(answer: str, target: str, expected: float) -> None:
    assert graded([answer], [target])["rouge_l"] == pytest.approx(expected)


def test_chrf_is_the_f_measure_of_runs_of_characters_that_weighs_recall_more() -> None:
    # Single characters: 2 of 2 and 2 of 3; pairs: 1 of 1 and 1 of 2. Longer runs the answer has none.
    precision, recall = 1.0, (2 / 3 + 1 / 2) / 2
    expected = 5 * precision * recall / (4 * precision + recall)
    assert graded(["ab"], ["abc"])["chrf"] == pytest.approx(expected)


def test_figures_are_those_of_rouge_score_and_sacrebleu(test_rows: list[Row]) -> None:
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu import sentence_chrf

    targets = [row["text"] for row in test_rows]
    answers = [*targets[1:20], "", "x", "a_b - 3.5%", *targets[22:]]
    targets = targets[: len(answers)]
    scorer = RougeScorer(["rougeL"])
    rouge = [scorer.score(t, a)["rougeL"].fmeasure for t, a in zip(targets, answers, strict=True)]
    chrf = [sentence_chrf(a, [t]).score / 100 for t, a in zip(targets, answers, strict=True)]
    found = graded(answers, targets, "chrf")
    assert found["rouge_l"] == pytest.approx(np.mean(rouge))
    assert found["chrf"] == pytest.approx(np.mean(chrf))


def test_a_figure_of_one_s_own_is_a_function_in_a_file_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_figures.py").write_text(
        "def shared(answer, target, text):\n"
        "    return (answer in text) / 2 + (answer == target) / 2\n"
        "def huge(answer, target, text):\n"
        "    return 1.5\n"
        "def unknown(answer, target, text):\n"
        "    return float('nan')\n"
        "WORDS = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    found = graded(["text", "te", "no"], ["text", "t", "no"], "own_figures:shared")
    assert found["own_figures:shared"] == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert list(found) == ["own_figures:shared", "exact_match", "rouge_l", "chrf"]
    for name, told in (("huge", "returned 1.5 for 'no'"), ("unknown", "returned nan for 'no'")):
        assert SEQ2SEQ.check_metric(f"own_figures:{name}") == ""
        with pytest.raises(InputError) as raised:
            graded(["no"], ["no"], f"own_figures:{name}")
        assert str(raised.value) == f"own_figures:{name} {told}; expected 0 to 1"
    assert "is int, expected a function" in SEQ2SEQ.check_metric("own_figures:WORDS")


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        ("bleu", "expected one of exact_match, rouge_l, chrf, got 'bleu'; or a user function, file.py"),
        ("no_such_file:f", "no function at 'no_such_file:f' (No module named 'no_such_file')"),
        ("statistics:no_such", "(statistics has no 'no_such')"),
        ("statistics:", "no function at 'statistics:'"),
        (":f", "no function at ':f'"),
    ],
)
def test_a_metric_that_cannot_be_is_told_in_one_line(task: Task, metric: str, told: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_task(changed(task, metric=metric), "task.yaml", Path())
    assert told in str(raised.value)
    assert str(raised.value).startswith("task.yaml: `metric`: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"student": {"mode": "head"}}, "`student.mode` head is not for `kind: seq2seq`; set it to full"),
        ({"strategy": "llkd"}, "it is not for `kind: seq2seq`; use auto, or entropy or least_confidence"),
        ({"strategy": "ksm"}, "it is not for `kind: seq2seq`"),
        ({"metric": "own:nothing"}, "no function at 'own:nothing'"),
        (
            {"kind": "classification", "labels": ["a", "b"], "metric": "accuracy", "student": {"beams": 3}},
            "are for `kind: seq2seq`; leave them out",
        ),
        ({"student": {"max_target": 4}}, "tokens, and the student writes at most 4: raise"),
        ({"student": {"base": "minilm"}}, "`student.base` minilm cannot generate text; take an"),
        ({"data": {"seed": {"path": "blank.jsonl"}}}, "blank.jsonl line 1: target is blank"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value),
)
def test_bad_input_is_told_in_one_line_before_anything_is_asked(
    command: Callable[..., Any], task: Task, tmp_path: Path, parts: dict[str, Any], told: str
) -> None:
    (tmp_path / "blank.jsonl").write_text(json.dumps({"text": "3 May 2024", "target": " "}) + "\n")
    raw = changed(task)
    raw["data"]["unlabelled"] = {"path": raw["teacher"]["corpus"]}
    for name, part in parts.items():
        raw[name] = {**raw[name], **part} if name in ("student", "data") else part
    if "kind" in parts:
        raw["student"].pop("max_target")
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(raw))
    found = command("run", tmp_path / "task.yaml", "--out", tmp_path / "run")
    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr.startswith("error: ")
    assert told in found.stderr
    assert found.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_init_writes_a_task_of_targets_that_can_be_planned(tmp_path: Path) -> None:
    scaffold(tmp_path, "seq2seq")
    made = load_task(tmp_path / "task.yaml")
    assert (made.kind, made.labels, made.student.base) == ("seq2seq", {}, "google-t5/t5-small")
    assert plan(made)["roles"]["labeler"]["calls"][0] > 0


def test_labels_are_refused(tmp_path: Path) -> None:
    raw = {
        "name": "x",
        "kind": "seq2seq",
        "instruction": "x",
        "data": {"seed": "seed.jsonl"},
        "labels": ["a", "b"],
    }
    with pytest.raises(InputError, match="`labels` are not for `kind: seq2seq`"):
        parse_task({**raw, "teacher": {"model": "openai:x"}}, "task", tmp_path)


def test_a_target_that_cannot_be_written_whole_is_not_learnt(tmp_path: Path) -> None:
    base = tiny_seq2seq(tmp_path / "base", ["one two three"], words=260)
    student = fresh(TrainingConfig(kind="seq2seq", base=str(base), max_target=4, device="cpu"), 0)
    assert student.why_unlearnable("o") == ""
    assert "more than 4" in student.why_unlearnable("one two three four five six")
