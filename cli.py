"""The command line. Each command is a thin wrapper around a library call; heavy imports stay inside it."""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

if __name__ == "__main__" and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path.pop(0)  # `python cli.py` must not make agents/, graph/ … importable as top-level names

import typer
from tutelage.student.tasks.fields import TaskTypeName

if TYPE_CHECKING:
    from rich.table import Table
    from tutelage.graph.run_folder.folder import RunFolder
    from tutelage.graph.run_folder.progress import Progress

# Set before torch loads: spinning OpenMP threads make training 7-10 times slower beside a busy process.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

app = typer.Typer(
    help="Distil a large language model into a small trainable one by active learning.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Events = Annotated[
    str | None,
    typer.Option(
        "--events",
        help="Also write what happens as JSON lines, to the end of a file or, with -, to standard output.",
        metavar="FILE",
    ),
]
Run = Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")]
Student = Annotated[
    Path, typer.Argument(help="A run folder, a student's folder or an exported one.", metavar="STUDENT")
]
TaskFile = Annotated[Path, typer.Argument(help="The task file, a task.yaml.", metavar="TASK")]
TaskType = Annotated[TaskTypeName, typer.Option(help="The task type.")]
Strategy = Annotated[str | None, typer.Option(help="Replaces the task's base strategy, e.g. evokd.")]
Rounds = Annotated[int | None, typer.Option(min=0, help="Replaces the number of rounds in the task.")]
Batch = Annotated[
    bool, typer.Option("--batch", help="Use the provider's batch API: half price, takes hours.")
]
Limit = Annotated[float | None, typer.Option(min=0, help="A new limit, counted from the start of the run.")]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Go on although the teacher is no better than the student, or the last rounds brought no gain.",
    ),
]
Encoding = Annotated[str | None, typer.Option(help="The encoding of a text file that is not UTF-8.")]
Columns = Annotated[list[str] | None, typer.Option(help="The column of the text; for pairs, give it twice.")]
Engine = Literal["auto", "torch", "onnx", "int8"]
EngineOption = Annotated[
    Engine,
    typer.Option("--engine", help="What runs the student; an exported folder also has onnx and int8."),
]
ReviewTool = Literal["label-studio", "argilla", "csv"]
NewFolder = Annotated[Path | None, typer.Option("--out", help="A new folder to write to, instead of runs/….")]


def _ask(question: str, columns: Sequence[str]) -> str | None:
    """Ask for a column in a terminal; a blank answer, or no terminal, is None."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    typer.echo(f"{question} The columns are: {', '.join(columns)}", err=True)
    while (answer := input("column (blank for none): ").strip()) not in ("", *columns):
        typer.echo(f"there is no column {answer!r}", err=True)
    return answer or None


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
    out: NewFolder = None,
    student: Annotated[Literal["full", "head"], typer.Option(help="head trains in seconds.")] = "full",
    rounds: Annotated[int, typer.Option(min=1, help="The number of rounds.")] = 1,
    kind: TaskType = "classification",
    events: Events = None,
    as_json: Json = False,
) -> None:
    """Run the loop on a bundled task with a rehearsal teacher and a real student. It needs no key or network.

    Example: [bold]tutelage demo[/bold]
    """
    from tutelage.graph.report.terminal import result_tables
    from tutelage.graph.runs.demo import TITLE, run_demo
    from tutelage.graph.task.samples import demo_settings

    folder = out or Path("runs") / f"demo-{time.strftime('%Y%m%d-%H%M%S')}"
    with _following(events, TITLE) as progress:
        loop = run_demo(folder, kind=kind, student=student, rounds=rounds, listener=progress)
    if as_json:
        _print_results(loop, as_json)
    if as_json or events == "-":
        return
    _print(result_tables(loop))
    typer.echo(
        "The teacher was the rehearsal teacher: a look-up in labelled texts, not a language model.\n"
        f"report: {loop.report}\n"
        f"next:   tutelage predict {loop.path} {demo_settings(kind)['predict']}"
    )


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The folder to write to.")] = Path(),
    kind: TaskType = "classification",
    data: Annotated[
        Path | None, typer.Option(help="A file of your rows, from which task.yaml is made.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="The column of the text in --data.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of the label in --data.")] = None,
    encoding: Encoding = None,
) -> None:
    """Write a commented task.yaml, from a file of your rows or with example data to start from.

    Example: [bold]tutelage init my-task --data tickets.csv[/bold]
    """
    from tutelage.graph.task.from_data import task_from_data
    from tutelage.graph.task.templates import scaffold
    from tutelage.student.errors import InputError

    found: list[str] = []
    if not data and (text or label or encoding):
        raise InputError("--text, --label and --encoding say how --data is read, which is missing")
    if data and kind != "classification":
        raise InputError(
            f"--data makes a task for single labels or lists of labels; for {kind}, run `tutelage init"
            f" {folder} --kind {kind}` and name your file in its task.yaml"
        )
    if data:
        written, found = task_from_data(folder, data, _ask, text=text, label=label, encoding=encoding)
    else:
        written = scaffold(folder, kind)
    next_step = "Describe the labels in task.yaml" if data else "Replace the examples with your texts"
    _print([*found, *(f"wrote {path}" for path in written)])
    _print([f"{next_step}, then: tutelage plan {folder / 'task.yaml'}"])


@app.command()
def plan(
    task: TaskFile,
    strategy: Strategy = None,
    rounds: Rounds = None,
    batch: Batch = False,
    prompts: Annotated[bool, typer.Option(help="Show a complete prompt of each role.")] = True,
    as_json: Json = False,
) -> None:
    """Estimate the calls, tokens and cost of a run, and show a prompt of each role. Nothing is sent.

    Example: [bold]tutelage plan task.yaml --no-prompts[/bold]
    """
    from tutelage.graph.planning.plan import plan as make_plan
    from tutelage.graph.planning.text import plan_lines, plan_table, prompt_lines
    from tutelage.graph.task.load import load_task, override

    changes = {"strategy": {"base": strategy}, "budget": {"rounds": rounds}}
    estimate = make_plan(override(load_task(task), {**changes, "teacher": {"batch": batch or None}}))
    if not prompts:
        estimate["prompts"] = {}
    if as_json:
        typer.echo(json.dumps(estimate, indent=1))
    else:
        _print([plan_table(estimate), *plan_lines(estimate), *prompt_lines(estimate)])


@app.command()
def run(
    task: TaskFile,
    out: NewFolder = None,
    strategy: Strategy = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Replaces the seed in the task.")] = None,
    rounds: Rounds = None,
    batch: Batch = False,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(help="A run whose replies and embeddings are used again.", metavar="RUN"),
    ] = None,
    force: Force = False,
    events: Events = None,
    as_json: Json = False,
) -> None:
    """Train a student with the labels of the task's teacher.

    Example: [bold]tutelage run task.yaml --out runs/first[/bold]
    """
    from tutelage.graph.runs.run import run as start
    from tutelage.graph.task.load import load_task, override

    teacher = {"batch": batch or None, "force": force or None}
    changes = {"strategy": {"base": strategy}, "seed": seed, "budget": {"rounds": rounds}, "teacher": teacher}
    loaded = override(load_task(task), changes)
    with _following(events) as progress:
        folder = start(loaded, out, reuse=reuse or (), listener=progress)
    if events != "-" or as_json:
        _print_results(folder, as_json)


@app.command()
def resume(
    folder: Run,
    rounds: Annotated[int | None, typer.Option(min=0, help="A new total number of rounds.")] = None,
    calls: Limit = None,
    tokens: Limit = None,
    money: Limit = None,
    minutes: Limit = None,
    force: Force = False,
    events: Events = None,
    as_json: Json = False,
) -> None:
    """Continue a run that was interrupted, or that ended at a limit which you now raise.

    Replies that are already on disk are not paid for again.

    Example: [bold]tutelage resume runs/first --calls 1000[/bold]
    """
    from tutelage.graph.runs.run import resume as continue_run

    budget = {"rounds": rounds, "calls": calls, "tokens": tokens, "money": money, "minutes": minutes}
    with _following(events) as progress:
        finished = continue_run(folder, budget=budget, force=force, listener=progress)
    if not progress.events:
        typer.echo("Nothing was left to do. To continue, raise a limit (--rounds, --calls, …).", err=True)
    if events != "-" or as_json:
        _print_results(finished, as_json)


@app.command()
def review(
    folder: Run,
    terminal: Annotated[bool, typer.Option("--terminal", help="Ask here, not on a page.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write the texts that wait to a new table.", metavar="FILE.csv")
    ] = None,
    table: Annotated[
        Path | None, typer.Option("--from", help="Read the decisions of a table.", metavar="FILE.csv")
    ] = None,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    go_on: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on with the run afterwards.")
    ] = True,
    events: Events = None,
    as_json: Json = False,
) -> None:
    """Judge the texts for which a run waits: on a page, in the terminal or in a table; then the run goes on.

    Every decision is on disk before the next text is shown.

    Example: [bold]tutelage review runs/first[/bold]

    or [bold]tutelage review runs/first --out texts.csv[/bold]
    """
    from tutelage.graph.run_folder.folder import RunFolder
    from tutelage.graph.runs import reviewing
    from tutelage.student.errors import InputError

    if terminal + browser + (out is not None) + (table is not None) > 1:
        raise InputError("--terminal, --open, --out and --from are ways to review; give one of them")
    if out:
        reviewing.write_review_table(folder, out, typer.echo)
        return

    def resumed() -> RunFolder:
        from tutelage.graph.runs.run import resume_reviewed

        with _following(events) as progress:
            return resume_reviewed(folder, listener=progress)

    then = resumed if go_on else None
    if table:
        finished = reviewing.review_by_table(folder, then, _warn, table)
    elif terminal:
        asked = sys.stderr if as_json or events == "-" else sys.stdout
        write = partial(print, end="", flush=True, file=asked)
        finished = reviewing.review_by_terminal(folder, then, _warn, sys.stdin, write)
    else:
        finished = reviewing.review_by_page(folder, then, _warn, browser=browser)
    if as_json or (finished and events != "-"):
        _print_results(finished or RunFolder(folder), as_json)


@app.command()
def runs(
    roots: Annotated[
        list[Path] | None,
        typer.Argument(help="Run folders, or folders that hold them. Default: runs.", metavar="[FOLDER]…"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare runs, oldest first: scores with 95 % intervals, cost, and the settings that differ.

    Example: [bold]tutelage runs[/bold] or [bold]tutelage runs runs/first runs/second --json[/bold]
    """
    from tutelage.graph.report.terminal import entry_tables
    from tutelage.graph.runs.run import list_runs

    entries = list_runs(*roots) if roots else list_runs() if Path("runs").is_dir() else []
    if as_json:
        typer.echo(json.dumps(entries, indent=1))
    elif entries:
        _print(entry_tables(entries))
    else:
        where = " or ".join(map(str, roots or (Path("runs"),)))
        typer.echo(f"no runs under {where}; start one with `tutelage run task.yaml` or `tutelage demo`")


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(help="A run folder, or several.", metavar="RUN…")],
    control: Annotated[Path | None, typer.Option(help="A run folder to compare with.", metavar="RUN")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The page for several runs. Default: comparison.html.", metavar="FILE")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the results of a run and rewrite its report.html; or compare several runs on one page.

    Example: [bold]tutelage report runs/first --control runs/random[/bold]

    or [bold]tutelage report runs/first runs/second --out comparison.html[/bold]
    """
    from tutelage.graph.report.build import write_report
    from tutelage.graph.run_folder.folder import RunFolder
    from tutelage.student.errors import InputError

    if len(folders) > 1:
        if control:
            raise InputError("--control belongs to the report of one run; leave it out, or give one run")
        _compare(folders, out or Path("comparison.html"), as_json)
        return
    if out:
        raise InputError("--out names the page that compares several runs; give two or more run folders")
    [folder] = folders
    other = RunFolder(control) if control else None
    write_report(RunFolder(folder), other)
    _print_results(RunFolder(folder), as_json, other)


@app.command()
def trace(
    folder: Run,
    sample: Annotated[
        str | None, typer.Argument(help="The id of a sample, or its beginning.", metavar="[SAMPLE_ID]")
    ] = None,
    prompts: Annotated[bool, typer.Option("--prompts", help="Show whole prompts and replies.")] = False,
    as_json: Json = False,
) -> None:
    """Show how a sample was made: its text, weakness, rows, calls, labels, and the students trained on it.

    Without SAMPLE_ID, list a few samples of each status. The run may still be in progress.

    Example: [bold]tutelage trace runs/first 70d752bc[/bold]
    """
    from tutelage.graph.history.text import one_line, trace_lines
    from tutelage.graph.history.trace import list_samples, trace_sample
    from tutelage.graph.report.terminal import text_table
    from tutelage.graph.run_folder.folder import RunFolder

    run = RunFolder(folder)
    if sample:
        traced = trace_sample(run, sample)
        if as_json:
            typer.echo(json.dumps(traced, ensure_ascii=False, indent=1))
        else:
            _print(line for one in traced for line in trace_lines(one, whole=prompts))
        return
    samples = list_samples(run)
    if as_json:
        typer.echo(json.dumps(samples, ensure_ascii=False, indent=1))
    elif samples:
        rows = [(one["id"], one["status"], one["round"], one_line(one["text"], 70)) for one in samples]
        _print([text_table(["id", "status", ">round", "text"], rows)])
        typer.echo(f"These are a few of each status; when a run ends, {run.samples} and the report have all.")
        typer.echo(f"To see how one was made: tutelage trace {folder} {rows[0][0][:8]}")
    else:
        typer.echo(f"{folder} has no samples yet")


@app.command()
def evaluate(
    student: Student,
    data: Annotated[
        Path, typer.Argument(help="Labelled rows: .jsonl, .csv, .parquet and others (docs/data.md).")
    ],
    text: Columns = None,
    label: Annotated[str | None, typer.Option(help="The column of the label.")] = None,
    metric: Annotated[
        str | None, typer.Option(help="Replaces the run's metric; also file.py:function.")
    ] = None,
    encoding: Encoding = None,
    as_json: Json = False,
) -> None:
    """Evaluate a student on labelled texts.

    Example: [bold]tutelage evaluate runs/first more.jsonl[/bold]
    """
    from tutelage.graph.report.run_section import figures
    from tutelage.graph.report.terminal import class_table
    from tutelage.graph.runs.file_columns import FileColumns
    from tutelage.graph.runs.use import evaluate_file

    columns = FileColumns(text, label, encoding)
    result = evaluate_file(student, data, _warn, columns=columns, metric=metric)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        table = [class_table(result["classes"])] if result["classes"] else []
        _print([f"{result['size']} rows: {figures(result)}", *table])


@app.command()
def export(
    run: Run,
    to: Annotated[Path, typer.Argument(help="The new folder, or the new file with --as.", metavar="TO")],
    tool: Annotated[
        ReviewTool | None, typer.Option("--as", help="Write the samples for review in this tool instead.")
    ] = None,
    onnx: Annotated[bool, typer.Option(help="Also write the model as ONNX (an extra).")] = True,
    hub: Annotated[
        str | None,
        typer.Option(
            "--push-to-hub",
            help="Also push the folder, without task.yaml and samples, to a new, private repository.",
            metavar="NAME",
        ),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Let everyone read the repository.")] = False,
    samples: Annotated[bool, typer.Option("--with-samples", help="Push the samples (dataset/) too.")] = False,
) -> None:
    """Write a finished model to a folder: for transformers and as ONNX, with its cards, samples and task.

    With --as, write only the labelled samples, the least certain ones first, for a person to review.

    Example: [bold]tutelage export runs/first my-model[/bold]
    """
    from tutelage.student.errors import InputError

    if hub is None and (public or samples):
        raise InputError("--public and --with-samples belong to --push-to-hub; give it, or leave them out")
    if hub is not None and tool:
        raise InputError("--push-to-hub pushes a model, and --as writes none; leave one of them out")
    if tool:
        from tutelage.graph.handover.review_files import write_for_review

        _print([f"wrote {write_for_review(run, to, tool)} samples to {to}"])
        return
    from tutelage.graph.handover.export import export_run, exported_text

    _print(exported_text(to, export_run(run, to, onnx=onnx, warn=_warn)))
    if hub is not None:
        from tutelage.graph.handover.hub import push_to_hub

        address = push_to_hub(to, hub, public=public, samples=samples)
        left_out = "task.yaml" if samples else "task.yaml and the samples"
        typer.echo(f"pushed to {address} ({'public' if public else 'private'}), without {left_out}")


@app.command()
def predict(
    student: Student,
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="Texts, two for each pair. Default: lines of standard input, a pair with a tab."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="A file of texts: .jsonl, .csv, .parquet, .txt and others.")
    ] = None,
    text: Columns = None,
    precision: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Give only labels so confident that this share of them is right, e.g. 0.95."
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="A new file for the rows of --file: .jsonl, .csv or .parquet.")
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            help="Predict one part of --file, e.g. 3/16, and write it to a file of its own: several processes"
            " or machines share the work."
        ),
    ] = None,
    encoding: Encoding = None,
    engine: EngineOption = "auto",
    as_json: Json = False,
) -> None:
    """Print a student's predictions for texts, or write those for a file of any size to another file.

    Example: [bold]tutelage predict runs/first "where is my parcel?"[/bold]

    or [bold]tutelage predict my-model --file tickets.csv --to predicted.csv[/bold]
    """
    from tutelage.graph.run_folder.row_progress import RowProgress
    from tutelage.graph.runs.file_columns import FileColumns
    from tutelage.graph.runs.predict_file import PredictionRequest, predict_file
    from tutelage.graph.runs.shard import Shard
    from tutelage.graph.runs.use import predict_texts
    from tutelage.student.errors import InputError

    request = PredictionRequest(student, FileColumns(text, None, encoding), precision, engine)
    if to:
        if not file or texts:
            raise InputError("--to writes the rows of a file; name it with --file, and give no texts")
        if as_json:
            raise InputError("--json prints predictions, and --to writes them to a file; give one of them")
        part = Shard() if shard is None else Shard.parse(shard)
        with RowProgress() as progress:
            rows = predict_file(request, file, to, _warn, shard=part, listener=progress)
        typer.echo(f"wrote {rows} rows to {part.file(to)}")
        return
    if shard is not None:
        raise InputError("--shard writes a part of a file: name the file with --file, a new one with --to")
    predictions = predict_texts(request, texts, _warn, file=file, lines=sys.stdin)
    for number, (row, line) in enumerate(predictions):
        if not number:
            _exit_on_closed_pipe()
        typer.echo(json.dumps(row, ensure_ascii=False) if as_json else line)


@app.command()
def serve(
    student: Student,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free port.")] = 8000,
    batch: Annotated[int, typer.Option(min=1, help="The most texts that are predicted together.")] = 64,
    queue: Annotated[int, typer.Option(min=1, help="The most texts that wait.")] = 1024,
    max_texts: Annotated[int, typer.Option(min=1, help="The most texts of a request.")] = 256,
    max_body: Annotated[int, typer.Option(min=1, help="The most bytes of a request.")] = 1_000_000,
    rate: Annotated[
        float | None, typer.Option(help="The most requests per second of a client. Default: no limit.")
    ] = None,
    engine: EngineOption = "auto",
) -> None:
    """Answer HTTP requests with a student's predictions, until Ctrl-C.

    For other machines than this one, set TUTELAGE_SERVE_TOKEN to a secret that clients send.

    Example: [bold]tutelage serve runs/first[/bold]
    """
    import signal

    from tutelage.graph.serving.limits import Limits
    from tutelage.graph.serving.listen import serve as listen

    limits = Limits(batch=batch, queue=queue, texts=max_texts, body=max_body, rate=rate)
    if listen(student, limits, engine=engine, host=host, port=port, announce=typer.echo) == signal.SIGINT:
        raise typer.Exit(130)


@app.command()
def graph(
    run: Annotated[
        Path | None, typer.Argument(help="A run folder, to draw what the run did.", metavar="RUN")
    ] = None,
    form: Annotated[
        Literal["mermaid", "svg", "png", "ascii"] | None,
        typer.Option("--format", help="Default: by the name of --out, or else mermaid."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A file to write instead of standard output.")] = None,
) -> None:
    """Draw the state machine, offline.

    With a run, which may be at work, also draw how often each node ran and for how long, and how often each
    edge was taken. What never ran is grey.

    Example: [bold]tutelage graph --out graph.svg[/bold]

    or [bold]tutelage graph runs/first --format ascii[/bold]
    """
    from tutelage.graph.build import drawable
    from tutelage.graph.drawing.draw import draw, format_of
    from tutelage.graph.drawing.traffic import read_traffic
    from tutelage.student.errors import InputError

    form = format_of(out, form)
    if out and not out.parent.is_dir():
        raise InputError(f"the folder {out.parent} does not exist; create it, or choose another --out")
    if form == "png" and not out and sys.stdout.isatty():
        raise InputError("a terminal cannot show a PNG; name a file with --out")
    drawing = draw(drawable(), form, read_traffic(run) if run else None)
    if out:
        out.write_bytes(drawing)
        typer.echo(f"wrote {out}")
    else:
        typer.echo(drawing, nl=False)


@app.command()
def doctor(
    task: Annotated[Path | None, typer.Argument(help="A task file.", metavar="[TASK]")] = None,
    again: Annotated[bool, typer.Option("--refresh", help="Do not use stored results.")] = False,
    as_json: Json = False,
) -> None:
    """Check the installation and the device; with a task, also test what its teacher's endpoint supports.

    The results are stored, and runs use them.

    Example: [bold]tutelage doctor task.yaml[/bold]
    """
    from tutelage.graph.doctor import check_corpus, check_installation, check_teacher
    from tutelage.graph.task.load import load_task

    findings = check_installation()
    if task:
        loaded = load_task(task)
        findings += [*check_corpus(loaded), *check_teacher(loaded, again=again)]
    if as_json:
        typer.echo(json.dumps([finding._asdict() for finding in findings]))
    else:
        marks = {True: "ok  ", False: "FAIL", None: "    "}
        _print(f"{marks[one.good]} {one.what}: {one.words}" for one in findings)
    if any(one.good is False for one in findings):
        raise typer.Exit(2)


def _compare(folders: Sequence[Path], out: Path, as_json: bool) -> None:
    """Write the page that compares runs, and print the comparison."""
    from tutelage.graph.report.runs_page import write_runs_page
    from tutelage.graph.report.terminal import entry_tables
    from tutelage.graph.run_folder.folder import RunFolder

    entries = write_runs_page([RunFolder(folder) for folder in folders], out)
    if as_json:
        typer.echo(json.dumps(entries, indent=1))
    else:
        _print([*entry_tables(entries), f"report: {out}"])


@contextmanager
def _following(events: str | None, title: str = "") -> "Iterator[Progress]":
    """Show the progress of a run and, with --events, write its events."""
    from tutelage.graph.run_folder.event_lines import EventLines
    from tutelage.graph.run_folder.progress import Progress

    mixed = events == "-" and sys.stdout.isatty()  # both would write to the same terminal
    with (
        EventLines(events) if events else nullcontext() as lines,
        Progress(title, also=lines, live=not mixed) as progress,
    ):
        yield progress


def _print_results(folder: "RunFolder", as_json: bool, control: "RunFolder | None" = None) -> None:
    """Print the results of a run as text or as JSON."""
    from tutelage.graph.report.terminal import results, results_text

    if as_json:
        typer.echo(json.dumps(results(folder)))
    else:
        _print(results_text(folder, control))


def _print(parts: "Iterable[Table | str]") -> None:
    """Print tables and lines of text."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:  # a pipe has no width, and rich would cut columns at 80 characters
        console = Console(width=160)
    for part in parts:
        typer.echo(part) if isinstance(part, str) else console.print(part)


def _warn(note: str) -> None:
    typer.echo(note, err=True)


def _exit_on_closed_pipe() -> None:
    """Let a closed pipe (`| head`) end the process silently, as for any Unix filter."""
    import signal

    if hasattr(signal, "SIGPIPE"):  # not on Windows
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def main() -> None:
    """Run a command. Exit codes: 0 success, 1 bug, 2 bad input (with one line), 130 interrupted."""
    try:
        sys.exit(app(standalone_mode=False))
    except Exception as error:  # every error gets an exit code and one line; --debug shows where it arose
        from tutelage.agents.providers.redact import redact

        code, line = _exit_code(error)
        if "--debug" in sys.argv:
            import traceback

            print(redact(traceback.format_exc()), file=sys.stderr)
        if line:
            print(redact(line if code == 130 else f"error: {line}"), file=sys.stderr)
        sys.exit(code)


def _exit_code(error: Exception) -> tuple[int, str]:
    """Return the exit code and the one-line message of an error."""
    from tutelage.student.errors import InputError, Interrupted

    line = " ".join(str(error).split())
    if isinstance(error, Interrupted):
        return 130, line
    if isinstance(error, InputError | OSError):
        return 2, line
    if hasattr(error, "format_message") and hasattr(
        error, "ctx"
    ):  # of typer, e.g. for an unknown option; "" after it printed the help
        message, command = error.format_message().replace("Value error, ", ""), error.ctx.command_path
        return 2, message and f"{message.rstrip('.')}; see `{command} --help`"
    return 1, f"{type(error).__name__}: {line} (this is a bug; put --debug before the command to see where)"


if __name__ == "__main__":
    main()
