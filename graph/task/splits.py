"""Load the data sets of a task, and check that no text is in two of them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tutelage.graph.strategies import Strategy
from tutelage.graph.task.schema import FIRST_INSTRUCTION, Task
from tutelage.graph.task.sources import read_pool, read_sets
from tutelage.student.data.files import read_records
from tutelage.student.data.folds import labels_below, stratified_folds
from tutelage.student.data.readers import Columns, read_rows
from tutelage.student.data.rows import Row, to_record
from tutelage.student.errors import InputError
from tutelage.student.tasks.user_functions import run_filter, title

SETS = ("seed", "diagnose", "gate", "test")
UNSEEN = (
    "; texts that a student answers with such a label are left out when a round is accepted or rolled back,"
    " because your rows cannot show a gain there: label a few texts of each"
)
FIRST_LABELS = 100  # texts in the first set that the teacher labels if the user has labelled none (ours)


@dataclass(frozen=True)
class Splits:
    """The labelled rows of a task, its pool of unlabelled texts, and `notes`: warnings about the data.

    Either `seed`, `diagnose` and `gate` are separate sets and `folds` is empty, or all three hold the same
    labelled rows and `folds` maps the id of each row to its fold. `digest` is a hash of all rows.
    """

    seed: list[Row]
    diagnose: list[Row]
    gate: list[Row]
    test: list[Row]
    unlabelled: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    folds: dict[str, int] = field(default_factory=dict)
    folded: bool = False
    digest: str = ""

    def ids(self) -> set[str]:
        """Return the ids of all labelled rows, including the test set."""
        return {row["id"] for name in SETS for row in getattr(self, name)}

    @property
    def labelled(self) -> list[Row]:
        """The distinct labelled rows outside the test set."""
        return list({row["id"]: row for row in [*self.seed, *self.diagnose, *self.gate]}.values())

    def rows_of(self, name: str, fold: int | None = None) -> list[Row]:
        """Return the rows of a set in their order, or only those of one fold."""
        rows: list[Row] = getattr(self, name)
        return rows if fold is None else [row for row in rows if self.folds[row["id"]] == fold]

    def sizes(self) -> dict[str, int]:
        """Return the number of rows in each set of the task."""
        names = ("labelled", "test") if self.folded else SETS
        sizes = {name: len(getattr(self, name)) for name in names}
        return {**sizes, **({"unlabelled": len(self.unlabelled)} if self.unlabelled else {})}

    def adopt(self, rows: Sequence[Row], folds: dict[str, int]) -> None:
        """Add rows that the teacher labelled, where the user has none, and remove them from the pool. `folds`
        maps the id of each row to its fold.
        """
        assert self.folded, "adopted rows need folds"
        assert not self.seed, "the user has labelled rows"
        for part in (self.seed, self.diagnose, self.gate):
            part.extend(rows)
        self.folds.update(folds)
        adopted = {row["id"] for row in rows}
        self.unlabelled[:] = [row for row in self.unlabelled if row["id"] not in adopted]

    def relabel(self, labels: Mapping[str, str]) -> None:
        """Replace the labels of rows, by their ids; the folds stay as they are."""
        for part in (self.seed, self.diagnose, self.gate):
            part[:] = [
                Row(**{**row, "label": labels[row["id"]]}) if row["id"] in labels else row for row in part
            ]


def refits(strategy: Strategy, splits: Splits) -> bool:
    """Return whether the run ends with a refitted student; with folds it always does."""
    return splits.folded or strategy.refit


def compares_at_random(strategy: Strategy, splits: Splits) -> bool:
    """Return whether, at the end, random texts of the pool are labelled and compared with the chosen ones."""
    return bool(strategy.control and refits(strategy, splits) and splits.test and splits.unlabelled)


def undescribed(task: Task) -> list[str]:
    """Return notes on an instruction and on labels that are still as `tutelage init` wrote them."""
    found = []
    if task.instruction.strip() == FIRST_INSTRUCTION:
        found.append(f"the instruction is still {FIRST_INSTRUCTION!r}: say what the label says of a text")
    if bare := [name for name, description in task.labels.items() if description.strip() == name]:
        shown = ", ".join(bare[:8]) + (f" and {len(bare) - 8} more" if len(bare) > 8 else "")
        found.append(
            f"labels that are described by their name alone: {shown}; the teacher reads descriptions"
        )
    return found


def load_splits(task: Task) -> Splits:
    """Read the task's rows, draw the random samples, and check that no text is in two sets.

    Raises:
        InputError: a file or a row is invalid, or the sets do not fit together.
    """
    return _load_folded(task) if task.data.folded else _load_separate(task)


def _load_folded(task: Task) -> Splits:
    """Load all labelled rows, divided into folds, and the test set."""
    notes = undescribed(task)
    sets = read_sets(task, ("labelled", "test"), notes)
    rows = sets["labelled"]
    _check_disjoint(task, sets)
    if task.data.labelled:
        missing = _check_labels(task, rows, str(task.data.labelled), "labelled row")
        notes += [note + UNSEEN for note in missing]
        notes += _try_user_functions(task, rows)
    folds = fold_rows(task, rows, notes) if rows else {}
    if not sets["test"]:
        notes.append(
            "no test set: all scores are cross-validated, none is measured on held-out texts, and chosen"
            " labels are not compared with random ones"
        )
    pool = read_pool(task, {row["id"] for part in sets.values() for row in part}, notes)
    if pool and not rows and len(pool) < 2 * task.fold_count:
        raise InputError(
            f"{len(pool)} unlabelled texts are too few for a first labelled set in {task.fold_count} folds:"
            f" give at least {2 * task.fold_count}, or label some rows yourself and set `data.labelled`"
        )
    return Splits(
        seed=list(rows),
        diagnose=list(rows),
        gate=list(rows),
        test=sets["test"],
        unlabelled=pool,
        notes=notes,
        folds=folds,
        folded=True,
        digest=_digest({**sets, "unlabelled": pool}),
    )


def fold_rows(task: Task, rows: Sequence[Row], notes: list[str]) -> dict[str, int]:
    """Divide labelled rows into the task's stratified folds and return the fold of each row, by its id.

    Labels with fewer rows than folds are added to `notes`.

    Raises:
        InputError: there are fewer than two rows for each fold.
    """
    count = task.fold_count
    if len(rows) < 2 * count:
        raise InputError(
            f"{len(rows)} labelled rows are too few for {count} folds: label at least {2 * count}, or leave"
            " `data.labelled` out to have the teacher label a first set"
        )
    if few := labels_below(rows, task.type, count):
        shown = ", ".join(few[:8]) + (f" and {len(few) - 8} more" if len(few) > 8 else "")
        notes.append(f"labels with fewer labelled rows than the {count} folds: {shown}")
    return stratified_folds(rows, task.type, count, task.seed)


def _load_separate(task: Task) -> Splits:
    """Load the user's separate sets: seeds, diagnose, gate and test."""
    notes = undescribed(task)
    sets = read_sets(task, SETS, notes)
    _check_disjoint(task, sets)
    assert task.data.seed, "task.data.folded is False"
    notes += _check_labels(task, sets["seed"], str(task.data.seed), "seed")
    notes += _try_user_functions(task, sets["seed"])
    if not sets["diagnose"]:
        sets["diagnose"] = sets["seed"]
        notes.append(
            "no diagnose set: weaknesses are looked for in the seeds, which the student was trained on, so"
            " they are underestimated"
        )
    if sets["gate"]:
        notes += [note + UNSEEN for note in _missing_labels(task, sets["gate"], "row of the gate set")]
    else:
        notes.append("no gate set: every round is accepted, even one that makes the student worse")
    if not sets["test"]:
        notes.append("no test set: the result is not measured on held-out texts")
    pool = read_pool(task, {row["id"] for rows in sets.values() for row in rows}, notes)
    digest = _digest({**sets, **({"unlabelled": pool} if pool else {})})
    return Splits(
        seed=sets["seed"],
        diagnose=sets["diagnose"],
        gate=sets["gate"],
        test=sets["test"],
        unlabelled=pool,
        notes=notes,
        digest=digest,
    )


def _digest(sets: Mapping[str, Sequence[Row]]) -> str:
    digest, between = hashlib.sha256(), ""
    for name, rows in sets.items():
        for row in rows:
            reason = f" {row['rationale']}" if "rationale" in row else ""
            digest.update(f"{between}{name} {row['id']} {row['label']}{reason}".encode())
            between = "\n"
    return digest.hexdigest()[:16]


def load_corpus(task: Task, splits: Splits, path: Path) -> list[Row]:
    """Read a rehearsal teacher's texts without the task's own labelled rows, which it must not give away.

    Raises:
        InputError: no text remains.
    """
    reserved = splits.ids()
    rows = read_rows(path, list(task.labels), task_type=task.type, columns=_corpus_columns(task, path))
    remaining = [row for row in rows if row["id"] not in reserved]
    if not remaining:
        raise InputError(
            f"{path}: all {len(rows)} rows are also in the task's own sets; add rows that are in none of them"
        )
    return remaining


def _corpus_columns(task: Task, path: Path) -> Columns:
    """Return the columns of a corpus: those of the labelled rows, if it has the same ones."""
    source = task.data.labelled or task.data.seed
    if source is None or not (source.text or source.label or source.label_names):
        return Columns(task.fields)
    label = source.label or task.type.label_field
    _, first = next(read_records(path, label), ("", {}))
    if not {*(source.text or task.fields), label} <= set(first):
        return Columns(task.fields)
    return Columns(source.text or task.fields, label, names=source.label_names)


def _try_user_functions(task: Task, seeds: Sequence[Row]) -> list[str]:
    """Call the user's metric and filters on the seeds, so that they fail before anything is paid for.

    Returns:
        A note for each filter that would refuse any of the seeds.
    """
    text, label = ([row[key] for row in seeds[:1]] for key in ("text", "label"))
    task.type.example_statistics(text, label, label, list(task.labels), task.metric)
    rows = [to_record(row["text"], row["label"], task_type=task.type, fields=task.fields) for row in seeds]
    notes = []
    for name in task.filters:
        if reasons := [reason for row in rows if (reason := run_filter(name, row))]:
            count = f"{len(reasons)} of {len(rows)} seeds"
            notes.append(f"the filter {title(name)} would refuse {count}: {reasons[0]}")
    return notes


def _check_disjoint(task: Task, sets: dict[str, list[Row]]) -> None:
    names = list(sets)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            shared = {row["id"] for row in sets[first]} & {row["id"] for row in sets[second]}
            if shared:
                text = next(row["text"] for row in sets[first] if row["id"] in shared)
                raise InputError(
                    f"{len(shared)} texts are both in {first} and in {second}, e.g. {text[:60]!r};"
                    f" remove them from {getattr(task.data, first)}"
                )


def _check_labels(task: Task, rows: list[Row], where: str, noun: str) -> list[str]:
    """Check that rows have at least two labels; return a note that names the labels without any row."""
    if not rows:
        raise InputError(f"{where}: no {noun}s; give at least one text for two labels, better five for each")
    present = {label for row in rows for label in task.type.labels_in(row["label"])}
    if len(present) == 1 and task.type.min_labels > 1:
        raise InputError(
            f"{where}: all {len(rows)} {noun}s are {rows[0]['label']!r}; a student needs two labels"
        )
    return _missing_labels(task, rows, noun)


def _missing_labels(task: Task, rows: Sequence[Row], noun: str) -> list[str]:
    """Return a note that names the labels without any row."""
    present = {label for row in rows for label in task.type.labels_in(row["label"])}
    missing = [label for label in task.labels if label not in present]
    return [f"labels without a {noun}: {', '.join(missing)}"] if missing else []
