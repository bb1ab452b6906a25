"""The published methods in the loop: what each requests, keeps and trains on."""

import io
import json
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tutelage.graph.context import open_context
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.run_folder.progress import Progress
from tutelage.graph.runs.run import resume, run
from tutelage.graph.task.load import parse_task
from tutelage.graph.task.samples import sample_task
from tutelage.student.data.rows import content_id
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError, Interrupted

Make = Callable[..., Any]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def evokd(method_task: Make, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    strategy = {"base": "evokd", "samples": 30}
    return run(method_task(strategy, rounds=3), tmp_path_factory.mktemp("evokd") / "run", encoder=encoder)


def test_evokd_shows_the_analyst_predictions_on_a_batch_before_training_on_it(
    payloads: Make, kept: Make, evokd: RunFolder
) -> None:
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


def test_evokd_calls_no_critic_and_continues_its_student_with_replay(
    finished_nodes: Make, payloads: Make, evokd: RunFolder
) -> None:
    assert payloads(evokd, "critic") == []
    rounds = evokd.read_rounds()
    trained = [event["rows"] for event in finished_nodes(evokd, "train")]
    new = [line["samples_kept"] for line in rounds]
    assert trained[0] == 30
    assert trained[1] == 2 * new[1], "as many old rows as new ones"


@pytest.mark.slow
def test_a_carried_student_continues_when_a_run_is_extended(
    method_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    strategy = {"base": "evokd", "samples": 18}
    whole = run(method_task(strategy, rounds=2), tmp_path / "whole", encoder=encoder)
    short = run(method_task(strategy, rounds=1), tmp_path / "short", encoder=encoder)
    assert resume(short.path, budget={"rounds": 2}).about()["test"] == whole.about()["test"]


def test_llkd_labels_the_pool_and_trains_where_the_student_is_unsure(
    pool_task: Make, finished_nodes: Make, payloads: Make, kept: Make, encoder: Encoder, tmp_path: Path
) -> None:
    with Progress(console=Console(file=io.StringIO(), width=200)) as progress:
        folder = run(
            pool_task({"base": "llkd", "samples": 60}), tmp_path / "run", encoder=encoder, listener=progress
        )
    shown = progress.console.file.getvalue()  # type: ignore[attr-defined]
    assert "60 texts drawn" in shown
    assert "of the teacher's" in shown
    texts = {content_id(row["text"]) for row in lines(sample_task().teacher.corpus or Path())}
    assert payloads(folder, "generator") == payloads(folder, "critic") == []
    assert {s["id"] for s in lines(folder.samples)} <= texts
    assert all({"confidence", "answered"} <= set(s) for s in kept(folder))
    [first, second] = finished_nodes(folder, "train")[1:]
    assert second["rows"] > first["rows"]
    for event in (first, second):
        assert 0 < event["kept_share"] < 1
        assert set(event["used"]) <= {s["id"] for s in kept(folder)}
        assert len(event["used"]) == pytest.approx(event["unique"] * (event["rows"] - 30), abs=0.51)


def test_llkd_with_oversampling_labels_only_texts_that_the_student_is_unsure_of(
    pool_task: Make, finished_nodes: Make, payloads: Make, encoder: Encoder, tmp_path: Path
) -> None:
    strategy = {"base": "llkd", "samples": 40, "oversample": 3}
    folder = run(pool_task(strategy, rounds=1), tmp_path / "run", encoder=encoder)
    statuses = Counter(s["status"] for s in lines(folder.samples))
    drawn = [event["drawn"] for event in finished_nodes(folder, "pool")]
    assert len(drawn[0]) == 120
    assert statuses["kept"] <= 40 < statuses["surplus"]
    labelled = sum(len(payload["texts"]) for payload in payloads(folder, "labeler"))
    assert labelled == 24 + statuses["kept"], "and 24 for the calibration"


def test_a_run_stops_when_all_unlabelled_texts_are_used(
    pool_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    rows = lines(sample_task().teacher.corpus or Path())[:30]
    few = tmp_path / "few.jsonl"
    few.write_text("".join(json.dumps({"text": row["text"]}) + "\n" for row in rows))
    raw = pool_task({"base": "random", "pool_share": 1.0, "samples": 20}, rounds=9).model_dump(
        exclude_none=True
    )
    raw["data"]["unlabelled"] = {"path": few}
    folder = run(parse_task(raw, "test", Path()), tmp_path / "run", encoder=encoder)
    assert folder.about()["stop"] == "all 30 texts of the pool are used"
    assert len(folder.read_rounds()) == 3
    assert folder.about()["data"]["unlabelled"] == 30


def test_a_pool_strategy_without_unlabelled_texts_is_refused(method_task: Make) -> None:
    with pytest.raises(InputError, match=r"set `data\.unlabelled`"):
        method_task("llkd")


def test_auggpt_requests_paraphrases_of_the_seeds_and_keeps_their_labels(
    method_task: Make, payloads: Make, encoder: Encoder, tmp_path: Path
) -> None:
    folder = run(method_task({"base": "auggpt", "samples": 30}, rounds=1), tmp_path / "run", encoder=encoder)
    requests = [r for payload in payloads(folder, "generator") for r in payload["requests"]]
    seeds = {row["text"] for row in lines(sample_task().data.seed.path or Path())}
    assert {r["kind"] for r in requests} == {"paraphrase"}
    assert {r["of"] for r in requests} == seeds
    assert payloads(folder, "critic") == []


def test_paraphrase_rounds_come_before_the_rounds_of_the_method(
    method_task: Make, kept: Make, encoder: Encoder, tmp_path: Path
) -> None:
    strategy = {"base": "evokd", "samples": 24, "paraphrase_rounds": 1}
    folder = run(method_task(strategy), tmp_path / "run", encoder=encoder)
    kinds = {number: {s["kind"] for s in kept(folder, number)} for number in (1, 2)}
    assert kinds[1] == {"paraphrase"}
    assert kinds[2] <= {"hard", "easy"}


def test_feedback_from_errors_calls_no_analyst_and_shows_confused_pairs(
    method_task: Make, payloads: Make, encoder: Encoder, tmp_path: Path
) -> None:
    strategy = {"base": "auto", "oversample": 1, "samples": 24, "feedback": "errors"}
    folder = run(method_task(strategy, rounds=1), tmp_path / "run", encoder=encoder)
    assert payloads(folder, "analyst") == []
    weaknesses = [w for payload in payloads(folder, "generator") for w in payload["weaknesses"]]
    assert weaknesses
    assert {w["hypothesis"] for w in weaknesses} == {""}
    assert all(w["examples"] and w["label"] != w["confused_with"] for w in weaknesses)


def test_the_placebo_shows_the_analyst_random_errors(
    method_task: Make, payloads: Make, encoder: Encoder, tmp_path: Path
) -> None:
    strategy = {"base": "auto", "oversample": 1, "samples": 24, "shows_wrong": "random"}
    folder = run(method_task(strategy, rounds=1), tmp_path / "run", encoder=encoder)
    [payload] = payloads(folder, "analyst")
    real = dict(
        zip(
            (row["id"] for row in _diagnose()),
            folder.load_predictions("round-00", "diagnose"),
            strict=True,
        )
    )
    shown = {a["id"]: a["predicted"] for a in payload["wrong"]}
    assert any(real[key] != predicted for key, predicted in shown.items())


def _diagnose() -> list[dict[str, Any]]:
    source = sample_task().data.diagnose
    assert source
    rows = lines(source.path or Path())
    return [{**row, "id": content_id(row["text"])} for row in rows]


@pytest.mark.slow
def test_ksm_trains_a_full_student_with_and_without_a_white_box_teacher(
    pool_task: Make, finished_nodes: Make, tiny_bert: Any, encoder: Encoder, tmp_path: Path
) -> None:
    base = tiny_bert(tmp_path / "tiny")
    student = {"mode": "full", "base": base, "epochs": 1, "device": "cpu"}
    strategy = {
        "base": "ksm",
        "samples": 40,
        "objective": {"knowledge": {"episodes": 1, "phase": 2, "share": 0.5}},
    }
    made = pool_task(strategy, rounds=1, student=student, white_box_teacher={"base": base, "epochs": 2})
    folder = run(made, tmp_path / "run", encoder=encoder)
    events = [event["distilled"] for event in finished_nodes(folder, "train")]
    assert [set(event["mean_action"]) for event in events] == [{"fin", "res", "fea", "rel"}] * 2
    assert all(event["practice"] and event["held_out"] for event in events)
    black = pool_task(strategy, rounds=0, student=student)
    assert finished_nodes(run(black, tmp_path / "black", encoder=encoder), "train")[0]["distilled"][
        "mean_action"
    ]


def test_ctrl_c_stops_the_training_of_a_white_box_teacher(
    pool_task: Make, tiny_bert: Any, encoder: Encoder, tmp_path: Path
) -> None:
    base, steps = tiny_bert(tmp_path / "tiny"), list[dict[str, Any]]()
    student = {"mode": "full", "base": base, "epochs": 1, "device": "cpu"}
    made = pool_task("ksm", rounds=1, student=student, white_box_teacher={"base": base, "epochs": 1})

    def interrupt(event: dict[str, Any]) -> None:
        steps.append(event)
        ctx.ask_to_stop()

    ctx = open_context(made, RunFolder(tmp_path / "run"), encoder=encoder, listener=interrupt)
    with closing(ctx), pytest.raises(Interrupted):
        ctx.white_box_teacher  # noqa: B018
    assert [(event["event"], event["step"]) for event in steps] == [("step", 1)]


def test_ksm_with_a_head_student_is_refused(pool_task: Make) -> None:
    with pytest.raises(InputError, match=r"set `student\.mode` to full"):
        pool_task("ksm")


def test_progress_is_printed_for_a_run_whose_texts_come_with_labels(
    method_task: Make, encoder: Encoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress() as progress:
        run(
            method_task({"base": "zerogen", "samples": 12}, rounds=1),
            tmp_path / "run",
            encoder=encoder,
            listener=progress,
        )
    assert "labelled" in capsys.readouterr().err
