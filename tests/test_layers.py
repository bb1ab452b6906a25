"""Which modules may import which: prompts, student <- agents <- graph <- cli."""

import ast
from pathlib import Path

import pytest
import tutelage

ROOT = Path(tutelage.__file__).parent
LAYERS = {"prompts": set(), "student": set(), "agents": {"prompts", "student"}}
LAYERS["graph"] = {"prompts", "student", "agents"}
# Inside a layer, a room (a folder or a file) imports only from rooms listed before it.
ROOMS = {
    "student": [
        "errors", "tasks", "device", "linear_layers", "pretrained", "encoder", "data", "models", "evaluation",
        "training", "distillation", "clustering", "selection", "nearest", "chroma", "corpus",
    ],
    "agents": [
        "schemas", "brief", "request", "prompt_injection", "providers", "endpoints", "teacher", "analyst",
        "generator", "labeler", "critic", "rehearsal",
    ],
    "graph": [
        "strategies", "task", "run_folder", "tracing", "weaknesses", "state", "student_cache", "review",
        "context", "students", "history", "report", "requests", "stopping", "opening", "open_runs", "nodes",
        "routes", "build", "server_graph", "planning", "runs", "distilled", "tool", "handover", "serving",
        "doctor", "drawing",
    ],
}  # fmt: skip
MOST_FILES = 16  # in a folder: the graph has sixteen nodes, one a file
# The only files that import a heavy library.
HOMES = {
    "chromadb": {"student/chroma.py"},
    "torch": {"student/training/", "student/models/", "student/distillation/", "student/encoder.py",
              "student/device.py", "student/linear_layers.py", "student/pretrained.py",
              "agents/providers/local.py", "graph/doctor.py"},
    "langchain_openai": {"agents/providers/chat.py", "agents/endpoints/batch.py"},
    "langchain_core": {"agents/providers/", "agents/endpoints/", "agents/teacher/teacher.py",
                       "agents/rehearsal/", "graph/context.py", "graph/task/objects.py", "graph/runs/run.py",
                       "graph/distilled/", "graph/tool/toolkit.py"},
    "langgraph": {"graph/build.py", "graph/nodes/review.py", "graph/run_folder/trace.py", "graph/runs/",
                  "graph/tool/toolkit.py"},
    "opentelemetry": {"graph/tracing/"},
    "mlflow": {"graph/tracing/mlflow_run.py"},
    "sentence_transformers": {"student/encoder.py"},
    "datasets": {"student/data/files.py", "student/data/readers.py", "student/data/tables.py",
                 "graph/runs/interactive.py"},
}  # fmt: skip


def modules() -> list[Path]:
    return [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_module_imports_only_from_layers_below_it(path: Path) -> None:
    layer = path.relative_to(ROOT).parts[0]
    parts = {name.split(".")[1] for name in imported(path) if name.startswith("tutelage.")}
    assert parts <= LAYERS[layer] | {layer}
    assert not imported(path) & {"agents", "graph", "student", "prompts", "cli"}


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_room_imports_only_from_rooms_before_it(path: Path) -> None:
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] not in ROOMS or parts[1] == "__init__":
        return
    rooms = ROOMS[parts[0]]
    below = set(rooms[: rooms.index(parts[1]) + 1])
    inside = [name.split(".")[2:] for name in imported(path) if name.startswith(f"tutelage.{parts[0]}.")]
    assert {name[0] for name in inside if name} <= below


def test_only_the_graph_is_built_from_nodes() -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for path in modules()
        if any(name.startswith("tutelage.graph.nodes.") for name in imported(path))
    }
    assert users == {"graph/build.py"}, "a function that several files need is no node"


def test_every_folder_has_few_files_and_a_docstring() -> None:
    for folder in {path.parent for path in modules()}:
        files = sorted(path.name for path in folder.glob("*.py"))
        assert len(files) <= MOST_FILES, f"{folder}: {files}"
        docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
        assert docstring, f"{folder}/__init__.py has no docstring"


def test_imports_have_no_cycles() -> None:
    parts = {p: ("tutelage", *p.relative_to(ROOT).with_suffix("").parts) for p in modules()}
    graph = {".".join(name).removesuffix(".__init__"): imported(p) for p, name in parts.items()}
    done: set[str] = set()

    def run_first(name: str, following: str) -> list[str]:
        """Return the packages that Python imports before a module, except those that are being imported."""
        around = [following.rsplit(".", n)[0] for n in range(1, following.count("."))]
        return [
            package for package in around if package in graph and not f"{name}.".startswith(f"{package}.")
        ]

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"import cycle: {' -> '.join([*above, name])}"
        if name in graph and name not in done:
            for following in graph[name]:
                for module in (*run_first(name, following), following):
                    visit(module, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_library_is_imported_by_few_files(library: str) -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for path in modules()
        if any(name.split(".")[0] == library for name in imported(path))
    }
    assert not {user for user in users if not user.startswith(tuple(HOMES[library]))}
