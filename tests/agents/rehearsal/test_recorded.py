"""Test the recorded teacher, which repeats the labels that a language model once gave."""

import pytest
from tutelage.agents.labeler import label
from tutelage.agents.providers.models import ModelSpec, make_model
from tutelage.agents.rehearsal.recorded import Recorded
from tutelage.agents.rehearsal.rehearsal_model import RehearsalModel
from tutelage.agents.rehearsal.server import serve
from tutelage.agents.teacher.journal import Journal
from tutelage.agents.teacher.teacher import Teacher
from tutelage.student.data.rows import Row, content_id

BRIEF = {"task": "Name the sentiment.", "labels": {"good": "", "bad": ""}}
ROWS = [
    Row(id=content_id("a fine film"), text="a fine film", label="good", confidence=0.875),
    Row(id=content_id("fine, if you sleep"), text="fine, if you sleep", label="good", confidence=0.5),
    Row(id=content_id("dull"), text="dull", label="bad"),
]


def asked(*texts: str) -> dict[str, object]:
    return {**BRIEF, "texts": [{"id": str(i), "text": text} for i, text in enumerate(texts, 1)]}


def test_each_text_gets_its_recorded_label_and_confidence_even_if_wrong() -> None:
    given = Recorded(ROWS).answer(asked("Fine, if you sleep!", "a fine film"), 0)["labels"]
    assert [(one["id"], one["label"], one["confidence"]) for one in given] == [
        ("1", "good", 0.5),
        ("2", "good", 0.875),
    ]


def test_a_label_without_a_confidence_gets_confidence_one() -> None:
    [given] = Recorded(ROWS).answer(asked("dull"), 0)["labels"]
    assert (given["label"], given["confidence"]) == ("bad", 1.0)


def test_an_unrecorded_text_is_refused() -> None:
    with pytest.raises(ValueError, match="no label is recorded for 'a fine book'"):
        Recorded(ROWS).answer(asked("dull", "a fine book"), 0)


def test_requests_of_other_roles_are_refused() -> None:
    with pytest.raises(ValueError, match="only labels were recorded"):
        Recorded(ROWS).answer({**BRIEF, "requests": []}, 0)


def test_the_recorded_confidence_arrives_as_stated_confidence(tmp_path, draft) -> None:
    samples = [draft(row["text"]) for row in ROWS]
    with serve(RehearsalModel(rehearsal=Recorded(ROWS))) as url:
        spec = ModelSpec(model="openai:recorded", base_url=url, logprobs=False)
        teacher = Teacher({"labeler": spec}, make_model, Journal(tmp_path / "journal.sqlite"))
        labelled = label(teacher, BRIEF, samples, seed=0)
        teacher.close()
    assert [(s["label"], s["confidence"], s["confidence_source"]) for s in labelled] == [
        ("good", 0.875, "stated"),
        ("good", 0.5, "stated"),
        ("bad", 1.0, "stated"),
    ]
