"""The command line: thin; every act is a library call, and heavy imports stay inside the command."""

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

if __name__ == "__main__" and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path.pop(0)  # `python cli.py` must not offer agents/, graph/ … as top-level names

import typer
from tutelage.student.tasks.fields import KindName

if TYPE_CHECKING:
    from tutelage.graph.run_folder.folder import RunFolder
    from tutelage.student.tasks.scoring import ClassReport

# Before torch is loaded: spinning OpenMP threads make training 7-10 times slower beside a busy process.
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
Out = Annotated[Path | None, typer.Option("--out", help="The run folder; must not exist.")]
RunArgument = Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")]
StudentArgument = Annotated[
    Path, typer.Argument(help="A run folder or a student's folder.", metavar="STUDENT")
]
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
    out: Annotated[Path | None, typer.Option("--out", help="A new folder for both runs.")] = None,
    student: Annotated[Literal["full", "head"], typer.Option(help="head takes seconds a round.")] = "full",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of the loop.")] = 1,
    kind: Annotated[KindName, typer.Option(help="Of the task.")] = "classification",
) -> None:
    """Run the loop on a bundled task: no key, no network, a rehearsal teacher, a real student.

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
    folder: Annotated[Path, typer.Argument(help="Where to write.")] = Path(),
    kind: Annotated[KindName, typer.Option(help="Of the task.")] = "classification",
) -> None:
    """Write a commented task.yaml and data stubs to start from.

    Example: [bold]tutelage init my-task[/bold]
    """
    from tutelage.graph.task.templates import scaffold

    for path in scaffold(folder, kind):
        typer.echo(f"wrote {path}")
    typer.echo(f"Replace the stubs by your texts, then: tutelage plan {folder / 'task.yaml'}")


@app.command()
def plan(
    task: Annotated[Path, typer.Argument(help="A task.yaml.")],
    strategy: Annotated[
        str | None, typer.Option(help="In place of the task's, whose single fields stay, e.g. evokd.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=0, help="In place of the task's.")] = None,
    batch: Annotated[bool, typer.Option("--batch", help="As if asked by the provider's batch API.")] = False,
    prompts: Annotated[bool, typer.Option(help="Show a complete prompt of each role.")] = True,
    as_json: Json = False,
) -> None:
    """Say what a run would ask and cost, and show a prompt of each role, before anything is spent.

    Example: [bold]tutelage plan task.yaml --no-prompts[/bold]
    """
    from tutelage.graph.planning.plan import plan as make_plan
    from tutelage.graph.planning.text import plan_table, plan_words, prompt_words
    from tutelage.graph.task.load import load_task, override

    found = make_plan(override(load_task(task), strategy=strategy, rounds=rounds, batch=batch or None))
    if not prompts:
        found["prompts"] = {}
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    _print(plan_table(found))
    typer.echo("\n".join([*plan_words(found), *prompt_words(found)]))


@app.command()
def run(
    task: Annotated[Path, typer.Argument(help="A task.yaml.")],
    out: Out = None,
    strategy: Annotated[
        str | None, typer.Option(help="In place of the task's, whose single fields stay, e.g. evokd.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="In place of the task's.")] = None,
    rounds: Annotated[int | None, typer.Option(min=0, help="In place of the task's.")] = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="Ask by the provider's batch API: half the price, hours.")
    ] = False,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(help="A run whose replies to the same requests are taken over.", metavar="RUN"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Go on with a teacher that is no better than the student.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Distil a task's teacher into a student.

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
    rounds: Annotated[int | None, typer.Option(min=0, help="So many in all, in place of the run's.")] = None,
    calls: Annotated[int | None, typer.Option(min=0, help="A new limit, for the whole run.")] = None,
    tokens: Annotated[int | None, typer.Option(min=0, help="A new limit, for the whole run.")] = None,
    money: Annotated[float | None, typer.Option(min=0, help="A new limit, for the whole run.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="A new limit, for the whole run.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Go on with a teacher that is no better than the student.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Go on with a run that was stopped or killed, or that ended at a limit, with a higher one.

    Replies on disk are not paid for again.

    Example: [bold]tutelage resume runs/first --calls 1000[/bold]
    """
    from tutelage.graph.run_folder.folder import RunFolder
    from tutelage.graph.run_folder.progress import Progress
    from tutelage.graph.runs.run import resume as go_on

    budget = {"rounds": rounds, "calls": calls, "tokens": tokens, "money": money, "minutes": minutes}
    trace = RunFolder(folder).trace
    before = trace.stat().st_size if trace.exists() else 0
    with Progress() as progress:
        finished = go_on(folder, budget=budget, force=force, listener=progress)
    if trace.stat().st_size == before:
        typer.echo("nothing was left to do; --rounds, --calls and so on above its own let it go on", err=True)
    _finish(finished, as_json)


@app.command()
def runs(
    root: Annotated[Path, typer.Argument(help="The folder of run folders.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List runs, oldest first.

    Example: [bold]tutelage runs --json[/bold]
    """
    from rich.table import Table
    from tutelage.graph.runs.run import list_runs

    found = list_runs(root)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    if not found:
        typer.echo(f"no runs under {root}; begin one with `tutelage run task.yaml` or `tutelage demo`")
        return
    table = Table()
    for heading in found[0]:
        table.add_column(heading)
    for entry in found:
        cells = (f"{v:.3f}" if isinstance(v, float) else "-" if v is None else str(v) for v in entry.values())
        table.add_row(*cells)
    _print(table)


@app.command()
def report(
    folder: RunArgument,
    control: Annotated[Path | None, typer.Option(help="A run to draw beside it.", metavar="RUN")] = None,
    as_json: Json = False,
) -> None:
    """Show a run's results and write its report.html anew.

    Example: [bold]tutelage report runs/first --control runs/random[/bold]
    """
    from tutelage.graph.report.build import write_report
    from tutelage.graph.report.run_section import differences
    from tutelage.graph.run_folder.folder import RunFolder

    other = RunFolder(control) if control else None
    write_report(RunFolder(folder), other)
    _finish(RunFolder(folder), as_json, other)
    if other and not as_json:
        for told in differences(RunFolder(folder).about(), other.about()):
            typer.echo(f"note: {told}")


@app.command()
def evaluate(
    student: StudentArgument,
    data: Annotated[Path, typer.Argument(help="Labelled rows, .jsonl or .csv.")],
    text: Annotated[
        list[str] | None, typer.Option(help="The column of the text; of a pair, given twice.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="The column of the label.")] = None,
    metric: Annotated[
        str | None, typer.Option(help="Of targets also file.py:function; by default that of the run.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Grade a student on labelled texts.

    Example: [bold]tutelage evaluate runs/first more.jsonl[/bold]
    """
    from tutelage.graph.report.run_section import figures
    from tutelage.graph.run_folder.folder import metric_in, student_in
    from tutelage.student.data.rows import read_rows
    from tutelage.student.errors import InputError
    from tutelage.student.evaluation.evaluate import evaluate as grade_student
    from tutelage.student.models.load import load_student
    from tutelage.student.models.prediction_inputs import columns, cut_note
    from tutelage.student.tasks import KINDS
    from tutelage.student.tasks.user_functions import title

    loaded = load_student(student_in(student))
    kind, metric = KINDS[loaded.kind], metric or metric_in(student)
    rows = read_rows(data, loaded.labels, kind=kind, fields=columns(text, loaded.fields), label_field=label)
    if not rows:
        raise InputError(f"{data} holds no rows; there is nothing to grade")
    if metric and (problem := kind.unfit(metric)):
        raise InputError(f"the metric {metric}: {problem}; or give another with --metric")
    if told := cut_note(loaded, [row["text"] for row in rows]):
        typer.echo(told, err=True)
    found = grade_student(loaded, rows, metric)
    name = title(metric or kind.metrics[0])
    found["figures"] = {name: found["metric"], **found["figures"]}  # the one it is measured by first
    if as_json:
        typer.echo(json.dumps({"metric_name": name, **found}))
        return
    typer.echo(f"{found['size']} rows: {figures(found)}")
    _print_classes(found["classes"])


@app.command()
def predict(
    student: StudentArgument,
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            help="Texts, of pairs two and two; without any, lines of standard input, pairs with a tab."
        ),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="A .jsonl or .csv of texts.")] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="The column of the text in --file; of a pair, given twice.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Answer texts with a student.

    Example: [bold]tutelage predict runs/first "where is my parcel?"[/bold]
    """
    from tutelage.graph.run_folder.folder import student_in
    from tutelage.student.data.rows import filed, read_rows
    from tutelage.student.errors import InputError
    from tutelage.student.models.load import load_student
    from tutelage.student.models.prediction_inputs import columns, cut_note, of_lines, whole
    from tutelage.student.tasks import KINDS
    from tutelage.student.tasks.fields import split

    if file and texts:
        raise InputError("texts are given both as arguments and by --file; give one of them")
    if text and not file:
        raise InputError("--text names a column of a --file, and none is given")
    loaded = load_student(student_in(student))
    kind = KINDS[loaded.kind]
    if file:
        given = [r["text"] for r in read_rows(file, None, kind=kind, fields=columns(text, loaded.fields))]
    else:
        given = whole(texts, loaded.fields) if texts else of_lines(sys.stdin, loaded.fields)
    if not given:
        return
    if told := cut_note(loaded, given):
        typer.echo(told, err=True)
    found = loaded.read(given, best=True)
    _end_with_the_reader()
    for one, label, sure in zip(given, found.answers, found.confidence, strict=True):
        row = filed(one, label, kind=kind, fields=loaded.fields) | {"confidence": round(float(sure), 4)}
        plain = "\t".join([kind.words(label, one), f"{sure:.3f}", *split(one, loaded.fields).values()])
        typer.echo(json.dumps(row, ensure_ascii=False) if as_json else plain)


@app.command()
def graph(
    form: Annotated[
        Literal["mermaid", "ascii", "svg"], typer.Option("--format", help="What to draw.")
    ] = "mermaid",
    out: Annotated[Path | None, typer.Option("--out", help="A file, instead of standard output.")] = None,
) -> None:
    """Draw the state machine, offline.

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
    again: Annotated[bool, typer.Option("--again", help="Forget what is remembered of endpoints.")] = False,
    as_json: Json = False,
) -> None:
    """Say what is installed and on which device; with a task, find out what its teacher supports.

    What is found out is remembered, and runs go by it.

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
    """Print the rounds, and what the teacher's labels were worth."""
    from tutelage.graph.report.comparison_section import comparison_table
    from tutelage.graph.runs.demo import result_table

    about = folder.about()
    _print(result_table(folder, control))
    if (comparison := comparison_table(about)) is not None:
        _print(comparison)
        typer.echo(about["comparison"]["sentence"])


def _finish(folder: "RunFolder", as_json: bool, control: "RunFolder | None" = None) -> None:
    """What a run came to, for people or for scripts."""
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
        found: dict[str, Any] = {key: about.get(key) for key in keys}
        paths = {"run": folder.path, "student": folder.student, "report": folder.report}
        found |= {name: str(path) for name, path in paths.items()}
        typer.echo(json.dumps({**found, "rounds": folder.read_rounds()}))
        return
    if "stop" in about:
        _print_result(folder, control)
        if about.get("labels_to_check"):
            typer.echo(f"{about['labels_to_check']} of your labels look wrong: {folder.labels_to_check}")
        for note in about["notes"]:
            typer.echo(f"note: {note}")
        typer.echo(f"stopped because {about['stop']}\nstudent: {folder.student}")
        if limit := re.match(r"budget of \S+ (\w+)", about["stop"]):
            typer.echo(f"go on with more: tutelage resume {folder.path} --{limit[1]} N")
    else:
        typer.echo(f"unfinished; continue it with `tutelage resume {folder.path}`")
    typer.echo(f"report: {folder.report}")


def _end_with_the_reader() -> None:
    """Have a closed pipe (`| head`) end what only prints from here on, as it ends any filter: silently."""
    import signal

    if hasattr(signal, "SIGPIPE"):  # not on Windows
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def _print(table: Any) -> None:
    from rich.console import Console

    console = Console()
    # In a pipe there is no width to fit: rich would cut columns at 80.
    console.print(table) if console.is_terminal else Console(width=160).print(table)


def _print_classes(classes: "list[ClassReport]") -> None:
    """Precision, recall and F1 of each label, where there are labels."""
    from rich.table import Table

    if not classes:
        return
    table = Table()
    for heading in ("label", "precision", "recall", "F1", "in gold"):
        table.add_column(heading, justify="left" if heading == "label" else "right")
    for entry in classes:
        scores = (f"{score:.3f}" for score in (entry["precision"], entry["recall"], entry["f1"]))
        table.add_row(entry["label"], *scores, str(entry["support"]))
    _print(table)


def main() -> None:
    """Run a command; exit 0 on success, 2 on bad input with one line, 130 when interrupted."""
    debug = "--debug" in sys.argv
    try:
        app()
    except Exception as error:
        from tutelage.agents.providers.redact import redact

        code, line = _told(error)
        if debug:
            import traceback

            print(redact(traceback.format_exc()), file=sys.stderr)
        print(redact(line if code == 130 else f"error: {line}"), file=sys.stderr)
        sys.exit(code)


def _told(error: Exception) -> tuple[int, str]:
    """Exit code and one line for an error."""
    from tutelage.student.errors import InputError

    line = " ".join(str(error).split())
    if type(error).__name__ == "Drained":
        return 130, line
    if isinstance(error, InputError):
        return 2, line
    if isinstance(error, OSError):
        return 2, line
    return 1, f"{type(error).__name__}: {line} (this is a bug; --debug before the command shows where)"


if __name__ == "__main__":
    main()
