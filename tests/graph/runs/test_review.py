"""A run that waits for a person: it asks, goes on with the decisions, and asks about no text twice."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import pytest
from tutelage.graph.build import build_graph
from tutelage.graph.review.decisions import OpenReview, Review, waiting_texts
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.run_folder.trace import Trace
from tutelage.graph.runs.run import resume, resume_reviewed, run
from tutelage.graph.task.load import Task
from tutelage.graph.tool.job import Job
from tutelage.graph.tool.status import status
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError

Make = Callable[..., Task]
STRATEGY = {"base": "entropy", "samples": 24}


def answered_calls(folder: RunFolder) -> list[str]:
    return [e["call"] for e in Trace(folder.trace).events() if e["event"] == "call" and not e["replayed"]]


def samples_of(folder: RunFolder) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in folder.read_lines(folder.samples)}


def other_label(task: Task, label: str) -> str:
    return next(one for one in task.labels if one != label)


@pytest.fixture(scope="module")
def waiting(folded: Make, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that waits before its first training on samples."""
    task = folded(strategy=STRATEGY, review="before_train", review_budget=20, teacher={"label_noise": 0.2})
    return run(task, tmp_path_factory.mktemp("review") / "run", encoder=encoder)


def test_a_run_waits_with_the_texts_in_doubt_and_some_at_random(waiting: RunFolder) -> None:
    review = OpenReview(waiting)
    items = review.queue["items"]
    assert waiting_texts(waiting) == len(items) == 10  # half of the budget: two rounds are left
    assert not waiting.report.exists()
    samples = [item for item in items if not item["own"]]
    assert sum(item["random"] for item in samples) == int(len(samples) * 0.2) > 0
    assert all(item["label"] in review.task.labels and len(item["near"]) == 3 for item in items)
    disagree = [item["label"] != item["answered"] for item in samples if not item["random"]]
    assert disagree[0]
    assert Trace(waiting.trace).events()[-1]["event"] == "paused"


def test_a_run_that_waits_asks_nobody_when_it_is_resumed(waiting: RunFolder, encoder: Encoder) -> None:
    before, queue = answered_calls(waiting), OpenReview(waiting).queue
    resume(waiting.path, encoder=encoder)
    assert answered_calls(waiting) == before
    assert OpenReview(waiting).queue == queue


def test_decisions_are_trained_on_counted_and_never_asked_again(
    folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    task = folded(strategy=STRATEGY, review="before_train", review_budget=20, teacher={"label_noise": 0.2})
    folder = run(task, tmp_path / "run", encoder=encoder)
    review = OpenReview(folder)
    drawn = next(item for item in review.queue["items"] if item["random"])
    first, second, third = [i for i in review.queue["items"] if not (i["own"] or i["random"])][:3]
    wanted = other_label(task, first["label"])
    review.decide(first["id"], "relabel", wanted)
    review.decide(second["id"], "refuse")
    review.decide(third["id"], "skip")
    review.decide(drawn["id"], "accept")
    before = folder.read_calibration()
    asked = {item["id"] for item in review.queue["items"]}

    resume_reviewed(folder.path)  # the texts without a decision are skipped

    assert review.queue["round"] == 2
    assert not asked & {item["id"] for item in review.queue["items"]}
    assert len(review.queue["items"]) == 10
    after = folder.read_calibration()
    assert before
    assert after
    assert after["rows"] == before["rows"] + 1 == before["rows"] + after["reviewed"]
    resume_reviewed(folder.path)
    samples = samples_of(folder)
    assert samples[first["id"]]["label"] == wanted
    assert samples[first["id"]]["teacher_label"] == first["label"]
    assert samples[first["id"]]["confidence"] == 1
    assert samples[second["id"]]["status"] == "refused"
    assert "reviewed" not in samples[third["id"]]
    assert samples[drawn["id"]]["reviewed"] == "accept"
    outcome = folder.about()["review"]
    assert outcome["samples"] == {"relabel": 1, "refuse": 1, "skip": outcome["samples"]["skip"], "accept": 1}
    assert (outcome["drawn"], outcome["right"]) == (1, 1)
    assert waiting_texts(folder) == 0
    assert "person judged" in " ".join(folder.about()["notes"])


def test_rows_of_the_user_get_the_label_that_the_user_gives(
    folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    """A row with a wrong label is asked about, and the run goes on with the right one, also when resumed."""
    bundled = folded()
    assert bundled.data.labelled
    lines = [json.loads(line) for line in Path(bundled.data.labelled.path).read_text().splitlines()]
    for line in lines[:60:6]:
        line["label"] = other_label(bundled, line["label"])
    wrong = tmp_path / "rows.jsonl"
    wrong.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    data = {**json.loads(bundled.data.model_dump_json(exclude_none=True)), "labelled": str(wrong)}
    task = folded(strategy=STRATEGY, budget={"rounds": 1}, review="before_train", review_budget=40, data=data)
    folder = run(task, tmp_path / "run", encoder=encoder)
    review = OpenReview(folder)
    own = [item for item in review.queue["items"] if item["own"]]
    assert own
    with pytest.raises(InputError, match="row of your own data"):
        review.decide(own[0]["id"], "refuse")
    for item in own:
        review.decide(item["id"], "relabel", item["answered"])
    resume_reviewed(folder.path)
    about = folder.about()
    assert about["review"]["own_rows"]["relabel"] == len(own)
    listed = folder.labels_to_check.read_text(encoding="utf-8") if folder.labels_to_check.exists() else ""
    assert not [item for item in own if item["text"] in listed]


def test_a_person_can_label_texts_before_the_teacher_is_paid_for_them(
    folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    alone = run(folded(strategy=STRATEGY, budget={"rounds": 1}), tmp_path / "alone", encoder=encoder)
    task = folded(strategy=STRATEGY, budget={"rounds": 1}, review="before_label", review_budget=10)
    folder = run(task, tmp_path / "run", encoder=encoder)
    review = OpenReview(folder)
    items = [item for item in review.queue["items"] if not item["own"]]
    assert all("label" not in item for item in items)
    with pytest.raises(InputError, match="no label to accept"):
        review.decide(items[0]["id"], "accept")
    for item in items:
        review.decide(item["id"], "relabel", item["answered"])
    resume_reviewed(folder.path)
    samples = samples_of(folder)
    assert {samples[item["id"]]["confidence_source"] for item in items} == {"person"}
    assert all("labelled_by" not in samples[item["id"]] for item in items)
    labelled = [sum("labelled_by" in s for s in samples_of(one).values()) for one in (alone, folder)]
    assert labelled[1] <= labelled[0] - len(items) + 4  # other texts may take the place of refused ones


def test_a_round_that_is_repeated_uses_the_decisions_that_were_made(
    folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    task = folded(strategy=STRATEGY, budget={"rounds": 1}, review="before_train", review_budget=10)
    folder = run(task, tmp_path / "run", encoder=encoder)
    review = OpenReview(folder)
    item = next(item for item in review.queue["items"] if not item["own"])
    wanted = other_label(task, item["label"])
    review.decide(item["id"], "relabel", wanted)
    resume_reviewed(folder.path)
    made = Review(folder).decisions()
    resume(folder.path, budget={"rounds": 2}, encoder=encoder)
    assert {item["id"] for item in review.queue["items"]}.isdisjoint(made)
    resume_reviewed(folder.path)
    assert samples_of(folder)[item["id"]]["label"] == wanted


def test_an_application_gets_the_texts_and_answers_with_decisions(
    folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.types import Command

    task = folded(strategy=STRATEGY, budget={"rounds": 1}, review="before_train", review_budget=10)
    graph = build_graph(task, tmp_path / "run", checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "one"}, "recursion_limit": 100}
    state = graph.invoke({"rounds": 1}, config, durability="sync")
    [asked] = state["__interrupt__"]
    texts = asked.value["texts"]
    wrong = [{"id": texts[0]["id"], "action": "relabel", "label": "no such label"}]
    state = graph.invoke(Command(resume=wrong), config, durability="sync")
    assert "no such label" in state["__interrupt__"][0].value["error"]
    assert not Review(RunFolder(tmp_path / "run")).decisions()
    answers = [{"id": item["id"], "action": "accept"} for item in texts[:5]]
    done = graph.invoke(Command(resume=answers), config, durability="sync")
    assert done["stop"] == "1 round is done"
    decisions = Review(RunFolder(tmp_path / "run")).decisions()
    assert [made["action"] for made in decisions.values()] == ["accept"] * 5 + ["skip"] * (len(texts) - 5)


def test_a_parent_graph_waits_with_its_child(folded: Make, tmp_path: Path) -> None:
    """The interrupt of the child is one of the parent, and the answer to the parent reaches the child."""
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import END, START, StateGraph
    from langgraph.types import Command

    class Desk(TypedDict, total=False):
        task: dict[str, Any]
        student: str

    child, folder = build_graph(), tmp_path / "run"

    def distil(state: Desk) -> Desk:
        return {"student": child.invoke({"task": state["task"], "folder": str(folder)})["student"]}

    parent = StateGraph(Desk).add_node("distil", distil).add_edge(START, "distil").add_edge("distil", END)
    desk = parent.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "desk"}, "recursion_limit": 100}
    task = folded(strategy=STRATEGY, review="before_train", review_budget=10)
    given = Desk(task=task.model_dump(mode="json", exclude_none=True))
    state = desk.invoke(given, config, durability="sync")
    for round in (1, 2):
        [asked] = state["__interrupt__"]
        assert asked.value["round"] == round
        calls = answered_calls(RunFolder(folder))
        answers = [{"id": item["id"], "action": "accept"} for item in asked.value["texts"]]
        state = desk.invoke(Command(resume=answers), config, durability="sync")
        assert answered_calls(RunFolder(folder))[: len(calls)] == calls
    assert Path(state["student"]).exists()
    decided = Review(RunFolder(folder)).decisions().values()
    assert {made["round"] for made in decided} == {1, 2}
    assert {made["action"] for made in decided} == {"accept"}


def test_an_agent_learns_that_a_person_must_review(folded: Make, encoder: Encoder, tmp_path: Path) -> None:
    job = Job(tmp_path, "one")
    run(folded(strategy=STRATEGY, review="before_train", review_budget=10), job.run.path, encoder=encoder)
    found = status(job, {})
    assert found["state"] == "waiting for review"
    assert f"tutelage review {job.run.path}" in found["next"]
    assert found["rounds_done"] == "0 of at most 2"
