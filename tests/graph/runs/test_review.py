"""A run that waits for a person: it asks, goes on with the decisions, and asks about no text twice."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import pytest
from tutelage.graph.build import build_graph
from tutelage.graph.review.decisions import Review, waiting_texts
from tutelage.graph.review.open_review import OpenReview
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.run_folder.trace import Event, Trace
from tutelage.graph.runs.run import resume, resume_reviewed, run
from tutelage.graph.students.label_check import suspected_labels
from tutelage.graph.task.load import Task, parse_task
from tutelage.graph.task.samples import demo_task
from tutelage.graph.task.splits import load_splits
from tutelage.graph.tool.job import Job
from tutelage.graph.tool.status import status
from tutelage.student.corpus import stored_samples
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError, Interrupted

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
    first_queue, decided = review.queue["items"], {i["id"] for i in (first, second, third, drawn)}
    asked = {item["id"] for item in first_queue}

    resume_reviewed(folder.path)  # nobody has seen the texts without a decision

    assert review.queue["round"] == 2
    assert not asked & {item["id"] for item in review.queue["items"]}
    assert len(review.queue["items"]) == 16  # only four of the twenty were judged
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
    unseen = sum(
        item["id"] not in decided for item in [*first_queue, *review.queue["items"]] if not item["own"]
    )
    assert outcome["samples"] == {"relabel": 1, "refuse": 1, "skip": 1, "accept": 1, "unseen": unseen}
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
    before, measured = folder.read_rounds()[0], folder.read_calibration()
    for item in own:
        review.decide(item["id"], "relabel", item["answered"])
    resume_reviewed(folder.path)
    about = folder.about()
    assert about["review"]["own_rows"]["relabel"] == len(own)
    assert any("labels of your own rows were replaced" in note for note in about["notes"])
    [left] = [e for e in Trace(folder.trace).events() if e["event"] == "leave" and e["node"] == "review"]
    assert left["own_relabelled"] == len(own)
    # The students of round 0 predicted the new labels, so that by these their score is higher.
    assert folder.read_rounds()[0]["metric"] > before["metric"]
    assert measured
    teacher = {one["id"]: one["label"] for one in measured["answers"]}
    new = {item["id"]: item["answered"] for item in own}
    gained = sum(
        (teacher[i] == new[i]) - (teacher[i] == old["label"])
        for i in new
        if i in teacher
        for old in own
        if old["id"] == i
    )
    again = folder.read_calibration()
    assert again
    hits = round(again["accuracy"] * again["rows"]) - again["reviewed"]
    assert hits == round(measured["accuracy"] * measured["rows"]) + gained
    suspects = suspected_labels(task, load_splits(task), folder, 0)
    assert suspects is not None
    rows = load_splits(task).labelled
    assert not {rows[one.row_index]["id"] for one in suspects} & set(new)


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_round_that_follows_asks_about_no_text_again(
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
    state = graph.invoke(Command(resume="yes"), config, durability="sync")
    assert "go on with True" in state["__interrupt__"][0].value["error"]
    assert not Review(RunFolder(tmp_path / "run")).decisions()
    answers = [{"id": item["id"], "action": "accept"} for item in texts[:5]]
    done = graph.invoke(Command(resume=answers), config, durability="sync")
    assert done["stop"] == "1 round is done"
    decisions = Review(RunFolder(tmp_path / "run")).decisions()
    assert [made["action"] for made in decisions.values()] == ["accept"] * 5 + ["unseen"] * (len(texts) - 5)


@pytest.mark.slow
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


@pytest.mark.slow
def test_an_agent_learns_that_a_person_must_review(folded: Make, encoder: Encoder, tmp_path: Path) -> None:
    job = Job(tmp_path, "one")
    run(folded(strategy=STRATEGY, review="before_train", review_budget=10), job.run.path, encoder=encoder)
    found = status(job, {})
    assert found["state"] == "waiting for review"
    assert f"tutelage review {job.run.path}" in found["next"]
    assert found["rounds_done"] == "0 of at most 2"


@pytest.mark.slow
def test_a_round_that_is_repeated_asks_about_its_new_texts_only(
    folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    """The budget ends in the round, so that it is repeated with a higher limit: decisions stay, and the texts
    are chosen among all samples of the round.
    """
    task = folded(
        strategy={**STRATEGY, "control": False},
        review="before_train",
        review_budget=20,
        teacher={"calibrate": 24},
        budget={"rounds": 1, "calls": 3},  # the last one labels half of the texts
    )
    folder = run(task, tmp_path / "run", encoder=encoder)
    review = OpenReview(folder)
    few = [item for item in review.queue["items"] if not item["own"]]
    wanted = other_label(task, few[0]["label"])
    review.decide(few[0]["id"], "relabel", wanted)
    resume_reviewed(folder.path)
    refused = [e for e in Trace(folder.trace).events() if e["event"] == "refused"]
    assert refused[0]["node"] == "labeler"
    resume(folder.path, budget={"calls": 100}, encoder=encoder)
    assert waiting_texts(folder) == len(review.queue["items"]) > 0
    assert few[0]["id"] not in {item["id"] for item in review.queue["items"]}
    resume_reviewed(folder.path)
    assert samples_of(folder)[few[0]["id"]]["label"] == wanted


def test_a_run_that_was_stopped_before_it_asks_is_not_answered_in_advance(
    folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    def stop(event: Event) -> None:
        if event["event"] == "enter" and event["node"] == "review":
            raise KeyboardInterrupt

    task = folded(strategy=STRATEGY, review="before_train", review_budget=10, budget={"rounds": 1})
    with pytest.raises(Interrupted):
        run(task, tmp_path / "run", encoder=encoder, listener=stop)
    folder = resume_reviewed(tmp_path / "run", encoder=encoder)
    assert waiting_texts(folder) == len(OpenReview(folder).queue["items"]) > 0


@pytest.mark.slow
def test_a_refused_text_is_in_no_training_set(folded: Make, encoder: Encoder, tmp_path: Path) -> None:
    strategy = {**STRATEGY, "self_training": "on"}
    task = folded(strategy=strategy, review="before_train", review_budget=10, budget={"rounds": 1})
    folder = run(task, tmp_path / "run", encoder=encoder)
    review = OpenReview(folder)
    refused = [item["id"] for item in review.queue["items"] if not item["own"]]
    for id in refused:
        review.decide(id, "refuse")
    resume_reviewed(folder.path)
    pool, [*arms] = len(load_splits(task).unlabelled), json.loads(folder.arms.read_text())
    delivered = arms[-1]
    assert delivered["soft"] > 0
    assert delivered["soft"] + delivered["teacher_labels"] <= pool - len(refused)
    trained = json.loads((folder.student / "texts_used.json").read_text())
    assert not set(trained) & set(refused)


def test_asking_before_labels_is_refused_where_texts_are_written_for_a_label(folded: Make) -> None:
    with pytest.raises(InputError, match="before_label"):
        folded(strategy={"base": "auto", "blind_labels": False, "pool_share": 0}, review="before_label")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["multilabel", "pairs"])
def test_tasks_of_other_types_are_reviewed(kind: str, encoder: Encoder, tmp_path: Path) -> None:
    task = demo_task(kind, tmp_path / "data")
    raw = json.loads(task.model_dump_json(exclude_none=True))
    raw |= {
        "student": {"mode": "head"},
        "budget": {"rounds": 1},
        "review": "before_train",
        "review_budget": 10,
    }
    raw["strategy"] = {"base": "auto", "samples": 16, "control": False}
    folder = run(parse_task(raw, "test", tmp_path), tmp_path / "run", encoder=encoder)
    review = OpenReview(folder)
    ids = [item["id"] for item in review.queue["items"]]
    assert 0 < len(ids) == len(set(ids)) <= 10
    labels = {}
    for item in review.waiting:
        right = task.type.to_file(item["answered"], item["text"])
        labels[item["id"]] = review.decide(item["id"], "relabel", right)["label"]
    resume_reviewed(folder.path)
    samples = {one["id"]: one for one in stored_samples(folder.corpus)}
    judged = [id for id in ids if id in samples]
    assert judged
    assert all(samples[id]["label"] == labels[id] for id in judged)
