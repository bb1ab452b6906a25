"""The commands as a user runs them: real processes, their output and exit codes, and failures on the way."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tutelage
from tutelage.agents.rehearsal.server import Offers, serve
from tutelage.graph.context import rehearsal_model
from tutelage.graph.task.samples import sample_task
from tutelage.student.encoder import Encoder

ROOT = Path(tutelage.__file__).parent
Make = Callable[..., Any]


@pytest.fixture(scope="module")
def finished_run(command: Make, write_task: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run of one small round, made by `tutelage run`."""
    folder = tmp_path_factory.mktemp("cli")
    done = command("run", write_task(folder), "--out", "runs/one", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["test"]["metric"] > 0.5
    assert "round 1  critic" in done.stderr, "progress goes to standard error"
    return folder / "runs" / "one"


def test_an_existing_run_folder_is_not_overwritten(
    cli: Make, assert_refused: Make, finished_run: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished_run.rglob("*")}
    assert_refused(
        cli("run", finished_run.parent.parent / "task.yaml", "--out", finished_run),
        "exists already",
        "tutelage resume",
    )
    assert {path: path.stat().st_mtime_ns for path in finished_run.rglob("*")} == before


def test_a_run_stops_when_the_teacher_is_down_and_can_be_resumed_when_it_is_up(
    cli: Make, write_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    with serve(rehearsal_model(sample_task(), encoder=encoder)) as url:
        port = int(url.split(":")[2].split("/")[0])
    task = write_task(tmp_path, teacher={"model": "openai:rehearsal", "base_url": url, "patience": 1.0})
    done = cli("run", task, "--out", "out")
    assert done.returncode == 2
    line = next(line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert url in line
    assert "tutelage resume out" in line
    with serve(rehearsal_model(sample_task(), encoder=encoder), port=port):
        assert cli("resume", "out").returncode == 0
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.slow
def test_a_full_disk_gives_one_clear_error_and_the_run_can_be_resumed(
    cli: Make, write_task: Make, tmp_path: Path
) -> None:
    import resource

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    command = [sys.executable, "-m", "tutelage.cli", "run", str(write_task(tmp_path)), "--out", "out"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, preexec_fn=no_room
    )
    assert done.returncode == 2, done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "tutelage resume" in line
    assert cli("resume", "out").returncode == 0
    assert json.loads((tmp_path / "out" / "run.json").read_text())["test"]["metric"] > 0.5


def test_runs_report_evaluate_and_predict_read_the_folder_of_a_run(cli: Make, finished_run: Path) -> None:
    [entry] = json.loads(cli("runs", finished_run.parent, "--json").stdout)
    assert (entry["task"], entry["rounds"], entry["state"]) == ("shop", 1, "1 round is done")
    assert "1 round is done" in cli("runs", finished_run.parent).stdout
    other = cli("runs", finished_run, finished_run.parent)
    assert other.stdout.count(str(finished_run)) == 2, "a run is listed once, with scores and with settings"
    assert "settings that differ" not in other.stdout
    assert cli("runs").stdout.startswith("no runs under runs; start one")
    shown = cli("report", finished_run)
    assert "seeds only" in shown.stdout
    assert f"report: {finished_run / 'report.html'}" in shown.stdout
    assert cli("resume", finished_run, "--events", "-").stdout.splitlines()[-1].startswith('{"event": "end"')
    found = json.loads(cli("report", finished_run, "--json").stdout)
    graded = json.loads(
        cli("evaluate", finished_run, finished_run.parent.parent / "test.jsonl", "--json").stdout
    )
    assert graded["metric"] == pytest.approx(found["test"]["metric"])
    assert "macro-F1" in cli("evaluate", finished_run, finished_run.parent.parent / "test.jsonl").stdout
    texts = ["Where is my parcel?", "I forgot my password"]
    by_argument = cli("predict", finished_run, *texts, "--json").stdout
    assert cli("predict", finished_run / "student", "--json", input="\n".join(texts)).stdout == by_argument
    labels = [json.loads(line)["label"] for line in by_argument.splitlines()]
    assert labels == ["order_status", "account_privacy"]
    assert cli("predict", finished_run, texts[0]).stdout.startswith("order_status\t0.")


def test_trace_shows_how_a_sample_was_made(cli: Make, assert_refused: Make, finished_run: Path) -> None:
    [first, *_] = json.loads(cli("trace", finished_run, "--json").stdout)
    [found] = json.loads(cli("trace", finished_run, first["id"], "--json").stdout)
    assert found["history"]["text"] == first["text"]
    assert {call["id"] for call in found["calls"]} == set(found["history"]["calls"])
    shown = cli("trace", finished_run, first["id"][:12])
    assert f"sample {first['id']}" in shown.stdout
    assert "where the text came from" in shown.stdout
    assert first["id"][:8] in cli("trace", finished_run).stdout
    assert_refused(cli("trace", finished_run, "nonsense"), "no sample 'nonsense'", "lists some")


def test_resume_refuses_a_limit_that_is_already_exceeded(
    cli: Make, assert_refused: Make, finished_run: Path
) -> None:
    before = (finished_run / "run.json").read_bytes()
    calls = json.loads(before)["spent"]["calls"]
    used = f"has already used {calls} calls, more than --calls {calls - 1} allows"
    assert_refused(cli("resume", finished_run, "--calls", calls - 1), str(finished_run), used)
    assert_refused(cli("resume", finished_run, "--tokens", 1), "tokens, more than --tokens 1 allows")
    assert (finished_run / "run.json").read_bytes() == before
    same = cli("resume", finished_run, "--calls", calls)
    assert same.returncode == 0
    assert same.stderr.startswith("Nothing was left to do.")


def test_a_run_leaves_no_open_databases(finished_run: Path) -> None:
    assert [path.name for path in finished_run.iterdir() if path.name.endswith(("-wal", "-shm"))] == []


def test_init_writes_a_valid_task_and_overwrites_nothing(
    cli: Make, assert_refused: Make, tmp_path: Path
) -> None:
    from tutelage.graph.task.load import load_task
    from tutelage.graph.task.splits import load_splits

    assert cli("init", "mine").returncode == 0
    splits = load_splits(load_task(tmp_path / "mine" / "task.yaml"))
    assert len(splits.labelled) == 8
    assert splits.notes == []
    assert_refused(cli("init", "mine"), "task.yaml exists already")
    without_key = {key: value for key, value in os.environ.items() if key != "OPENAI_API_KEY"}
    done = cli("run", "mine/task.yaml", "--out", "out", env=without_key)
    assert done.returncode == 2
    assert "no API key: the environment variable OPENAI_API_KEY is not set" in done.stderr


def test_init_makes_a_task_from_a_file_of_rows(cli: Make, assert_refused: Make, tmp_path: Path) -> None:
    lines = [f"order {i} has not arrived yet;{('late', 'lost')[i % 2]}" for i in range(30)]
    (tmp_path / "tickets.csv").write_text("\n".join(["message;queue", *lines]))
    done = cli("init", "mine", "--data", "tickets.csv")
    assert done.stdout.splitlines() == [
        "tickets.csv: 30 rows, text in 'message', label in 'queue'",
        "2 labels: late 15, lost 15",
        f"wrote {Path('mine') / 'task.yaml'}",
        f"Describe the labels in task.yaml, then: tutelage plan {Path('mine') / 'task.yaml'}",
    ]
    assert cli("plan", "mine/task.yaml", "--no-prompts").returncode == 0
    assert_refused(cli("init", "mine", "--data", "tickets.csv"), "task.yaml exists already")
    assert_refused(cli("init", "other", "--data", "tickets.csv", "--text", "body"), "no column 'body'")
    assert_refused(cli("init", "other", "--data", "nothing.csv"), "nothing.csv does not exist")
    assert_refused(cli("init", "other", "--data", "tickets.csv", "--kind", "ner"), "init other --kind ner")
    assert_refused(
        cli("init", "other", "--text", "body"), "--text, --label and --encoding say how --data is read"
    )
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("format", ["mermaid", "svg", "png", "ascii"])
def test_graph_draws_the_graph_and_a_run(format: str, cli: Make, finished_run: Path, tmp_path: Path) -> None:
    name = tmp_path / f"drawing.{'txt' if format == 'ascii' else format}"
    assert cli("graph", finished_run, "--out", name).stdout == f"wrote {name}\n"
    of_run = name.read_bytes()
    if format == "png":
        assert of_run.startswith(b"\x89PNG")
        return
    assert b"shop: finished, 1 round, " in of_run
    alone = cli("graph", "--format", format).stdout
    assert "critic" in alone
    assert "finished" not in alone


def test_graph_refuses_what_is_no_run_and_a_folder_that_is_missing(cli: Make, assert_refused: Make) -> None:
    assert_refused(cli("graph", "."), "is not a run folder")
    assert_refused(cli("graph", "--out", "missing/graph.svg"), "the folder missing does not exist")


def test_doctor_detects_the_capabilities_of_an_endpoint_and_stores_them(
    cli: Make, write_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    log: list[dict[str, Any]] = []
    offers = Offers(tools=False, seed=False)
    with serve(rehearsal_model(sample_task(), encoder=encoder), log=log, offers=offers) as url:
        task = write_task(tmp_path, teacher={"model": "openai:rehearsal", "base_url": url})
        findings = {f["what"]: f for f in json.loads(cli("doctor", task, "--json").stdout)}
        asked = [len(log)]
        again = cli("doctor", task).stdout
        asked.append(len(log) - asked[0])
    who = "openai:rehearsal (analyst, generator, labeler, critic)"
    assert findings["torch"]["good"]
    assert findings["encoder"]["words"].startswith("minilm-")
    for what in ("reachable", "JSON schema", "JSON mode", "plain text", "log-probabilities", "token counts"):
        assert findings[f"{who} {what}"]["good"], what
    for what in ("function calling", "seed"):
        assert (findings[f"{who} {what}"]["good"], findings[f"{who} {what}"]["words"]) == (None, "no")
    assert findings[f"{who} price"]["words"] == "unknown; set `prices`"
    assert asked == [7, 1]
    assert f"{who} stored: probed on 20" in again
    assert f"    {who} function calling: no" in again
    down = cli("doctor", task)
    assert down.returncode == 2
    assert f"FAIL {who} reachable" in down.stdout


def test_the_demo_ends_with_the_comparison_and_names_the_rehearsal_teacher(cli: Make, tmp_path: Path) -> None:
    done = cli("demo", "--student", "head", "--rounds", "1", "--out", "demo", "--events", "events.jsonl")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stderr, "a pipe gets plain lines"
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert (events[0]["event"], events[-1]["event"], events[-1]["state"]) == ("begin", "end", "finished")
    stored = [
        json.loads(line) for line in (tmp_path / "demo" / "loop" / "trace.jsonl").read_text().splitlines()
    ]
    assert [event for event in events if event["event"] not in ("begin", "step", "end")] == stored
    for row in ("your labels alone", "round 1", "out of fold", "at random", "<- the student you get"):
        assert row in done.stdout
    assert "not a language model" in done.stdout
    assert f"report: {Path('demo') / 'loop' / 'report.html'}" in done.stdout
    assert "Value of the teacher labels" in (tmp_path / "demo" / "loop" / "report.html").read_text()
    shutil.copytree(tmp_path / "demo" / "loop", tmp_path / "copy")
    compared = cli("report", "demo/loop", "copy")
    assert compared.stdout.splitlines()[-1] == "report: comparison.html"
    assert "the runs have the same settings" in (tmp_path / "comparison.html").read_text()
    [entry] = json.loads(cli("runs", "demo", "--json").stdout)
    assert (entry["rounds"], entry["state"]) == (1, "1 round is done")
    assert 0 < entry["last_round"] < 1
    assert entry["test"] > 0.5


def test_help_has_an_example_for_every_command(cli: Make) -> None:
    commands = [
        "demo",
        "init",
        "run",
        "resume",
        "runs",
        "report",
        "evaluate",
        "predict",
        "export",
        "graph",
        "doctor",
    ]
    for command in commands:
        assert f"Example: tutelage {command}" in cli(command, "--help").stdout


def test_cli_py_can_also_be_run_as_a_script(cli: Make, tmp_path: Path) -> None:
    direct = subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), "--version"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert direct.stdout.strip() == tutelage.__version__ == cli("--version").stdout.strip()


def test_an_unexpected_error_is_one_line_and_with_debug_a_traceback(
    cli: Make, finished_run: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(finished_run, broken)
    (broken / "rounds.jsonl").write_text("not json\n")
    done = cli("report", broken)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "--debug" in done.stderr
    assert "Traceback" in cli("--debug", "report", broken).stderr


def test_evaluate_and_predict_refuse_empty_or_contradictory_input(
    cli: Make, assert_refused: Make, finished_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    assert_refused(cli("evaluate", finished_run, "empty.jsonl"), "holds no rows")
    assert_refused(cli("predict", finished_run, ""), "is empty; there is nothing to label")
    assert_refused(
        cli("predict", finished_run, "hello", "--file", "empty.jsonl"), "both as arguments and by --file"
    )
    assert_refused(
        cli("predict", finished_run, "hello", "--text", "body"),
        "names a column of --file, but --file is not given",
    )
    assert_refused(cli("predict", finished_run, "hm", "--precision", "0.9"), "has no confidence.json")
    assert_refused(cli("predict", finished_run, "hm", "--to", "out.csv"), "name it with --file")


def test_predict_writes_the_rows_of_a_file_with_their_predictions(
    cli: Make, finished_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text("number,text\n1,Where is my parcel?\n2,\n")
    done = cli("predict", finished_run, "--file", "in.csv", "--to", "out.csv")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "wrote 2 rows to out.csv\n"
    assert "1 of 2 rows get no prediction" in done.stderr
    head, first, second = (tmp_path / "out.csv").read_text().splitlines()
    assert head == "number,text,predicted,confidence"
    assert first.startswith("1,Where is my parcel?,order_status,0.")
    assert second == "2,,,"


def test_predict_prints_a_line_for_every_row_of_a_file_also_for_one_without_a_text(
    cli: Make, assert_refused: Make, finished_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text("number,text\n1,Where is my parcel?\n2,\n3,Where is it?\n")
    done = cli("predict", finished_run, "--file", "in.csv", "--json")
    assert done.returncode == 0, done.stderr
    assert "1 of 3 rows get no prediction; the first: in.csv line 3: the text is empty" in done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["label"] is None for row in rows] == [False, True, False]
    assert [row["confidence"] is None for row in rows] == [False, True, False]
    assert [row["text"] for row in rows] == ["Where is my parcel?", "", "Where is it?"]
    lines = cli("predict", finished_run, "--file", "in.csv").stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == [rows[0]["label"], "-", rows[2]["label"]]
    assert lines[1] == "-\t-\t"
    (tmp_path / "blank.csv").write_text("number,text\n1,\n")
    for options in ([], ["--to", "out.csv"]):
        assert_refused(cli("predict", finished_run, "--file", "blank.csv", *options), "the text is empty")


def test_files_are_read_with_the_columns_of_the_runs_own_files(
    cli: Make, finished_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    about = json.loads((run / "run.json").read_text())
    about["task"]["data"]["seed"] |= {
        "text": ["body"],
        "label": "queue",
        "label_names": {"1": "order_status"},
    }
    (run / "run.json").write_text(json.dumps(about))
    (tmp_path / "in.csv").write_bytes("body;queue\nWo ist mein Päckchen?;1\n".encode("windows-1252"))
    refused = cli("predict", run, "--file", "in.csv", "--to", "out.jsonl")
    assert "is not UTF-8" in refused.stderr
    assert "by --encoding windows-1252" in refused.stderr
    options = "--encoding", "windows-1252"
    assert cli("predict", run, "--file", "in.csv", "--to", "out.jsonl", *options).returncode == 0
    [row] = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert row["body"] == "Wo ist mein Päckchen?"
    assert (
        json.loads(cli("predict", run, "--file", "in.csv", "--json", *options).stdout)["text"] == row["body"]
    )
    assert json.loads(cli("evaluate", run, "in.csv", "--json", *options).stdout)["size"] == 1
    (tmp_path / "plain.csv").write_text("text,label\nWhere is it?,order_status\n")
    assert json.loads(cli("evaluate", run, "plain.csv", "--json").stdout)["size"] == 1


def test_evaluate_notes_rows_that_the_student_was_trained_on(
    cli: Make, finished_run: Path, tmp_path: Path
) -> None:
    data = finished_run.parent.parent
    unseen = (data / "test.jsonl").read_text().splitlines()[:2]
    seen = (data / "seed.jsonl").read_text().splitlines()[:1]
    (tmp_path / "mixed.jsonl").write_text("\n".join([*unseen, *seen]))
    assert cli("evaluate", finished_run, data / "test.jsonl").stderr == ""
    for student in (finished_run, finished_run / "student"):
        done = cli("evaluate", student, "mixed.jsonl")
        assert "note: 1 of 3 texts were used in the run that trained this student" in done.stderr
        assert done.returncode == 0


def test_export_writes_the_samples_for_review_and_overwrites_nothing(
    cli: Make, assert_refused: Make, finished_run: Path, tmp_path: Path
) -> None:
    kept = json.loads((finished_run / "run.json").read_text())["samples"]["kept"]
    done = cli("export", finished_run, "review.csv", "--as", "csv")
    assert (done.returncode, done.stdout) == (0, f"wrote {kept} samples to review.csv\n")
    assert len((tmp_path / "review.csv").read_text().splitlines()) == kept + 1
    assert_refused(cli("export", finished_run, "review.csv", "--as", "csv"), "review.csv exists already")
    assert_refused(cli("export", finished_run, "nowhere/review.csv", "--as", "csv"), "cannot be written")
    assert_refused(cli("export", finished_run, "review.json", "--as", "excel"), "'excel'")


@pytest.mark.slow
def test_export_writes_a_model_that_runs_without_torch(
    cli: Make, assert_refused: Make, finished_run: Path, tmp_path: Path
) -> None:
    done = cli("export", finished_run, "model")
    assert done.returncode == 0, done.stderr
    assert "wrote model: the model, its card (README.md), task.yaml, the samples (dataset/)" in done.stdout
    assert 'try it without torch: python model/predict.py "a text"' in done.stdout
    assert (tmp_path / "model" / "onnx" / "model.onnx").exists()
    assert_refused(cli("export", finished_run, "model"), "model exists already")


def test_predict_says_that_it_read_no_text(cli: Make, finished_run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    for arguments, source in (([], "standard input"), (["--file", "empty.jsonl"], "empty.jsonl")):
        done = cli("predict", finished_run, *arguments, input="\n")
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr == f"note: no text was read from {source}\n"


def test_predict_ignores_byte_order_marks_blank_lines_and_carriage_returns(
    cli: Make, finished_run: Path
) -> None:
    plain = cli("predict", finished_run, "--json", input="where is it?\nrefund\n")
    assert len(plain.stdout.splitlines()) == 2
    assert (
        cli("predict", finished_run, "--json", input="\ufeffwhere is it?\r\n\r\nrefund").stdout
        == plain.stdout
    )


def test_predict_ends_silently_when_its_output_is_closed(finished_run: Path) -> None:
    command = [sys.executable, "-m", "tutelage.cli", "predict", str(finished_run), "refund"]
    predicting = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert predicting.stdout
    assert predicting.stderr
    predicting.stdout.close()
    assert predicting.stderr.read() == b""
    assert predicting.wait() == -signal.SIGPIPE


def test_predict_and_evaluate_note_texts_that_are_too_long_for_the_student(
    cli: Make, finished_run: Path, tmp_path: Path
) -> None:
    long = "where is my parcel? " * 60
    long_text = cli("predict", finished_run, long, "refund")
    assert long_text.stderr.startswith("note: 1 of 2 texts are too long for this student: it reads only")
    assert cli("predict", finished_run, "refund").stderr.strip() == ""
    (tmp_path / "long.jsonl").write_text(json.dumps({"text": long, "label": "order_status"}) + "\n")
    assert "note: 1 of 1 texts are too long" in cli("evaluate", finished_run, "long.jsonl").stderr
