"""The model card of an exported run, as Markdown. Its readers are not the person who ran tutelage."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from tutelage import __version__
from tutelage.agents.providers.models import OBJECT
from tutelage.graph.report.comparison_section import arm_title, comparison_sentence
from tutelage.graph.report.run_section import Run, metric_title
from tutelage.graph.run_folder.folder import rounds_over
from tutelage.graph.task.schema import Task
from tutelage.student.corpus import POOL
from tutelage.student.evaluation.confidence import load_reliability
from tutelage.student.models.onnx import Parity
from tutelage.student.pretrained import EMBEDDED

HUB_BASES = {EMBEDDED: "sentence-transformers/all-MiniLM-L6-v2"}
# How each task type is opened in transformers. Version 5 has no pipeline for students that write.
_CLASSIFY = """# The code that is trusted is modeling_head.py in the folder: a linear layer on the encoder.
model = pipeline("text-classification", "path/of/this/folder"{options}, trust_remote_code=True)
model({text})"""
_SNIPPETS = {
    "classification": _CLASSIFY.format(options="", text='"a text"'),
    "pairs": _CLASSIFY.format(options="", text='{"text": "the one text", "text_pair": "the other"}'),
    "multilabel": _CLASSIFY.format(options=", top_k=None", text='"a text"')
    + """
# It scores every label; a label applies if its score reaches its threshold.
thresholds = dict(zip(model.model.config.id2label.values(), model.model.config.thresholds))""",
    "ner": """model = pipeline("token-classification", "path/of/this/folder", aggregation_strategy="first")
model("a text")""",
}
_WRITING = """from tutelage import load_student

load_student("path/of/this/folder").predict_best(["a text"])"""
_LIMITS = {
    "classification": "It predicts only the labels above, and gives one of them to every text.",
    "pairs": "It predicts only the labels above, and gives one of them to every pair.",
    "multilabel": "It predicts only the labels above.",
    "ner": "It finds only entities of the types above.",
    "seq2seq": "It can write anything, also what is wrong.",
}
TYPICLUST = "TypiClust (Hacohen et al., ICML 2022, arXiv 2202.02794)"
_WEAKEST = 10  # labels whose scores are shown, of more labels than these
PIPELINES = {"ner": "token-classification", "seq2seq": "text2text-generation"}
CITATIONS = {  # by the beginning of the strategy's name
    "evokd": "EvoKD (Liu et al., LREC-COLING 2024, arXiv 2403.06414)",
    "gold": "GOLD (Gholami et al., Findings of NAACL 2024, arXiv 2403.19754)",
    "llkd": "LLKD (Li et al., Findings of NAACL 2025, arXiv 2411.08028)",
    "ksm": "KSM (Wang et al., Findings of EMNLP 2022, arXiv 2302.00444)",
    "zerogen": "ZeroGen (Ye et al., EMNLP 2022, arXiv 2202.07922)",
    "auggpt": "AugGPT (Dai et al., arXiv 2302.13007)",
}


def model_card(run: Run, kept: Sequence[Mapping[str, Any]], parity: Parity | None) -> str:
    """Return the README.md of an exported student.

    Args:
        run: a finished run.
        kept: the kept samples, lines of samples.jsonl.
        parity: the check of the ONNX models, None if there are none.
    """
    task = run.about["task"]
    parts = [
        f"# {task['name']}",
        f"A small model for one task, made by tutelage {__version__} with labels of {teachers(run)}.",
        f"> {task['instruction'].strip()}",
        "## Labels",
        _labels(task["labels"]) or "It writes its answer; there are no labels.",
        "## How good it is",
        _scores(run),
        "## How it was made",
        _method(run, kept),
        "## Use",
        _use(task, parity),
        *(["## ONNX", _onnx(task, parity)] if parity else []),
        "## Limits",
        _limits(run, parity),
        "## Licence",
        licence(run),
    ]
    return f"{_front_matter(run)}\n" + "\n\n".join(parts) + "\n"


def _front_matter(run: Run) -> str:
    task = run.about["task"]
    head: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": PIPELINES.get(task["kind"], "text-classification"),
        "tags": ["tutelage", "distillation", "active-learning"],
        "base_model": _base(run),
    }
    if test := run.about.get("test"):
        name = metric_title(task["metric"])
        metric = {"type": task["metric"], "name": name, "value": round(test["metric"], 4)}
        result = {
            "task": {"type": head["pipeline_tag"]},
            "dataset": {"name": f"{task['name']} (test set of the user)", "type": "private"},
            "metrics": [metric],
        }
        head["model-index"] = [{"name": task["name"], "results": [result]}]
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n"


def _labels(labels: Mapping[str, str]) -> str:
    return "\n".join(f"- `{label}`{f': {text}' if text else ''}" for label, text in labels.items())


def _scores(run: Run) -> str:
    """Return the comparison of the students as a table, or the score on test."""
    comparison, task, test = run.about.get("comparison"), run.about["task"], run.about.get("test")
    by_label = _scores_by_label(test) if test else []
    if not comparison:
        name = metric_title(task["metric"])
        alone = f"{name} on the {test['size']} rows of the test set: {test['metric']:.3f}." if test else ""
        return "\n\n".join([alone or "It was not measured.", *by_label])
    titles = [_for_readers(arm_title(run, arm)) for arm in comparison["arms"]]
    rows = [
        (
            f"**{title}**" if arm["delivered"] else title,
            arm["rows"],
            arm["teacher_labels"],
            arm["unlabelled"],
            f"{arm['score']:.3f}",
            f"{arm['low']:.3f} to {arm['high']:.3f}",
        )
        for title, arm in zip(titles, comparison["arms"], strict=True)
    ]
    title = f"{metric_title(comparison['metric'])}, {comparison['measured_on']}"
    found = _for_readers(comparison_sentence(run, comparison))
    compared = table(("Trained on", "Own rows", "Teacher labels", "Unlabelled", title, "95 %"), rows)
    note = "These are students of the folds. This model was trained like the last one, on all rows, and"
    note += " there are no other rows to measure it on."
    if any(arm["delivered"] for arm in comparison["arms"]):
        note = "This is the model in bold; the others are what it is compared with."
    size = f"{test['size']} " if test and comparison["measured_on"] == "test" else ""
    note += f" Intervals are bootstrap intervals over the {size}rows."
    return "\n\n".join([found, compared, note, *by_label])


def _scores_by_label(test: Mapping[str, Any]) -> list[str]:
    """Return the scores of each label on test; of many labels those of the weakest."""
    found = [one for one in test["classes"] if one["support"]]
    if not found:
        return []
    shown = sorted(found, key=lambda one: one["f1"])[:_WEAKEST]
    complete = len(shown) == len(found)
    which = "By label, the weakest first" if complete else f"The {len(shown)} weakest of {len(found)} labels"
    rows = [
        (f"`{one['label']}`", *(f"{one[name]:.2f}" for name in ("f1", "precision", "recall")), one["support"])
        for one in shown
    ]
    return [f"{which}, on the test set:", table(("Label", "F1", "Precision", "Recall", "In test"), rows)]


def _for_readers(text: str) -> str:
    """Return a sentence that speaks to the person who ran tutelage as one that speaks of this person."""
    return re.sub(r"\b([Yy])our\b", lambda found: "The user's" if found[1] == "Y" else "the user's", text)


def _method(run: Run, kept: Sequence[Mapping[str, Any]]) -> str:
    about, spent = run.about, run.spent
    strategy = about["strategy"]["name"]
    drawn = sum(row["kind"] == POOL for row in kept)
    cost = "" if spent["cost"] is None else f", cost {spent['cost']:.2f}"
    tokens = spent["prompt_tokens"] + spent["completion_tokens"]
    rows = about["data"].get("labelled", about["data"].get("seed", 0))
    rounds = rounds_over(run.rounds)
    many = f"{rounds} round{'' if rounds == 1 else 's'}"
    lines = [
        f"- Strategy `{strategy}`, {many}. Of its texts, {drawn} were drawn from the user's unlabelled ones"
        f" and {len(kept) - drawn} written. The user gave {rows} labelled rows. The students above may have"
        " more teacher labels: those of texts that were drawn at random to compare with.",
        f"- Teacher: {teachers(run)}; {spent['calls']:,} calls, {tokens:,} tokens{cost}.",
        f"- Base: {_base(run)}{_trained_part(about['task']['student'])}.",
    ]
    if checked := about.get("labels_to_check"):
        lines.append(f"- {checked} labels of the user look wrong; none of them was changed.")
    if cited := _cited(strategy, drawn, len(kept) - drawn):
        lines.append(f"- After: {cited}.")
    again = "`tutelage run task.yaml` starts the task again, where the files are that it names."
    if any(name.startswith(OBJECT) for name in _models(run)):
        again = "its teacher was an object in Python: give it to `tutelage.run(task, teacher=...)` again."
    lines.append(
        f"- `task.yaml` is the whole configuration (it names local files and is not pushed to a hub); {again}"
    )
    return "\n".join(lines)


def _cited(strategy: str, drawn: int, written: int) -> str:
    """Return the papers behind a strategy; those of `auto` depend on whether texts were drawn or written."""
    if not strategy.startswith("auto"):
        return next((text for name, text in CITATIONS.items() if strategy.startswith(name)), "")
    parts = {
        f"{TYPICLUST} for texts that are drawn": drawn,
        f"{CITATIONS['evokd']} for texts that are written": written,
    }
    return ", ".join(text for text, count in parts.items() if count)


def _trained_part(student: Mapping[str, Any]) -> str:
    if student["mode"] == "head":
        return ". Only a linear layer on its embeddings was trained"
    return (
        f". Its lowest {student['frozen_layers']} layers were not trained" if student["frozen_layers"] else ""
    )


def _use(task: Mapping[str, Any], parity: Parity | None) -> str:
    kind = task["kind"]
    code = f"from transformers import pipeline\n\n{_SNIPPETS[kind]}" if kind in _SNIPPETS else _WRITING
    parts = [f"```python\n{code}\n```"]
    if parity:
        example = r"$'the one text\\tthe other'" if kind == "pairs" else '"a text"'
        parts.append("Without torch and transformers (`pip install onnxruntime tokenizers numpy`):")
        parts.append(f"```bash\npython predict.py {example}\n```")
    return "\n\n".join(parts)


def _onnx(task: Mapping[str, Any], parity: Parity) -> str:
    """Return how the ONNX models compare with torch."""
    times, sizes = parity["milliseconds"], parity["megabytes"]
    graphs = ("encoder", "decoder") if task["kind"] == "seq2seq" else ("model",)
    full, small = (" and ".join(f"`{name}{suffix}.onnx`" for name in graphs) for suffix in ("", "_int8"))
    figures = f"{parity['difference']:.1e}", f"{100 * parity['same']:.1f} %"
    rows = [
        ("torch", f"{times['torch']:.1f}", "", "", ""),
        (full, f"{times['onnx']:.1f}", sizes["onnx"], *figures),
    ]
    parts = [f"Compared on {parity['texts']} texts of the run, on the machine that wrote it."]
    if "int8_refused" in parity:
        parts.append(f"The 8-bit model was left out: {parity['int8_refused']}.")
    else:
        figures = f"{parity['int8_difference']:.1e}", f"{100 * parity['int8_same']:.1f} %"
        rows.append((small, f"{times['int8']:.1f}", sizes["int8"], *figures))
    beams = task["student"].get("beams") or 1
    if task["kind"] == "seq2seq" and beams > 1:
        parts.append(
            f"Torch decodes with {beams} beams, ONNX greedily. The answers of both were compared greedily, so"
            " `predict.py` can write other targets than transformers; `tutelage predict` takes torch."
        )
    head = ("Model", "ms a text, one thread", "MB", "largest difference of a probability", "same answers")
    return "\n\n".join([table(head, rows), *parts])


def _limits(run: Run, parity: Parity | None) -> str:
    lines = [f"- {_LIMITS[run.about['task']['kind']]}"]
    student = run.about["task"]["student"]
    most = student["max_tokens"]
    if student.get("long") == "window":
        ways = "`predict.py` and `tutelage predict` read" if parity else "`tutelage predict` reads"
        lines.append(
            f"- {ways} a text of more than {most} tokens in overlapping windows, whose logits are averaged;"
            f" the pipeline of transformers reads only its first {most} tokens."
        )
    else:
        lines.append(f"- It reads at most {most} tokens of a text.")
    if run.folder.confidence.exists():
        found = load_reliability(run.folder.path)
        few = ", too few or too easy ones to trust it" if found.at_limit else ""
        lines.append(
            f"- Its confidence is calibrated on {len(found.right)} rows of the user{few}. It says little"
            " about texts that are unlike them."
        )
    lines += [f"- {_for_readers(note)}" for note in run.about["notes"]]
    return "\n".join(lines)


def licence(run: Run) -> str:
    """Return what the licence depends on."""
    return (
        "Not set: add `license:` above. It depends on the base model, on the user's data, and on the terms"
        f" of the teacher ({teachers(run)}): some providers restrict what may be trained on the output of"
        " their models. Read them before you publish this."
    )


def _base(run: Run) -> str:
    """Return the name of the base; of a folder only its last part, because a card is published."""
    base = str(run.about["task"]["student"]["base"])
    return HUB_BASES.get(base, Path(base).name if Path(base).is_absolute() else base)


def _models(run: Run) -> list[str]:
    """Return the models that label and write texts, as the task names them."""
    specs = Task.model_validate(run.about["task"]).model_specs()
    return list(dict.fromkeys(specs[role].model for role in ("labeler", "generator")))


def teachers(run: Run) -> str:
    """Return the names of the models that labelled and wrote texts."""
    shown = [name.split(":", 2)[2] if name.startswith(OBJECT) else name for name in _models(run)]
    rehearsal = "the rehearsal teacher, which is no language model"
    return " and ".join(rehearsal if name == "rehearsal" else name for name in shown)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in lines)
