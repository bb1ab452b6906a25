"""The methods in the loop: what sets each apart is seen in what it asks, keeps and trains on."""

import io
import json
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.run_folder.progress import Progress
from tutelage.graph.runs.run import resume, run
from tutelage.graph.task.load import Task, parse_task
from tutelage.graph.task.samples import sample_task
from tutelage.prompts import read_payload
from tutelage.student.data.rows import content_id
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError


def task(strategy: Any, *, rounds: int = 2, **parts: Any) -> Task:
    """The shop task with a head student."""
    raw = sample_task().model_dump(exclude_none=True)
    raw |= {"student": {"mode": "head"}, "strategy": strategy, "budget": {"rounds": rounds}, **parts}
    raw["teacher"]["calibrate"] = 24
    return parse_task(raw, "test", Path())


def pooled(strategy: Any, *, rounds: int = 2, **parts: Any) -> Task:
    """The same with the rehearsal teacher's texts as the user's unlabelled pool."""
    raw = task("random").model_dump(exclude_none=True)
    corpus = raw["teacher"]["corpus"]
    raw["data"]["unlabelled"] = {"path": corpus}
    raw |= {"strategy": strategy, "budget": {"rounds": rounds}, **parts}
    return parse_task(raw, "test", Path())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def leaves(folder: RunFolder, node: str) -> list[dict[str, Any]]:
    return [e for e in lines(folder.trace) if e["event"] == "leave" and e["node"] == node]


def payloads(folder: RunFolder, role: str) -> list[dict[str, Any]]:
    """What a role was sent, in order."""
    with sqlite3.connect(folder.journal) as journal:
        rows = journal.execute("SELECT request FROM replies WHERE role = ? ORDER BY at", (role,)).fetchall()
    return [read_payload(dict(json.loads(request)["messages"])["human"]) for (request,) in rows]


def kept(folder: RunFolder, round: int | None = None) -> list[dict[str, Any]]:
    return [
        s for s in lines(folder.samples) if s["status"] == "kept" and (round is None or s["round"] == round)
    ]


@pytest.fixture(scope="module")
def evokd(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    strategy = {"base": "evokd", "samples": 30}
    return run(task(strategy, rounds=3), tmp_path_factory.mktemp("evokd") / "run", encoder=encoder)


def test_evokd_shows_the_batch_as_the_student_answered_it_before_training_on_it(evokd: RunFolder) -> None:
    batches = {number: {s["id"]: s for s in kept(evokd, number)} for number in (1, 2)}
    shown = {payload["report"]["round"]: payload for payload in payloads(evokd, "analyst")}
    assert shown, "some batch had errors"
    for number, payload in shown.items():
        if number == 0:
            continue  # of the seeds
        for answer in payload["wrong"]:
            sample = batches[number][answer["id"]]
            assert (answer["label"], answer["predicted"]) == (sample["label"], sample["answered"])
            assert answer["label"] != answer["predicted"]
        assert all(batches[number][a["id"]]["answered"] == a["label"] for a in payload["right"])


def test_evokd_asks_no_critic_and_carries_its_student_on_with_replay(evokd: RunFolder) -> None:
    assert payloads(evokd, "critic") == []
    rounds = evokd.read_rounds()
    trained = [event["rows"] for event in leaves(evokd, "train")]
    new = [line["samples_kept"] for line in rounds]
    assert trained[0] == 30
    assert trained[1] == 2 * new[1], "as many old rows as new ones"


def test_a_carried_student_survives_the_end_of_its_run(encoder: Encoder, tmp_path: Path) -> None:
    strategy = {"base": "evokd", "samples": 18}
    whole = run(task(strategy, rounds=2), tmp_path / "whole", encoder=encoder)
    short = run(task(strategy, rounds=1), tmp_path / "short", encoder=encoder)
    assert resume(short.path, budget={"rounds": 2}).about()["test"] == whole.about()["test"]


@pytest.fixture(scope="module")
def gold(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    strategy = {"base": "gold", "samples": 36}
    return run(task(strategy), tmp_path_factory.mktemp("gold") / "run", encoder=encoder)


def test_gold_feeds_the_middle_energies_of_its_different_half_back(gold: RunFolder) -> None:
    different = sorted((s for s in kept(gold, 1) if s["kind"] == "ood"), key=lambda s: s["energy"])
    size = len(different)
    band = {s["text"] for s in different[int(0.5 * size) : int(0.8 * size)]}
    asked = payloads(gold, "generator")
    fed = [payload for payload in asked if "feedback" in payload]
    assert band
    assert {row["text"] for row in fed[0]["feedback"]} == band
    assert all(
        any(request["kind"] == "like" for request in payload["requests"]) == ("feedback" in payload)
        for payload in asked
    )
    kinds = Counter(s["kind"] for s in lines(gold.samples) if s["round"] == 2 and s["attempt"] == 1)
    assert kinds == {"ood": 18, "any": 9, "like": 9}


def test_gold_keeps_the_label_a_text_was_written_for_and_asks_nobody_else(gold: RunFolder) -> None:
    assert all(s["label"] == s["requested"] and "confidence" not in s for s in kept(gold))
    assert payloads(gold, "analyst") == payloads(gold, "critic") == []
    assert all(10 <= len(s["text"]) <= 400 for s in lines(gold.samples))


def test_gold_carries_its_student_on_over_all_there_is_and_ends_with_a_fresh_one(gold: RunFolder) -> None:
    rounds = gold.read_rounds()
    assert [line.get("final", False) for line in rounds] == [False, False, False, True]
    trained = [event["rows"] for event in leaves(gold, "train")]
    promoted = [line["samples_kept"] for line in rounds if line["accepted"]]
    assert trained[2] == 30 + rounds[2]["samples_kept"] + rounds[1]["samples_kept"] * rounds[1]["accepted"]
    [last] = leaves(gold, "final")
    assert last["rows"] == 30 + sum(promoted)
    assert (rounds[-1]["samples_kept"], rounds[-1]["teacher_calls"]) == (0, 0)
    about = gold.about()
    assert len(about["test_by_round"]) == 4
    assert about["stop"] == "2 rounds are done"
    assert ">final<" in gold.report.read_text(encoding="utf-8")


def test_a_final_student_is_the_one_that_its_loss_trains_from_nothing_and_is_taken_back_by_more_rounds(
    gold: RunFolder, encoder: Encoder, tmp_path: Path
) -> None:
    strategy = {"base": "gold", "samples": 36, "carry": False, "final": None, "objective": {"loss": "sce"}}
    every = run(task(strategy, rounds=1), tmp_path / "every", encoder=encoder)
    one = run(task({"base": "gold", "samples": 36}, rounds=1), tmp_path / "one", encoder=encoder)
    [*_, last] = one.read_rounds()
    assert one.load_predictions("round-02", "test") == every.load_predictions("round-01", "test")
    assert last["gate"] == every.read_rounds()[-1]["gate"]
    longer = resume(one.path, budget={"rounds": 2})

    def told(folder: RunFolder) -> list[dict[str, Any]]:
        return [{k: v for k, v in line.items() if k != "seconds"} for line in folder.read_rounds()]

    assert told(longer) == told(gold)
    assert longer.about()["test_by_round"] == gold.about()["test_by_round"]


def test_a_run_killed_at_its_final_student_ends_as_if_it_had_not_been(
    gold: RunFolder, encoder: Encoder, tmp_path: Path
) -> None:
    class Killed(Exception):  # noqa: N818
        pass

    def kill(event: dict[str, Any]) -> None:
        if (event["event"], event["node"], event["round"]) == ("leave", "final", 3):
            raise Killed

    with pytest.raises(Killed):
        run(task({"base": "gold", "samples": 36}), tmp_path / "run", encoder=encoder, listener=kill)
    again = resume(tmp_path / "run")
    assert again.about()["test"] == gold.about()["test"]
    assert again.about()["best"] == gold.about()["best"]


def test_a_final_student_without_rounds_is_of_the_seeds(encoder: Encoder, tmp_path: Path) -> None:
    folder = run(task("gold", rounds=0), tmp_path / "run", encoder=encoder)
    assert [line["trained_on"] for line in folder.read_rounds()] == [30, 30]
    assert resume(folder.path).about()["stop"] == "0 rounds are done"


@pytest.mark.parametrize(
    ("change", "differs"),
    [({"feedback": "none"}, "feedback"), ({"ood_share": 0.0}, "ood"), ({"score": "nll"}, "band")],
    ids=["no feedback", "no other domain", "likelihood in place of energy"],
)
def test_each_ablation_of_gold_changes_what_is_asked(
    change: dict[str, Any], differs: str, encoder: Encoder, gold: RunFolder, tmp_path: Path
) -> None:
    folder = run(task({"base": "gold", "samples": 36, **change}), tmp_path / "run", encoder=encoder)
    asked = payloads(folder, "generator")
    kinds = {request["kind"] for payload in asked for request in payload["requests"]}
    fed = [payload["feedback"] for payload in asked if "feedback" in payload]
    if differs == "feedback":
        assert (fed, kinds) == ([], {"ood", "any"})
    elif differs == "ood":
        assert kinds == {"any", "like"}
    else:
        assert fed[0] != next(p["feedback"] for p in payloads(gold, "generator") if "feedback" in p)


def test_llkd_labels_the_pool_and_trains_where_the_student_doubts(encoder: Encoder, tmp_path: Path) -> None:
    with Progress(console=Console(file=io.StringIO(), width=200)) as progress:
        folder = run(
            pooled({"base": "llkd", "samples": 60}), tmp_path / "run", encoder=encoder, listener=progress
        )
    shown = progress.console.file.getvalue()  # type: ignore[attr-defined]
    assert "60 texts drawn" in shown
    assert "of the teacher's" in shown
    texts = {content_id(row["text"]) for row in lines(sample_task().teacher.corpus or Path())}
    assert payloads(folder, "generator") == payloads(folder, "critic") == []
    assert {s["id"] for s in lines(folder.samples)} <= texts
    assert all({"confidence", "answered"} <= set(s) for s in kept(folder))
    [first, second] = leaves(folder, "train")[1:]
    assert second["rows"] > first["rows"]
    for event in (first, second):
        assert 0 < event["kept_share"] < 1
        assert set(event["used"]) <= {s["id"] for s in kept(folder)}
        assert len(event["used"]) == pytest.approx(event["unique"] * (event["rows"] - 30), abs=0.51)


def test_asking_first_labels_only_what_the_student_doubts(encoder: Encoder, tmp_path: Path) -> None:
    strategy = {"base": "llkd", "samples": 40, "oversample": 3}
    folder = run(pooled(strategy, rounds=1), tmp_path / "run", encoder=encoder)
    status_counts = Counter(s["status"] for s in lines(folder.samples))
    drawn = [event["drawn"] for event in leaves(folder, "pool")]
    assert len(drawn[0]) == 120
    assert status_counts["kept"] <= 40 < status_counts["surplus"]
    labelled = sum(len(payload["texts"]) for payload in payloads(folder, "labeler"))
    assert labelled == 24 + status_counts["kept"], "24 of the calibration"


def test_a_pool_ends_when_all_of_it_is_used(encoder: Encoder, tmp_path: Path) -> None:
    rows = lines(sample_task().teacher.corpus or Path())[:30]
    few = tmp_path / "few.jsonl"
    few.write_text("".join(json.dumps({"text": row["text"]}) + "\n" for row in rows))
    raw = pooled({"base": "random", "pool_share": 1.0, "samples": 20}, rounds=9).model_dump(exclude_none=True)
    raw["data"]["unlabelled"] = {"path": few}
    folder = run(parse_task(raw, "test", Path()), tmp_path / "run", encoder=encoder)
    assert folder.about()["stop"] == "all 30 texts of the pool are used"
    assert len(folder.read_rounds()) == 3
    assert folder.about()["data"]["unlabelled"] == 30


def test_a_pool_strategy_without_a_pool_is_told() -> None:
    with pytest.raises(InputError, match=r"set `data\.unlabelled`"):
        task("llkd")


def test_paraphrases_are_ordered_of_the_seeds_alone_and_keep_their_labels(
    encoder: Encoder, tmp_path: Path
) -> None:
    folder = run(task({"base": "auggpt", "samples": 30}, rounds=1), tmp_path / "run", encoder=encoder)
    requests = [r for payload in payloads(folder, "generator") for r in payload["requests"]]
    seeds = {row["text"] for row in lines(sample_task().data.seed.path or Path())}
    assert {r["kind"] for r in requests} == {"paraphrase"}
    assert {r["of"] for r in requests} == seeds
    assert payloads(folder, "critic") == []


def test_init_paraphrases_first_and_then_follows_its_method(encoder: Encoder, tmp_path: Path) -> None:
    strategy = {"base": "evokd", "samples": 24, "paraphrase_rounds": 1}
    folder = run(task(strategy), tmp_path / "run", encoder=encoder)
    kinds = {number: {s["kind"] for s in kept(folder, number)} for number in (1, 2)}
    assert kinds[1] == {"paraphrase"}
    assert kinds[2] <= {"hard", "easy"}


def test_feedback_without_analysis_asks_no_analyst_and_names_the_same_pairs(
    encoder: Encoder, tmp_path: Path
) -> None:
    strategy = {"base": "auto", "oversample": 1, "samples": 24, "feedback": "errors"}
    folder = run(task(strategy, rounds=1), tmp_path / "run", encoder=encoder)
    assert payloads(folder, "analyst") == []
    told = [w for payload in payloads(folder, "generator") for w in payload["weaknesses"]]
    assert told
    assert {w["hypothesis"] for w in told} == {""}
    assert all(w["examples"] and w["label"] != w["confused_with"] for w in told)


def test_a_placebo_tells_errors_that_are_none(encoder: Encoder, tmp_path: Path) -> None:
    strategy = {"base": "auto", "oversample": 1, "samples": 24, "shows_wrong": "random"}
    folder = run(task(strategy, rounds=1), tmp_path / "run", encoder=encoder)
    [payload] = payloads(folder, "analyst")
    real = dict(
        zip(
            (row["id"] for row in _diagnose()),
            folder.load_predictions("round-00", "diagnose"),
            strict=True,
        )
    )
    told = {a["id"]: a["predicted"] for a in payload["wrong"]}
    assert any(real[key] != predicted for key, predicted in told.items())


def _diagnose() -> list[dict[str, Any]]:
    source = sample_task().data.diagnose
    assert source
    rows = lines(source.path or Path())
    return [{**row, "id": content_id(row["text"])} for row in rows]


def test_ksm_distils_into_a_full_student_from_an_expert_trained_first(
    tiny_bert: Any, encoder: Encoder, tmp_path: Path
) -> None:
    base = tiny_bert(tmp_path / "tiny")
    student = {"mode": "full", "base": base, "epochs": 1, "device": "cpu"}
    strategy = {
        "base": "ksm",
        "samples": 40,
        "objective": {"knowledge": {"episodes": 1, "phase": 2, "share": 0.5}},
    }
    made = pooled(strategy, rounds=1, student=student, white_box_teacher={"base": base, "epochs": 2})
    folder = run(made, tmp_path / "run", encoder=encoder)
    events = [event["distilled"] for event in leaves(folder, "train")]
    assert [set(event["mean_action"]) for event in events] == [{"fin", "res", "fea", "rel"}] * 2
    assert all(event["practice"] and event["held_out"] for event in events)
    black = pooled(strategy, rounds=0, student=student)
    assert leaves(run(black, tmp_path / "black", encoder=encoder), "train")[0]["distilled"]["mean_action"]


def test_ksm_with_a_head_is_told() -> None:
    with pytest.raises(InputError, match=r"set `student\.mode` to full"):
        pooled("ksm")


def test_a_run_whose_labels_come_with_the_texts_is_told_as_it_goes(
    encoder: Encoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress() as progress:
        run(
            task({"base": "zerogen", "samples": 12}, rounds=1),
            tmp_path / "run",
            encoder=encoder,
            listener=progress,
        )
    assert "labelled" in capsys.readouterr().err
