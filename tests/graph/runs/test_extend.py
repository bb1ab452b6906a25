"""Runs that ended at a limit continue with a higher limit and pay for nothing twice."""

import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
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

pytestmark = pytest.mark.slow

Make = Callable[..., Task]
MARK = 1e-6  # is added to vectors, so that they can be told from those of another forward pass


@pytest.fixture(scope="module")
def brief_task(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return a function that makes the bundled task with a head student, small sets and rounds of 16 texts.

    Keyword arguments are the budget.
    """
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


def results(folder: RunFolder) -> dict[str, Any]:
    about = folder.about()
    rounds = [{k: v for k, v in line.items() if k != "seconds"} for line in folder.read_rounds()]
    keys = ("stop", "best", "spent", "test", "test_by_round", "overlap")
    # The second digit of the entropy in a reason depends on rounding.
    text = re.sub(r"\(entropy [^)]*\)", "", folder.samples.read_text())
    # So do the student's scores, because embeddings depend on their batch in the last digits.
    scores = ("energy", "nll", "baseline_probability")
    samples = [
        {key: value for key, value in json.loads(line).items() if key not in scores}
        for line in text.splitlines()
    ]
    return {"rounds": rounds, "samples": samples, **{key: about[key] for key in keys}}


@pytest.mark.parametrize("calls", [0, 1, 4, 7], ids="calls={}".format)
def test_a_run_stopped_by_its_budget_at_any_call_resumes_with_the_results_of_a_whole_run(
    calls: int, whole: RunFolder, brief_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    stopped = run(brief_task(rounds=2, calls=calls), tmp_path / "run", encoder=encoder)
    assert stopped.about()["stop"] == f"budget of {calls} calls is spent"
    assert stopped.about()["spent"]["calls"] == calls
    assert stopped.report.exists()
    resumed = resume(stopped.path, budget={"calls": 1000})
    assert results(resumed) == results(whole)
    assert "the test set was already opened after round" in resumed.about()["notes"][-1]


def test_a_round_stopped_before_a_second_generator_attempt_is_repeated_on_resuming(
    brief_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    def task(**budget: Any) -> Task:
        whole = brief_task(rounds=2, **budget)
        teacher = whole.teacher.model_copy(update={"label_noise": 0.4, "force": True})
        strategy = {"base": "auto", "samples": 16, "min_kept_share": 1.0, "critic": "all"}
        return whole.model_copy(update={"teacher": teacher, "strategy": strategy})

    whole = run(task(), tmp_path / "whole", encoder=encoder)
    trace = [json.loads(line) for line in whole.trace.read_text().splitlines()]
    calls = [event for event in trace if event["event"] in ("call", "leave")]
    second = next(i for i, e in enumerate(calls) if e["node"] == "generator" and e.get("attempt") == 2)
    before = max(i for i, e in enumerate(calls[:second]) if e["event"] == "leave" and e["node"] == "keep")
    paid = sum(event["event"] == "call" for event in calls[:before])
    stopped = run(task(calls=paid), tmp_path / "run", encoder=encoder)
    assert stopped.about()["spent"]["calls"] == paid
    assert results(resume(stopped.path, budget={"calls": 1000})) == results(whole)


def test_a_round_that_the_budget_ends_before_a_text_is_labelled_trains_no_student(
    brief_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    folder = run(brief_task(rounds=2, calls=4), tmp_path / "run", encoder=encoder)
    events = [json.loads(line) for line in folder.trace.read_text().splitlines()]
    assert {event["node"] for event in events if event["round"] == 1} >= {"analyst", "generator", "keep"}
    assert not {event["node"] for event in events if event["round"] == 1} & {"train", "evaluate"}
    assert [line["round"] for line in folder.read_rounds()] == [0]
    assert folder.about()["stop"] == "budget of 4 calls is spent"
    assert folder.student.exists()


@pytest.mark.parametrize(("calls", "node"), [(4, "refit"), (7, "train")], ids=["nothing kept", "some kept"])
def test_a_run_killed_after_its_budget_ended_repeats_that_round(
    calls: int, node: str, whole: RunFolder, brief_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    class Killed(Exception):  # noqa: N818
        pass

    def listener(event: dict[str, Any]) -> None:
        if (event["event"], event["node"], event["round"]) == ("enter", node, 1):
            raise Killed

    with pytest.raises(Killed):
        run(brief_task(rounds=2, calls=calls), tmp_path / "run", encoder=encoder, listener=listener)
    assert results(resume(tmp_path / "run", budget={"calls": 1000})) == results(whole)


def test_a_finished_run_continues_with_more_rounds(
    whole: RunFolder, brief_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    first = run(brief_task(rounds=1), tmp_path / "run", encoder=encoder)
    assert first.about()["stop"] == "1 round is done"
    assert results(resume(first.path, budget={"rounds": 2})) == results(whole)


@pytest.mark.parametrize("node", ["labeler", "evaluate"])
def test_a_run_killed_in_its_last_round_continues_with_more_rounds(
    node: str, whole: RunFolder, brief_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    class Killed(Exception):  # noqa: N818
        pass

    def listener(event: dict[str, Any]) -> None:
        if (event["event"], event["node"], event["round"]) == ("leave", node, 1):
            raise Killed

    with pytest.raises(Killed):
        run(brief_task(rounds=1), tmp_path / "run", encoder=encoder, listener=listener)
    assert results(resume(tmp_path / "run", budget={"rounds": 2})) == results(whole)


def test_a_run_with_importance_weights_continues_with_more_rounds(
    brief_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    def task(rounds: int) -> Task:
        strategy = {"base": "auto", "samples": 16, "importance": True, "attempts": 0}
        return brief_task(rounds=rounds).model_copy(update={"strategy": strategy})

    whole = run(task(2), tmp_path / "whole", encoder=encoder)
    short = run(task(1), tmp_path / "short", encoder=encoder)
    extended = resume(short.path, budget={"rounds": 2})
    assert results(extended) == results(whole)
    extended_weights, whole_weights = (
        [
            s["baseline_probability"]
            for s in map(json.loads, folder.samples.read_text().splitlines())
            if s["status"] == "kept"
        ]
        for folder in (extended, whole)
    )
    assert extended_weights
    assert np.allclose(extended_weights, whole_weights, atol=1e-3)


def test_a_run_whose_budget_ended_during_the_first_labels_continues_from_them(
    folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    data = folded().data.model_dump(mode="json", exclude_none=True)
    alone = {name: data[name] for name in ("unlabelled", "test")}
    stopped = run(folded(data=alone, budget={"rounds": 1, "calls": 5}), tmp_path / "run", encoder=encoder)
    first = stopped.first_labels.read_text()
    assert len(first.splitlines()) == 60, "twelve in each of five calls"
    assert stopped.about()["stop"] == "budget of 5 calls is spent"
    resumed = resume(stopped.path, budget={"calls": 500})
    assert resumed.about()["stop"] == "1 round is done"
    assert resumed.first_labels.read_text() == first
    assert resumed.read_rounds()[1]["samples_kept"] > 0


def test_fewer_rounds_than_are_finished_are_refused(whole: RunFolder) -> None:
    before = whole.run_json.read_bytes()
    with pytest.raises(
        InputError, match=r"has already finished 2 rounds, so --rounds 1 is too few; .* --rounds 1 --reuse"
    ):
        resume(whole.path, budget={"rounds": 1})
    assert whole.run_json.read_bytes() == before


def test_resuming_does_nothing_while_the_limit_that_ended_the_run_stands(
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


def test_a_new_run_can_reuse_the_paid_replies_of_another(
    whole: RunFolder, brief_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    again = run(brief_task(rounds=2), tmp_path / "again", encoder=encoder, reuse=[whole.path])
    assert again.about()["spent"] == {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0, "cost": 0}
    assert again.samples.read_text() == whole.samples.read_text()
    assert again.about()["test"] == whole.about()["test"]
    with pytest.raises(InputError, match="is not a run folder"):
        run(brief_task(rounds=1), tmp_path / "other", encoder=encoder, reuse=[tmp_path])


def test_a_run_that_stops_reuses_the_replies_of_the_other_when_it_goes_on(
    whole: RunFolder, brief_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    short = run(brief_task(rounds=1), tmp_path / "short", encoder=encoder, reuse=[whole.path])
    longer = resume(short.path, budget={"rounds": 2}, encoder=encoder)
    assert longer.about()["spent"]["calls"] == 0
    assert longer.samples.read_text() == whole.samples.read_text()
    other = shutil.copytree(whole.path, tmp_path / "other")
    lonely = run(brief_task(rounds=1), tmp_path / "lonely", encoder=encoder, reuse=[other])
    shutil.rmtree(other)
    resumed = resume(lonely.path, budget={"rounds": 2}, encoder=encoder)
    assert resumed.about()["spent"]["calls"] > 0
    assert f"the replies of {other} are not reused any more: it is gone" in resumed.about()["notes"]


def test_a_new_run_with_another_threshold_embeds_no_text_of_the_reused_run_again(
    brief_task: Make, tmp_path: Path
) -> None:
    first = run(brief_task(rounds=1), tmp_path / "first")
    with closing(sqlite3.connect(first.embeddings)) as db, db:
        db.create_function("marked", 1, lambda vector: (np.frombuffer(vector, "f4") + MARK).tobytes())
        db.execute("UPDATE vectors SET vector = marked(vector)")
        marked = set(db.execute("SELECT text, vector FROM vectors"))
    looser = brief_task(rounds=1).model_copy(update={"duplicate_above": 0.99})
    again = run(looser, tmp_path / "again", reuse=[first.path])
    assert again.about()["task"]["duplicate_above"] == 0.99
    with closing(sqlite3.connect(again.embeddings)) as db:
        assert len(marked) > 100
        assert marked <= set(db.execute("SELECT text, vector FROM vectors"))


def test_a_teacher_without_usable_replies_stops_the_run_early(
    whole: RunFolder, brief_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    task, model = brief_task(rounds=2), rehearsal_model(brief_task(rounds=2), encoder=encoder)
    with serve(model, faults=Faults(share=1, kinds=("refusal",), max_per_request=999)) as url:
        teacher = task.teacher.model_copy(update={"model": "openai:rehearsal", "base_url": url})
        useless = task.model_copy(update={"teacher": teacher})
        with pytest.raises(InputError, match=r"gives no usable replies as the labeler: .*tutelage doctor"):
            run(useless, tmp_path / "run", encoder=encoder)
        paid = Journal(tmp_path / "run" / "journal.sqlite").spent()["calls"]
    with serve(model, port=int(url.split(":")[2].split("/")[0])):  # without faults
        resumed = resume(tmp_path / "run")
    assert resumed.about()["test"] == whole.about()["test"]
    assert resumed.about()["spent"]["calls"] == whole.about()["spent"]["calls"] + paid


def test_a_note_says_that_the_teacher_is_often_wrong(
    brief_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    task = brief_task(rounds=1)
    noisy = task.model_copy(update={"teacher": task.teacher.model_copy(update={"label_noise": 0.9})})
    notes = run(noisy, tmp_path / "run", encoder=encoder).about()["notes"]
    assert any(note.startswith("the teacher is right on only") for note in notes)
