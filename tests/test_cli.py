"""The command line as a user meets it: real processes, exit codes, one clear line on bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tutelage
import yaml
from tutelage.agents.rehearsal.server import Offers, serve
from tutelage.graph.context import rehearsal_model
from tutelage.graph.task.samples import sample_task
from tutelage.student.encoder import Encoder

ROOT = Path(tutelage.__file__).parent
Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def cli(command: Cli, tmp_path: Path) -> Cli:
    """Runs a command in an empty folder, as from a pipe."""
    return partial(command, cwd=tmp_path)


@pytest.fixture(scope="module")
def a_run(command: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one small round, made by the command itself."""
    folder = tmp_path_factory.mktemp("cli")
    task = write_task(folder)
    done = command("run", task, "--out", "runs/one", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["test"]["metric"] > 0.5
    assert "round 1  critic" in done.stderr, "progress goes to standard error"
    return folder / "runs" / "one"


def write_task(folder: Path, **parts: Any) -> Path:
    """The shop task with a head student, one small round and few texts; None removes a part."""
    raw = json.loads(sample_task().model_dump_json(exclude_none=True))
    raw |= {"student": {"mode": "head"}, "strategy": {"base": "auto", "samples": 12}, "budget": {"rounds": 1}}
    for name in ("seed", "diagnose", "gate", "test"):
        rows = Path(raw["data"][name]["path"]).read_text().splitlines()[:48]
        (folder / f"{name}.jsonl").write_text("\n".join(rows))
        raw["data"][name] = f"{name}.jsonl"
    raw |= parts
    path = folder / "task.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in raw.items() if value is not None}))
    return path


def refused(done: "subprocess.CompletedProcess[str]", *words: str) -> None:
    """Exit code 2 and one line on standard error with the words; nothing else."""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]


BAD_TASKS = {
    "unknown field": ({"stduent": {}}, ["unknown field `stduent`", "did you mean 'student'?"]),
    "unknown inner field": ({"budget": {"round": 3}}, ["`budget.round`", "did you mean 'rounds'?"]),
    "missing field": ({"instruction": None}, ["`instruction` is missing", "tutelage init"]),
    "one label": ({"labels": {"a": ""}}, ["`labels`", "at least 2"]),
    "unknown strategy": ({"strategy": "evkd"}, ["'evkd'", "did you mean 'evokd'?"]),
    "unknown strategy field": ({"strategy": {"base": "auto", "sample": 3}}, ["'sample'", "'samples'"]),
    "money without prices": (
        {"budget": {"money": 5}, "teacher": {"model": "openai:x"}},
        ["budget.money", "price_prompt"],
    ),
    "a batch of what has no batches": (
        {"teacher": {"model": "anthropic:x", "batch": True}},
        ["teacher.batch"],
    ),
    "prices that are none": (
        {"teacher": {"model": "openai:x", "prices": "task.yaml"}, "budget": {"money": 1}},
        ["prices", "task.yaml", "expected numbers"],
    ),
    "rehearsal without corpus": ({"teacher": {"model": "rehearsal"}}, ["teacher.corpus"]),
    "wrong type": ({"seed": "many"}, ["`seed`", "'many'"]),
    "negative rounds": ({"budget": {"rounds": -1}}, ["`budget.rounds`", "-1"]),
    "a strategy out of bounds": ({"strategy": {"samples": -5}}, ["`strategy.samples`", "-5"]),
    "an unknown feedback": ({"strategy": {"feedback": "much"}}, ["`strategy.feedback`", "'much'"]),
    "an unknown field of a role": (
        {"teacher": {"model": "openai:x", "roles": {"critic": {"modle": "y"}}}},
        ["teacher.roles.critic.modle", "did you mean 'model'?"],
    ),
    "labels that YAML reads as truth": ({"labels": {True: "", False: ""}}, ["`labels`", "quotes"]),
    "prompts that are not there": ({"prompts": "none"}, ["`prompts`", "not a folder"]),
    "a provider that is not there": ({"teacher": {"model": "none:x"}}, ["'none:x'"]),
    "a set that is not there": ({"data": {"seed": "none.jsonl"}}, ["none.jsonl does not exist"]),
    "a model that is not there": (
        {"student": {"mode": "head", "base": "no/such"}, "encoder": "no/such"},
        ["'no/such' cannot be loaded"],
    ),
}


@pytest.mark.parametrize("name", BAD_TASKS)
def test_a_bad_task_is_one_clear_line_and_leaves_nothing(name: str, cli: Cli, tmp_path: Path) -> None:
    parts, words = BAD_TASKS[name]
    done = cli(
        "run", write_task(tmp_path, **parts), "--out", "out", env={**os.environ, "OPENAI_API_KEY": "k"}
    )
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["no seeds; give at least one text for two labels"]),
        ('{"text": "a", "label": "order_status"}\n', ["all 1 seeds are 'order_status'"]),
        ('{"text": "a", "label": "order_state"}\n', ["line 1", "did you mean 'order_status'?"]),
        ('{"text": "a", "label": "order_status"}\n' * 2, ["occurs twice"]),
        (
            '{"text": "a", "label": "order_status"}\n{"text": "A!", "label": "return_refund"}\n',
            ["as 'order_status' and as 'return_refund'"],
        ),
        ('{"text": "a"}\n', ["line 1", "no field 'label'"]),
        ('{"text": "' + "x" * 1_000_000 + '", "label": "order_status"}\n', ["1,000,000 characters"]),
        ('{"text": "a\\u0000b", "label": "order_status"}\n', ["NUL byte"]),
        (b'{"text": "\xff", "label": "order_status"}\n', ["line 1 is not UTF-8", "0xff"]),
        ("[1, 2]\n", ["line 1 is a JSON list"]),
    ],
    ids=["empty", "one-class", "label", "duplicate", "conflict", "field", "megabyte", "nul", "utf8", "list"],
)
def test_bad_rows_are_one_clear_line_and_leave_nothing(
    content: str | bytes, words: list[str], cli: Cli, tmp_path: Path
) -> None:
    task = write_task(tmp_path)
    (tmp_path / "seed.jsonl").write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(cli("run", task, "--out", "out"), "seed.jsonl", *words)
    assert not (tmp_path / "out").exists()


def test_a_text_in_two_sets_is_refused(cli: Cli, tmp_path: Path) -> None:
    task = write_task(tmp_path)
    shutil.copy(tmp_path / "test.jsonl", tmp_path / "gate.jsonl")
    refused(cli("run", task), "48 texts are both in gate and in test")


def test_a_csv_with_the_wrong_columns_is_one_clear_line(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "seed.csv").write_text("review;verdict\ngood;yes\n")
    task = write_task(tmp_path, data={"seed": "seed.csv"})
    refused(cli("run", task), "seed.csv line 2", "no field 'text'", "'review;verdict'", "rename the column")


@pytest.mark.parametrize(
    ("content", "words"),
    [("labels: [a, b", ["is not YAML"]), ("- 1", ["holds list"]), ("", ["holds NoneType"])],
)
def test_a_malformed_task_file_is_one_clear_line(
    content: str, words: list[str], cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "task.yaml").write_text(content)
    refused(cli("run", "task.yaml"), "task.yaml", *words)


def test_files_that_are_missing_or_not_runs_are_one_clear_line(cli: Cli, tmp_path: Path) -> None:
    refused(cli("run", "nothing.yaml"), "nothing.yaml does not exist", "tutelage init")
    for command in ("resume", "report"):
        refused(cli(command, tmp_path), "is not a run folder", "tutelage runs")
    refused(cli("predict", tmp_path, "hello"), "holds no student")
    (tmp_path / "folder.yaml").mkdir()
    refused(cli("run", "folder.yaml"), "folder.yaml is a folder; give the file")


def test_an_existing_run_folder_is_never_written_over(cli: Cli, a_run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in a_run.rglob("*")}
    refused(
        cli("run", a_run.parent.parent / "task.yaml", "--out", a_run), "exists already", "tutelage resume"
    )
    assert {path: path.stat().st_mtime_ns for path in a_run.rglob("*")} == before


def test_a_teacher_that_is_down_stops_the_run_which_goes_on_when_it_is_back(
    cli: Cli, encoder: Encoder, tmp_path: Path
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


def test_a_full_disk_is_one_clear_line_and_the_run_goes_on_when_there_is_room(
    cli: Cli, tmp_path: Path
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


def test_runs_report_evaluate_and_predict_read_what_run_wrote(cli: Cli, a_run: Path) -> None:
    [entry] = json.loads(cli("runs", a_run.parent, "--json").stdout)
    assert (entry["task"], entry["rounds"], entry["state"]) == ("shop", 1, "1 round is done")
    assert "shop" in cli("runs", a_run.parent).stdout
    told = cli("report", a_run)
    assert "seeds only" in told.stdout
    assert f"report: {a_run / 'report.html'}" in told.stdout
    found = json.loads(cli("report", a_run, "--json").stdout)
    graded = json.loads(cli("evaluate", a_run, a_run.parent.parent / "test.jsonl", "--json").stdout)
    assert graded["metric"] == pytest.approx(found["test"]["metric"])
    assert "macro-F1" in cli("evaluate", a_run, a_run.parent.parent / "test.jsonl").stdout
    texts = ["Where is my parcel?", "I forgot my password"]
    by_argument = cli("predict", a_run, *texts, "--json").stdout
    assert cli("predict", a_run / "student", "--json", input="\n".join(texts)).stdout == by_argument
    labels = [json.loads(line)["label"] for line in by_argument.splitlines()]
    assert labels == ["order_status", "account_privacy"]
    assert cli("predict", a_run, texts[0]).stdout.startswith("order_status\t0.")


def test_init_writes_a_task_that_can_be_read_and_overwrites_nothing(cli: Cli, tmp_path: Path) -> None:
    from tutelage.graph.task.load import load_task
    from tutelage.graph.task.splits import load_splits

    assert cli("init", "mine").returncode == 0
    splits = load_splits(load_task(tmp_path / "mine" / "task.yaml"))
    assert len(splits.labelled) == 8
    assert splits.notes == []
    refused(cli("init", "mine"), "task.yaml exists already")
    without_key = {key: value for key, value in os.environ.items() if key != "OPENAI_API_KEY"}
    done = cli("run", "mine/task.yaml", "--out", "out", env=without_key)
    assert done.returncode == 2
    assert "no API key: the environment variable OPENAI_API_KEY is not set" in done.stderr


@pytest.mark.parametrize("form", ["mermaid", "ascii", "svg"])
def test_graph_draws_every_node_offline(form: str, cli: Cli, tmp_path: Path) -> None:
    drawing = cli("graph", "--format", form).stdout
    for node in (
        "prepare",
        "first_labels",
        "train",
        "examine",
        "calibrate",
        "final",
        "refit",
        "report",
        "pool",
        "analyst",
        "generator",
        "screen",
        "labeler",
        "critic",
        "keep",
    ):
        assert node in drawing
    assert cli("graph", "--format", form, "--out", "drawing").returncode == 0
    written = (tmp_path / "drawing").read_text()
    # grandalf lays edges out anew each time; the other forms are the same to the letter.
    assert "critic" in written if form == "ascii" else written.strip() == drawing.strip()


def test_the_drawing_in_the_readme_is_the_graph(cli: Cli) -> None:
    readme = Path(__file__).parent.parent / "README.md"
    if not readme.exists():
        pytest.skip("tests run without the checkout")
    drawn = {line.strip() for line in cli("graph").stdout.splitlines() if "-->" in line or "-.->" in line}
    assert drawn <= {line.strip() for line in readme.read_text().splitlines()}


def test_doctor_finds_out_what_a_teacher_can_do_and_remembers_it(
    cli: Cli, encoder: Encoder, tmp_path: Path
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
    assert f"{who} remembered: probed on 20" in again
    assert f"    {who} function calling: no" in again
    down = cli("doctor", task)
    assert down.returncode == 2
    assert f"BAD {who} reachable" in down.stdout


def test_the_demo_ends_with_its_table_and_says_who_the_teacher_was(cli: Cli, tmp_path: Path) -> None:
    done = cli("demo", "--student", "head", "--rounds", "1", "--out", "demo")
    assert done.returncode == 0, done.stderr
    for row in ("your labels alone", "round 1", "out of fold", "at random", "<- the student you get"):
        assert row in done.stdout
    assert "not a language model" in done.stdout
    assert f"report: {Path('demo') / 'loop' / 'report.html'}" in done.stdout
    assert "Value of the teacher labels" in (tmp_path / "demo" / "loop" / "report.html").read_text()
    [entry] = json.loads(cli("runs", "demo", "--json").stdout)
    assert (entry["rounds"], entry["state"]) == (1, "1 round is done")
    assert 0 < entry["last_round"] < 1
    assert entry["test"] > 0.5


def test_help_has_an_example_for_every_command(cli: Cli) -> None:
    commands = ["demo", "init", "run", "resume", "runs", "report", "evaluate", "predict", "graph", "doctor"]
    for command in commands:
        assert f"Example: tutelage {command}" in cli(command, "--help").stdout


def test_python_cli_py_is_the_same_command_and_offers_no_bare_names(cli: Cli, tmp_path: Path) -> None:
    direct = subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), "--version"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert direct.stdout.strip() == tutelage.__version__ == cli("--version").stdout.strip()


def test_a_bug_is_told_in_one_line_and_shown_whole_with_debug(cli: Cli, a_run: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(a_run, broken)
    (broken / "rounds.jsonl").write_text("not json\n")
    done = cli("report", broken)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "--debug" in done.stderr
    assert "Traceback" in cli("--debug", "report", broken).stderr


def test_nothing_to_grade_or_label_is_told(cli: Cli, a_run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    refused(cli("evaluate", a_run, "empty.jsonl"), "holds no rows")
    refused(cli("predict", a_run, ""), "is empty; there is nothing to label")
    refused(cli("predict", a_run, "hello", "--file", "empty.jsonl"), "both as arguments and by --file")
    refused(
        cli("predict", a_run, "hello", "--text", "body"), "names a column of --file, but --file is not given"
    )


def test_lines_are_read_without_the_marks_of_their_file(cli: Cli, a_run: Path) -> None:
    plain = cli("predict", a_run, "--json", input="where is it?\nrefund\n")
    assert len(plain.stdout.splitlines()) == 2
    assert cli("predict", a_run, "--json", input="\ufeffwhere is it?\r\n\r\nrefund").stdout == plain.stdout


def test_a_reader_that_goes_away_ends_predict_without_a_word(a_run: Path) -> None:
    command = [sys.executable, "-m", "tutelage.cli", "predict", str(a_run), "refund"]
    predicting = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert predicting.stdout
    assert predicting.stderr
    predicting.stdout.close()
    assert predicting.stderr.read() == b""
    assert predicting.wait() == -signal.SIGPIPE


def test_texts_that_are_not_read_to_their_end_are_told(cli: Cli, a_run: Path, tmp_path: Path) -> None:
    long = "where is my parcel? " * 60
    told = cli("predict", a_run, long, "refund")
    assert told.stderr.startswith("note: 1 of 2 texts are too long for this student: it reads only")
    assert cli("predict", a_run, "refund").stderr.strip() == ""
    (tmp_path / "long.jsonl").write_text(json.dumps({"text": long, "label": "order_status"}) + "\n")
    assert "note: 1 of 1 texts are too long" in cli("evaluate", a_run, "long.jsonl").stderr


def test_a_device_that_is_not_there_is_told_before_anything_is_written(cli: Cli, tmp_path: Path) -> None:
    task = write_task(tmp_path, student={"mode": "head", "device": "gpu"})
    refused(cli("run", task, "--out", "out"), "device 'gpu' is not available", "cpu")
    assert not (tmp_path / "out").exists()
