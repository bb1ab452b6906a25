"""The data card of an exported run, as Markdown."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from tutelage.graph.handover.model_card import licence, table, teachers
from tutelage.graph.report.run_section import Run
from tutelage.student.corpus import POOL


def data_card(run: Run, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the README.md of the exported samples, which are lines of samples.jsonl."""
    task = run.about["task"]
    head = {
        "configs": [{"config_name": "default", "data_files": "samples.parquet"}],
        "tags": ["tutelage"],
    }
    field = run.task_type.label_field
    drawn = sum(row["kind"] == POOL for row in rows)
    parts = [
        f"# Samples of {task['name']}",
        f"{len(rows)} texts with answers of {teachers(run)}: {drawn} were drawn from the user's unlabelled"
        f" texts, {len(rows) - drawn} were written. The user's own labelled rows are not among them.",
        f"Columns: the text, `{field}`, the teacher's `confidence` where it is known, the `round` in which"
        " the text was kept and, for a written one, the label and the weakness that it was written for.",
    ]
    if task["labels"]:
        counts = Counter(name for row in rows for name in _names(row[field]))
        parts.append(table(("Label", "Texts"), counts.most_common()))
    parts += ['Load it: `datasets.load_dataset("parquet", data_files="samples.parquet")`.', licence(run)]
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n" + "\n\n".join(parts) + "\n"


def _names(label: Any) -> set[str]:
    """Return the label names in a label as data files have it: a name, names, or entities."""
    if isinstance(label, list):
        return {str(one["type"]) if isinstance(one, dict) else str(one) for one in label}
    return {str(label)}
