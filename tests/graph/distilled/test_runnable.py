"""`tutelage.distilled`: who answers, what is logged, and what is asked of the teacher."""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from tutelage import distilled
from tutelage.agents.rehearsal.server import serve
from tutelage.graph.context import rehearsal_model
from tutelage.graph.distilled.runnable import Distilled
from tutelage.graph.handover.export import export_run
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import run
from tutelage.graph.task.load import Task
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.evaluation.agreement import load_agreement
from tutelage.student.models.load import load_student

LABELS = ["order_status", "return_refund", "damaged_faulty"]
TEXTS = ["Where is my parcel?", "I want to return the shoes and get my money back.", "hm", "what now"]


@pytest.fixture(scope="module")
def task(folded: Callable[..., Task]) -> Task:
    return folded(strategy={"base": "auto", "samples": 60}, budget={"rounds": 1})


@pytest.fixture(scope="module")
def finished(task: Task, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(task, tmp_path_factory.mktemp("distilled") / "run", encoder=encoder)


@pytest.fixture(scope="module")
def server(task: Task, encoder: Encoder) -> Iterator[tuple[ChatOpenAI, list[dict[str, Any]]]]:
    """Return a client of the rehearsal teacher's server, and the log of its requests."""
    log: list[dict[str, Any]] = []
    with serve(rehearsal_model(task, encoder=encoder), log=log) as url:
        yield ChatOpenAI(model="recorded", base_url=url, api_key="none"), log  # type: ignore[arg-type]


def by_number(texts: list[str]) -> list[str]:
    """Return a label that depends on the number at the end of each text."""
    return [LABELS[int(text.split()[-1]) % len(LABELS)] for text in texts]


def refunds(texts: list[str]) -> list[str]:
    return ["return_refund"] * len(texts)


def middle(finished: RunFolder) -> float:
    """Return a threshold that the student passes on two of the texts."""
    return float(sorted(load_student(finished.student).predict(TEXTS).confidence)[2])


def logged(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_measures_the_agreement_on_random_texts_that_the_student_did_not_learn(
    finished: RunFolder,
) -> None:
    found = load_agreement(finished.student)
    assert found
    chosen = {one["id"] for one in finished.read_lines(finished.samples) if one["status"] == "kept"}
    control = {one["id"] for one in finished.read_lines(finished.control_labels)}
    assert len(found.agrees) == len(control - chosen)
    assert 0.5 < sum(found.agrees) / len(found.agrees) < 1
    assert found.confidence == sorted(found.confidence)
    assert found.missing == pytest.approx(len(control & chosen) / len(control))


def test_the_student_answers_where_it_is_sure_and_the_teacher_elsewhere(
    finished: RunFolder, tmp_path: Path
) -> None:
    asked: list[str] = []

    def teacher(texts: list[str]) -> list[str]:
        asked.extend(texts)
        return refunds(texts)

    model = distilled(finished.path, teacher, threshold=middle(finished), log=tmp_path / "log.jsonl")
    alone = load_student(finished.student).predict(TEXTS)
    answers = model.batch(TEXTS)
    for text, answer, label, confidence in zip(TEXTS, answers, alone.answers, alone.confidence, strict=True):
        assert answer["confidence"] == pytest.approx(confidence, abs=1e-4)
        by_student = confidence >= model.threshold
        assert answer["answered_by"] == ("student" if by_student else "teacher")
        assert answer["label"] == (label if by_student else "return_refund")
        assert (text in asked) is not by_student
    assert len(asked) == 2
    assert [model.invoke(text) for text in TEXTS] == answers
    lines = logged(tmp_path / "log.jsonl")
    assert [line["text"] for line in lines] == asked
    assert {line["label"] for line in lines} == {"return_refund"}
    assert {line["predicted"] for line in lines} <= set(alone.answers)


def test_a_chat_model_is_asked_with_the_prompts_of_the_run_and_never_twice(
    finished: RunFolder, server: tuple[ChatOpenAI, list[dict[str, Any]]], tmp_path: Path
) -> None:
    client, log = server
    model = distilled(finished.path, client, threshold=1.1, log=tmp_path / "log.jsonl")
    before = len(log)
    first = model.batch(TEXTS)
    assert {one["answered_by"] for one in first} == {"teacher"}
    assert len(log) == before + 1, "four texts are one call"
    prompt = str(log[-1]["messages"])
    assert all(text in prompt for text in TEXTS)
    assert "order_status" in prompt
    again = distilled(finished.path, client, threshold=1.1, log=tmp_path / "log.jsonl")
    assert again.batch(TEXTS) == first
    assert len(log) == before + 1


def test_the_runs_own_teacher_is_the_default(finished: RunFolder, tmp_path: Path) -> None:
    model = distilled(finished.path, threshold=1.1, log=tmp_path / "log.jsonl")
    assert model.invoke(TEXTS[0])["answered_by"] == "teacher"


def test_the_log_is_the_pool_of_the_next_run(
    folded: Callable[..., Task], finished: RunFolder, tmp_path: Path
) -> None:
    from tutelage.graph.task.splits import load_splits

    model = distilled(finished.path, refunds, threshold=1.1, log=tmp_path / "log.jsonl")
    model.batch(TEXTS)
    data = {"labelled": "labelled.jsonl", "unlabelled": str(tmp_path / "log.jsonl")}
    assert [row["text"] for row in load_splits(folded(data=data)).unlabelled] == TEXTS


def test_it_is_a_node_of_a_graph(finished: RunFolder, tmp_path: Path) -> None:
    class State(TypedDict, total=False):
        text: str
        label: str
        answered_by: str

    graph = StateGraph(State)
    graph.add_node("classify", distilled(finished.path, refunds, threshold=0.0, log=tmp_path / "log.jsonl"))
    graph.add_edge(START, "classify")
    graph.add_edge("classify", END)
    result = graph.compile().invoke({"text": TEXTS[0]})
    assert result == {"text": TEXTS[0], "label": "order_status", "answered_by": "student"}


def test_many_calls_at_once_get_each_their_answer(finished: RunFolder, tmp_path: Path) -> None:
    texts = [f"{text} {i}" for i in range(10) for text in TEXTS]
    alone = load_student(finished.student).predict(texts)
    half = float(np.mean(sorted(alone.confidence)[19:21]))
    model = distilled(finished.path, by_number, threshold=half, log=tmp_path / "log.jsonl")

    async def all_at_once() -> list[dict[str, Any]]:
        return list(await asyncio.gather(*(model.ainvoke(text) for text in texts)))

    expected = [
        label if confidence >= half else by_number([text])[0]
        for text, label, confidence in zip(texts, alone.answers, alone.confidence, strict=True)
    ]
    assert [one["label"] for one in asyncio.run(all_at_once())] == expected
    assert [one["label"] for one in asyncio.run(model.abatch(texts))] == expected
    assert model.statistics()["texts"] == 80
    assert model.statistics()["escalated"] == pytest.approx(0.5, abs=0.1)
    assert len(logged(tmp_path / "log.jsonl")) == 40, "half of the texts, twice"


def test_an_unusable_text_of_a_batch_does_not_spoil_the_others(finished: RunFolder, tmp_path: Path) -> None:
    model = distilled(finished.path, refunds, threshold=0.0, log=tmp_path / "log.jsonl")
    seen: list[str] = []

    class Count(BaseCallbackHandler):
        def on_chain_start(self, *arguments: Any, **options: Any) -> None:
            seen.append("started")

    config = {"callbacks": [Count()]}
    first, error, last = model.batch([TEXTS[0], " ", TEXTS[1]], config, return_exceptions=True)
    assert first["label"] == "order_status"
    assert isinstance(error, InputError)
    assert last["answered_by"] == "student"
    assert len(seen) == 3, "each text is traced"
    with pytest.raises(InputError, match="is empty"):
        model.batch([TEXTS[0], " "])


def test_the_log_is_neither_exported_nor_removed_by_a_longer_run(finished: RunFolder, tmp_path: Path) -> None:
    model = distilled(finished.student, refunds, threshold=1.1)
    model.invoke(TEXTS[0])
    assert model.log == finished.path / "escalated.jsonl", "beside the student, which a longer run replaces"
    (finished.student / "escalated.jsonl").write_text("an older one")
    export_run(finished.path, tmp_path / "model", onnx=False)
    assert not list((tmp_path / "model").rglob("escalated*"))
    model.log.unlink()
    (finished.student / "escalated.jsonl").unlink()


def test_the_threshold_comes_from_the_run_or_from_texts_that_the_teacher_labels(
    task: Task, finished: RunFolder, tmp_path: Path
) -> None:
    found = load_agreement(finished.student)
    assert found
    wanted = sum(found.agrees) / len(found.agrees) - 0.1
    model = distilled(finished.path, refunds, agreement=wanted, log=tmp_path / "log.jsonl")
    assert model.threshold == found.threshold(wanted)
    assert model.statistics()["expected"] == found.share_below(model.threshold)
    student = load_student(finished.student)
    texts = [f"{text} {i}" for i in range(30) for text in TEXTS]

    def like_the_student(texts: list[str]) -> list[str]:
        return student.predict(texts).answers

    sure = distilled(finished.path, like_the_student, calibration=texts, log=tmp_path / "log.jsonl")
    assert sure.statistics()["expected"] == (0, 0)
    known = [row["text"] for row in finished.read_lines(finished.control_labels)][:3]
    with pytest.raises(InputError, match="3 of 3 texts of `calibration` were used in the run"):
        distilled(finished.path, refunds, calibration=known, log=tmp_path / "log.jsonl")
    with pytest.raises(InputError, match=r"an agreement of 0\.95 cannot be promised: on 120 texts"):
        distilled(finished.path, refunds, calibration=texts, log=tmp_path / "log.jsonl")


def test_an_exported_folder_is_a_distilled_model_too(finished: RunFolder, tmp_path: Path) -> None:
    export_run(finished.path, tmp_path / "model", onnx=False)
    model = distilled(tmp_path / "model", agreement=0.6)
    assert {one["label"] for one in model.batch(TEXTS)} <= set(load_student(finished.student).labels)
    assert (tmp_path / "model" / "escalated.jsonl").exists()


def make(finished: RunFolder, tmp_path: Path, **fields: Any) -> Distilled:
    return distilled(**{"student": finished.path, "teacher": refunds, "log": tmp_path / "log.jsonl"} | fields)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"agreement": 95}, "`agreement` is 95, expected a number from 0 to 1"),
        ({"agreement": "0.95"}, "`agreement` is '0.95', expected a number from 0 to 1"),
        ({"threshold": "high"}, "`threshold` is 'high', expected a number from 0"),
        ({"threshold": -1}, "`threshold` is -1, expected a number from 0"),
        ({"agreement": 0.9, "threshold": 0.9}, "give one of them"),
        ({"calibration": "charged twice"}, "`calibration` is one text, expected a list"),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: dict[str, Any], says: str, finished: RunFolder, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=says):
        make(finished, tmp_path, **arguments)


def test_where_a_function_gives_no_label_of_the_task_the_students_stands(
    finished: RunFolder, tmp_path: Path
) -> None:
    def teacher(texts: list[str]) -> list[Any]:
        return [None, "nonsense", "return_refund", "return_refund"][: len(texts)]

    model = make(finished, tmp_path, teacher=teacher, threshold=1.1)
    alone = load_student(finished.student).predict(TEXTS).answers
    first, second, third, _ = model.batch(TEXTS)
    assert (first["label"], first["answered_by"]) == (alone[0], "student")
    assert first["problem"] == "the teacher gave no label"
    assert (second["label"], second["answered_by"]) == (alone[1], "student")
    assert "'nonsense' is not one of the task's" in second["problem"]
    assert (third["label"], third["answered_by"]) == ("return_refund", "teacher")
    assert "problem" not in third


def test_what_cannot_be_used_is_refused(finished: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no student"):
        make(finished, tmp_path, student=tmp_path)
    with pytest.raises(InputError, match="got int, expected a LangChain chat model or a function"):
        make(finished, tmp_path, teacher=3)
    shutil.copytree(finished.student, tmp_path / "alone")
    with pytest.raises(InputError, match="has no task, which says how the teacher is asked"):
        make(finished, tmp_path, student=tmp_path / "alone", teacher=None)
    with pytest.raises(InputError, match="cannot be written"):
        make(finished, tmp_path, log=tmp_path / "no" / "log.jsonl")
    model = make(finished, tmp_path, threshold=1.1)
    with pytest.raises(InputError, match="expected a text, or a mapping with 'text', got "):
        model.invoke({"body": "x"})
    with pytest.raises(InputError, match="is empty"):
        model.invoke(" ")
    for found in ([], None, "billing", ["a", "b"]):
        wrong = make(finished, tmp_path, teacher=lambda texts, found=found: found, threshold=1.1)
        with pytest.raises(InputError, match="for 1 texts; expected a list of as many labels"):
            wrong.invoke("hello")
    assert logged(tmp_path / "log.jsonl") == []
