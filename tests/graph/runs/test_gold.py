"""GOLD in the loop: what it requests, keeps and trains on, and its final student."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import resume, run
from tutelage.student.encoder import Encoder

Make = Callable[..., Any]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def gold(method_task: Make, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    strategy = {"base": "gold", "samples": 36}
    return run(method_task(strategy), tmp_path_factory.mktemp("gold") / "run", encoder=encoder)


def test_gold_shows_texts_of_middle_energy_from_the_other_domain(
    payloads: Make, kept: Make, gold: RunFolder
) -> None:
    other_domain = sorted((s for s in kept(gold, 1) if s["kind"] == "ood"), key=lambda s: s["energy"])
    size = len(other_domain)
    band = {s["text"] for s in other_domain[int(0.5 * size) : int(0.8 * size)]}
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


def test_gold_keeps_the_requested_label_and_calls_no_other_role(
    payloads: Make, kept: Make, gold: RunFolder
) -> None:
    assert all(s["label"] == s["requested"] and "confidence" not in s for s in kept(gold))
    assert payloads(gold, "analyst") == payloads(gold, "critic") == []
    assert all(10 <= len(s["text"]) <= 400 for s in lines(gold.samples))


def test_gold_continues_its_student_on_all_samples_and_trains_a_new_one_at_the_end(
    finished_nodes: Make, gold: RunFolder
) -> None:
    rounds = gold.read_rounds()
    assert [line.get("final", False) for line in rounds] == [False, False, False, True]
    trained = [event["rows"] for event in finished_nodes(gold, "train")]
    promoted = [line["samples_kept"] for line in rounds if line["accepted"]]
    assert trained[2] == 30 + rounds[2]["samples_kept"] + rounds[1]["samples_kept"] * rounds[1]["accepted"]
    [last] = finished_nodes(gold, "final")
    assert last["rows"] == 30 + sum(promoted)
    assert (rounds[-1]["samples_kept"], rounds[-1]["teacher_calls"]) == (0, 0)
    about = gold.about()
    assert len(about["test_by_round"]) == 4
    assert about["stop"] == "2 rounds are done"
    assert ">final<" in gold.report.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_final_student_is_trained_from_scratch_and_replaced_when_rounds_are_added(
    method_task: Make, gold: RunFolder, encoder: Encoder, tmp_path: Path
) -> None:
    strategy = {
        "base": "gold",
        "samples": 36,
        "continue_training": False,
        "final": None,
        "objective": {"loss": "sce"},
    }
    every = run(method_task(strategy, rounds=1), tmp_path / "every", encoder=encoder)
    one = run(method_task({"base": "gold", "samples": 36}, rounds=1), tmp_path / "one", encoder=encoder)
    [*_, last] = one.read_rounds()
    assert one.load_predictions("round-02", "test") == every.load_predictions("round-01", "test")
    assert last["gate"] == every.read_rounds()[-1]["gate"]
    longer = resume(one.path, budget={"rounds": 2})

    def without_seconds(folder: RunFolder) -> list[dict[str, Any]]:
        return [{k: v for k, v in line.items() if k != "seconds"} for line in folder.read_rounds()]

    assert without_seconds(longer) == without_seconds(gold)
    assert longer.about()["test_by_round"] == gold.about()["test_by_round"]


@pytest.mark.slow
def test_a_run_killed_after_its_final_student_resumes_with_the_same_results(
    method_task: Make, gold: RunFolder, encoder: Encoder, tmp_path: Path
) -> None:
    class Killed(Exception):  # noqa: N818
        pass

    def kill(event: dict[str, Any]) -> None:
        if (event["event"], event["node"], event["round"]) == ("leave", "final", 3):
            raise Killed

    with pytest.raises(Killed):
        run(method_task({"base": "gold", "samples": 36}), tmp_path / "run", encoder=encoder, listener=kill)
    again = resume(tmp_path / "run")
    assert again.about()["test"] == gold.about()["test"]
    assert again.about()["best"] == gold.about()["best"]


def test_without_rounds_the_final_student_is_trained_on_the_seeds(
    method_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    folder = run(method_task("gold", rounds=0), tmp_path / "run", encoder=encoder)
    assert [line["trained_on"] for line in folder.read_rounds()] == [30, 30]
    assert resume(folder.path).about()["stop"] == "0 rounds are done"


@pytest.mark.parametrize(
    ("change", "differs"),
    [({"feedback": "none"}, "feedback"), ({"ood_share": 0.0}, "ood"), ({"score": "nll"}, "band")],
    ids=["no feedback", "no other domain", "likelihood in place of energy"],
)
def test_each_ablation_of_gold_changes_the_requests(
    method_task: Make,
    payloads: Make,
    change: dict[str, Any],
    differs: str,
    encoder: Encoder,
    gold: RunFolder,
    tmp_path: Path,
) -> None:
    folder = run(method_task({"base": "gold", "samples": 36, **change}), tmp_path / "run", encoder=encoder)
    asked = payloads(folder, "generator")
    kinds = {request["kind"] for payload in asked for request in payload["requests"]}
    fed = [payload["feedback"] for payload in asked if "feedback" in payload]
    if differs == "feedback":
        assert (fed, kinds) == ([], {"ood", "any"})
    elif differs == "ood":
        assert kinds == {"any", "like"}
    else:
        assert fed[0] != next(p["feedback"] for p in payloads(gold, "generator") if "feedback" in p)
