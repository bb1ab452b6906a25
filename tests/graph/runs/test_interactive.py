"""Runs from Python: data, teacher and encoder as objects, and the result as an object."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tutelage
from datasets import ClassLabel, Dataset
from langchain_openai import ChatOpenAI
from tutelage import InputError, Task, resume, run
from tutelage.agents.rehearsal.recorded import Recorded
from tutelage.agents.rehearsal.rehearsal_model import RehearsalModel
from tutelage.agents.rehearsal.server import serve
from tutelage.graph.task.samples import sample_task
from tutelage.student.data.rows import content_id
from tutelage.student.encoder import Encoder

SAMPLE = Path(tutelage.__file__).parent / "graph" / "sample"
Lines = list[dict[str, Any]]


def lines(*names: str) -> Lines:
    return [
        json.loads(line)
        for name in names
        for line in (SAMPLE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    ]


@pytest.fixture(scope="module")
def recorded() -> RehearsalModel:
    """Return a chat model that gives the labels of the bundled corpus and of the user's rows."""
    rows = lines("teacher", "seed", "diagnose")
    known: Any = [{**row, "id": content_id(row["text"])} for row in rows]
    return RehearsalModel(rehearsal=Recorded(known))


@pytest.fixture(scope="module")
def address(recorded: RehearsalModel) -> Iterator[str]:
    with serve(recorded) as url:
        yield url


@pytest.fixture
def fields() -> dict[str, Any]:
    """Return the fields of a task without data, which reads columns of other names."""
    return {
        "name": "notebook",
        "instruction": "Name the reason for the message.",
        "labels": sample_task().labels,
        "data": {"labelled": {"text": "body", "label": "topic"}},
        "student": {"mode": "head"},
        "strategy": {"base": "auto", "pool_share": 1.0, "critic": "none", "samples": 12},
        "teacher": {"logprobs": False},
        "budget": {"rounds": 1},
    }


def tables() -> dict[str, Any]:
    """Return a DataFrame with other column names, a list of texts, and a Dataset with class numbers."""
    labels = list(sample_task().labels)
    known = pd.DataFrame(lines("seed", "diagnose")).rename(columns={"text": "body", "label": "topic"})
    test = Dataset.from_list(lines("test")).cast_column("label", ClassLabel(names=labels))
    assert isinstance(test[0]["label"], int)
    return {"labelled": known, "unlabelled": [row["text"] for row in lines("teacher")[:100]], "test": test}


def test_a_run_takes_tables_and_a_chat_model_and_returns_its_results(
    fields: dict[str, Any], recorded: RehearsalModel, tmp_path: Path
) -> None:
    result = run(fields, tmp_path / "run", data=tables(), teacher=recorded)
    assert result.about["stop"] == "1 round is done"
    assert result.about["task"]["teacher"]["model"].startswith("python:all:")
    [answer] = result.student.predict(["Where is my parcel?"]).answers
    assert answer in fields["labels"]
    assert result.student.predict_proba(["Where is my parcel?"]).sum() == pytest.approx(1)
    assert isinstance(result.samples, Dataset)
    assert result.samples.filter(lambda row: row["status"] == "kept").num_rows >= 12
    assert list(result.rounds["round"]) == [0, 1]
    assert "srcdoc=" in result._repr_html_()
    assert "accuracy" in repr(result) or "macro_f1" in repr(result)
    assert "Value of the teacher labels" in result.report.path.read_text()
    # The data are in the run folder: an extended run needs neither the tables nor another file.
    longer = resume(tmp_path / "run", budget={"rounds": 2}, teacher=recorded)
    assert list(longer.rounds["round"]) == [0, 1, 2]


@pytest.mark.slow
def test_a_run_works_inside_a_running_event_loop(
    fields: dict[str, Any], address: str, tmp_path: Path
) -> None:
    teacher = ChatOpenAI(model="recorded", base_url=address, api_key="none")  # type: ignore[arg-type]

    async def notebook() -> Any:
        return run(fields, tmp_path / "run", data=tables(), teacher=teacher)

    result = asyncio.run(notebook())
    assert result.about["task"]["teacher"]["model"] == "python:all:recorded"
    assert result.about["spent"]["calls"] > 0
    assert result.about["samples"]["kept"] == 12


def test_a_task_built_in_code_takes_models_by_role_and_a_data_frame_alone(
    folded: Callable[..., Task], recorded: RehearsalModel, encoder: Encoder, tmp_path: Path
) -> None:
    task = folded(budget={"rounds": 1}, strategy={"base": "auto", "samples": 12})
    frame = pd.DataFrame(lines("seed", "diagnose"))[:60]
    result = run(task, tmp_path / "run", data=frame, teacher={"labeler": recorded}, encoder=encoder)
    assert result.about["data"]["labelled"] == 60
    models = result.about["task"]["teacher"]
    assert models["model"] == "rehearsal", "the other roles keep the model of the task"
    assert models["roles"]["labeler"]["model"].startswith("python:labeler:")


@pytest.mark.slow
def test_objects_by_role_keep_what_the_task_says_of_the_other_roles(
    fields: dict[str, Any], recorded: RehearsalModel, tmp_path: Path
) -> None:
    local = {"base_url": "http://127.0.0.1:9/v1"}
    roles = {"critic": {"model": "openai:judge", **local}, "labeler": {"max_tokens": 99}}
    teacher = {"model": "openai:base", "logprobs": False, "roles": roles, **local}
    task = {**fields, "teacher": teacher, "budget": {"rounds": 0}}
    some = run(task, tmp_path / "some", data=tables(), teacher={"labeler": recorded})
    found = some.about["task"]["teacher"]
    assert found["model"] == "openai:base"
    assert found["roles"]["critic"]["model"] == "openai:judge"
    assert found["roles"]["labeler"]["model"].startswith("python:labeler:")
    assert found["roles"]["labeler"]["max_tokens"] == 99
    whole = run(task, tmp_path / "all", data=tables(), teacher=recorded)
    assert not whole.about["task"]["teacher"]["roles"]["critic"]
    other = ChatOpenAI(model="other", api_key="none")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"got .python:all:other., and the models of this run"):
        resume(whole.folder, budget={"rounds": 1}, teacher=other)


class Bags:
    """An encoder of a user: counts of hashed words."""

    def __init__(self) -> None:
        self.calls = 0

    def encode(self, texts: list[str]) -> list[list[float]]:
        self.calls += 1
        rows = np.zeros((len(texts), 64))
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().split():
                row[sum(word.encode()) % 64] += 1
        return rows.tolist()  # type: ignore[no-any-return]


@pytest.mark.slow
def test_texts_are_compared_by_the_users_own_encoder(
    fields: dict[str, Any], recorded: RehearsalModel, tmp_path: Path
) -> None:
    own = Bags()
    result = run(fields, tmp_path / "run", data=tables(), teacher=recorded, encoder=own)
    assert own.calls > 0
    assert result.about["samples"]["kept"] == 12


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"data": {"labeled": []}}, "`data`: unknown set 'labeled'; the sets are labelled, seed"),
        ({"data": {"labelled": 3}}, "the table 'labelled' is a int; expected a pandas DataFrame"),
        ({"data": {"labelled": [{"a": 1}, {"a": "x"}]}}, "the table 'labelled' cannot be read: "),
        ({"data": {"labelled": [{"text": "x"}], "unlabelled": ["a text"]}}, "the table 'labelled' row 1: "),
        ({"teacher": "gpt"}, "`teacher`: got str, expected a LangChain chat model or models by role"),
        ({"teacher": {"judge": "gpt"}}, "`teacher`: unknown role 'judge'; the roles are analyst,"),
        ({"encoder": 3}, "`encoder`: int has no method `encode(list of str)`"),
    ],
)
def test_wrong_objects_are_named_and_leave_nothing_behind(
    fields: dict[str, Any], recorded: RehearsalModel, tmp_path: Path, wrong: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError) as raised:
        run(fields, tmp_path / "run", **{"data": tables(), "teacher": recorded, **wrong})
    assert words in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_resuming_without_the_teachers_object_says_to_give_it(
    fields: dict[str, Any], recorded: RehearsalModel, tmp_path: Path
) -> None:
    run({**fields, "budget": {"rounds": 0}}, tmp_path / "run", data=tables(), teacher=recorded)
    with pytest.raises(InputError, match=r"is a Python object, which cannot be stored; give it again"):
        resume(tmp_path / "run", budget={"rounds": 1})


@pytest.mark.parametrize("bad", [[[1.0]], [[float("nan")], [1.0]], 3.0])
def test_an_encoder_that_returns_no_vectors_is_refused(bad: Any) -> None:
    from tutelage.student.encoder import GivenEncoder

    class Wrong:
        def encode(self, texts: list[str]) -> Any:
            return bad

    with pytest.raises(InputError, match="expected one vector of finite numbers per text"):
        GivenEncoder(Wrong()).encode(["a", "b"])
