"""The pages of docs/: their code runs, their links lead somewhere, and the reference is that of the code."""

import importlib.util
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
import yaml
from tutelage.agents.rehearsal.rehearsal import Behaviour, Rehearsal
from tutelage.agents.rehearsal.rehearsal_model import RehearsalModel
from tutelage.agents.rehearsal.server import serve
from tutelage.cli import app
from tutelage.graph.task.schema import Task
from tutelage.student.data.rows import Row
from tutelage.student.encoder import Encoder

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
pytestmark = pytest.mark.skipif(not DOCS.exists(), reason="the wheel has no pages")
TASK_TYPES = ("multilabel", "ner", "pairs", "seq2seq")
WITH_COMMANDS = (*TASK_TYPES, "graph")
LONG = ("seq2seq", "ner")  # among them
# Pages of which other tests, or the tests of the tutorial's run below, run the code.
AFTER_TUTORIAL = {"distilled", "graph", "report", "running", "tools"}
# embedding: tests/graph/test_build.py; review: tests/graph/review and tests/graph/runs/test_review.py;
# models: tests/student/training/processes/test_launched.py, and below. scaling: tests/graph/test_scaling.py.
ELSEWHERE = {"strategies", "tracing", "tutorial", "serving", "embedding", "review", "models", "scaling"}
RUNNABLE = ("sh", "console", "python", "yaml")


def blocks(page: Path, *languages: str) -> list[tuple[str, str, str]]:
    """Return (language, title, content) of the code blocks of a page in these languages."""
    found = re.findall(
        r'^```(\w+)(?: title="([^"\n]*)")?\n(.*?)^```', page.read_text(encoding="utf-8"), re.M | re.S
    )
    return [block for block in found if not languages or block[0] in languages]


def shown(page: Path) -> list[list[str]]:
    """Return the commands of each console block of a page."""
    return [re.findall(r"^\$ (.*(?:\\\n.*)*)$", content, re.M) for _, _, content in blocks(page, "console")]


def script(name: str) -> ModuleType:
    """Return a script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def shell(
    command: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, Path], None]:
    """Return a function that runs the commands of a block in a folder. A block with a process in
    the background is run by a shell, others command by command in a process that has loaded the libraries.
    """
    programs = tmp_path_factory.mktemp("bin")
    for name, module in (("tutelage", "-m tutelage.cli "), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module}"$@"\n')
        (programs / name).chmod(0o755)
    environment = {**os.environ, "OPENAI_API_KEY": "none", "PATH": f"{programs}:{os.environ['PATH']}"}

    def run(block: str, folder: Path) -> None:
        lines = [block] if " &\n" in block else block.replace("\\\n", " ").splitlines()
        for line in lines:
            if line.startswith("tutelage ") and line is not block:
                done = command(*shlex.split(line, comments=True)[1:], cwd=folder, env=environment)
            else:
                arguments = ["bash", "-e", "-c", line]
                done = subprocess.run(
                    arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False
                )
            assert done.returncode == 0, f"{line}\n{done.stderr}"

    return run


@pytest.fixture(scope="module")
def tutorial(
    shell: Callable[[str, Path], None],
    shop: Callable[[str], list[Row]],
    encoder: Encoder,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return the folder in which every block of the tutorial has been run, in order and without a network."""
    folder = tmp_path_factory.mktemp("tutorial")
    corpus = [*shop("teacher"), *shop("gate")]
    behaviour = Behaviour(label_noise=0.05)
    model = RehearsalModel(rehearsal=Rehearsal(corpus, encoder.encode, behaviour=behaviour))
    with serve(model) as url:
        for language, title, content in blocks(DOCS / "tutorial.md", "sh", "python", "yaml"):
            text = content.replace("http://localhost:8000/v1", url).replace("8080", str(_free_port()))
            if title:
                (folder / title).write_text(text, encoding="utf-8")
            elif language == "sh":
                shell(text, folder)
            else:
                with _inside(folder):
                    exec(text, {})
        _run_readme(folder, shell)
    return folder


def _run_readme(tutorial: Path, shell: Callable[[str, Path], None]) -> None:
    """Run the commands and the Python of the README on the tutorial's task."""
    folder = tutorial / "readme"
    shutil.copytree(tutorial / "my-task", folder / "my-task")
    for table in ("later.csv", "tickets.csv"):
        shutil.copy(tutorial / table, folder)
    commands = shown(ROOT / "README.md")[-1]
    assert commands[0].startswith("tutelage init")  # the tutorial has it
    assert commands[-1].startswith("tutelage serve")  # the page on serving has it
    shell("\n".join(commands[1:-1]), folder)
    assert (folder / "run.png").stat().st_size
    [(_, _, content)] = blocks(ROOT / "README.md", "python")
    names: dict[str, Any] = {"ParentState": dict}
    with _inside(folder / "my-task"):
        exec(content, names)
        assert Path(names["distil"]({})["answer"]).exists()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl, which makes the token, is not installed")
def test_the_commands_of_the_page_on_serving_run(tutorial: Path, shell: Callable[[str, Path], None]) -> None:
    served = [commands for commands in shown(DOCS / "serving.md") if "tutelage serve" in " ".join(commands)]
    assert len(served) == 2
    for commands in served:
        port, lines = str(_free_port()), []
        for line in commands:
            if line.startswith("tutelage serve"):
                line = re.sub(r" --port \d+|$", f" --port {port}", line, count=1) + " &"
            elif line.startswith("curl"):
                again = "curl --fail --retry 60 --retry-connrefused --retry-delay 1"
                line = re.sub(r"\b(localhost|server):\d+", f"localhost:{port}", line.replace("curl", again))
            lines.append(line)
        shell("\n".join([*lines, "kill $!", ""]), tutorial)


@pytest.mark.slow
def test_other_servers_find_in_an_export_what_the_page_names(tutorial: Path) -> None:
    """The servers themselves are containers, which no test starts."""
    import onnxruntime

    page = (DOCS / "serving.md").read_text(encoding="utf-8")
    for place in set(re.findall(r"my-model/[\w./]*\w", page)):
        assert (tutorial / place).exists(), place
    [config] = re.findall(r'^name: "shop"\n.*?(?=^```)', page, re.M | re.S)
    given, scores = config.split("output [")
    model = onnxruntime.InferenceSession(tutorial / "my-model" / "onnx" / "model.onnx")
    assert re.findall(r'name: "(\w+)" data_type: TYPE_(INT64)', given) == [
        (put.name, put.type.removeprefix("tensor(").removesuffix(")").upper()) for put in model.get_inputs()
    ]
    [logits] = model.get_outputs()
    [(name, count)] = re.findall(r'name: "(\w+)" data_type: TYPE_FP32 dims: \[ (\d+) \]', scores)
    assert (logits.name, logits.type, logits.shape[1]) == (name, "tensor(float)", int(count))
    for commands in shown(DOCS / "serving.md"):
        text = "\n".join(commands).replace("<version>", "25.01")
        subprocess.run(["bash", "-n", "-c", text], check=True)


@pytest.mark.slow
def test_the_tutorial_ends_with_a_served_student(tutorial: Path) -> None:
    for path in ("runs/first/report.html", "predicted.csv", "my-model/onnx/model.onnx"):
        assert (tutorial / path).exists()


@pytest.mark.slow
@pytest.mark.parametrize("page", ["report", "running"])
def test_every_command_about_a_finished_run_runs(
    page: str, tutorial: Path, shell: Callable[[str, Path], None]
) -> None:
    import json

    second = tutorial / "runs" / "second"
    if not second.exists():
        shutil.copytree(tutorial / "runs" / "first", second)
    sample = json.loads((tutorial / "runs/first/samples.jsonl").read_text().splitlines()[0])["id"]
    for _, _, content in blocks(DOCS / f"{page}.md", "console"):
        lines = [line.removeprefix("$ ") for line in content.splitlines() if line.startswith("$ ")]
        shell("\n".join(lines).replace("8af987f7", sample[:8]), tutorial)


@pytest.mark.slow
def test_the_python_about_a_finished_run_runs(tutorial: Path) -> None:
    from langgraph.graph import END, START, StateGraph
    from tutelage import build_graph

    graph = StateGraph(dict)
    parent = StateGraph(dict)
    with _inside(tutorial):
        parent.add_node("child", build_graph("my-task/task.yaml", "runs/other"))
        parent.add_edge(START, "child")
        parent.add_edge("child", END)
        names: dict[str, Any] = {"graph": graph, "parent": parent.compile(), "build_graph": build_graph}
        names["texts"] = ["where is it?", "I want my money back."]
        for page in ("distilled", "graph"):
            for _, _, content in blocks(DOCS / f"{page}.md", "python"):
                # The promise of 0.95 needs a better student than that of the tutorial.
                text = content.replace("agreement=0.95", "agreement=0.5").replace('"task.', '"my-task/task.')
                exec(text, names)
    assert "classify" in graph.nodes


def test_the_agent_of_the_page_on_tools_has_three_tools(tmp_path: Path) -> None:
    from langchain.agents import create_agent
    from langchain_openai import ChatOpenAI
    from langgraph.checkpoint.memory import InMemorySaver

    (tmp_path / "shared" / "tickets").mkdir(parents=True)
    model = ChatOpenAI(model="gpt-5-mini", api_key="none", base_url="http://127.0.0.1:9")
    names = {"create_agent": create_agent, "model": model, "checkpointer": InMemorySaver()}
    [(_, _, content)] = blocks(DOCS / "tools.md", "python")
    with _inside(tmp_path):
        exec(content, names)
    tools = names["agent"].get_graph().nodes["tools"].data.tools_by_name
    assert [*tools] == ["distill_start", "distill_status", "distill_predict"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [pytest.param(one, marks=pytest.mark.long) if one in LONG else one for one in WITH_COMMANDS]
)
def test_every_command_on_a_page_runs(page: str, shell: Callable[[str, Path], None], tmp_path: Path) -> None:
    commands = blocks(DOCS / f"{page}.md", "sh")
    assert commands
    for _, _, content in commands:
        shell(content, tmp_path)
    if page in ("multilabel", "seq2seq"):
        with _inside(tmp_path):
            for _, _, content in blocks(DOCS / f"{page}.md", "python"):
                exec(content, _names(page))


@pytest.mark.parametrize("page", TASK_TYPES)
def test_the_task_on_a_page_is_that_of_the_sample(page: str) -> None:
    from importlib.resources import files

    sample = (files("tutelage.graph") / "sample" / f"{page}.yaml").read_text(encoding="utf-8")
    for _, _, content in blocks(DOCS / f"{page}.md", "yaml"):
        assert all(line in sample for line in content.splitlines())


def test_the_tasks_and_strategies_of_the_pages_are_valid() -> None:
    [(_, _, text)] = blocks(ROOT / "README.md", "yaml")
    readme = yaml.safe_load(text)
    assert Task.model_validate(readme).data.unlabelled
    for _, _, content in blocks(DOCS / "models.md", "yaml"):
        assert Task.model_validate({**readme, **yaml.safe_load(content)}).student.launcher
    names = set()
    for _, _, content in blocks(DOCS / "strategies.md", "yaml"):
        for line in content.splitlines():
            sets = {"data": readme["data"]}
            if "gold" in line:
                sets = {"data": dict.fromkeys(("seed", "diagnose", "gate"), "rows.jsonl")}
            names.add(
                Task.model_validate({**readme, **sets, **yaml.safe_load(line)}).resolved_strategy().name
            )
    assert names == {"auto", "auto (pool_share)", "gold (band)"}


def test_every_command_of_a_page_has_the_options_that_are_shown() -> None:
    commands = typer.main.get_command(app).commands
    shown = 0
    for page in (ROOT / "README.md", *DOCS.glob("*.md")):
        for _, _, content in blocks(page, "console", "sh"):
            for line in re.findall(r"^(?:\$ )?tutelage (.*)$", content.replace("\\\n", " "), re.M):
                name, *arguments = shlex.split(line.removesuffix(" &"), comments=True)
                commands[name].make_context(name, arguments)  # parses, and runs nothing
                shown += 1
    assert shown > 40


def test_every_page_with_code_has_a_test() -> None:
    with_code = {page.stem for page in DOCS.glob("*.md") if blocks(page, *RUNNABLE)}
    assert with_code == {*TASK_TYPES, *AFTER_TUTORIAL, *ELSEWHERE}


def test_every_link_leads_somewhere() -> None:
    assert script("build").broken_links() == []


def test_every_strategy_and_page_is_described() -> None:
    from tutelage import STRATEGIES

    headings = re.findall(r"^## (.*)$", (DOCS / "strategies.md").read_text(encoding="utf-8"), re.M)
    assert set(STRATEGIES) <= {name for heading in headings for name in heading.split(" and ")}
    pages = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [place for place in script("build").page_files().values() if f"{place}" not in pages] == [
        Path("graph.svg")
    ]


def test_the_reference_is_that_of_the_code() -> None:
    reference = script("reference")
    written = {path.name: path.read_text(encoding="utf-8") for path in reference.FOLDER.iterdir()}
    assert written == reference.pages(), "run `make reference`"


def test_every_field_of_a_task_is_described() -> None:
    undescribed = re.findall(r"^\| .* \|  \|$", script("reference").task_page(), re.M)
    assert undescribed == []


@pytest.mark.slow
def test_the_site_is_built_and_loads_nothing_from_elsewhere() -> None:
    pytest.importorskip("zensical", reason="the extra `docs` is not installed")
    done = subprocess.run([sys.executable, DOCS / "build.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (ROOT / "site" / "benchmarks" / "index.html").read_text(encoding="utf-8")
    assert "../serving.html#batching" in page


def _names(page: str) -> dict[str, Any]:
    """Return the names that the Python of a page uses without defining them, for the demo of the page."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, pipeline

    folder = "demo/loop/student"
    if page == "seq2seq":
        classes = {"AutoModelForSeq2SeqLM": AutoModelForSeq2SeqLM, "AutoTokenizer": AutoTokenizer}
        return {"folder": folder, **classes}
    pipe = pipeline("text-classification", folder, top_k=None, trust_remote_code=True)
    return {"pipe": pipe, "text": "where is my parcel?"}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Make a folder the current one for a while."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
