"""Splits: the rows of a task, each in one set only."""

import hashlib
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tutelage.graph.task.parts import Source
from tutelage.graph.task.schema import Task
from tutelage.student.data.folds import labels_below, stratified_folds
from tutelage.student.data.rows import Row, check_distinct, filed, read_hub, read_rows
from tutelage.student.errors import InputError
from tutelage.student.tasks.user_functions import filtered, title

SETS = ("seed", "diagnose", "gate", "test")
FIRST_LABELS = 100  # texts that the teacher labels first where the user has labelled none (ours)


@dataclass(frozen=True)
class Splits:
    """The labelled rows of a task, the pool of unlabelled texts, and `notes` on what could not be held out.

    Either `seed`, `diagnose` and `gate` are separate sets and `folds` is empty, or all three hold the same
    labelled rows and `folds` maps the id of each row to its fold. `digest` changes when any given row does.
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
        """Ids of every labelled row."""
        return {row["id"] for name in SETS for row in getattr(self, name)}

    @property
    def labelled(self) -> list[Row]:
        """All labelled rows but those of the test set, each once."""
        return list({row["id"]: row for row in [*self.seed, *self.diagnose, *self.gate]}.values())

    def sizes(self) -> dict[str, int]:
        """How many rows there are of each set that the task has."""
        names = ("labelled", "test") if self.folded else SETS
        found = {name: len(getattr(self, name)) for name in names}
        return {**found, **({"unlabelled": len(self.unlabelled)} if self.unlabelled else {})}

    def adopt(self, rows: Sequence[Row], folds: dict[str, int]) -> None:
        """Take rows that the teacher labelled in place of the user's, who has labelled none."""
        assert self.folded, "rows are adopted into folds"
        assert not self.seed, "the user's own rows come first"
        for part in (self.seed, self.diagnose, self.gate):
            part.extend(rows)
        self.folds.update(folds)
        taken = {row["id"] for row in rows}
        self.unlabelled[:] = [row for row in self.unlabelled if row["id"] not in taken]


def load_splits(task: Task) -> Splits:
    """Read the task's rows, draw what is to be drawn, and check that no text is in two sets.

    Raises:
        InputError: a file, a row or the sets together do not make a task.
    """
    return _folded(task) if task.data.folded else _separate(task)


def _folded(task: Task) -> Splits:
    """All labelled rows in folds, and the test set."""
    notes: list[str] = []
    made = _read_sets(task, ("labelled", "test"), notes)
    rows = made["labelled"]
    _check_apart(task, made)
    if task.data.labelled:
        notes += _check_labels(task, rows, _where(task.data.labelled), "labelled row")
        notes += _try_own(task, rows)
    folds = fold_rows(task, rows, notes) if rows else {}
    if not made["test"]:
        notes.append("no test set: scores are out of fold, not measured on texts held out to the end")
    pool = _pool(task, {row["id"] for part in made.values() for row in part}, notes)
    if pool and not rows and len(pool) < 2 * task.fold_count:
        raise InputError(
            f"{len(pool)} unlabelled texts are too few for a first labelled set in {task.fold_count} folds:"
            f" give at least {2 * task.fold_count}, or label some rows yourself and name them in"
            " `data.labelled`"
        )
    sets = {"labelled": rows, "test": made["test"], "unlabelled": pool}
    return Splits(
        seed=list(rows),
        diagnose=list(rows),
        gate=list(rows),
        test=made["test"],
        unlabelled=pool,
        notes=notes,
        folds=folds,
        folded=True,
        digest=_digest(sets),
    )


def fold_rows(task: Task, rows: Sequence[Row], notes: list[str]) -> dict[str, int]:
    """Divide labelled rows into the task's folds; labels with too few rows are added to the notes.

    Raises:
        InputError: there are fewer rows than folds.
    """
    count = task.fold_count
    if len(rows) < 2 * count:
        raise InputError(
            f"{len(rows)} labelled rows are too few for {count} folds: label at least {2 * count}, or leave"
            " `data.labelled` out and the teacher labels a first set"
        )
    if few := labels_below(rows, task.form, count):
        shown = ", ".join(few[:8]) + (f" and {len(few) - 8} more" if len(few) > 8 else "")
        notes.append(f"labels with fewer labelled rows than the {count} folds: {shown}")
    return stratified_folds(rows, task.form, count, task.seed)


def _separate(task: Task) -> Splits:
    """Seeds, diagnose, gate and test as the user gives them."""
    notes: list[str] = []
    made = _read_sets(task, SETS, notes)
    _check_apart(task, made)
    assert task.data.seed, "task.py saw to it"
    notes += _check_labels(task, made["seed"], _where(task.data.seed), "seed") + _try_own(task, made["seed"])
    if not made["diagnose"]:
        made["diagnose"] = made["seed"]
        notes.append(
            "no diagnose set: weaknesses are looked for in the seeds, which the student has learnt, and are"
            " underestimated"
        )
    if not made["gate"]:
        notes.append("no gate set: every round is accepted, also one that makes the student worse")
    if not made["test"]:
        notes.append("no test set: the result is not measured on texts held out to the end")
    pool = _pool(task, {row["id"] for rows in made.values() for row in rows}, notes)
    digest = _digest({**made, **({"unlabelled": pool} if pool else {})})
    return Splits(
        seed=made["seed"],
        diagnose=made["diagnose"],
        gate=made["gate"],
        test=made["test"],
        unlabelled=pool,
        notes=notes,
        digest=digest,
    )


def _read_sets(task: Task, names: Sequence[str], notes: list[str]) -> dict[str, list[Row]]:
    """The rows of each named set; drawn ones are in no other."""
    labels = list(task.labels)
    whole = {name: _read(task, given, labels) for name in names if (given := getattr(task.data, name))}
    used = {row["id"] for name, rows in whole.items() if not _drawn(task, name) for row in rows}
    made: dict[str, list[Row]] = {}
    for name in names:
        source: Source | None = getattr(task.data, name)
        if source is None:
            made[name] = []
        elif not source.drawn:
            made[name] = whole[name]
            if name != "seed" and not made[name]:
                raise InputError(f"{_where(source)}: no {name} rows; fill it, or leave `{name}` out")
            if name != "test":  # a published test split is taken as it is
                check_distinct(whole[name], _where(source))
        else:
            random_ = random.Random(f"{task.seed} {name}")
            made[name] = _draw(task, whole[name], source, used, random_, notes)
            used |= {row["id"] for row in made[name]}
    return made


def _digest(sets: Mapping[str, Sequence[Row]]) -> str:
    rows = ((name, row) for name, part in sets.items() for row in part)
    content = "\n".join(f"{n} {r['id']} {r['label']}{_because(r)}" for n, r in rows)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def load_corpus(task: Task, splits: Splits, path: Path) -> list[Row]:
    """A rehearsal teacher's texts, less every row of every set: it can give none of them away.

    Raises:
        InputError: nothing is left.
    """
    reserved = splits.ids()
    rows = read_rows(path, list(task.labels), kind=task.form, fields=task.fields)
    left = [row for row in rows if row["id"] not in reserved]
    if not left:
        raise InputError(
            f"{path} has {len(rows)} rows, all in the task's own sets too; give it texts of its own"
        )
    return left


def _try_own(task: Task, seeds: Sequence[Row]) -> list[str]:
    """Try the user's own metric and filters on the seeds, before anything is paid for.

    Returns:
        A note for each filter that would refuse one.
    """
    text, label = ([row[key] for row in seeds[:1]] for key in ("text", "label"))
    task.form.marks(text, label, label, list(task.labels), task.metric)
    rows = [filed(row["text"], row["label"], kind=task.form, fields=task.fields) for row in seeds]
    notes = []
    for name in task.filters:
        wrong = [why for row in rows if (why := filtered(name, row))]
        if wrong:
            notes.append(
                f"the filter {title(name)} would refuse {len(wrong)} of {len(rows)} seeds: {wrong[0]}"
            )
    return notes


def _pool(task: Task, taken: set[str], notes: list[str]) -> list[Row]:
    """The distinct unlabelled texts that stand in no other set."""
    source = task.data.unlabelled
    if source is None:
        return []
    rows = _read(task, source, None)
    distinct = {row["id"]: row for row in rows}
    if len(distinct) < len(rows):
        notes.append(f"{len(rows) - len(distinct)} texts of the pool are in it twice, and are left out")
    left = [row for key, row in distinct.items() if key not in taken]
    if not left:
        raise InputError(f"{_where(source)}: no text is left that is in no other set; add some")
    if len(left) < len(distinct):
        notes.append(
            f"{len(distinct) - len(left)} texts of the pool are in another set too, and are left out"
        )
    strategy = task.resolved_strategy()
    if not strategy.draws:
        notes.append(
            f"the pool is not used: strategy {strategy.name} has every text written; `pool_share: 0.5` draws"
            " half of them from it"
        )
    return left


def _read(task: Task, source: Source, labels: Sequence[str] | None) -> list[Row]:
    fields = source.text or task.fields
    columns = {"label_field": source.label, "rationale_field": source.rationale}
    if source.hub:
        return read_hub(source.hub, source.split, labels, kind=task.form, fields=fields, **columns)
    assert source.path
    return read_rows(source.path, labels, kind=task.form, fields=fields, **columns)


def _draw(
    task: Task,
    rows: Sequence[Row],
    source: Source,
    used: set[str],
    chance: random.Random,
    notes: list[str],
) -> list[Row]:
    """Distinct rows, none in `used` or with two labels: `per_label` of each label, or `rows` in all."""
    label_sets: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        label_sets[row["id"]].add(row["label"])
    distinct = {row["id"]: row for row in rows if row["id"] not in used and len(label_sets[row["id"]]) == 1}
    if disputed := sum(len(labels) > 1 for labels in label_sets.values()):
        told = f"{_where(source)}: {disputed} texts have two labels there, and are not drawn"
        notes += [told] if told not in notes else []
    if source.rows:
        if len(distinct) < source.rows:
            raise InputError(_too_few(source, "there are", len(distinct), f"rows asks for {source.rows}"))
        return chance.sample(list(distinct.values()), source.rows)
    by_label: dict[str, list[Row]] = defaultdict(list)
    for row in distinct.values():
        for label in task.form.groups(row["label"]):
            by_label[label].append(row)
    drawn: dict[str, Row] = {}
    for label in sorted(by_label):
        left = [row for row in by_label[label] if row["id"] not in drawn]
        # Drawn for another label, a row may have this one too; texts without any are taken as far as they go.
        lacking = (source.per_label or 0) - (len(by_label[label]) - len(left))
        if len(left) < lacking and (label or not task.labels):
            asked = f"per_label asks for {source.per_label}"
            raise InputError(_too_few(source, f"label {label!r} has", len(by_label[label]), asked))
        drawn |= {row["id"]: row for row in chance.sample(left, max(0, min(lacking, len(left))))}
    return list(drawn.values())


def _because(row: Row) -> str:
    return f" {row['rationale']}" if "rationale" in row else ""


def _too_few(source: Source, which: str, there: int, asked: str) -> str:
    return f"{_where(source)}: {which} {there} rows left to draw from, {asked}; ask for fewer or add rows"


def _check_apart(task: Task, made: dict[str, list[Row]]) -> None:
    names = list(made)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            shared = {row["id"] for row in made[first]} & {row["id"] for row in made[second]}
            if shared:
                text = next(row["text"] for row in made[first] if row["id"] in shared)
                raise InputError(
                    f"{len(shared)} texts are both in {first} and in {second}, e.g. {text[:60]!r};"
                    f" remove them from {_where(getattr(task.data, first))}"
                )


def _check_labels(task: Task, rows: list[Row], where: str, called: str) -> list[str]:
    if not rows:
        raise InputError(
            f"{where}: no {called}s; give at least one text for two labels, better five for each"
        )
    present = {label for row in rows for label in task.form.groups(row["label"])}
    if len(present) == 1 and task.form.fewest > 1:
        raise InputError(
            f"{where}: all {len(rows)} {called}s are {rows[0]['label']!r}; a student needs two labels"
        )
    missing = [label for label in task.labels if label not in present]
    return [f"labels without a {called}: {', '.join(missing)}"] if missing else []


def _drawn(task: Task, name: str) -> bool:
    source: Source | None = getattr(task.data, name)
    return source is not None and source.drawn


def _where(source: Source) -> str:
    return str(source.path) if source.path else f"{source.hub}[{source.split}]"
