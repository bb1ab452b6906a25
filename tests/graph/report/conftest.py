"""Fixtures that write run folders of every kind, and read the report of one."""

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tutelage.agents.teacher.calibration import Bin, Calibration
from tutelage.graph.report.build import write_report
from tutelage.graph.run_folder.folder import FORMAT, RoundLine, RunFolder
from tutelage.graph.weaknesses import Card
from tutelage.student.corpus import Sample
from tutelage.student.evaluation.evaluate import Report, grade
from tutelage.student.tasks.classification import CLASSIFICATION

MARKUP = (
    """</pre></style><script>alert("1")</script><img src='http://evil.test/x' onerror='a()'> & \\" {x} $y"""
)
VOID = {"meta", "br", "input"}


class Page(HTMLParser):
    """A parsed report: its text by section, its tags, and every attribute."""

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
        if not {"style", "script"} & set(self.open):
            self.sections[list(self.sections)[-1]] += f" {data.strip()}" if data.strip() else ""

    def __getitem__(self, section: str) -> str:
        return self.sections[section]


def _run_record(text: str = "plain", *, strategy: str = "auto") -> dict[str, Any]:
    return {
        "format": FORMAT,
        "task": {
            "name": f"letters {text}",
            "kind": "classification",
            "instruction": f"sort letters {text}",
            "labels": {"bill": text, "praise": text},
            "teacher": {"model": "openai:gpt-5-mini", "roles": {}},
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


def _round_line(round: int, *, accepted: bool = True) -> RoundLine:
    return RoundLine(
        round=round,
        metric=0.5 + round / 10,
        gate=0.45 + round / 10,
        accepted=accepted,
        p_value=None if round == 0 else 0.6 if accepted else 0.011,
        teacher_calls=10 * round,
        prompt_tokens=1000 * round,
        completion_tokens=100 * round,
        cost=0.25 if round else 0,
        samples_kept=20 * round,
        samples_rejected=round,
        refused={"duplicate": round} if round else {},
        trained_on=10 + 20 * round,
        seconds=3.25,
    )


def _sample(place: int, status: str = "kept", text: str = "a letter", **fields: object) -> Sample:
    origin = {"id": f"{place:016x}", "text": f"{text} {place}", "round": 1, "attempt": 1, "place": place}
    request = {"kind": "hard", "requested": "bill", "weakness": "w01-1", "written_by": "754382cec89c"}
    return Sample(**origin, **request, status=status, **fields)  # type: ignore[typeddict-item]


def _samples(text: str) -> list[Sample]:
    label = {"label": "bill", "confidence": 0.75, "confidence_source": "stated", "reason": text}
    kept = [_sample(i, text=text, **label) for i in range(25)]
    duplicates = [_sample(i, "duplicate", text, neighbour=text, similarity=0.97) for i in range(15)]
    other = [
        _sample(90, "refused", text, **{**label, "label": "praise"}),
        _sample(91, "leak", text, neighbour="0123456789abcdef", similarity=0.95),
        _sample(92, "draft", text),
    ]
    return kept + duplicates + other


def _weakness(text: str = "plain") -> Card:
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
        requested=9,
        kept=7,
        history=[[1, 3], [2, 6]],
        status="returned",
    )


def _calibration(**changes: object) -> Calibration:
    before = [
        Bin(low=0.6, high=0.7, count=20, confidence=0.65, accuracy=0.5),
        Bin(low=0.9, high=1.0, count=80, confidence=0.97, accuracy=0.9),
    ]
    after = [Bin(low=0.8, high=0.9, count=100, confidence=0.84, accuracy=0.82)]
    found = {"source": "votes", "labels": 2, "temperature": 1.618, "rows": 100, "accuracy": 0.82, "note": ""}
    found |= {"ece_before": 0.0861, "ece_after": 0.0203, "bins_before": before, "bins_after": after}
    return Calibration(**{**found, "interval": [0.733, 0.883], **changes})  # type: ignore[typeddict-item]


def _graded(gold: list[str], predictions: list[str], labels: list[str]) -> Report:
    return grade(CLASSIFICATION, gold, gold, predictions, labels, "macro_f1")


def _started(path: Path, rounds: list[RoundLine], **changes: object) -> RunFolder:
    folder = RunFolder(path)
    folder.create({**_run_record(), **changes})
    for line in rounds:
        folder.write_round(line)
    return folder


def _finished(path: Path, text: str = "plain", **changes: object) -> RunFolder:
    gold = ["bill", "praise"] * 20
    predictions = ["praise", "bill"] * 4 + gold[8:]
    ends = {
        "stop": "2 rounds are done",
        "best": 1,
        "spent": {"calls": 31, "prompt_tokens": 3100, "completion_tokens": 310, "cost": 1234.56789},
        "test": _graded(gold, predictions, ["bill", "praise"]),
        "test_untrained": 0.3333,
        "test_by_round": [0.51, 0.8, 0.71],
        "overlap": {
            "gate": {"texts": 25, "exact": 0, "ngram": 1, "near": 2, "nearest": 0.9321},
            "test": {"texts": 25, "exact": 0, "ngram": 0, "near": 0, "nearest": 0.6967},
        },
    }
    rounds = [_round_line(0), _round_line(1), _round_line(2, accepted=False)]
    folder = _started(path, rounds, **{**_run_record(text), **ends, **changes})
    folder.write_json(folder.weaknesses, [_weakness(text)])
    folder.write(folder.samples, "".join(json.dumps(s, ensure_ascii=False) + "\n" for s in _samples(text)))
    return folder


def _arm(name: str, score: float, labels: int, **fields: object) -> dict[str, object]:
    arm = {"name": name, "rows": 40 + labels, "teacher_labels": labels, "unlabelled": 0}
    return {**arm, "score": score, "low": score - 0.1, "high": score + 0.1, "delivered": False, **fields}


def _finished_on_folds(path: Path, **changes: object) -> RunFolder:
    arms = [
        _arm("labels_alone", 0.61, 0),
        _arm("chosen", 0.8, 20, delivered=True, gain=[0.19, 0.1, 0.3]),
    ]
    comparison = {"metric": "macro-F1", "measured_on": "test", "arms": arms, "worth": None}
    ends = {
        "data": {"digest": "d1", "labelled": 40, "test": 40, "unlabelled": 500},
        "test_by_round": None,
        "comparison": comparison,
        "labels_to_check": 0,
        "overlap": {"test": {"texts": 25, "exact": 0, "ngram": 0, "near": 0, "nearest": 0.6967}},
    }
    return _finished(path, **{**ends, **changes})


@pytest.fixture
def markup() -> str:
    """Return a text that would break out of its element, run a script and load an image if it were HTML."""
    return MARKUP


@pytest.fixture
def run_record() -> Callable[..., dict[str, Any]]:
    """Return a function that makes the `run.json` of a new run."""
    return _run_record


@pytest.fixture
def round_line() -> Callable[..., RoundLine]:
    """Return a function that makes the line of a round, whose scores grow with its number."""
    return _round_line


@pytest.fixture
def sample() -> Callable[..., Sample]:
    """Return a function that makes a written sample; keyword arguments are further fields."""
    return _sample


@pytest.fixture
def weakness() -> Callable[..., Card]:
    """Return a function that makes a weakness card with a text in its fields."""
    return _weakness


@pytest.fixture
def calibration() -> Callable[..., Calibration]:
    """Return a function that makes a calibration on 100 rows; keyword arguments replace fields."""
    return _calibration


@pytest.fixture
def graded() -> Callable[..., Report]:
    """Return a function that scores predictions against gold labels."""
    return _graded


@pytest.fixture
def started(tmp_path: Path) -> Callable[..., RunFolder]:
    """Return a function that writes the folder of a run that has not ended, with the given rounds."""
    return lambda rounds, **changes: _started(tmp_path / "run", rounds, **changes)


@pytest.fixture
def finished(tmp_path: Path) -> Callable[..., RunFolder]:
    """Return a function that writes the folder of a run that ended after two rounds, the second rolled back.

    Keyword arguments replace entries of `run.json`.
    """
    return lambda name="run", **changes: _finished(tmp_path / name, **changes)


@pytest.fixture(scope="session")
def finished_in() -> Callable[..., RunFolder]:
    """Return a function that writes the folder of a finished run to a path."""
    return _finished


@pytest.fixture
def finished_on_folds(tmp_path: Path) -> Callable[..., RunFolder]:
    """Return a function that writes the folder of a finished run on folds, with the students it is compared
    with.
    """
    return lambda name="run", **changes: _finished_on_folds(tmp_path / name, **changes)


@pytest.fixture
def read_report() -> Callable[..., Page]:
    """Return a function that writes the report of a run folder, with an optional control, and parses it."""

    def read(folder: RunFolder, control: RunFolder | None = None) -> Page:
        write_report(folder, control)
        return Page(folder)

    return read
