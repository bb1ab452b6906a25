"""Review in a terminal: every task type, through lines and through the real pipe of a process."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from tutelage.graph.review.open_review import OpenReview
from tutelage.graph.review.terminal import review_in_terminal

Waiting = Callable[..., OpenReview]


def answered(review: OpenReview, *lines: str) -> tuple[bool, str]:
    """Answer with lines; return whether the review is finished, and what was shown."""
    shown: list[str] = []
    return review_in_terminal(review, (f"{line}\n" for line in lines), shown.append), "".join(shown)


def test_each_key_decides(waiting: Waiting) -> None:
    review = waiting(count=6)
    own, second, third, fourth, fifth, sixth = review.waiting
    labels = list(review.task.labels)
    other = [place for place, name in enumerate(labels, 1) if name != second["label"]]
    names = [name for name in labels if name != third["label"]]
    finished, shown = answered(review, "", str(other[0]), names[0], "u", names[1], "r", "s", "a")
    assert finished
    made = review.decisions
    assert [made[item["id"]]["action"] for item in (own, second, third, fourth, fifth, sixth)] == [
        *("accept", "relabel", "relabel", "refuse", "skip", "accept")
    ]
    assert made[second["id"]]["label"] == labels[other[0] - 1]
    assert made[third["id"]]["label"] == names[1]
    assert "text 1 of 6; why you are asked: the students answer differently" in shown
    assert f"label: {own['label']} (your label)" in shown
    assert f"label: {second['label']} (the teacher's label, 55% sure)" in shown
    assert f"0.80 {own['near'][0]['label']}: {own['near'][0]['text']}" in shown
    assert shown.endswith("all texts are decided\n")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("r", "a row of your own data"),
        ("nowhere", "'nowhere' is not one of the task's 6 labels; give one of: LABELS\n"),
        ("a; b", "the label 'a; b': 'a; b' is not one of the task's 6 labels; give one of: LABELS\n"),
        ("u", "no decision to take back"),
        ("99", "'99' is not one of the task's"),
        ("=", "'' is not one of the task's"),
    ],
)
def test_a_wrong_answer_is_explained_and_the_same_text_asked_again(
    line: str, words: str, waiting: Waiting
) -> None:
    review = waiting(count=2)
    finished, shown = answered(review, line, "s")
    assert not finished
    assert words.replace("LABELS", ", ".join(review.task.labels)) in shown
    assert [made["action"] for made in review.decisions.values()] == ["skip"]
    assert review.waiting == review.queue["items"][1:]


def test_before_a_label_there_is_nothing_to_accept(waiting: Waiting) -> None:
    review = waiting(count=2, judged=False, own=False)
    _, shown = answered(review, "", "1")
    assert "no label to accept yet" in shown
    assert "Enter: accept" not in shown
    assert [made["label"] for made in review.decisions.values()] == list(review.task.labels)[:1]


def test_a_label_that_is_a_number_or_a_key_is_not_mistaken(waiting: Waiting) -> None:
    review = waiting(count=4, judged=False, own=False, labels={"2": "", "1": "", "s": ""}, first={"near": []})
    answered(review, "1", "2", "=s", "s")
    assert [made.get("label") for made in review.decisions.values()] == ["1", "2", "s", None]


def test_several_labels_are_given_as_numbers_names_or_a_list(waiting: Waiting) -> None:
    review = waiting("multilabel", 4, own=False, judged=False)
    one, two, *_ = review.task.labels
    answered(review, "2|1", f"{two}", json.dumps([one]), "[]")
    labels = [json.loads(made["label"]) for made in review.decisions.values()]
    assert labels == [sorted([one, two]), [two], [one], []]


def test_entities_are_given_as_in_data_files(waiting: Waiting) -> None:
    review = waiting("ner", 2, own=False, first={"text": "Anna lives in São Paulo", "label": "[]"})
    name = next(iter(review.task.labels))
    entity = json.dumps([{"text": "São Paulo", "type": name}], ensure_ascii=False)
    _, shown = answered(review, entity.replace("São Paulo", "Berlin"), entity, "")
    assert "'Berlin' is not in the text" in shown
    first, second = review.queue["items"]
    assert json.loads(review.decisions[first["id"]]["label"]) == [[14, 23, name]]
    assert review.decisions[second["id"]]["action"] == "accept"


def test_a_target_text_is_a_line(waiting: Waiting) -> None:
    review = waiting("seq2seq", 3, own=False)
    answered(review, "2024-05-01", "=s", "")
    actions = [(made["action"], made["label"]) for made in review.decisions.values()]
    assert actions[:2] == [("relabel", "2024-05-01"), ("relabel", "s")]
    assert actions[2][0] == "accept"


def test_both_texts_of_a_pair_are_shown(waiting: Waiting) -> None:
    review = waiting("pairs", 1)
    finished, shown = answered(review, "1")
    assert finished
    assert all(f"  {name}: " in shown for name in review.task.fields)


def test_finish_leaves_no_text_waiting_and_stop_does(waiting: Waiting) -> None:
    review = waiting(count=4)
    assert answered(review, "s", "q")[0] is False
    assert len(review.decisions) == 1
    assert answered(review, "s")[0] is False, "the end of the lines"
    assert len(review.decisions) == 2
    assert answered(review, "f")[0] is True
    assert review.waiting == []
    assert [made["action"] for made in review.decisions.values()] == ["skip", "skip", "unseen", "unseen"]
    assert answered(review)[0] is True, "nothing is asked again"


def test_control_characters_of_a_text_do_not_reach_the_terminal(waiting: Waiting) -> None:
    review = waiting(count=1, first={"text": "red \x1b[31m\x07 \u202e\nsecond line", "reason": "\x1b[2J"})
    _, shown = answered(review, "q")
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "second line" in shown


def test_the_command_reads_a_pipe_and_loses_nothing(waiting: Waiting) -> None:
    review = waiting(count=3)
    command = [sys.executable, "-m", "tutelage.cli", "review", str(review.folder.path), "--terminal"]
    done = subprocess.run([*command], input="\ns\n", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("2 decisions are kept, 1 text left; to go on: tutelage review ")
    assert len(review.decisions) == 2
    done = subprocess.run([*command, "--no-resume"], input="\n", capture_output=True, text=True, check=False)
    assert done.stdout.endswith("all texts are decided\n")
    assert done.stderr.startswith("3 decisions are kept; to go on: tutelage review ")
    assert review.waiting == []


def test_the_command_ends_with_the_result_as_json(waiting: Waiting) -> None:
    path = str(waiting(count=3).folder.path)
    command = [sys.executable, "-m", "tutelage.cli", "review", path, "--terminal", "--json"]
    done = subprocess.run([*command, "--events", "-"], input="", capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["waiting"] == 3, "what is asked goes to stderr"
    assert "3 texts of round 1 wait now; to go on: tutelage review " in done.stderr
    done = subprocess.run(
        [*command, "--no-resume"], input="s\nf\n", capture_output=True, text=True, check=True
    )
    result = json.loads(done.stdout)
    assert (result["waiting"], result["run"]) == (0, path)
    assert "1 decision is kept, 2 texts left without one; to go on: tutelage review " in done.stderr
