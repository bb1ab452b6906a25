"""The command line. Each command is a thin wrapper around a library call; heavy imports stay inside it."""

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

if __name__ == "__main__" and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path.pop(0)  # `python cli.py` must not make agents/, graph/ … importable as top-level names

import typer
from tutelage.student.tasks.fields import TaskTypeName

if TYPE_CHECKING:
    from tutelage.graph.run_folder.folder import RunFolder
    from tutelage.student.tasks.scoring import ClassReport

# Set before torch loads: spinning OpenMP threads make training 7-10 times slower beside a busy process.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

app = typer.Typer(
    help="Distil a large language model into a small trainable one by active learning.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Out = Annotated[Path | None, typer.Option("--out", help="The run folder. It must not exist yet.")]
RunArgument = Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")]
StudentArgument = Annotated[Path, typer.Argument(help="A run folder or a student folder.", metavar="STUDENT")]
TaskOption = Annotated[Path | None, typer.Argument(help="A task.yaml.", metavar="[TASK]")]


def _version(wanted: bool) -> None:
    if wanted:
        from tutelage import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """Distil a large language model into a small trainable one by active learning."""


@app.command()
def demo(
    out: Annotated[Path | None, typer.Option("--out", help="A new folder for the task and the run.")] = None,
    student: Annotated[Literal["full", "head"], typer.Option(help="head takes seconds per round.")] = "full",
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds.")] = 1,
    kind: Annotated[TaskTypeName, typer.Option(help="The task type.")] = "classification",
) -> None:
    """Run the loop on a bundled task with a rehearsal teacher and a real student; no key or network needed.

    Example: [bold]tutelage demo[/bold]
    """
    import time

    from tutelage.graph.runs.demo import TO_PREDICT, run_demo

    folder = out or Path("runs") / f"demo-{time.strftime('%Y%m%d-%H%M%S')}"
    loop = run_demo(folder, kind=kind, student=student, rounds=rounds)
    _print_result(loop)
    typer.echo(
        "The teacher was the rehearsal teacher: a look-up in labelled texts, not a language model.\n"
        f"report: {loop.report}\n"
        f"next:   tutelage predict {loop.path} {TO_PREDICT[kind]}"
    )


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The folder to write to.")] = Path(),
    kind: Annotated[TaskTypeName, typer.Option(help="The task type.")] = "classification",
) -> None:
    """Write a commented task.yaml and data stubs to start from.

    Example: [bold]tutelage init my-task[/bold]
    """
    from tutelage.graph.task.templates import scaffold

    for path in scaffold(folder, kind):
        typer.echo(f"wrote {path}")
    typer.echo(f"Replace the stubs with your texts, then: tutelage plan {folder / 'task.yaml'}")


@app.command()
def plan(
    task: Annotated[Path, typer.Argument(help="A task.yaml.")],
    strategy: Annotated[
        str | None,
        typer.Option(help="Replaces the strategy but keeps changed fields; e.g. evokd."),
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=0, help="Replaces the task's value.")] = None,
    batch: Annotated[bool, typer.Option("--batch", help="Plan with the provider's batch API.")] = False,
    prompts: Annotated[bool, typer.Option(help="Show a complete prompt of each role.")] = True,
    as_json: Json = False,
) -> None:
    """Estimate the calls, tokens and cost of a run and show a prompt of each role. Nothing is sent.

    Example: [bold]tutelage plan task.yaml --no-prompts[/bold]
    """
    from tutelage.graph.planning.plan import plan as make_plan
    from tutelage.graph.planning.text import plan_table, plan_words, prompt_words
    from tutelage.graph.task.load import load_task, override

    estimate = make_plan(override(load_task(task), strategy=strategy, rounds=rounds, batch=batch or None))
    if not prompts:
        estimate["prompts"] = {}
    if as_json:
        typer.echo(json.dumps(estimate, indent=1))
        return
    _print(plan_table(estimate))
    typer.echo("\n".join([*plan_words(estimate), *prompt_words(estimate)]))


@app.command()
def run(
    task: Annotated[Path, typer.Argument(help="A task.yaml.")],
    out: Out = None,
    strategy: Annotated[
        str | None,
        typer.Option(help="Replaces the strategy but keeps changed fields; e.g. evokd."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Replaces the task's value.")] = None,
    rounds: Annotated[int | None, typer.Option(min=0, help="Replaces the task's value.")] = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="Use the provider's batch API: half the price, takes hours.")
    ] = False,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(help="A run whose replies to identical requests are reused.", metavar="RUN"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Continue even if the teacher is no better than the student.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a student with the labels of the task's teacher.

    Example: [bold]tutelage run task.yaml --out runs/first[/bold]
    """
    from tutelage.graph.run_folder.progress import Progress
    from tutelage.graph.runs.run import run as start
    from tutelage.graph.task.load import load_task, override

    loaded = override(
        load_task(task), strategy=strategy, seed=seed, rounds=rounds, batch=batch or None, force=force
    )
    with Progress() as progress:
        folder = start(loaded, out, reuse=reuse or (), listener=progress)
    _finish(folder, as_json)


@app.command()
def resume(
    folder: RunArgument,
    rounds: Annotated[int | None, typer.Option(min=0, help="A new total number of rounds.")] = None,
    calls: Annotated[int | None, typer.Option(min=0, help="A new limit for the whole run.")] = None,
    tokens: Annotated[int | None, typer.Option(min=0, help="A new limit for the whole run.")] = None,
    money: Annotated[float | None, typer.Option(min=0, help="A new limit for the whole run.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="A new limit for the whole run.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Continue even if the teacher is no better than the student.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Continue a run that was stopped or killed, or that ended at a limit which is now higher.

    Replies on disk are not paid for again.

    Example: [bold]tutelage resume runs/first --calls 1000[/bold]
    """
    from tutelage.graph.run_folder.folder import RunFolder
    from tutelage.graph.run_folder.progress import Progress
    from tutelage.graph.runs.run import resume as continue_run

    budget = {"rounds": rounds, "calls": calls, "tokens": tokens, "money": money, "minutes": minutes}
    trace = RunFolder(folder).trace
    before = trace.stat().st_size if trace.exists() else 0
    with Progress() as progress:
        finished = continue_run(folder, budget=budget, force=force, listener=progress)
    if trace.stat().st_size == before:
        typer.echo("nothing was left to do; raise a limit (--rounds, --calls, …) to continue", err=True)
    _finish(finished, as_json)


@app.command()
def runs(
    root: Annotated[Path, typer.Argument(help="The folder that holds the run folders.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List runs, oldest first.

    Example: [bold]tutelage runs --json[/bold]
    """
    from rich.table import Table
    from tutelage.graph.runs.run import list_runs

    entries = list_runs(root)
    if as_json:
        typer.echo(json.dumps(entries, indent=1))
        return
    if not entries:
        typer.echo(f"no runs under {root}; start one with `tutelage run task.yaml` or `tutelage demo`")
        return
    table = Table()
    for heading in entries[0]:
        table.add_column(heading)
    for entry in entries:
        cells = (f"{v:.3f}" if isinstance(v, float) else "-" if v is None else str(v) for v in entry.values())
        table.add_row(*cells)
    _print(table)


@app.command()
def report(
    folder: RunArgument,
    control: Annotated[Path | None, typer.Option(help="A run to compare with.", metavar="RUN")] = None,
    as_json: Json = False,
) -> None:
    """Show the results of a run and rewrite its report.html.

    Example: [bold]tutelage report runs/first --control runs/random[/bold]
    """
    from tutelage.graph.report.build import write_report
    from tutelage.graph.report.run_section import differences
    from tutelage.graph.run_folder.folder import RunFolder

    other = RunFolder(control) if control else None
    write_report(RunFolder(folder), other)
    _finish(RunFolder(folder), as_json, other)
    if other and not as_json:
        for difference in differences(RunFolder(folder).about(), other.about()):
            typer.echo(f"note: {difference}")


@app.command()
def evaluate(
    student: StudentArgument,
    data: Annotated[Path, typer.Argument(help="Labelled rows, .jsonl or .csv.")],
    text: Annotated[
        list[str] | None, typer.Option(help="The column of the text; give it twice for pairs.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="The column of the label.")] = None,
    metric: Annotated[
        str | None, typer.Option(help="Default: the run's metric. For seq2seq also file.py:function.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Evaluate a student on labelled texts.

    Example: [bold]tutelage evaluate runs/first more.jsonl[/bold]
    """
    from tutelage.graph.report.run_section import figures
    from tutelage.graph.run_folder.folder import metric_in, student_in
    from tutelage.student.errors import InputError
    from tutelage.student.evaluation.evaluate import evaluate as evaluate_student
    from tutelage.student.models.load import load_student
    from tutelage.student.models.prediction_inputs import read_labelled, truncation_note
    from tutelage.student.tasks.task_type import TASK_TYPES
    from tutelage.student.tasks.user_functions import title

    loaded = load_student(student_in(student))
    task_type, metric = TASK_TYPES[loaded.kind], metric or metric_in(student)
    rows = read_labelled(loaded, data, text, label)
    if metric and (problem := task_type.check_metric(metric)):
        raise InputError(f"the metric {metric}: {problem}; or choose another with --metric")
    if note := truncation_note(loaded, [row["text"] for row in rows]):
        typer.echo(note, err=True)
    result = evaluate_student(loaded, rows, metric)
    name = title(metric or task_type.metrics[0])
    result["figures"] = {name: result["metric"], **result["figures"]}  # the main metric comes first
    if as_json:
        typer.echo(json.dumps({"metric_name": name, **result}))
        return
    typer.echo(f"{result['size']} rows: {figures(result)}")
    _print_classes(result["classes"])


@app.command()
def predict(
    student: StudentArgument,
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            help="Texts; two arguments per pair. Default: lines of standard input, pairs split by a tab."
        ),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="A .jsonl or .csv file of texts.")] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="The column of the text in --file; give it twice for pairs.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print a student's predictions for texts.

    Example: [bold]tutelage predict runs/first "where is my parcel?"[/bold]
    """
    from tutelage.graph.run_folder.folder import student_in
    from tutelage.student.data.rows import filed
    from tutelage.student.models.load import load_student
    from tutelage.student.models.prediction_inputs import read_inputs, truncation_note
    from tutelage.student.tasks.fields import split
    from tutelage.student.tasks.task_type import TASK_TYPES

    loaded = load_student(student_in(student))
    task_type = TASK_TYPES[loaded.kind]
    inputs = read_inputs(loaded, texts, file, text, sys.stdin)
    if not inputs:
        return
    if note := truncation_note(loaded, inputs):
        typer.echo(note, err=True)
    predictions = loaded.predict(inputs, best=True)
    _exit_on_closed_pipe()
    for one, label, confidence in zip(inputs, predictions.answers, predictions.confidence, strict=True):
        row = filed(one, label, task_type=task_type, fields=loaded.fields)
        row |= {"confidence": round(float(confidence), 4)}
        parts = split(one, loaded.fields).values()
        plain = "\t".join([task_type.to_text(label, one), f"{confidence:.3f}", *parts])
        typer.echo(json.dumps(row, ensure_ascii=False) if as_json else plain)


@app.command()
def graph(
    form: Annotated[
        Literal["mermaid", "ascii", "svg"], typer.Option("--format", help="The output format.")
    ] = "mermaid",
    out: Annotated[
        Path | None, typer.Option("--out", help="A file to write instead of standard output.")
    ] = None,
) -> None:
    """Draw the state machine. Works offline.

    Example: [bold]tutelage graph --format svg --out graph.svg[/bold]
    """
    from tutelage.graph.build import drawable
    from tutelage.graph.drawing import draw

    drawing = draw(drawable(), form)
    if out:
        out.write_text(drawing, encoding="utf-8")
        typer.echo(f"wrote {out}")
    else:
        typer.echo(drawing)


@app.command()
def doctor(
    task: TaskOption = None,
    again: Annotated[
        bool, typer.Option("--again", help="Test the endpoints again instead of using stored results.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the installation and the device; with a task, test what its teacher's endpoint supports.

    The results are stored, and runs use them.

    Example: [bold]tutelage doctor task.yaml[/bold]
    """
    from tutelage.graph.doctor import examine_installation, examine_teacher
    from tutelage.graph.task.load import load_task

    findings = examine_installation()
    if task:
        findings += examine_teacher(load_task(task), again=again)
    if as_json:
        typer.echo(
            json.dumps([dict(zip(("what", "good", "words"), finding, strict=True)) for finding in findings])
        )
    else:
        marks = {True: "ok ", False: "BAD", None: "   "}
        for what, good, words in findings:
            typer.echo(f"{marks[good]} {what}: {words}")
    if any(good is False for _, good, _ in findings):
        raise typer.Exit(2)


def _print_result(folder: "RunFolder", control: "RunFolder | None" = None) -> None:
    """Print the rounds of a run, and the comparison with and without teacher labels."""
    from tutelage.graph.report.comparison_section import comparison_table
    from tutelage.graph.runs.demo import result_table

    about = folder.about()
    _print(result_table(folder, control))
    if (comparison := comparison_table(about)) is not None:
        _print(comparison)
        typer.echo(about["comparison"]["sentence"])


def _finish(folder: "RunFolder", as_json: bool, control: "RunFolder | None" = None) -> None:
    """Print the results of a run as text or as JSON."""
    about = folder.about()
    if as_json:
        keys = (
            "stop",
            "best",
            "spent",
            "samples",
            "test",
            "test_untouched",
            "test_by_round",
            "comparison",
            "labels_to_check",
            "overlap",
            "notes",
        )
        results: dict[str, Any] = {key: about.get(key) for key in keys}
        paths = {"run": folder.path, "student": folder.student, "report": folder.report}
        results |= {name: str(path) for name, path in paths.items()}
        typer.echo(json.dumps({**results, "rounds": folder.read_rounds()}))
        return
    if "stop" in about:
        _print_result(folder, control)
        if about.get("labels_to_check"):
            typer.echo(f"{about['labels_to_check']} of your labels look wrong: {folder.labels_to_check}")
        for note in about["notes"]:
            typer.echo(f"note: {note}")
        typer.echo(f"stopped because {about['stop']}\nstudent: {folder.student}")
        if limit := re.match(r"budget of \S+ (\w+)", about["stop"]):
            typer.echo(f"to continue with a higher limit: tutelage resume {folder.path} --{limit[1]} N")
    else:
        typer.echo(f"unfinished; continue it with `tutelage resume {folder.path}`")
    typer.echo(f"report: {folder.report}")


def _exit_on_closed_pipe() -> None:
    """Let a closed pipe (`| head`) end the process silently, as for any Unix filter."""
    import signal

    if hasattr(signal, "SIGPIPE"):  # not on Windows
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def _print(table: Any) -> None:
    from rich.console import Console

    console = Console()
    # A pipe has no width, and rich would cut columns at 80 characters.
    console.print(table) if console.is_terminal else Console(width=160).print(table)


def _print_classes(classes: "list[ClassReport]") -> None:
    """Print precision, recall and F1 of each label. Does nothing for a task without labels."""
    from rich.table import Table

    if not classes:
        return
    table = Table()
    for heading in ("label", "precision", "recall", "F1", "support"):
        table.add_column(heading, justify="left" if heading == "label" else "right")
    for entry in classes:
        scores = (f"{score:.3f}" for score in (entry["precision"], entry["recall"], entry["f1"]))
        table.add_row(entry["label"], *scores, str(entry["support"]))
    _print(table)


def main() -> None:
    """Run a command. Exit codes: 0 success, 1 bug, 2 bad input (with one line), 130 interrupted."""
    debug = "--debug" in sys.argv
    try:
        app()
    except Exception as error:
        from tutelage.agents.providers.redact import redact

        code, line = _exit_code(error)
        if debug:
            import traceback

            print(redact(traceback.format_exc()), file=sys.stderr)
        print(redact(line if code == 130 else f"error: {line}"), file=sys.stderr)
        sys.exit(code)


def _exit_code(error: Exception) -> tuple[int, str]:
    """Return the exit code and the one-line message of an error."""
    from tutelage.student.errors import InputError

    line = " ".join(str(error).split())
    if type(error).__name__ == "Drained":
        return 130, line
    if isinstance(error, InputError):
        return 2, line
    if isinstance(error, OSError):
        return 2, line
    return 1, f"{type(error).__name__}: {line} (this is a bug; put --debug before the command to see where)"


if __name__ == "__main__":
    main()
