"""Runs that ended at a limit go on with a higher one, and pay for nothing twice."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tutelage.agents.rehearsal.faults import Faults
from tutelage.agents.rehearsal.server import serve
from tutelage.agents.teacher.journal import Journal
from tutelage.graph.context import rehearsal_model
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import resume, run
from tutelage.graph.task.load import Task, parse_task
from tutelage.graph.task.samples import sample_task
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError

Make = Callable[..., Task]


@pytest.fixture(scope="module")
def brief_task(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """The shop task with a head student, small sets and rounds of 16; arguments are its budget."""
    folder = tmp_path_factory.mktemp("sets")

    def make(**budget: Any) -> Task:
        raw = sample_task().model_dump(exclude_none=True)
        strategy = {"base": "auto", "samples": 16, "critic": "all"}
        raw |= {"student": {"mode": "head"}, "strategy": strategy, "budget": budget}
        raw["teacher"] |= {"calibrate": 12}
        for name in ("diagnose", "gate", "test"):
            few = Path(raw["data"][name]["path"]).read_text().splitlines()[:48]
            (folder / f"{name}.jsonl").write_text("\n".join(few))
            raw["data"][name]["path"] = folder / f"{name}.jsonl"
        return parse_task(raw, "test", Path())

    return make


@pytest.fixture(scope="module")
def whole(brief_task: Make, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(brief_task(rounds=2), tmp_path_factory.mktemp("whole") / "run", encoder=encoder)


def outcome(folder: RunFolder) -> dict[str, Any]:
    about = folder.about()
    rounds = [{k: v for k, v in line.items() if k != "seconds"} for line in folder.read_rounds()]
    keys = ("stop", "best", "spent", "test", "test_by_round", "overlap")
    # The second digit of a reason's entropy is at the mercy of rounding.
    told = re.sub(r"\(entropy [^)]*\)", "", folder.samples.read_text())
    # So are the student's own figures, whose vectors were read in other company.
    figures = ("energy", "nll", "own_probability")
    samples = [
        {key: value for key, value in json.loads(line).items() if key not in figures}
        for line in told.splitlines()
    ]
    return {"rounds": rounds, "samples": samples, **{key: about[key] for key in keys}}


@pytest.mark.parametrize("calls", [0, 1, 4, 7], ids="calls={}".format)
def test_a_run_that_the_budget_stopped_anywhere_goes_on_as_if_there_had_been_enough(
    calls: int, whole: RunFolder, brief_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    stopped = run(brief_task(rounds=2, calls=calls), tmp_path / "run", encoder=encoder)
    assert stopped.about()["stop"] == f"budget of {calls} calls is spent"
    assert stopped.about()["spent"]["calls"] == calls
    assert stopped.report.exists()
    went_on = resume(stopped.path, budget={"calls": 1000})
    assert outcome(went_on) == outcome(whole)
    assert "the test set was already opened after round" in went_on.about()["notes"][-1]


def test_a_round_cut_where_the_generator_would_be_asked_again_is_begun_anew_too(
    brief_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    def task(**budget: Any) -> Task:
        whole = brief_task(rounds=2, **budget)
        teacher = whole.teacher.model_copy(update={"label_noise": 0.4, "force": True})
        strategy = {"base": "auto", "samples": 16, "enough": 1.0, "critic": "all"}
        return whole.model_copy(update={"teacher": teacher, "strategy": strategy})

    whole = run(task(), tmp_path / "whole", encoder=encoder)
    trace = [json.loads(line) for line in whole.trace.read_text().splitlines()]
    calls = [event for event in trace if event["event"] in ("call", "leave")]
    second = next(i for i, e in enumerate(calls) if e["node"] == "generator" and e.get("attempt") == 2)
    before = max(i for i, e in enumerate(calls[:second]) if e["event"] == "leave" and e["node"] == "keep")
    paid = sum(event["event"] == "call" for event in calls[:before])
    stopped = run(task(calls=paid), tmp_path / "run", encoder=encoder)
    assert stopped.about()["spent"]["calls"] == paid
    assert outcome(resume(stopped.path, budget={"calls": 1000})) == outcome(whole)


def test_a_run_killed_after_the_budget_refused_it_begins_that_round_again(
    whole: RunFolder, brief_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    class Killed(Exception):  # noqa: N818
        pass

    def listener(event: dict[str, Any]) -> None:
        if event["event"] == "enter" and event["node"] == "train" and event["round"] == 1:
            raise Killed

    with pytest.raises(Killed):
        run(brief_task(rounds=2, calls=4), tmp_path / "run", encoder=encoder, listener=listener)
    assert outcome(resume(tmp_path / "run", budget={"calls": 1000})) == outcome(whole)


def test_a_run_whose_rounds_are_done_goes_on_with_more(
    whole: RunFolder, brief_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    first = run(brief_task(rounds=1), tmp_path / "run", encoder=encoder)
    assert first.about()["stop"] == "1 round is done"
    assert outcome(resume(first.path, budget={"rounds": 2})) == outcome(whole)


@pytest.mark.parametrize("node", ["labeler", "examine"])
def test_a_run_killed_in_its_last_round_goes_on_with_more_rounds(
    node: str, whole: RunFolder, brief_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    class Killed(Exception):  # noqa: N818
        pass

    def listener(event: dict[str, Any]) -> None:
        if (event["event"], event["node"], event["round"]) == ("leave", node, 1):
            raise Killed

    with pytest.raises(Killed):
        run(brief_task(rounds=1), tmp_path / "run", encoder=encoder, listener=listener)
    assert outcome(resume(tmp_path / "run", budget={"rounds": 2})) == outcome(whole)


def test_a_run_that_weighs_texts_by_its_first_student_goes_on_with_more_rounds(
    brief_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    def task(rounds: int) -> Task:
        strategy = {"base": "auto", "samples": 16, "importance": True, "attempts": 0}
        return brief_task(rounds=rounds).model_copy(update={"strategy": strategy})

    whole = run(task(2), tmp_path / "whole", encoder=encoder)
    short = run(task(1), tmp_path / "short", encoder=encoder)
    extended = resume(short.path, budget={"rounds": 2})
    assert outcome(extended) == outcome(whole)
    ours, theirs = (
        [
            s["own_probability"]
            for s in map(json.loads, folder.samples.read_text().splitlines())
            if s["status"] == "kept"
        ]
        for folder in (extended, whole)
    )
    assert ours
    assert np.allclose(ours, theirs, atol=1e-3)


def test_a_run_whose_budget_ended_in_its_first_labels_goes_on_from_those_it_has(
    folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    data = folded().data.model_dump(mode="json", exclude_none=True)
    alone = {name: data[name] for name in ("unlabelled", "test")}
    stopped = run(folded(data=alone, budget={"rounds": 1, "calls": 5}), tmp_path / "run", encoder=encoder)
    first = stopped.first_labels.read_text()
    assert len(first.splitlines()) == 60, "twelve in each of five calls"
    assert stopped.about()["stop"] == "budget of 5 calls is spent"
    went_on = resume(stopped.path, budget={"calls": 500})
    assert went_on.about()["stop"] == "1 round is done"
    assert went_on.first_labels.read_text() == first
    assert went_on.read_rounds()[1]["samples_kept"] > 0


def test_fewer_rounds_than_are_over_are_refused_and_change_nothing(whole: RunFolder) -> None:
    before = whole.run_json.read_bytes()
    with pytest.raises(
        InputError, match=r"has already finished 2 rounds, so --rounds 1 is too few; .* --rounds 1 --reuse"
    ):
        resume(whole.path, budget={"rounds": 1})
    assert whole.run_json.read_bytes() == before


def test_nothing_happens_while_the_reason_of_the_end_stands(
    brief_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    stopped = run(brief_task(rounds=2, calls=5), tmp_path / "run", encoder=encoder)
    trace, about = stopped.trace.read_text(), stopped.about()
    resume(stopped.path)
    resume(stopped.path, budget={"tokens": 10**9})
    assert stopped.trace.read_text() == trace
    assert {**stopped.about(), "task": {}} == {**about, "task": {}}
    with pytest.raises(InputError, match=r"budget.calls.*greater than or equal to 0"):
        resume(stopped.path, budget={"calls": -1})


def test_a_rerun_takes_over_what_the_first_run_paid_for(
    whole: RunFolder, brief_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    again = run(brief_task(rounds=2), tmp_path / "again", encoder=encoder, reuse=[whole.path])
    assert again.about()["spent"] == {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0, "cost": 0}
    assert again.samples.read_text() == whole.samples.read_text()
    assert again.about()["test"] == whole.about()["test"]
    with pytest.raises(InputError, match="is not a run folder"):
        run(brief_task(rounds=1), tmp_path / "other", encoder=encoder, reuse=[tmp_path])


def test_a_teacher_that_gives_nothing_of_use_stops_the_run_before_more_is_spent_on_it(
    whole: RunFolder, brief_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    task, model = brief_task(rounds=2), rehearsal_model(brief_task(rounds=2), encoder=encoder)
    with serve(model, faults=Faults(share=1, kinds=("refusal",), stubborn=999)) as url:
        teacher = task.teacher.model_copy(update={"model": "openai:rehearsal", "base_url": url})
        useless = task.model_copy(update={"teacher": teacher})
        with pytest.raises(InputError, match=r"is of no use as the labeler: .*tutelage doctor"):
            run(useless, tmp_path / "run", encoder=encoder)
        paid = Journal(tmp_path / "run" / "journal.sqlite").spent()["calls"]
    with serve(model, port=int(url.split(":")[2].split("/")[0])):  # it has come to its senses
        went_on = resume(tmp_path / "run")
    assert went_on.about()["test"] == whole.about()["test"]
    assert went_on.about()["spent"]["calls"] == whole.about()["spent"]["calls"] + paid


def test_a_teacher_that_is_often_wrong_is_told_of(brief_task: Make, encoder: Encoder, tmp_path: Path) -> None:
    task = brief_task(rounds=1)
    noisy = task.model_copy(update={"teacher": task.teacher.model_copy(update={"label_noise": 0.9})})
    notes = run(noisy, tmp_path / "run", encoder=encoder).about()["notes"]
    assert any(note.startswith("the teacher is right on only") for note in notes)
