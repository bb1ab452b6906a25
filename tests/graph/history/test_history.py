"""The history of a sample, during a real run and after it: its rows, weakness, calls, labels and students."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.history.records import Records, read_records
from tutelage.graph.history.text import one_line, trace_lines
from tutelage.graph.history.trace import TracedSample, list_samples, trace_sample
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import run
from tutelage.graph.task.load import parse_task
from tutelage.graph.task.samples import sample_task
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError


@pytest.fixture(scope="module")
def watched(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, TracedSample]:
    """Return the folder of a run of one round with an erring teacher, and the trace of a sample from the time
    when it had a label, but no verdict.
    """
    raw = sample_task().model_dump(exclude_none=True)
    raw |= {
        "student": {"mode": "head"},
        "strategy": {"base": "auto", "samples": 24, "critic": "all"},
        "budget": {"rounds": 1},
    }
    raw["teacher"] |= {"label_noise": 0.4, "force": True, "calibrate": 24}
    folder = RunFolder(tmp_path_factory.mktemp("history") / "run")
    early: list[TracedSample] = []

    def listener(event: dict[str, Any]) -> None:
        if event["event"] == "leave" and event["node"] == "labeler" and not early:
            early.extend(trace_sample(folder, event["labelled"][0]))

    run(parse_task(raw, "test", Path()), folder.path, encoder=encoder, listener=listener)
    return folder, early[0]


@pytest.fixture(scope="module")
def records(watched: tuple[RunFolder, TracedSample]) -> Records:
    return read_records(watched[0])


def traced(records: Records, wanted: Callable[[Any], bool]) -> TracedSample:
    sample = next(sample for sample in records.samples if wanted(sample))
    return trace_sample(records.folder, sample["id"])[0]


def test_a_written_text_leads_to_its_call_its_weakness_and_the_rows_behind_both(records: Records) -> None:
    found = traced(records, lambda s: s["weakness"] and s["status"] == "kept")
    origin = found["history"]["origin"]
    by_id = {call["id"]: call for call in found["calls"]}
    writer = by_id[origin["call"]]
    assert writer["role"] == "generator"
    assert json.dumps(found["history"]["text"], ensure_ascii=False) in writer["reply"]
    prompt = writer["messages"][1][1]
    assert origin["shown"]
    assert all(json.dumps(row["text"], ensure_ascii=False) in prompt for row in origin["shown"])
    assert all("seed.jsonl line " in row["place"] for row in origin["shown"])
    weakness = origin["weakness"]
    assert weakness
    analyst = by_id[weakness["found_by"]]
    assert json.dumps(weakness["hypothesis"]) in analyst["reply"]
    assert weakness["evidence"]
    for row in weakness["evidence"]:
        assert row["id"] in analyst["reply"]
        assert (row["label"], row["predicted"]) == (weakness["label"], weakness["confused_with"])
        assert "diagnose.jsonl line " in row["place"]


def test_a_disputed_label_shows_both_labels_and_both_verdicts(records: Records) -> None:
    found = traced(records, lambda s: s.get("reason", "").startswith("labeler and critic disagree twice"))
    statements = found["history"]["statements"]
    assert [one["role"] for one in statements] == ["labeler", "critic", "labeler", "critic"]
    assert [one["said"] for one in statements[1::2]] == ["relabel", "relabel"]
    assert len({one["call"] for one in statements}) == 4
    assert found["history"]["training"]["rounds"] == []
    assert found["history"]["training"]["delivered"] is False


def test_a_kept_text_was_trained_on(records: Records) -> None:
    history = traced(records, lambda s: s["status"] == "kept")["history"]
    assert history["training"] == {
        "rounds": [1],
        "not_fold": None,
        "delivered": records.rounds[1]["accepted"],
        "rolled_back": not records.rounds[1]["accepted"],
    }
    assert history["screened"]


def test_a_run_in_progress_can_be_traced(watched: tuple[RunFolder, TracedSample], records: Records) -> None:
    history = watched[1]["history"]
    assert history["status"] == "draft"
    assert history["label"] in records.about["task"]["labels"]
    assert [one["role"] for one in history["statements"]] == ["labeler"]
    assert history["training"]["delivered"] is None
    assert "no student has been trained on it yet" in "\n".join(trace_lines(watched[1]))
    assert not list(records.folder.path.glob("*-wal")), "reading leaves no open database"


def test_an_id_may_be_cut_short_but_not_so_that_several_begin_with_it(records: Records) -> None:
    folder, ids = records.folder, sorted(records.by_id)
    assert trace_sample(folder, ids[0][:12])[0]["history"]["id"] == ids[0]
    with pytest.raises(InputError, match=r"has no sample 'zz'; `tutelage trace .* lists some"):
        trace_sample(folder, "zz")
    first = next(key[0] for key in ids if sum(other[0] == key[0] for other in ids) > 1)
    with pytest.raises(InputError, match=rf"samples begin with '{first}': .*give more of the id"):
        trace_sample(folder, first)


def test_the_list_has_samples_of_every_status(records: Records) -> None:
    listed = list_samples(records.folder)
    assert {one["status"] for one in listed} == {sample["status"] for sample in records.samples}


def test_prompts_are_short_unless_wanted_whole(records: Records) -> None:
    found = traced(records, lambda s: s["weakness"])
    short, whole = ("\n".join(trace_lines(found, whole=wanted)) for wanted in (False, True))
    assert "You write training texts" in whole
    assert "You write training texts" not in short
    assert len(short) < len(whole) / 3


def test_a_text_cannot_control_the_terminal(records: Records) -> None:
    found = traced(records, lambda s: s["status"] == "kept")
    evil = "red \x1b[31m\r\x07\u202e end"
    found["history"]["text"] = evil
    lines = "\n".join([*trace_lines(found), one_line(evil, 80)])
    assert not {"\x1b", "\r", "\x07", "\u202e"} & set(lines)
    assert "red" in lines


def test_no_key_is_shown(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    found = traced(records, lambda s: s["status"] == "kept" and s["text"].isascii() and '"' not in s["text"])
    text = found["history"]["text"]
    assert text in json.dumps(found["calls"])
    monkeypatch.setenv("SHOP_TOKEN", text)  # as if the text were a key that had been sent
    found, *_ = trace_sample(records.folder, found["history"]["id"])
    assert text not in json.dumps(found["calls"])
    assert "[SHOP_TOKEN]" in json.dumps(found["calls"])
