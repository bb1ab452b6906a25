"""Write the pages of docs/reference/ from the code, as `make reference` does. A test compares them."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tutelage
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from tutelage.cli import app
from tutelage.graph.distilled.runnable import Distilled
from tutelage.graph.runs.interactive import Result
from tutelage.graph.strategies import STRATEGIES
from tutelage.graph.task.data_parts import Source
from tutelage.graph.task.parts import RoleModel
from tutelage.graph.task.schema import Task
from tutelage.student.models.base import Classifier, Student

RETURNED = {"Classifier": Classifier, "Result": Result, "Distilled": Distilled}
FOLDER = Path(__file__).parent / "reference"
_WORDS = {str: "text", Path: "path", int: "integer", float: "number", bool: "`true` or `false`"}
_BOUNDS = {"ge": "from {}", "gt": "above {}", "le": "up to {}", "lt": "below {}"}
_SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields):\n((?:[ ]{4}.*\n|\n)+)", re.MULTILINE)
_ENTRY = re.compile(r"^    (\w+): ((?:.*\n(?:     .*\n)*))", re.MULTILINE)


def pages() -> dict[str, str]:
    """Return the text of each page by its file name."""
    return {"task.md": task_page(), "commands.md": commands_page(), "python.md": python_page()}


def task_page() -> str:
    """Return the page of all fields of task.yaml, a section for each mapping."""
    parts = [
        "# Fields of task.yaml",
        "This page is generated from the code. Required fields are marked; others can be left out. A field"
        " that does not exist is an error. `tutelage init` writes a file with the most common ones.",
    ]
    for title, section in _sections(Task, ""):
        rows = [_field_row(name, field, title) for name, field in section.model_fields.items()]
        parts += [f"## {title or 'The file'}", _body(section), _table(["field", "value", "meaning"], rows)]
    parts += [
        "## Sources",
        "`labelled`, `seed`, `diagnose`, `gate`, `test` and `unlabelled` each take a path, or a mapping of"
        " these fields. [Data](../data.md) lists the forms of files.",
        _table(["field", "value", "meaning"], [_field_row(n, f, "") for n, f in Source.model_fields.items()]),
        "## strategy",
        "The name of one of the [strategies](../strategies.md), or a mapping of `base`, the name, and of any"
        " field of [`Strategy`](python.md#strategy) to change it.",
        "The names are " + ", ".join(f"`{name}`" for name in STRATEGIES) + ".",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def commands_page() -> str:
    """Return the page of all commands with their arguments and options."""
    parts = [
        "# Commands",
        "This page is generated from the code; `tutelage COMMAND --help` prints the same. Exit codes: 0 for"
        " success, 2 for bad input, with one line that says what was wrong, 130 for an interruption, 1 for a"
        " bug (`tutelage --debug COMMAND` shows where).",
    ]
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        usage = " ".join(_argument(one) for one in command.params if one.opts[0][0] != "-")
        text = re.sub(r"\[/?bold\]", "`", dedent(inspect.cleandoc(command.help)))
        types = get_type_hints(command.callback)
        rows = [_option_row(one, types[one.name]) for one in command.params]
        parts += [f"## {name}", f"```text\ntutelage {name} [OPTIONS] {usage}".rstrip() + "\n```", text]
        parts += [_table(["option", "value", "meaning"], rows)] if rows else []
    return "\n\n".join(parts) + "\n"


def python_page() -> str:
    """Return the page of all public names of the package."""
    parts = [
        "# Python",
        "This page is generated from the docstrings of the names that `tutelage` exports, and of the classes"
        " that its functions return.",
    ]
    public = {name: getattr(tutelage, name) for name in tutelage.__all__ if name[0] != "_"}
    for name, value in {**public, **RETURNED}.items():
        parts += [f"## {name}", *_described(name, value)]
    return "\n\n".join(parts) + "\n"


def _sections(model: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the dotted path and the model of a section and of those inside it, except sources and roles."""
    yield path, model
    for name, field in model.model_fields.items():
        for part in _flat(field.annotation):
            if inspect.isclass(part) and issubclass(part, BaseModel) and part not in (Source, RoleModel):
                yield from _sections(part, f"{path}.{name}".strip("."))


def _field_row(name: str, field: FieldInfo, section: str) -> list[str]:
    parts = [part for part in _flat(field.annotation) if part is not NoneType]
    if any(inspect.isclass(part) and issubclass(part, BaseModel) for part in parts):
        target = f"{section}.{name}".strip(".").replace(".", "")
        value = "fields of `teacher`" if RoleModel in parts else f"[a section](#{target})"
        value = "[a source](#sources)" if Source in parts else value
    else:
        bounds = [
            words.format(getattr(mark, bound))
            for mark in field.metadata
            for bound, words in _BOUNDS.items()
            if hasattr(mark, bound)
        ]
        value = ", ".join([" or ".join(dict.fromkeys(map(_type_words, parts))), *bounds])
        if not field.is_required() and not field.default_factory and field.default not in (None, ""):
            value += f"; default `{_yaml(field.default)}`"
    return [f"`{name}`" + (" (required)" if field.is_required() else ""), value, field.description or ""]


def _option_row(option: Any, annotation: Any) -> list[str]:
    names = [f"`{name}`" for name in (*option.opts, *option.secondary_opts)]
    if option.opts[0][0] != "-":
        names = [f"`{_argument(option)}`"]
    parts = [part for part in _flat(annotation) if part not in (NoneType, bool)]
    value = "" if getattr(option, "is_flag", False) else " or ".join(dict.fromkeys(map(_type_words, parts)))
    if value and option.default not in (None, [], Path()):
        value += f"; default `{option.default}`"
    return [", ".join(names), value, option.help or ""]


def _argument(option: Any) -> str:
    """Return how an argument is called in the usage: brackets mean that it can be left out."""
    name = option.metavar or option.name.upper()
    return name if option.required or name[0] == "[" else f"[{name}]"


def _flat(annotation: Any) -> list[Any]:
    """Return the alternatives of a type, without Annotated."""
    if get_origin(annotation) is Annotated:
        return _flat(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [part for one in get_args(annotation) for part in _flat(one)]
    return [annotation]


def _type_words(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (list, tuple):
        return "list of " + _WORDS.get(inner[0], "values") + "s"
    return "mapping" if origin is dict else _WORDS.get(annotation, getattr(annotation, "__name__", "value"))


def _yaml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_yaml, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _described(name: str, value: Any) -> list[str]:
    """Return the signature and the docstring of a public name as Markdown."""
    if name == "STRATEGIES":
        return ["All [strategies](../strategies.md) by name: " + ", ".join(f"`{one}`" for one in value) + "."]
    if name == "Task":
        return [_body(value), "Its fields are [those of task.yaml](task.md)."]
    if not inspect.isclass(value):
        return [f"```python\n{_signature(value)}\n```", _body(value)]
    parts = [_body(value)]
    known = () if value is Student else Student.__mro__  # what a classifier inherits is described there
    tops = [one for one in reversed(value.__mro__) if one.__module__.startswith("tutelage.")]
    bases = [one for one in tops if one not in known]
    members = {member: function for one in bases for member, function in vars(one).items()}
    for member, function in members.items():
        plain = getattr(function, "fget", getattr(function, "func", function))  # of a property
        if member[0] == "_" or not inspect.isfunction(plain):
            continue
        parts += [f"### {name}.{member}"]
        parts += [f"```python\n{_signature(plain)}\n```"] if plain is function else []
        parts += [_body(plain)]
    return parts


def _signature(function: Any) -> str:
    """Return the header of a function as the code has it; a long one has a line for each argument."""
    [node] = ast.parse(dedent(inspect.getsource(function))).body
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    node.body, node.decorator_list = [ast.Pass()], []
    header = ast.unparse(node).rsplit("\n", 1)[0].replace("'", '"')
    start, end = header.index("("), header.rindex(")")
    end = header.rindex(")", 0, header.rindex(" -> ")) if " -> " in header else end
    lines: list[str] = []
    depth, line = 0, ""
    for char in header[start + 1 : end] + ",":
        depth += (char in "([{") - (char in ")]}")
        if char == "," and not depth:
            spaced = line.strip().replace("=", " = ", 1) if ": " in line else line.strip()
            lines, line = [*lines, spaced], ""
        else:
            line += char
    name, result = header[: start + 1], header[end:-1]
    if len(short := name + ", ".join(lines) + result) <= 80:
        return short
    return name + "\n" + "".join(f"    {line},\n" for line in lines) + result


def _body(value: Any) -> str:
    """Return a docstring in Google style as Markdown: its sections become lists."""

    def section(found: re.Match[str]) -> str:
        entries = _ENTRY.findall(found[2] + "\n")
        lines = [f"- `{name}`{_default(value, name)}: {' '.join(text.split())}" for name, text in entries]
        text = "\n".join(lines) or dedent(found[2]).strip()
        return f"{found[1].replace('Args', 'Arguments')}:\n\n{text}\n\n"

    return _SECTION.sub(section, (inspect.getdoc(value) or "") + "\n").strip()


def _default(owner: Any, name: str) -> str:
    """Return the default of a field of a dataclass in brackets."""
    fields = getattr(owner, "__dataclass_fields__", {})
    simple = name in fields and isinstance(fields[name].default, bool | int | float | str | tuple)
    return f" (default `{_yaml(fields[name].default)}`)" if simple else ""


def _table(head: list[str], rows: list[list[str]]) -> str:
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, text in pages().items():
        (FOLDER / file).write_text(text, encoding="utf-8")
