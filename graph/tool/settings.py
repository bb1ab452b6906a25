"""What the developer decides: the folder of runs, the files an agent may name, the teacher, the budget."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tutelage.graph.task.load import parse_task
from tutelage.graph.task.schema import Task
from tutelage.graph.tool.arguments import StartArguments
from tutelage.student.errors import InputError

Confirm = Literal["always", "paid"]
_SHOWN = 20  # files in an error message
_LIMITS = ("calls", "tokens", "money")  # one of them is needed: rounds and minutes do not limit what is paid


@dataclass(frozen=True)
class Settings:
    """The settings of the tools.

    Attributes:
        runs: the folder of the runs.
        data: the files, and folders of files, that an agent may name.
        fields: the other fields of every task, as in task.yaml: teacher, budget, student, …
        confirm: whether a person confirms every run, or only those that may cost money.
    """

    runs: Path
    data: tuple[Path, ...]
    fields: Mapping[str, Any]
    confirm: Confirm = "always"

    def check(self) -> None:
        """Raise InputError if a setting cannot be used, before any agent runs into it."""
        if self.confirm not in ("always", "paid"):
            raise InputError(f"`confirm` is {self.confirm!r}, expected 'always' or 'paid'")
        if missing := [str(path) for path in self.data if not path.exists()]:
            raise InputError(f"`data`: {missing[0]} does not exist")
        if not any(self.fields["budget"].get(name) for name in _LIMITS):
            raise InputError("`budget` does not limit what is spent; set one of calls, tokens and money")
        known = ("name", "kind", "instruction", "labels", "data")
        if given := [name for name in known if name in self.fields]:
            raise InputError(f"`settings`: {given[0]} comes from the agent, or is fixed; leave it out")
        own = {"name": "check", "instruction": "-", "labels": {"a": "", "b": ""}}
        data = {name: {"path": "-"} for name in ("labelled", "unlabelled")}
        parse_task({**self.fields, **own, "data": data}, "distill_tool", Path.cwd())

    def task(self, arguments: StartArguments) -> Task:
        """Return the task that an agent describes, within these settings.

        Raises:
            InputError: a file is not one of those that an agent may name, or the task is not valid.
        """
        data: dict[str, dict[str, str]] = {}
        if arguments.labelled_file is not None:
            path, column = self.file(arguments.labelled_file), arguments.text_column
            data["labelled"] = {"path": str(path), "text": column, "label": arguments.label_column}
        if arguments.unlabelled_file is not None:
            column = arguments.unlabelled_text_column or arguments.text_column
            data["unlabelled"] = {"path": str(self.file(arguments.unlabelled_file)), "text": column}
        if not data:
            raise InputError(f"give a labelled_file, an unlabelled_file or both; {self._known()}")
        budget = dict(self.fields["budget"])
        if arguments.max_calls is not None:
            budget["calls"] = min(arguments.max_calls, budget.get("calls", arguments.max_calls))
        own = {
            "name": slug(arguments.name),
            "instruction": arguments.instruction,
            "labels": {one.name: one.description for one in arguments.labels},
            "data": data,
            "budget": budget,
        }
        return parse_task({**self.fields, **own}, "the task", Path.cwd())

    def file(self, name: str) -> Path:
        """Return the allowed file that an agent names: by its path in an allowed folder, or by its own name.

        Links are followed first, so that none leads out of the allowed folders.

        Raises:
            InputError: there is no such file among the allowed ones.
        """
        for allowed in (path.resolve() for path in self.data):
            found = (allowed / name).resolve() if allowed.is_dir() else allowed
            named = found.is_relative_to(allowed) if allowed.is_dir() else name in (found.name, str(found))
            if named and found.is_file():
                return found
        raise InputError(f"{name!r} is none of the files that you may use; {self._known()}")

    def plain(self, text: str) -> str:
        """Return a message without the folders of this machine, which an agent has no use for."""
        folders = {one.resolve() for one in (self.runs, *(p if p.is_dir() else p.parent for p in self.data))}
        for folder in sorted(map(str, folders), key=len, reverse=True):
            text = text.replace(f"{folder}/", "")
        return text

    def _known(self) -> str:
        names = list(dict.fromkeys(self._names()))
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return f"the files are {', '.join(names[:_SHOWN])}{more}" if names else "there are no files yet"

    def _names(self) -> Iterator[str]:
        for path in self.data:
            if path.is_file():
                yield path.name
            else:
                inside = sorted(one for one in path.rglob("*") if one.is_file())
                yield from (one.relative_to(path).as_posix() for one in inside)


def slug(name: str) -> str:
    """Return a name in lower case, with hyphens in place of everything but letters and digits."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "classifier"


def run_id(task: Task) -> str:
    """Return the id of a task's run. It depends on the task and on the content of its files, so that the same
    call finds the same run again, and a person's approval holds for nothing else.
    """
    digest = hashlib.sha256(json.dumps(task.model_dump(mode="json"), sort_keys=True).encode())
    for source in (task.data.labelled, task.data.unlabelled):
        if source and source.path:
            with source.path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"{task.name}-{digest.hexdigest()[:8]}"
