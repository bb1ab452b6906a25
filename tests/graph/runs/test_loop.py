"""The whole loop, end to end: read this first."""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tutelage.agents.rehearsal.server import serve
from tutelage.graph.context import rehearsal_model
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import list_runs, resume, run
from tutelage.graph.task.load import Task, parse_task
from tutelage.graph.task.samples import sample_task
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.models.load import load_student

Make = Callable[..., Task]
PINNED_SAMPLES = "f86895774a403b5c"
PINNED_TOKENS = [(0, 0), (14535, 4111), (8177, 2164)]


@pytest.fixture(scope="session")
def quick() -> Make:
    """Return a function that makes the bundled task with a head student and small rounds.

    Keyword arguments replace parts of the task.
    """

    def make(**parts: Any) -> Task:
        raw = sample_task().model_dump(exclude_none=True)
        raw |= {
            "student": {"mode": "head"},
            "strategy": {"base": "auto", "samples": 24, "critic": "all"},
            "budget": {"rounds": 2},
        }
        for name, value in parts.items():
            whole = name in ("strategy", "data", "labels") or not isinstance(value, dict)
            raw[name] = value if whole else {**raw[name], **value}
        return parse_task(raw, "test", Path())

    return make


@pytest.fixture(scope="module")
def finished(quick: Make, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(quick(), tmp_path_factory.mktemp("loop") / "run", encoder=encoder)


def test_a_run_trains_a_student_and_writes_every_file(finished: RunFolder) -> None:
    about, rounds = finished.about(), finished.read_rounds()
    assert about["test"]["metric"] > about["test_untrained"] + 0.3
    assert [line["round"] for line in rounds] == [0, 1, 2]
    wanted = {"round", "metric", "gate", "teacher_calls", "prompt_tokens", "completion_tokens", "cost"}
    assert wanted | {"samples_kept", "samples_rejected", "seconds"} <= set(rounds[0])
    assert sum(line["teacher_calls"] for line in rounds) == about["spent"]["calls"]
    names = "run.json journal.sqlite checkpoints.sqlite corpus samples.jsonl rounds.jsonl weaknesses.json"
    for name in [*names.split(), "trace.jsonl", "student", "report.html"]:
        assert (finished.path / name).exists(), name
    student = load_student(finished.student)
    assert student.labels == list(about["task"]["labels"])


def test_the_same_seed_gives_the_requests_and_samples_of_earlier_versions(
    quick: Make, encoder: Encoder, tmp_path: Path
) -> None:
    """Change the pinned values only in a commit that says why runs of the same seed differ from before."""
    task = quick(strategy={"base": "random", "samples": 24}, teacher={"label_noise": 0.05})
    folder = run(task, tmp_path / "run", encoder=encoder)
    lines = [json.loads(line) for line in folder.samples.read_text().splitlines()]
    kept = [(s["id"], s["status"], s.get("label"), s.get("weakness")) for s in lines]
    digest = hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:16]
    asked = [(line["prompt_tokens"], line["completion_tokens"]) for line in folder.read_rounds()]
    assert (digest, asked) == (PINNED_SAMPLES, PINNED_TOKENS)


def test_no_agent_ever_sees_a_gate_or_test_text(
    finished: RunFolder, shop: Callable[[str], list[Any]]
) -> None:
    requests = json.loads(f"[{','.join(sorted(_requests(finished)))}]")
    prompts = "\n".join(text for request in requests for _, text in request["messages"])
    assert prompts
    held_out = [row["text"] for name in ("gate", "test") for row in shop(name)]
    assert [text for text in held_out if json.dumps(text, ensure_ascii=False)[1:-1] in prompts] == []
    shown = [row["text"] for row in shop("diagnose")]
    assert any(json.dumps(text, ensure_ascii=False)[1:-1] in prompts for text in shown)


def test_every_kept_sample_refers_to_its_calls_and_its_weakness(finished: RunFolder) -> None:
    trace = [json.loads(line) for line in finished.trace.read_text().splitlines()]
    calls = {event["call"]: event for event in trace if event["event"] == "call"}
    cards = {card["id"]: card for card in json.loads(finished.weaknesses.read_text())}
    samples = [json.loads(line) for line in finished.samples.read_text().splitlines()]
    kept = [sample for sample in samples if sample["status"] == "kept"]
    assert any(sample["weakness"] for sample in kept)
    for sample in kept:
        for field, role in (("written_by", "generator"), ("labelled_by", "labeler"), ("judged_by", "critic")):
            assert calls[sample[field]]["role"] == role
            assert calls[sample[field]]["round"] == sample["round"]
        if sample["weakness"]:
            assert calls[cards[sample["weakness"]]["found_by"]]["role"] == "analyst"
    for sample in samples:
        assert sample["status"] == "kept" or sample["reason"]
        assert sample["status"] not in ("duplicate", "leak") or sample["similarity"] >= 0.92


def test_weaknesses_have_a_history_and_evidence_from_the_diagnose_set(
    finished: RunFolder, shop: Callable[[str], list[Any]]
) -> None:
    diagnose = {row["id"]: row for row in shop("diagnose")}
    cards = json.loads(finished.weaknesses.read_text())
    assert cards
    pairs = [(card["label"], card["confused_with"]) for card in cards]
    assert len(set(pairs)) == len(pairs), "one card for each pair of labels"
    for card in cards:
        assert card["support"] == sum(row["label"] == card["label"] for row in diagnose.values())
        assert 0 < card["errors"] <= card["support"]
        assert all(diagnose[key]["label"] == card["label"] for key in card["evidence"])
        assert [entry[0] for entry in card["history"]] == list(range(card["round"], 3))
        assert card["kept"] <= card["requested"]


def test_the_same_seed_repeats_a_run_and_another_seed_does_not(
    finished: RunFolder, quick: Make, encoder: Encoder, tmp_path: Path
) -> None:
    again = run(quick(), tmp_path / "again", encoder=encoder)
    other = run(quick(seed=1), tmp_path / "other", encoder=encoder)
    assert again.samples.read_text() == finished.samples.read_text()
    assert other.samples.read_text() != finished.samples.read_text()


def test_a_run_over_http_with_the_openai_client_gives_the_same_samples(
    finished: RunFolder, quick: Make, encoder: Encoder, tmp_path: Path
) -> None:
    log: list[dict[str, Any]] = []
    with serve(rehearsal_model(quick(), encoder=encoder), log=log) as url:
        teacher = {"model": "openai:rehearsal", "base_url": url}
        over_http = run(quick(teacher=teacher), tmp_path / "http", encoder=encoder)
    titles = {request["response_format"]["json_schema"]["name"] for request in log}
    assert titles == {"Diagnosis", "Drafts", "Labels", "Verdicts"}
    assert _kept(over_http) == _kept(finished)
    assert over_http.about()["test"] == finished.about()["test"]
    assert over_http.about()["spent"]["cost"] is None, "no price was given: the cost is unknown, not 0"


def test_a_round_of_wrong_labels_is_rolled_back_and_left_out_of_later_training(
    quick: Make, encoder: Encoder, tmp_path: Path
) -> None:
    task = quick(
        teacher={"label_noise": 0.95, "force": True},
        budget={"rounds": 2},
        strategy={"base": "random", "samples": 60},
    )
    folder = run(task, tmp_path / "run", encoder=encoder)
    rounds = folder.read_rounds()
    assert [line["accepted"] for line in rounds] == [True, False, False]
    assert folder.about()["best"] == 0
    assert rounds[2]["trained_on"] == 30 + rounds[2]["samples_kept"], "round 1 is left out"
    alone, *others = folder.about()["comparison"]["arms"]
    assert (alone["name"], alone["delivered"], others) == ("labels_alone", True, []), "refitted on no sample"
    assert folder.about()["test"]["metric"] == alone["score"] > folder.about()["test_by_round"][2]
    kept = sum(line["samples_kept"] for line in rounds)
    report = folder.report.read_text()
    assert "No teacher label was used (texts: " in report
    assert f"{kept} of rounds that were rolled back" in report


def test_the_critic_asks_for_a_second_label_and_refuses_texts_that_stay_disputed(
    quick: Make, encoder: Encoder, tmp_path: Path
) -> None:
    task = quick(
        teacher={"label_noise": 0.4, "force": True},
        budget={"rounds": 1},
        strategy={"base": "auto", "agree": False, "samples": 60, "critic": "all"},
    )
    folder = run(task, tmp_path / "run", encoder=encoder)
    events = [json.loads(line) for line in folder.trace.read_text().splitlines()]
    assert any(e["event"] == "leave" and e["node"] == "labeler" and e["again"] for e in events)
    samples = [json.loads(line) for line in folder.samples.read_text().splitlines()]
    disputed = [s for s in samples if s["status"] == "refused"]
    assert disputed
    assert all("labeler and critic disagree twice" in sample["reason"] for sample in disputed)


def test_a_round_with_too_few_texts_asks_the_generator_twice_more_with_reasons(
    quick: Make, encoder: Encoder, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in (sample_task().teacher.corpus or Path()).read_text().splitlines()]
    few = tmp_path / "few.jsonl"
    few.write_text("".join(json.dumps(row) + "\n" for row in rows[:12]))
    log: list[dict[str, Any]] = []
    task = quick(
        teacher={"corpus": few},
        budget={"rounds": 2},
        strategy={"base": "auto", "oversample": 1, "samples": 24},
    )
    with serve(rehearsal_model(task, encoder=encoder), log=log) as url:
        teacher = {"model": "openai:rehearsal", "base_url": url, "corpus": few}
        folder = run(quick(teacher=teacher, strategy=task.strategy), tmp_path / "run", encoder=encoder)
    events = [json.loads(line) for line in folder.trace.read_text().splitlines()]
    attempts = [e["attempt"] for e in events if e["event"] == "leave" and e["node"] == "generator"]
    assert attempts[:3] == [1, 2, 3]
    assert max(attempts) == 3, "the first attempt and two more"
    reasons = [json.dumps(r["messages"]) for r in log if "too near to a text in" in json.dumps(r["messages"])]
    assert reasons, "the generator is shown why its texts were refused"
    samples = [json.loads(line) for line in folder.samples.read_text().splitlines()]
    assert {s["status"] for s in samples} >= {"kept", "duplicate"}
    assert sum(s["status"] == "kept" for s in samples) <= 12


def test_a_text_close_to_the_test_set_is_refused_and_shown_to_no_agent(
    quick: Make, encoder: Encoder, shop: Callable[[str], list[Any]], tmp_path: Path
) -> None:
    leaky = tmp_path / "leaky.jsonl"
    rows = [{**row, "text": row["text"].upper() + " thanks"} for row in shop("test")]
    leaky.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = run(quick(teacher={"corpus": leaky}, budget={"rounds": 1}), tmp_path / "run", encoder=encoder)
    samples = [json.loads(line) for line in folder.samples.read_text().splitlines()]
    leaks = [sample for sample in samples if sample["status"] == "leak"]
    assert len(leaks) > len(samples) / 2
    held_out = {row["id"] for row in shop("test")}
    assert all(sample["neighbour"] in held_out for sample in leaks)
    assert folder.about()["overlap"]["test"]["near"] == 0
    prompts = "".join(text for request in _requests(folder) for _, text in json.loads(request)["messages"])
    generated = [json.dumps(sample["text"], ensure_ascii=False)[1:-1] for sample in leaks]
    assert not any(text in prompts for text in generated), "no agent is shown a refused text again"


def test_a_run_stopped_by_its_budget_ends_with_a_test_score_and_a_report(
    quick: Make, encoder: Encoder, tmp_path: Path
) -> None:
    folder = run(quick(budget={"rounds": 5, "calls": 14}), tmp_path / "run", encoder=encoder)
    about = folder.about()
    assert about["spent"]["calls"] == 14
    assert about["stop"] == "budget of 14 calls is spent"
    assert about["test"]["metric"] > about["test_untrained"]
    assert folder.report.exists()


def test_a_strategy_without_feedback_calls_no_analyst(quick: Make, encoder: Encoder, tmp_path: Path) -> None:
    folder = run(quick(strategy="random", budget={"rounds": 1}), tmp_path / "run", encoder=encoder)
    events = [json.loads(line) for line in folder.trace.read_text().splitlines()]
    assert {e["role"] for e in events if e["event"] == "call"} == {"generator", "labeler", "critic"}
    assert json.loads(folder.weaknesses.read_text()) == []


def test_a_run_on_a_seed_set_alone_notes_the_missing_sets(
    quick: Make, encoder: Encoder, tmp_path: Path
) -> None:
    seed_only = {"seed": sample_task().data.seed.model_dump(exclude_none=True)}
    folder = run(quick(data=seed_only, budget={"rounds": 1}), tmp_path / "run", encoder=encoder)
    about = folder.about()
    assert about["test"] is None
    assert [note.split(":")[0] for note in about["notes"]] == [
        "no diagnose set",
        "no gate set",
        "no test set",
    ]
    assert folder.read_rounds()[1]["gate"] is None
    assert folder.read_rounds()[1]["accepted"]


def test_the_size_of_a_checkpoint_does_not_grow_with_the_samples(
    quick: Make, encoder: Encoder, tmp_path: Path
) -> None:
    task = quick(
        budget={"rounds": 2}, strategy={"base": "auto", "oversample": 1, "samples": 200, "attempts": 0}
    )
    folder = run(task, tmp_path / "run", encoder=encoder)
    assert len(folder.samples.read_text()) > 100_000
    with sqlite3.connect(folder.checkpoints) as db:
        checkpoints = db.execute("SELECT max(length(checkpoint) + length(metadata)) FROM checkpoints")
        [largest] = checkpoints.fetchone()
        writes = db.execute("SELECT max(length(value)) FROM writes").fetchone()[0]
    assert largest + writes < 20_000


def _requests(folder: RunFolder) -> list[str]:
    with sqlite3.connect(folder.journal) as journal:
        return [row[0] for row in journal.execute("SELECT request FROM replies")]


def _kept(folder: RunFolder) -> list[tuple[str, str, int]]:
    samples = [json.loads(line) for line in folder.samples.read_text().splitlines()]
    return [(s["text"], s["label"], s["round"]) for s in samples if s["status"] == "kept"]


def test_a_run_folder_of_another_version_is_refused_but_its_replies_can_be_reused(
    finished: RunFolder, quick: Make, encoder: Encoder, tmp_path: Path
) -> None:
    old = RunFolder(tmp_path / "runs" / "old")
    shutil.copytree(finished.path, old.path)
    about = json.loads(old.run_json.read_text())
    old.run_json.write_text(json.dumps({key: value for key, value in about.items() if key != "format"}))
    with pytest.raises(InputError, match=r"was written by another version of tutelage \(format 1, this one"):
        resume(old.path)
    [entry] = list_runs(tmp_path / "runs")
    assert "another version" in entry["state"]
    again = run(quick(), tmp_path / "again", encoder=encoder, reuse=[old.path])
    assert again.about()["spent"]["calls"] == 0
