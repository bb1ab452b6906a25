"""Several labels a text, also none: what the kind says of them, and how they come through a run."""

import json
import random
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tutelage.agents.analyst import Answer, Weakness
from tutelage.agents.schemas import drafts_schema, labels_schema
from tutelage.graph.requests.generation_requests import plan_requests
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import run
from tutelage.graph.strategies import STRATEGIES
from tutelage.graph.task.load import Task, load_task, parse_task
from tutelage.graph.task.samples import sample_task
from tutelage.graph.task.splits import load_splits
from tutelage.graph.task.templates import scaffold
from tutelage.graph.weaknesses import open_cards
from tutelage.prompts import ROLES, read_payload
from tutelage.student.data.rows import Row, content_id, read_hub, read_rows
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.evaluation.evaluate import chance_not_worse, evaluate, grade
from tutelage.student.models.base import Classifier, HeadStudent
from tutelage.student.models.load import load_student
from tutelage.student.models.predictions import predictions_multilabel, sigmoid
from tutelage.student.tasks.multilabel import INVENTED, MISSED, MULTILABEL, written
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.decision_thresholds import tune_thresholds
from tutelage.student.training.loop import train, untrained_student
from tutelage.student.training.losses import PLAIN, Objective, set_losses

LABELS = ["room", "food", "staff"]
BARE = [
    "Good morning to you all.",
    "I have nothing to ask, have a nice weekend.",
    "Greetings from the seaside, it is raining here.",
    "Sorry, I pressed send too early.",
    "My cat walked over the keyboard.",
    "Happy birthday to your shop!",
    "Testing, testing, one two three.",
    "Please ignore what I wrote yesterday.",
]


# What the kind says of labels


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (["staff", "room"], '["room", "staff"]'),
        (["room", "room"], '["room"]'),
        ([], "[]"),
        ('["staff", "food"]', '["food", "staff"]'),
        (" [] ", "[]"),
        ("staff|food", '["food", "staff"]'),
        (" staff | food | ", '["food", "staff"]'),
        ("room", '["room"]'),
        ("", "[]"),
    ],
)
def test_labels_are_read_as_a_list_as_json_or_with_bars_between(value: object, label: str) -> None:
    assert MULTILABEL.parse_label(value, "text", LABELS) == label


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (3, 'is int, expected a list of labels, such as [] or ["a", "b"]'),
        (None, "is NoneType, expected a list of labels"),
        ({"room": 1}, "is dict, expected a list of labels"),
        (["room", 3], "is int, expected the name of a label"),
        ([["room"]], "is list, expected the name of a label"),
        (["romo"], "'romo' is not one of the task's 3 labels; did you mean 'room'?"),
        ("food|wine", "'wine' is not one of the task's 3 labels; add it to `labels` in task.yaml"),
        ("room,food", "'room,food' is not one of the task's 3 labels"),
        ('["food"', "'[\"food\"' is not a JSON list"),
    ],
)
def test_labels_that_cannot_be_are_told_in_one_line_with_their_place(
    tmp_path: Path, value: object, told: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": "a", "labels": value}) + "\n")
    with pytest.raises(InputError) as raised:
        read_rows(path, LABELS, task_type=MULTILABEL)
    assert str(raised.value).startswith(f"{path} line 1: labels {told}")
    assert "\n" not in str(raised.value)


def test_a_csv_gives_labels_with_bars_between_or_as_json(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('review,about\nGood soup.,food\nBoth.,room|food\nTrain.,\nAll,"[""staff"", ""room""]"\n')
    rows = read_rows(path, LABELS, task_type=MULTILABEL, fields=("review",), label_field="about")
    assert [json.loads(row["label"]) for row in rows] == [["food"], ["food", "room"], [], ["room", "staff"]]


def test_lists_of_class_numbers_of_a_data_set_become_names(tmp_path: Path) -> None:
    records = [{"text": "Cold soup.", "labels": [1]}, {"text": "Both.", "labels": [2, 0]}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    names = "\n".join(f"          '{i}': {name}" for i, name in enumerate(LABELS))
    (tmp_path / "README.md").write_text(
        "---\ndataset_info:\n  features:\n  - name: text\n    dtype: string\n  - name: labels\n"
        f"    list:\n      class_label:\n        names:\n{names}\n---\n"
    )
    rows = read_hub(str(tmp_path), "train", LABELS, task_type=MULTILABEL, fields=("text",), label_field=None)
    assert [row["label"] for row in rows] == ['["food"]', '["room", "staff"]']


def test_a_label_is_shown_and_filed_as_a_list_and_told_with_commas() -> None:
    for label, names, words in (('["food", "room"]', ["food", "room"], "food, room"), ("[]", [], "none")):
        assert MULTILABEL.to_payload(label, "text") == MULTILABEL.to_file(label, "text") == names
        assert MULTILABEL.to_text(label, "text") == words
        assert MULTILABEL.parse_reply(names[::-1], "text") == MULTILABEL.fit_to_text(label, "other") == label


def test_a_text_is_of_every_group_of_its_labels_and_of_the_bare_one_if_it_has_none() -> None:
    assert MULTILABEL.labels_in('["food", "room"]') == ["food", "room"]
    assert MULTILABEL.labels_in("[]") == [""]


@pytest.mark.parametrize(
    ("gold", "answer", "slips"),
    [
        (["food"], ["food"], []),
        ([], [], []),
        (["food", "room"], ["food"], [("room", MISSED)]),
        (["food", "room"], [], [("food", MISSED), ("room", MISSED)]),
        (["food"], ["food", "room", "staff"], [("room", INVENTED), ("staff", INVENTED)]),
        (["food"], ["room"], [("food", "room")]),
        (["food", "room"], ["staff", "room"], [("food", "staff")]),
        (["food", "room"], ["staff"], [("food", "staff"), ("room", "staff")]),
    ],
)
def test_a_label_is_missed_invented_or_taken_for_another(
    gold: list[str], answer: list[str], slips: list[tuple[str, str]]
) -> None:
    assert MULTILABEL.error_pairs(written(gold), written(answer)) == slips


@pytest.mark.parametrize("own", [[], ["room"], ["food", "room"], LABELS], ids=len)
def test_a_garbled_label_is_another_one_at_most_one_label_away_on_each_side(own: list[str]) -> None:
    found = [MULTILABEL.corrupted(written(own), LABELS, i / 500) for i in range(500)]
    for label in found:
        given = json.loads(label)
        assert label == written(given) != written(own)
        assert set(given) <= set(LABELS)
        assert len(set(own) - set(given)) <= 1
        assert len(set(given) - set(own)) <= 1
    assert found == [MULTILABEL.corrupted(written(own), LABELS, i / 500) for i in range(500)]
    sizes = {len(json.loads(label)) - len(own) for label in found}
    assert sizes == ({1} if not own else {-1} if own == LABELS else {-1, 0, 1})


def test_a_teacher_is_asked_for_a_list_and_chooses_between_right_and_wrong() -> None:
    reply = {"id": "1", "reason": "r", "confidence": 0.5}
    given = [{**reply, "labels": ["food", "room"]}, {**reply, "labels": []}, {**reply, "labels": ["wine"]}]
    found, problems = labels_schema(LABELS, MULTILABEL).read(json.dumps({"labels": given}))
    assert [one.item.labels for one in found] == [["food", "room"], []]  # type: ignore[attr-defined]
    assert len(problems) == 1
    assert problems[0].startswith("labels[2].labels.0")
    assert MULTILABEL.choice_count(LABELS) == 2


def test_a_draft_that_is_written_with_its_labels_has_them_last_and_may_be_ordered_with_none() -> None:
    form = drafts_schema([*LABELS, *MULTILABEL.no_label], task_type=MULTILABEL, answered=True)
    order = {"label": "", "kind": "any", "weakness": ""}
    good = {**order, "text": "We came by train.", "labels": []}
    both = {**order, "label": "food", "text": "Cold soup, no window.", "labels": ["food", "room"]}
    found, problems = form.read(json.dumps({"drafts": [good, both, {**order, "text": "No labels."}]}))
    assert [(one.item.requested, one.item.written) for one in found] == [
        ("", "We came by train."),
        ("food", "Cold soup, no window."),
    ]
    assert [problem.split(":")[0] for problem in problems] == ["drafts[2].labels"]
    schema = form.json_schema["properties"]["drafts"]["items"]  # type: ignore[index]
    assert schema["required"] == ["label", "kind", "weakness", "text", "labels"]


def test_only_figures_of_sets_can_be_the_metric() -> None:
    assert [MULTILABEL.check_metric(name) for name in ("macro_f1", "micro_f1", "accuracy")] == ["", "", ""]
    assert MULTILABEL.check_metric("bleu") == "expected one of macro_f1, micro_f1, accuracy, got 'bleu'"


# Figures

GOLD = [written(x) for x in (["room", "food"], ["room"], [], ["food", "staff"])]
ANSWERS = [written(x) for x in (["room"], ["room", "food"], [], ["food"])]


def graded(gold: Sequence[str], answers: Sequence[str], labels: Sequence[str], metric: str) -> Any:
    return grade(MULTILABEL, [""] * len(gold), gold, answers, labels, metric)


def test_marks_are_labels_found_answered_and_in_gold_and_whole_sets_right() -> None:
    marks = MULTILABEL.example_statistics([""] * 4, GOLD, ANSWERS, LABELS, "macro_f1")
    assert marks.tolist() == [
        [1, 0, 0, 1, 0, 0, 1, 1, 0, 0],
        [1, 0, 0, 1, 1, 0, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        [0, 1, 0, 0, 1, 0, 0, 1, 1, 0],
    ]


def test_figures_are_as_worked_out_by_hand() -> None:
    report = graded(GOLD, ANSWERS, [*LABELS, "nowhere"], "macro_f1")
    f1 = {"room": 2 * 2 / (2 + 2), "food": 2 * 1 / (2 + 2), "staff": 2 * 0 / (0 + 1)}
    assert report["metric"] == report["figures"]["macro_f1"] == pytest.approx(sum(f1.values()) / 3)
    assert report["figures"]["micro_f1"] == pytest.approx(2 * 3 / (4 + 5))
    assert report["figures"]["accuracy"] == 1 / 4  # only the text of no label is answered as a whole
    assert report["items"] == [5 / 4, 4 / 4]
    assert [one["f1"] for one in report["classes"]] == pytest.approx([*f1.values(), 0])
    assert [one["support"] for one in report["classes"]] == [2, 2, 1, 0]
    assert (report["size"], report["confusion"]) == (4, [])


@pytest.mark.parametrize("metric", ["macro_f1", "micro_f1", "accuracy"])
def test_an_exam_without_any_label_or_text_scores_no_nan(metric: str) -> None:
    assert graded([], [], LABELS, metric)["metric"] == 0
    assert graded(["[]"], ["[]"], LABELS, metric)["metric"] == (1 if metric == "accuracy" else 0)


def drawn(seed: int, size: int = 40) -> tuple[list[str], list[str], list[str]]:
    """Labels of which one never occurs, gold sets, and answers that are about as often right as wrong."""
    chance, labels = random.Random(seed), [f"l{i}" for i in range(6)]
    sets = [[written(x for x in labels[:5] if chance.random() < 0.3) for _ in range(size)] for _ in "ab"]
    return labels, sets[0], [chance.choice(pair) for pair in zip(*sets, strict=True)]


@pytest.mark.parametrize("seed", range(5))
def test_figures_are_those_of_sklearn(seed: int) -> None:
    from sklearn.metrics import accuracy_score, f1_score

    labels, gold, answers = drawn(seed)
    true, given = (
        np.array([[label in json.loads(x) for label in labels] for x in part]) for part in (gold, answers)
    )
    there = [i for i in range(len(labels)) if (true | given)[:, i].any()]
    assert there == [0, 1, 2, 3, 4]
    expected = {
        "macro_f1": f1_score(true, given, average="macro", labels=there, zero_division=0),
        "micro_f1": f1_score(true, given, average="micro", zero_division=0),
        "accuracy": accuracy_score(true, given),
    }
    report = graded(gold, answers, labels, "macro_f1")
    assert report["figures"] == pytest.approx(expected)
    each = f1_score(true, given, average=None, zero_division=0)
    assert [one["f1"] for one in report["classes"]] == pytest.approx(list(each))


@pytest.mark.parametrize("metric", ["macro_f1", "micro_f1", "accuracy"])
def test_the_gate_tells_better_answers_from_worse_ones(metric: str) -> None:
    labels, gold, answers = drawn(0)
    worse, better = (MULTILABEL.example_statistics(gold, gold, x, labels, metric) for x in (answers, gold))
    assert chance_not_worse(MULTILABEL, worse, better, labels, metric, draws=100) == 1
    assert chance_not_worse(MULTILABEL, better, worse, labels, metric, draws=100) == 0


# Readings and borders


def logits(*probabilities: Sequence[float]) -> Any:
    p = np.array(probabilities)
    return np.log(p / (1 - p)).astype(np.float32)


def test_a_reading_is_as_worked_out_by_hand() -> None:
    found = predictions_multilabel(
        logits([0.8, 0.4], [0.2, 0.1]), ["b", "a"], np.array([0.5, 0.3]), ['["a"]', '["a", "b"]']
    )
    assert found.answers == ['["a", "b"]', "[]"]
    assert found.confidence == pytest.approx([0.8 * 0.4, 0.8 * 0.9])
    bits = {0.8: 0.721928, 0.4: 0.970951, 0.1: 0.468996}  # of a coin that falls so
    assert found.entropy == pytest.approx([(bits[0.8] + bits[0.4]) / 2, (bits[0.8] + bits[0.1]) / 2])
    assert found.margin == pytest.approx([min(0.8 - 0.5, 0.4 - 0.3), min(0.5 - 0.2, 0.3 - 0.1)])
    assert found.energy == pytest.approx(
        np.log([0.2 * 0.6, 0.8 * 0.9]), abs=1e-6
    )  # -log(1 + e^f) = log(1 - p)
    assert found.nll == pytest.approx(-np.log([0.2 * 0.4, 0.2 * 0.1]), abs=1e-6)
    for by, expected in {
        "least_confidence": 1 - found.confidence,
        "margin": -found.margin,
        "entropy": found.entropy,
        "energy": found.energy,
    }.items():
        assert found.uncertainty(by) == pytest.approx(expected)  # type: ignore[arg-type]
    assert predictions_multilabel(logits([0.8, 0.4]), ["b", "a"], np.array([0.5, 0.3]), None).nll is None


def test_the_loss_of_a_text_is_the_sum_over_its_labels() -> None:
    import torch

    target, given = torch.tensor([[1.0, 0.0]]), torch.tensor(logits([0.5, 0.75]))
    cross = np.log(2) + np.log(4)
    assert float(set_losses(given, target, PLAIN)) == pytest.approx(cross)
    reverse = -(0.5 + 0.75) * np.log(1e-4)
    both = set_losses(given, target, Objective(loss="sce", alpha=0.1, beta=1))
    assert float(both) == pytest.approx(0.1 * cross + reverse)


def sure_of(encoder: Encoder, texts: Sequence[str], probabilities: Any, labels: Sequence[str]) -> HeadStudent:
    """A head that gives each text its probabilities, to a thousandth."""
    wanted = logits(*probabilities)
    weight = np.linalg.pinv(encoder.encode(texts).astype(float)) @ wanted
    bias = np.zeros(len(labels), np.float32)
    student = HeadStudent(
        encoder, weight.T.astype(np.float32), bias, labels, thresholds=np.full(len(labels), 0.5)
    )
    assert sigmoid(student.logits(texts)) == pytest.approx(sigmoid(wanted), abs=1e-3)
    return student


def rows_of(texts: Sequence[str], sets: Sequence[Sequence[str]]) -> list[Row]:
    return [
        Row(id=content_id(text), text=text, label=written(labels))
        for text, labels in zip(texts, sets, strict=True)
    ]


@pytest.mark.parametrize(
    ("probabilities", "gold", "border"),
    [
        ([(0.42, 0.12), (0.33, 0.37), (0.22, 0.17)], [["a"], ["a", "b"], []], 0.30),  # .25 would do as well
        ([(0.92, 0.72), (0.58, 0.96)], [["a"], ["b"]], 0.75),  # .80 to .90 would do as well
        ([(0.83, 0.63), (0.43, 0.23)], [["a"], ["a"]], 0.40),  # F1 is 4/5; 2/3 from .83 on, 1/2 from .63 on
        ([(0.92, 0.72), (0.58, 0.33)], [[], []], 0.50),  # nothing to find: all are equal
    ],
)
def test_labels_of_few_texts_share_the_border_of_the_best_f1_nearest_to_a_half(
    encoder: Encoder, shop: Any, probabilities: Any, gold: list[list[str]], border: float
) -> None:
    texts = [row["text"] for row in shop("seed")][: len(gold)]
    student = sure_of(encoder, texts, probabilities, ["a", "b"])
    assert tune_thresholds(student, rows_of(texts, gold)) is student
    assert student.thresholds == pytest.approx([border, border])


@pytest.mark.parametrize(("count", "own"), [(9, 0.70), (10, 0.25)])
def test_a_label_has_a_border_of_its_own_from_ten_texts_on(
    encoder: Encoder, shop: Any, count: int, own: float
) -> None:
    # The shared F1 is 30 / (15 + 15 + count) from .70 on, and from .25 on 2 (15 + count) / (75 + 2 count).
    texts = [row["text"] for row in shop("seed")]
    a, b = np.arange(30) < 15, np.arange(30) >= 30 - count
    p = np.stack([np.where(a, 0.82, 0.67), np.where(b, 0.27, 0.17), np.full(30, 0.57)], 1)
    gold = [[label for label, there in (("a", a[i]), ("b", b[i])) if there] for i in range(30)]
    student = tune_thresholds(sure_of(encoder, texts, p, ["a", "b", "c"]), rows_of(texts, gold))
    assert student.thresholds == pytest.approx([0.70, own, 0.70])  # type: ignore[attr-defined]
    assert evaluate(student, rows_of(texts, gold))["classes"][0]["f1"] == 1


def test_borders_stay_where_there_is_nothing_to_tune_by_and_where_there_are_none(encoder: Encoder) -> None:
    student = sure_of(encoder, ["one text", "two"], [(0.9, 0.1), (0.2, 0.8)], ["a", "b"])
    assert tune_thresholds(student, []).thresholds.tolist() == [0.5, 0.5]  # type: ignore[attr-defined]
    plain = untrained_student(["a", "b"], TrainingConfig(mode="head"), seed=0, encoder=encoder)
    assert tune_thresholds(plain, [Row(id="1", text="x", label="a")]).thresholds is None  # type: ignore[attr-defined]


# Students


def easy(words: str) -> list[Row]:
    sets = {
        "i want my money back": ["refund"],
        "where is my parcel": ["status"],
        "where is my parcel or i want my money back": ["refund", "status"],
        "it is the": [],
    }
    return [
        row for word in words.split() for row in rows_of([f"{x} {word}" for x in sets], list(sets.values()))
    ]


ASKED = ["refund", "status"]
EASY, HELD_OUT = easy("late order please now broken lost"), easy("a the")


@pytest.fixture(scope="module", params=["head", "full"])
def student(
    request: Any, tiny_bert: Any, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory
) -> Classifier:
    training_config = TrainingConfig(mode="head", kind="multilabel")
    if request.param == "full":
        base = tiny_bert(tmp_path_factory.mktemp("base") / "tiny")
        training_config = TrainingConfig(
            base=base, epochs=40, learning_rate=3e-3, kind="multilabel", device="cpu"
        )
    made: Any = train(EASY, ASKED, training_config, seed=0, encoder=encoder)
    assert made.thresholds.tolist() == [0.5, 0.5]
    made.thresholds = np.array([0.45, 0.6])
    return made  # type: ignore[no-any-return]


@pytest.mark.parametrize("metric", ["macro_f1", "micro_f1", "accuracy"])
def test_a_student_learns_which_labels_a_text_has_and_that_it_has_none(
    student: Classifier, metric: str
) -> None:
    assert student.kind == "multilabel"
    assert evaluate(student, HELD_OUT, metric)["metric"] > 0.9


def test_a_head_learns_in_mini_batches_too_and_its_start_is_left_as_it_is(encoder: Encoder) -> None:
    training_config = TrainingConfig(mode="head", kind="multilabel")
    first: Any = train(EASY[:8], ASKED, training_config, seed=0, encoder=encoder)
    before = first.weight.copy()
    first.thresholds = np.array([0.4, 0.6])
    on: Any = train(
        EASY, ASKED, training_config, seed=0, encoder=encoder, objective=Objective("sce"), start=first
    )
    assert (first.weight == before).all()
    assert on.thresholds.tolist() == [0.4, 0.6]
    assert evaluate(on, HELD_OUT, "micro_f1")["metric"] > 0.9


def test_an_untouched_student_answers_with_sets_of_labels(encoder: Encoder) -> None:
    found = untrained_student(ASKED, TrainingConfig(mode="head", kind="multilabel"), seed=0, encoder=encoder)
    assert set(json.loads(found.predict([EASY[0]["text"]]).answers[0])) <= set(ASKED)


def test_a_saved_student_answers_as_before_from_the_same_borders_on(
    student: Classifier, tmp_path: Path
) -> None:
    texts = [row["text"] for row in [*EASY, *HELD_OUT]]
    student.save(tmp_path / "student")
    loaded: Any = load_student(tmp_path / "student", device_name="cpu")
    assert (loaded.kind, loaded.labels) == ("multilabel", ASKED)
    assert loaded.thresholds.tolist() == [0.45, 0.6]
    assert loaded.logits(texts) == pytest.approx(student.logits(texts), abs=1e-4)
    assert loaded.predict(texts).answers == student.predict(texts).answers


def test_an_exported_student_opens_as_a_transformers_pipeline_with_a_score_for_each_label(
    student: Classifier, tmp_path: Path
) -> None:
    from transformers import pipeline

    student.export(tmp_path / "student")
    about = json.loads((tmp_path / "student" / "config.json").read_text())
    assert about["problem_type"] == "multi_label_classification"
    assert about["thresholds"] == [0.45, 0.6]
    pipe = pipeline(
        "text-classification", str(tmp_path / "student"), top_k=None, device="cpu", trust_remote_code=True
    )
    texts = [row["text"] for row in HELD_OUT]
    found = [{one["label"]: one["score"] for one in scores} for scores in pipe(texts)]
    expected = sigmoid(student.logits(texts))
    assert [[scores[label] for label in ASKED] for scores in found] == pytest.approx(expected, abs=1e-3)
    again: Any = load_student(tmp_path / "student", device_name="cpu")
    assert again.thresholds.tolist() == [0.45, 0.6]
    assert again.predict(texts).answers == student.predict(texts).answers


def test_somebody_else_s_model_of_several_labels_answers_from_a_half_on(
    tiny_bert: Any, tmp_path: Path
) -> None:
    from transformers import BertForSequenceClassification, BertTokenizerFast

    base = tiny_bert(tmp_path / "tiny")
    model = BertForSequenceClassification.from_pretrained(
        base, problem_type="multi_label_classification", id2label=dict(enumerate(ASKED)), num_labels=2
    )
    model.save_pretrained(tmp_path / "theirs")
    BertTokenizerFast.from_pretrained(base).save_pretrained(tmp_path / "theirs")
    found: Any = load_student(tmp_path / "theirs", device_name="cpu")
    assert (found.kind, found.labels, found.thresholds.tolist()) == ("multilabel", ASKED, [0.5, 0.5])


# A run


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """The sample task with every third text, and a teacher that has texts of no label too."""
    folder = tmp_path_factory.mktemp("multilabel") / "task"
    sample_task("multilabel", folder)
    for name in ("diagnose", "gate", "test"):
        path = folder / f"{name}.jsonl"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[::3]))
    with (folder / "teacher.jsonl").open("a") as file:
        file.writelines(json.dumps({"text": text, "labels": []}) + "\n" for text in BARE)
    return load_task(folder / "task.yaml")


def changed(task: Task, **parts: Any) -> Task:
    raw = task.model_dump(exclude_none=True)
    raw |= {"student": {"mode": "head"}, "budget": {"rounds": 1}, **parts}
    raw["teacher"] |= {"calibrate": 24, "label_noise": 0.0}
    return parse_task(raw, "task.yaml", Path())


@pytest.fixture(scope="module")
def done(task: Task, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    strategy = {"base": "auto", "samples": 24, "critic": "all"}
    return run(changed(task, strategy=strategy), tmp_path_factory.mktemp("run") / "run", encoder=encoder)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def payloads(folder: RunFolder, role: str) -> list[dict[str, Any]]:
    with sqlite3.connect(folder.journal) as journal:
        rows = journal.execute("SELECT request FROM replies WHERE role = ?", (role,)).fetchall()
    return [read_payload(dict(json.loads(request)["messages"])["human"]) for (request,) in rows]


def test_the_loop_runs_on_sets_of_labels_and_the_student_learns(done: RunFolder, task: Task) -> None:
    about = done.about()
    assert about["stop"] == "1 round is done"
    assert about["test"]["metric"] > about["test_untouched"] + 0.1
    assert about["samples"]["kept"] >= 18
    assert task.data.test
    assert task.data.test.path
    held = [len(line["labels"]) for line in lines(task.data.test.path)]
    assert about["test"]["items"][0] == pytest.approx(np.mean(held))


def test_the_borders_of_the_student_are_tuned_on_the_gate_set_before_it_learns_that(
    done: RunFolder, task: Task, encoder: Encoder, tmp_path: Path
) -> None:
    strategy = {"base": "auto", "samples": 24, "critic": "all", "refit": False}
    of_a_round = run(changed(task, strategy=strategy), tmp_path / "run", encoder=encoder)
    student: Any = load_student(of_a_round.student, device_name="cpu")
    assert task.data.gate
    assert task.data.gate.path
    gate, before = read_rows(task.data.gate.path, list(task.labels), task_type=MULTILABEL), student.thresholds
    assert len(set(before)) > 1
    assert tune_thresholds(student, gate).thresholds.tolist() == before.tolist()  # type: ignore[attr-defined]
    refitted: Any = load_student(done.student, device_name="cpu")
    assert refitted.thresholds.tolist() == before.tolist(), "of the best round, which has not learnt gate"
    text = "Where is my parcel?"
    assert np.abs(refitted.logits([text]) - student.logits([text])).max() > 0.01


def test_every_role_is_told_labels_as_lists_and_the_labeler_none(done: RunFolder, task: Task) -> None:
    for role in ROLES:
        sent = payloads(done, role)
        assert sent, role
        assert all(payload["kind"] == "multilabel" for payload in sent)
        entries = [
            entry
            for payload in sent
            for name in ("right", "wrong", "shots", "samples")
            for entry in payload.get(name, [])
        ]
        assert bool(entries) == (role != "labeler")
        assert all(set(entry["labels"]) <= set(task.labels) and "label" not in entry for entry in entries)
    assert all(isinstance(x["predicted"], list) for p in payloads(done, "analyst") for x in p["wrong"])
    assert all(set(text) == {"id", "text"} for p in payloads(done, "labeler") for text in p["texts"])
    assert not any("answers" in payload for payload in payloads(done, "generator"))


def test_samples_are_exported_with_their_list_of_labels(done: RunFolder, task: Task) -> None:
    samples = [sample for sample in lines(done.samples) if sample["status"] == "kept"]
    for sample in samples:
        assert "label" not in sample
        assert set(sample["labels"]) | set(sample["answered"]) <= set(task.labels)
        assert sample["requested"] in (sample["labels"] or [""])  # writer and labeler agree
    assert {len(sample["labels"]) for sample in samples} == {0, 1, 2}


def test_weaknesses_are_of_labels_that_are_missed_invented_or_taken_for_others(
    done: RunFolder, task: Task
) -> None:
    cards = json.loads(done.weaknesses.read_text())
    assert cards
    assert all(card["label"] in task.labels for card in cards)
    assert {card["confused_with"] for card in cards} <= {*task.labels, MISSED, INVENTED}
    assert {card["confused_with"] for card in cards} & {MISSED, INVENTED}


def test_the_report_tells_how_many_labels_a_text_has(done: RunFolder) -> None:
    page, (gold, answered) = done.report.read_text(), done.about()["test"]["items"]
    assert f"labels per text: {gold:.2f} gold, {answered:.2f} predicted" in page
    assert "is missed" in page or "is invented" in page
    assert "Confusion" not in page


def weakness(label: str, confused_with: str) -> Weakness:
    made = {"id": f"{label} {confused_with}", "name": "n", "hypothesis": "h", "found_by": "call", "round": 1}
    parts = {"label": label, "confused_with": confused_with, "evidence": ["0"], "examples": ["x"]}
    return Weakness(**{**made, **parts})  # type: ignore[typeddict-item]


def test_an_invented_label_is_answered_with_texts_of_none_and_a_missed_one_with_its_own() -> None:
    f1 = {"a": 0.5, "b": 0.5, "": 1.0}
    for other, expected in {INVENTED: {"a": 2, "": 4}, MISSED: {"a": 6}, "b": {"a": 4, "b": 2}}.items():
        orders = plan_requests(STRATEGIES["auto"], 12, [weakness("a", other)], f1, random.Random(0))
        assert sum(order["count"] for order in orders) == 12
        assert {o["label"]: o["count"] for o in orders if o["kind"] == "hard"} == expected


def test_an_invented_label_is_measured_on_the_texts_without_it() -> None:
    pairs = [([], ["a"]), (["b"], ["b"]), (["a"], []), (["b"], ["a"])]
    answers = [
        Answer(id=str(i), text="", label=written(gold), predicted=written(given))
        for i, (gold, given) in enumerate(pairs)
    ]
    found = [weakness("a", INVENTED), weakness("a", MISSED), weakness("b", "a")]
    cards, _ = open_cards(MULTILABEL, [], found, answers)
    assert [(card["errors"], card["support"]) for card in cards] == [(1, 3), (1, 1), (1, 2)]


def test_predict_answers_with_all_labels_and_how_sure_it_is_of_the_whole_set(
    command: Callable[..., Any], done: RunFolder, task: Task, tmp_path: Path
) -> None:
    text = "Where is my parcel? And please delete my account."
    told = command("predict", done.path, text, "--json")
    answer = json.loads(told.stdout)
    assert list(answer) == ["text", "labels", "confidence"]
    assert set(answer["labels"]) <= set(task.labels)
    student: Any = load_student(done.student, device_name="cpu")
    p = sigmoid(student.logits([text]))[0]
    chosen = [
        label for label, one, border in zip(task.labels, p, student.thresholds, strict=True) if one >= border
    ]
    assert answer["labels"] == sorted(chosen)
    assert answer["confidence"] == pytest.approx(
        np.prod([one if label in chosen else 1 - one for label, one in zip(task.labels, p, strict=True)]),
        abs=1e-3,
    )
    plain = command("predict", done.path, input=f"{text}\n").stdout.rstrip("\n").split("\t")
    assert plain == [", ".join(answer["labels"]) or "none", f"{answer['confidence']:.3f}", text]


def test_evaluate_grades_a_student_as_the_run_did(
    command: Callable[..., Any], done: RunFolder, task: Task
) -> None:
    assert task.data.test
    told = json.loads(command("evaluate", done.path, task.data.test.path, "--json").stdout)
    expected = done.about()["test"]
    assert told["figures"] == pytest.approx(expected["figures"], abs=1e-6)
    assert told["metric"] == pytest.approx(expected["metric"], abs=1e-6)
    assert told["items"] == expected["items"]


def test_texts_are_written_with_their_labels_and_nobody_labels_them(
    task: Task, encoder: Encoder, tmp_path: Path
) -> None:
    strategy = {"base": "zerogen", "samples": 24}
    folder = run(changed(task, strategy=strategy), tmp_path / "run", encoder=encoder)
    sent = payloads(folder, "generator")
    assert all(payload["answers"] is True for payload in sent)
    assert {order["label"] for payload in sent for order in payload["requests"]} == {*task.labels, ""}
    kept = [sample for sample in lines(folder.samples) if sample["status"] == "kept"]
    assert len(kept) >= 20
    assert all(sample["labelled_by"] == sample["written_by"] for sample in kept)
    assert all(sample["requested"] in (sample["labels"] or [""]) for sample in kept)
    assert {len(sample["labels"]) for sample in kept} == {0, 1, 2}


def test_sets_of_labels_are_asked_for_texts_of_a_pool(task: Task, encoder: Encoder, tmp_path: Path) -> None:
    data = task.model_dump(exclude_none=True)["data"]
    data["unlabelled"] = {"path": task.teacher.corpus}
    pooled = changed(task, data=data, strategy={"base": "entropy", "samples": 16})
    folder = run(pooled, tmp_path / "run", encoder=encoder)
    samples = lines(folder.samples)
    kept = [sample for sample in samples if sample["status"] == "kept"]
    truth = {
        row["id"]: row["label"]
        for row in read_rows(task.teacher.corpus, list(task.labels), task_type=MULTILABEL)
    }  # type: ignore[arg-type]
    assert len(kept) == 16
    assert all(written(sample["labels"]) == truth[sample["id"]] for sample in kept)
    left = [sample["reason"] for sample in samples if sample["status"] == "surplus"]
    assert left
    assert all("other texts were chosen for labelling (entropy" in reason for reason in left)


# Bad input


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        (
            "task.yaml",
            "return_refund:",
            "missed:",
            "'missed' cannot name a label of `kind: multilabel`; rename the label",
        ),
        (
            "task.yaml",
            "  test: test.jsonl\n",
            "  unlabelled: teacher.jsonl\nstrategy: llkd\n",
            "strategy 'llkd' needs the probability of one label for each text: it is not for",
        ),
        (
            "seed.jsonl",
            '["order_status"]',
            "3",
            'seed.jsonl line 23: labels is int, expected a list of labels, such as [] or ["a", "b"]',
        ),
        (
            "seed.jsonl",
            '["order_status"]',
            '["order_statsu"]',
            "'order_statsu' is not one of the task's 6 labels; did you mean 'order_status'?",
        ),
    ],
    ids=["a label called missed", "llkd", "a number", "an unknown label"],
)
def test_bad_input_is_told_in_one_line(
    command: Callable[..., Any], task: Task, tmp_path: Path, file: str, old: str, new: str, told: str
) -> None:
    assert task.data.seed.path
    shutil.copytree(task.data.seed.path.parent, tmp_path / "task")
    path = tmp_path / "task" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    done = command("run", tmp_path / "task" / "task.yaml", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"metric": "bleu"}, "`metric`: expected one of macro_f1, micro_f1, accuracy, got 'bleu'"),
        ({"labels": ["one"]}, "`labels`: 1 label given, `kind: multilabel` needs at least 2"),
        ({"labels": ["one", INVENTED]}, "'invented' cannot name a label"),
        ({"strategy": {"base": "auto", "objective": {"target": "soft"}}}, "it is not for `kind: multilabel`"),
    ],
)
def test_a_task_that_cannot_be_is_told_in_one_line(task: Task, parts: dict[str, Any], told: str) -> None:
    raw = task.model_dump(exclude_none=True)
    with pytest.raises(InputError) as raised:
        parse_task({**raw, **parts}, "task.yaml", Path())
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_ksm_is_not_for_several_labels(task: Task) -> None:
    raw = task.model_dump(exclude_none=True)
    raw["data"]["unlabelled"] = {"path": task.teacher.corpus}
    with pytest.raises(InputError, match=r"strategy 'ksm' .* is not for `kind: multilabel`"):
        parse_task({**raw, "strategy": "ksm"}, "task.yaml", Path())


def test_init_writes_a_task_of_several_labels_that_can_be_planned(tmp_path: Path) -> None:
    from tutelage.graph.planning.plan import plan as planned

    scaffold(tmp_path, "multilabel")
    made = load_task(tmp_path / "task.yaml")
    assert (made.kind, list(made.labels)) == ("multilabel", LABELS)
    assert planned(made)["roles"]["labeler"]["calls"][0] > 0


# What once went wrong


def test_a_student_of_one_label_begun_from_one_of_several_answers_one(tiny_bert: Any, tmp_path: Path) -> None:
    rows = [Row(id=content_id(x), text=x, label=y) for x, y in (("where is it", "room"), ("refund", "food"))]
    several = [Row(**{**row, "label": written([row["label"]])}) for row in rows]
    training_config = TrainingConfig(
        kind="multilabel", base=tiny_bert(tmp_path / "tiny"), epochs=1, min_steps=1
    )
    train(several, LABELS, training_config, seed=0, encoder=Encoder("minilm")).save(tmp_path / "several")
    again = TrainingConfig(base=str(tmp_path / "several"), epochs=1, min_steps=1)
    one = train(rows, LABELS, again, seed=0, encoder=Encoder("minilm"))
    one.save(tmp_path / "one")
    loaded = load_student(tmp_path / "one")
    assert loaded.kind == "classification"
    assert set(loaded.predict(["where is it", "refund"]).answers) <= set(LABELS)


def test_rows_drawn_for_one_label_count_for_their_others(tmp_path: Path) -> None:
    both, alone = [["food", "room"]] * 3, [["food"]] * 5
    texts = [{"text": f"text {i}", "labels": labels} for i, labels in enumerate([*both, *alone, []])]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    raw = {
        "name": "drawn",
        "kind": "multilabel",
        "instruction": "x",
        "labels": ["food", "room"],
        "data": {"seed": {"path": "all.jsonl", "per_label": 2}},
        "teacher": {"model": "openai:x"},
    }
    drawn = load_splits(parse_task(raw, "task", tmp_path)).seed
    held = [label for row in drawn for label in MULTILABEL.labels_in(row["label"])]
    assert held.count("food") >= 2
    assert held.count("room") == 2
    assert held.count("") == 1, "there is no second text without a label"
