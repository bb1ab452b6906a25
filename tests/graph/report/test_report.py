"""The report: whole for a finished run, honest for an unfinished one, closed to hostile text."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tutelage.agents.teacher.calibration import Bin, Calibration
from tutelage.graph.report.build import write_report
from tutelage.graph.run_folder.folder import FORMAT, RoundLine, RunFolder
from tutelage.graph.run_folder.trace import Trace
from tutelage.graph.weaknesses import Card
from tutelage.student.corpus import Sample
from tutelage.student.errors import InputError
from tutelage.student.evaluation.evaluate import Report, grade
from tutelage.student.tasks.classification import CLASSIFICATION

HOSTILE = (
    """</pre></style><script>alert("1")</script><img src='http://evil.test/x' onerror='a()'> & \\" {x} $y"""
)
VOID = {"meta"}


class Page(HTMLParser):
    """A report as a reader gets it: `text` by section, the tags, and every attribute."""

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(convert_charrefs=True)
        self.source = folder.report.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.sections = {"headline": ""}
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag == "section":
            self.sections[dict(attrs)["id"] or ""] = ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.sections[list(self.sections)[-1]] += f" {data.strip()}" if data.strip() else ""

    def __getitem__(self, section: str) -> str:
        return self.sections[section]


def about(text: str = "plain", *, teacher: str = "openai:gpt-5-mini", strategy: str = "auto") -> dict:
    return {
        "format": FORMAT,
        "task": {
            "name": f"letters {text}",
            "kind": "classification",
            "instruction": f"sort letters {text}",
            "labels": {"bill": text, "praise": text},
            "teacher": {"model": teacher, "roles": {}},
            "strategy": strategy,
            "budget": {"rounds": 2},
            "metric": "macro_f1",
            "duplicate_above": 0.92,
        },
        "data": {"digest": "d1", "seed": 10, "diagnose": 40, "gate": 40, "test": 40},
        "notes": [f"labels without a seed: {text}"],
        "strategy": {"name": strategy, "hard_share": 0.5},
        "prompts": {"analyst": "e974e6b57ec1a699"},
        "versions": {"tutelage": "0.1.0"},
    }


def line(round: int, *, accepted: bool = True, cost: float | None = 0.25) -> RoundLine:
    return RoundLine(
        round=round,
        metric=0.5 + round / 10,
        gate=0.45 + round / 10,
        accepted=accepted,
        chance=None if round == 0 else 0.6 if accepted else 0.011,
        teacher_calls=10 * round,
        prompt_tokens=1000 * round,
        completion_tokens=100 * round,
        cost=cost if round else 0,
        samples_kept=20 * round,
        samples_rejected=round,
        refused={"duplicate": round} if round else {},
        trained_on=10 + 20 * round,
        seconds=3.25,
    )


def sample(place: int, status: str = "kept", text: str = "a letter", **known: object) -> Sample:
    start = {"id": f"{place:016x}", "text": f"{text} {place}", "round": 1, "attempt": 1, "place": place}
    order = {"kind": "hard", "requested": "bill", "weakness": "w01-1", "written_by": "754382cec89c"}
    return Sample(**start, **order, status=status, **known)  # type: ignore[typeddict-item]


def samples(text: str = "a letter") -> list[Sample]:
    sure = {"label": "bill", "confidence": 0.75, "confidence_source": "stated", "reason": text}
    kept = [sample(i, text=text, **sure) for i in range(25)]
    twins = [sample(i, "duplicate", text, neighbour=text, similarity=0.97) for i in range(15)]
    other = [
        sample(90, "refused", text, **{**sure, "label": "praise"}),
        sample(91, "leak", text, neighbour="0123456789abcdef", similarity=0.95),
        sample(92, "draft", text),
    ]
    return kept + twins + other


def card(text: str = "plain", status: str = "returned") -> Card:
    return Card(
        id="w01-1",
        round=1,
        name=f"bills read as praise {text}",
        hypothesis=f"polite bills {text}",
        label="bill",
        confused_with="praise",
        evidence=["e1"],
        examples=[f"Kindly pay {text}"],
        found_by="6c2445557e8c",
        found_in=[1],
        support=20,
        errors=8,
        ordered=9,
        kept=7,
        history=[[1, 3], [2, 6]],
        status=status,  # type: ignore[typeddict-item]
    )


def measured(**changes: object) -> Calibration:
    before = [
        Bin(low=0.6, high=0.7, count=20, confidence=0.65, accuracy=0.5),
        Bin(low=0.9, high=1.0, count=80, confidence=0.97, accuracy=0.9),
    ]
    after = [Bin(low=0.8, high=0.9, count=100, confidence=0.84, accuracy=0.82)]
    found = {"source": "votes", "labels": 2, "temperature": 1.618, "rows": 100, "accuracy": 0.82, "note": ""}
    found |= {"ece_before": 0.0861, "ece_after": 0.0203, "bins_before": before, "bins_after": after}
    return Calibration(**{**found, "interval": [0.733, 0.883], **changes})  # type: ignore[typeddict-item]


def begun(path: Path, rounds: list[RoundLine], **changes: object) -> RunFolder:
    folder = RunFolder(path)
    folder.create({**about(), **changes})
    for entry in rounds:
        folder.write_round(entry)
    return folder


def graded(gold: list[str], answers: list[str], labels: list[str]) -> Report:
    return grade(CLASSIFICATION, gold, gold, answers, labels, "macro_f1")


def finished(path: Path, text: str = "plain", **changes: object) -> RunFolder:
    gold = ["bill", "praise"] * 20
    answers = ["praise", "bill"] * 4 + gold[8:]
    ends = {
        "stop": "2 rounds are done",
        "best": 1,
        "spent": {"calls": 31, "prompt_tokens": 3100, "completion_tokens": 310, "cost": 1234.56789},
        "test": graded(gold, answers, ["bill", "praise"]),
        "test_untouched": 0.3333,
        "test_by_round": [0.51, 0.8, 0.71],
        "overlap": {
            "gate": {"texts": 25, "exact": 0, "ngram": 1, "near": 2, "nearest": 0.9321},
            "test": {"texts": 25, "exact": 0, "ngram": 0, "near": 0, "nearest": 0.6967},
        },
    }
    folder = begun(path, [line(0), line(1), line(2, accepted=False)], **{**about(text), **ends, **changes})
    folder.write_json(folder.weaknesses, [card(text)])
    folder.write(folder.samples, "".join(json.dumps(s, ensure_ascii=False) + "\n" for s in samples(text)))
    return folder


def reported(folder: RunFolder, control: RunFolder | None = None) -> Page:
    write_report(folder, control)
    return Page(folder)


def test_headline_tells_result_stop_and_price(tmp_path: Path) -> None:
    told = reported(finished(tmp_path / "run"))["headline"]
    assert "0.333 untrained 0.510 seeds only 0.800 best student, round 1 macro-F1 on test (40 texts)" in told
    assert "Stopped because 2 rounds are done" in told
    assert "Teacher calls 31" in told
    assert "3,100 + 310" in told
    assert "Cost 1,235 " in told
    assert "Samples kept 25 of 43 written" in told
    assert "0.800 (0.652–0.895)" in told
    assert "labels without a seed: plain" in told
    assert "Unfinished" not in told


def test_rounds_with_rolled_back_one_and_total(tmp_path: Path) -> None:
    page = reported(finished(tmp_path / "run"))
    told = page["rounds-and-cost"]
    assert "0.600 0.550 0.600 0.800 ★ best 10 1,000 + 100 0.25 20 1 duplicate 30 3.2" in told
    assert "0.011 0.710 ✕ rolled back 20" in told
    assert "total 31 3,100 + 310 1,235" in told
    assert "rolled back" in page["learning-curve"]
    assert "control" not in page["learning-curve"].lower()


def test_a_refitted_student_has_a_tile_of_its_own(tmp_path: Path) -> None:
    told = reported(finished(tmp_path / "run", strategy={"name": "auto", "refit": True}))["headline"]
    assert "0.510 seeds only 0.800 best student, round 1 0.800 refitted on all rows macro-F1 on test" in told


def folded(path: Path, **changes: object) -> RunFolder:
    """A finished run on rows in folds: two rounds, and the students it is compared with."""

    def arm(name: str, score: float, labels: int, delivered: bool = False) -> dict:
        title = {"own": "your labels alone", "chosen": "+ 20 teacher labels, chosen"}[name]
        known = {"name": name, "title": title, "rows": 40 + labels, "teacher_labels": labels, "unlabelled": 0}
        return {**known, "score": score, "low": score - 0.1, "high": score + 0.1, "delivered": delivered}

    arms = [arm("own", 0.61, 0), {**arm("chosen", 0.8, 20, True), "gain": [0.19, 0.1, 0.3]}]
    ends = {
        "data": {"digest": "d1", "labelled": 40, "test": 40, "unlabelled": 500},
        "test_by_round": None,
        "comparison": {
            "metric": "macro-F1",
            "measured_on": "test",
            "arms": arms,
            "worth": None,
            "sentence": "It was worth it.",
        },
        "labels_to_check": 0,
        "overlap": {"test": {"texts": 25, "exact": 0, "ngram": 0, "near": 0, "nearest": 0.6967}},
    }
    return finished(path, **{**ends, **changes})


def test_of_rows_in_folds_one_score_a_round_is_told_out_of_fold(tmp_path: Path) -> None:
    page = reported(folded(tmp_path / "run"))
    told = page["rounds-and-cost"]
    assert (
        "Round Out of fold p-value Outcome Calls Tokens Cost Kept Refused Trained on Seconds 0 0.500" in told
    )
    assert "1 0.600 0.600 ★ best 10 1,000 + 100 0.25 20 1 duplicate 30 3.2" in told
    assert "2 0.700 0.011 ✕ rolled back 20" in told
    assert "total 31 3,100 + 310 1,235 25" in told
    assert "trained on your labels alone" in told
    assert "Diagnose" not in told
    assert "Gate" not in told
    assert "out of fold rolled back" in page["learning-curve"]
    assert "gate" not in page["learning-curve"]
    tiles = "0.333 untrained 0.610 your labels alone 0.800 + 20 teacher labels, chosen"
    assert f"{tiles} macro-F1 on test (40 texts)" in page["headline"]
    assert "It was worth it." in page["value-of-the-teacher-labels"]
    assert "test 25 0 0 0 0.697" in page["leakage-check"]
    assert "seeds" not in page["headline"].replace("labels without a seed", "")


def test_an_unfinished_run_on_folds_is_told_out_of_fold(tmp_path: Path) -> None:
    data = {"digest": "d1", "labelled": 40, "test": 0}
    page = reported(begun(tmp_path / "run", [line(0), line(1)], data=data), folded(tmp_path / "control"))
    told = "0.450 your labels alone 0.550 best student, round 1 macro-F1 on your rows, out of fold (40 texts)"
    assert f"{told}; there is no test set" in page["headline"]
    assert "out of fold, control" in page["learning-curve"]


def test_without_a_test_set_a_run_on_folds_has_no_leak_to_check(tmp_path: Path) -> None:
    data = {"digest": "d1", "labelled": 40, "test": 0}
    nothing = {"test": {"texts": 20, "exact": 0, "ngram": 0, "near": 0, "nearest": 0.0}}
    without = {"data": data, "test": None, "test_untouched": None, "comparison": None, "overlap": nothing}
    page = reported(folded(tmp_path / "run", **without))
    assert "None: there is no test set." in page["leakage-check"]
    assert "Not measured" in page["value-of-the-teacher-labels"]


def test_lessons_tell_what_the_student_made_of_them_and_which_it_used(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    met = [("bill", -1.0, 0.1), ("bill", -2.0, 0.2), ("praise", -4.0, 2.0)]
    made = [
        sample(i, label="bill", confidence=sure, answered=answer, energy=energy, nll=loss)
        for i, (sure, (answer, energy, loss)) in enumerate(zip((0.9, 0.7, 0.4), met, strict=True))
    ]
    folder.write(folder.samples, "".join(json.dumps(s) + "\n" for s in made))
    trace = Trace(folder.trace)
    with trace.node("train", 1):
        used = [made[0]["id"], made[1]["id"]]
        trace.log(unique=2 / 3, kept_share=0.5, backpropagated=0.25, used=used)
    told = reported(folder)["training"]
    assert "1 3 67% -2.000 0.200" in told  # medians of -1, -2, -4 and of 0.1, 0.2, 2.0
    assert "1 67% 50% 25% 0.800 0.400" in told
    assert "KSM" not in told


def test_lessons_tell_what_was_distilled(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    trace = Trace(folder.trace)
    with trace.node("train", 0):
        trace.log(distilled={"mean_action": {"fin": 0.5, "rel": 0.25}, "seconds": (4.5, 2.0)})
    told = reported(folder)["training"]
    assert "0 0.500 0.250 4.500 2.000" in told
    assert "thresholds" not in told


def test_classes_weakest_first_and_confusion_matrix(tmp_path: Path) -> None:
    gold, answers = ["bill"] * 20 + ["praise"] * 20, ["bill"] * 20 + ["praise"] * 12 + ["bill"] * 8
    test = graded(gold, answers, ["bill", "praise"])
    page = reported(finished(tmp_path / "run", test=test))
    assert "praise 1.000 0.600 0.750 20 bill 0.714 1.000 0.833 20" in page["classes"]
    assert "gold ↓ predicted → bill praise bill 20 0 praise 8 12" in page["classes"]
    cells = [("hit", "1.00"), ("none", "0.00"), ("miss", "0.40"), ("hit", "0.60")]
    shaded = [pair for kind, part in cells for pair in (("class", kind), ("style", f"--part: {part}"))]
    assert [pair for pair in page.attributes if pair in shaded] == shaded


def test_more_than_twenty_labels_give_pairs_instead_of_a_matrix(tmp_path: Path) -> None:
    labels = [f"label-{i}" for i in range(21)]
    gold = [label for label in labels for _ in range(4)]
    answers = ["label-1", *gold[1:8], *["label-5"] * 3, *gold[11:]]
    test = graded(gold, answers, labels)
    page = reported(finished(tmp_path / "run", test=test))
    assert "The 2 most confused pairs" in page["classes"]
    assert "label-2 label-5 3 75% label-0 label-1 1 25%" in page["classes"]
    assert ("class", "heat") not in page.attributes


def test_weakness_card_has_intervals_history_and_status(tmp_path: Path) -> None:
    told = reported(finished(tmp_path / "run"))["weaknesses"]
    assert "1 returned." in told
    assert "↩ returned bills read as praise plain bill predicted as praise polite bills plain" in told
    assert "when found 8/20 (22%-61%) after round 1 3/20 (5%-36%) after round 2 6/20" in told
    assert "9 texts requested, 7 kept" in told
    assert "regression to the mean" in told


def test_teacher_is_told_with_its_accuracy_and_confidence_before_and_after(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    folder.write_json(folder.calibration, measured())
    page = reported(folder)
    told = page["teacher"]
    assert "Correct on your texts 82 of 100 Accuracy, 95 % interval 0.820 (0.733–0.883)" in told
    assert "Source of the confidence the share of votes that agree Temperature T 1.62" in told
    assert "ECE, uncalibrated 0.086 ECE, calibrated 0.020" in told
    assert "accuracy uncalibrated calibrated 0.0 0.5 1.0 confidence" in told  # the two plots
    assert "such as these 100, is biased upwards" in told
    assert list(page.sections)[3:5] == ["rounds-and-cost", "teacher"]


def test_a_teacher_without_a_temperature_has_one_plot_and_the_reason(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    few = measured(bins_after=measured()["bins_before"], rows=12, note="12 rows are too few")
    folder.write_json(folder.calibration, few)
    told = reported(folder)["teacher"]
    assert "12 rows are too few." in told
    assert "uncalibrated 0.0 0.5 1.0 confidence" in told


@pytest.mark.parametrize(
    ("calibration", "sentence"),
    [
        (None, "Not measured: this run did not compare the teacher with your labels."),
        (measured(rows=0, accuracy=None, note=f"refused {HOSTILE}"), f"Not measured: refused {HOSTILE}."),
    ],
    ids=["old run", "refused"],
)
def test_a_teacher_that_was_not_measured_has_no_plot(
    tmp_path: Path, calibration: Calibration | None, sentence: str
) -> None:
    folder = begun(tmp_path / "run", [])
    if calibration:
        folder.write_json(folder.calibration, calibration)
    page = reported(folder)
    assert f"Teacher {sentence}" in page["teacher"]
    assert "svg" not in page.tags


def test_counters_of_the_teachers_calls_are_listed(tmp_path: Path) -> None:
    page = reported(finished(tmp_path / "run", teacher={"retried": 1234, "set_aside": 0}))
    assert "Calls Retried 1,234 Set aside 0" in page["teacher"]


def test_charts_take_the_colours_of_the_page_and_no_id_is_given_twice(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    folder.write_json(folder.calibration, measured())
    page = reported(folder)
    assert page.tags.count("svg") == 2
    drawn = page.source.split("</style>", 1)[1]
    assert re.findall(r"#[0-9a-fA-F]{6}\b", drawn) == []
    assert "var(--test)" in drawn
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert reported(folder).source == page.source


def test_samples_by_fate_with_a_limited_number_of_examples(tmp_path: Path) -> None:
    told = reported(finished(tmp_path / "run"))["samples"]
    assert "kept 25 accepted by the critic" in told
    assert "draft 1 still unfinished when the run stopped" in told
    assert "kept: 20 of 25" in told
    assert "duplicate: 10 of 15" in told
    assert "plain 90 bill praise 0.75 stated w01-1" in told  # requested label, then label
    assert "held-out text 0123456789abcdef 0.950" in told
    assert "unlabelled" not in told


def test_leak_check_and_configuration(tmp_path: Path) -> None:
    page = reported(finished(tmp_path / "run"))
    assert "gate 25 0 1 2 0.932" in page["leakage-check"]
    assert '"duplicate_above": 0.92' in page["configuration"]
    assert "analyst e974e6b57ec1a699" in page["configuration"]


def test_control_is_drawn_dashed_and_stands_in_its_own_table(tmp_path: Path) -> None:
    control = finished(tmp_path / "control", **about(strategy="random"))
    folder = finished(tmp_path / "run")
    alone, page = reported(folder), reported(folder, control)
    assert page.source.count("stroke-dasharray") > alone.source.count("stroke-dasharray")
    assert "test, control" in page["learning-curve"]
    assert "The control differs" not in page["learning-curve"]
    assert "control (random): macro-F1 0.800" in page["learning-curve"]
    assert "Control: strategy random" in page["rounds-and-cost"]


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"data": {**about()["data"], "digest": "d2"}}, "other data: the two runs cannot be compared"),
        ({"task": {**about(strategy="random")["task"], "budget": {}}}, "more than its strategy: budget."),
    ],
)
def test_control_that_is_none_is_called_out(tmp_path: Path, change: dict, warning: str) -> None:
    control = finished(tmp_path / "control", **change)
    assert warning in reported(finished(tmp_path / "run"), control)["learning-curve"]


def test_unfinished_run_is_reported_as_far_as_it_went(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run", [line(0), line(1)])
    page = reported(folder, finished(tmp_path / "control"))
    assert (
        f"Unfinished: 1 of 2 rounds are over. Continue with `tutelage resume {folder.path}`"
        in page["headline"]
    )
    assert "0.450 seeds only 0.550 best student, round 1 macro-F1 on gate (40 texts)" in page["headline"]
    assert "Teacher calls 10" in page["headline"]
    assert "gate, control" in page["learning-curve"]
    assert "has not been opened" in page["classes"]
    assert "kept 20" in page["samples"]
    assert "checked when the run ends" in page["leakage-check"]


def test_run_without_a_round_is_reported(tmp_path: Path) -> None:
    page = reported(begun(tmp_path / "run", []), finished(tmp_path / "control"))
    assert "Unfinished: 0 of 2 rounds" in page["headline"]
    assert "No round is over yet" in page["learning-curve"]
    assert "svg" not in page.tags


def test_run_without_gate_and_test_set(tmp_path: Path) -> None:
    lines: list[RoundLine] = [{**line(i), "gate": None, "chance": None} for i in (0, 1)]  # type: ignore[typeddict-item]
    nothing = {"texts": 20, "exact": 0, "ngram": 0, "near": 0, "nearest": 0.0}
    folder = begun(
        tmp_path / "run",
        lines,
        data={"digest": "d1", "seed": 10, "diagnose": 40, "gate": 0, "test": 0},
        stop="1 rounds are done",
        best=1,
        test=None,
        test_untouched=None,
        test_by_round=None,
        overlap={"gate": nothing, "test": nothing},
    )
    page = reported(folder)
    assert "macro-F1 on diagnose (40 texts); there is no test set" in page["headline"]
    assert "there is no gate or test set" in page["leakage-check"]


@pytest.mark.parametrize(
    ("cost", "shown"),
    [(None, "unknown"), (0, "0"), (1e-17, "0"), (0.0001234567, "0.0001235"), (23456.7, "23,460")],
)
def test_cost_has_four_digits_or_is_unknown(tmp_path: Path, cost: float | None, shown: str) -> None:
    spent = {"calls": 3, "prompt_tokens": 3, "completion_tokens": 3, "cost": cost}
    page = reported(finished(tmp_path / "run", spent=spent))
    assert f"Cost {shown} Samples" in page["headline"]
    assert f"total 3 3 + 3 {shown} 25" in page["rounds-and-cost"]


@pytest.mark.parametrize(
    ("teacher", "sentence"),
    [
        ({"model": "openai:gpt-5-mini", "roles": {}}, None),
        ({"model": "rehearsal", "roles": {}}, "The teacher was the rehearsal teacher: a look-up in labelled"),
        ({"model": "openai:x", "roles": {"critic": {"model": "rehearsal"}}}, "as critic was the rehearsal"),
    ],
)
def test_rehearsal_teacher_is_named(tmp_path: Path, teacher: dict, sentence: str | None) -> None:
    told = reported(finished(tmp_path / "run", task={**about()["task"], "teacher": teacher}))["headline"]
    assert sentence in told if sentence else "rehearsal" not in told


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    names = [HOSTILE, "praise"]
    test = graded(names, names, names)
    folder = finished(tmp_path / "run", text=HOSTILE, stop=HOSTILE, test=test)
    folder.write_json(folder.weaknesses, [{**card(HOSTILE), "id": HOSTILE, "label": HOSTILE}])
    folder.write(folder.samples, json.dumps({**sample(1, text=HOSTILE), "weakness": HOSTILE}) + "\n")
    page = reported(folder, folder)
    assert not {"script", "img", "iframe", "object", "form"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.source.count("</style>") == 2  # the page's own and matplotlib's
    for section in ("headline", "classes", "weaknesses", "samples"):
        assert HOSTILE in page[section]
    assert page.open == []


def test_line_separator_inside_a_text_does_not_break_it(tmp_path: Path) -> None:
    assert "one\u2028two 0" in reported(finished(tmp_path / "run", text="one\u2028two"))["samples"]


def test_nothing_is_fetched_and_nothing_is_run(tmp_path: Path) -> None:
    page = reported(finished(tmp_path / "run"), finished(tmp_path / "control"))
    links = [v for name, v in page.attributes if name in ("src", "href", "xlink:href", "srcset", "action")]
    assert links
    assert all(link.startswith("#") for link in links)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page.source))
    assert "@import" not in page.source
    assert not {"script", "link", "img"} & set(page.tags)
    assert page.open == []


def test_same_folder_gives_the_same_file(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    assert reported(folder).source == reported(folder).source


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run folder"):
        write_report(RunFolder(tmp_path))
