"""`tutelage export`: the folder that a user takes from a run."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from tutelage.graph.handover.export import export_run
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import run
from tutelage.graph.serving.served_model import ServedModel
from tutelage.graph.task.load import Task, load_task, override
from tutelage.graph.task.samples import sample_task
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.evaluation.confidence import load_reliability
from tutelage.student.models.load import load_student
from tutelage.student.models.onnx import Parity
from tutelage.student.models.standalone import Model

Make = Callable[..., Task]


@pytest.fixture(scope="module")
def finished(folded: Make, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    task = folded(strategy={"base": "auto", "samples": 24}, budget={"rounds": 1})
    return run(task, tmp_path_factory.mktemp("export") / "run", encoder=encoder)


@pytest.fixture(scope="module")
def exported(finished: RunFolder) -> tuple[Path, Parity]:
    folder = finished.path.with_name("model")
    parity = export_run(finished.path, folder)
    assert parity
    return folder, parity


def test_the_model_opens_in_transformers_tutelage_and_onnx(
    finished: RunFolder, exported: tuple[Path, Parity]
) -> None:
    from transformers import pipeline

    folder, parity = exported
    texts = ["Where is my parcel?", "I want my money back."]
    expected = load_student(finished.student).predict(texts).answers
    assert load_student(folder).predict(texts).answers == expected
    assert Model(folder).predict(texts) == expected
    classifier: Any = pipeline("text-classification", str(folder), trust_remote_code=True)
    assert [one["label"] for one in classifier(texts)] == expected
    assert parity["difference"] < 1e-4
    assert not (folder / "texts_used.json").exists()
    assert {oct(path.stat().st_mode & 0o777) for path in folder.rglob("*") if path.is_file()} == {"0o644"}


def test_the_card_says_what_the_model_is_and_how_good(
    finished: RunFolder, exported: tuple[Path, Parity]
) -> None:
    folder, _ = exported
    _, head, text = (folder / "README.md").read_text().split("---\n", 2)
    front, about = yaml.safe_load(head), finished.about()
    assert front["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    [result] = front["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == pytest.approx(about["test"]["metric"], abs=1e-4)
    for label in about["task"]["labels"]:
        assert f"- `{label}`: " in text
    for arm in about["comparison"]["arms"]:
        assert f"{arm['score']:.3f} | {arm['low']:.3f} to {arm['high']:.3f}" in text
    for words in (
        "the rehearsal teacher, which is no language model",
        "`model_int8.onnx`",
        "Not set: add `license:` above.",
        "modeling_head.py",
        f"over the {about['test']['size']} rows",
    ):
        assert words in text
    scores = {one["label"]: one for one in about["test"]["classes"]}
    assert len(scores) == len(about["task"]["labels"])
    for label, one in scores.items():
        figures = " | ".join(f"{one[name]:.2f}" for name in ("f1", "precision", "recall"))
        assert f"| `{label}` | {figures} | {one['support']} |" in text
    kept = [line for line in finished.read_lines(finished.samples) if line["status"] == "kept"]
    kinds = Counter(line["kind"] == "pool" for line in kept)
    assert f"{kinds[True]} were drawn from the user's unlabelled ones and {kinds[False]} written" in text
    assert ("EvoKD" in text) == (kinds[False] > 0)
    assert ("TypiClust" in text) == (kinds[True] > 0)
    found = load_reliability(finished.path)
    assert f"Its confidence is calibrated on {len(found.right)} rows of the user" in text
    assert ("too few or too easy ones" in text) == found.at_limit
    assert "your" not in text
    assert "None" not in text


def test_without_a_test_set_the_card_says_that_the_model_itself_is_not_measured(
    folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    data = {"labelled": "labelled.jsonl", "unlabelled": "pool.jsonl"}
    done = run(folded(data=data, budget={"rounds": 1}), tmp_path / "run", encoder=encoder)
    export_run(done.path, tmp_path / "model", onnx=False)
    for text in ((tmp_path / "model" / "README.md").read_text(), done.report.read_text()):
        assert "there are no other rows to measure it on" in " ".join(text.split())
        assert "in bold" not in text


def test_the_samples_load_as_a_data_set(
    finished: RunFolder, exported: tuple[Path, Parity], tmp_path: Path
) -> None:
    folder, _ = exported
    file = str(folder / "dataset" / "samples.parquet")
    rows = datasets.load_dataset("parquet", data_files=file, split="train", cache_dir=str(tmp_path))
    assert rows.num_rows == finished.about()["samples"]["kept"]
    assert {"id", "text", "label", "round"} <= set(rows.column_names)
    assert set(rows["status"]) == {"kept"}
    card = (folder / "dataset" / "README.md").read_text()
    assert f"{rows.num_rows} texts with answers of the rehearsal teacher, which is no language model" in card


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["multilabel", "ner", "seq2seq", "pairs"])
def test_every_task_type_is_exported_with_its_labels(
    kind: str, encoder: Encoder, tiny_bert: Callable[..., str], tmp_path: Path
) -> None:
    task = sample_task(kind, tmp_path / "task")
    quick: dict[str, Any] = {"training": "plain", "epochs": 1, "min_steps": 10}
    if kind != "seq2seq":  # whose sample task has a small base of its own
        quick |= {"base": tiny_bert(tmp_path / "base")}
    small = override(task, {"budget": {"rounds": 1}, "strategy": {"samples": 12}, "student": quick})
    done = run(small, tmp_path / "run", encoder=encoder)
    notes: list[str] = []
    parity = export_run(done.path, tmp_path / "model", warn=notes.append)
    assert parity
    assert parity["same"] > 0.98
    assert not any("no ONNX model is written" in note for note in notes)
    file = str(tmp_path / "model" / "dataset" / "samples.parquet")
    rows = datasets.load_dataset("parquet", data_files=file, split="train", cache_dir=str(tmp_path / "cache"))
    lines = [line for line in done.read_lines(done.samples) if line["status"] == "kept"]
    field = task.type.label_field
    assert [json.dumps(one, sort_keys=True) for one in rows[field]] == [
        json.dumps(line[field], sort_keys=True) for line in lines
    ]
    card = (tmp_path / "model" / "dataset" / "README.md").read_text()
    assert "None" not in card
    text = (tmp_path / "model" / "README.md").read_text()
    assert ("top_k=None" in text) == (kind == "multilabel")
    assert ("load_student(" in text) == (kind == "seq2seq")
    assert ("| `encoder.onnx` and `decoder.onnx` |" in text) == (kind == "seq2seq")
    assert ("text_pair" in text) == (kind == "pairs")
    if kind == "seq2seq":
        texts = [str(one) for one in rows["text"]]
        expected = load_student(tmp_path / "model").predict(texts)
        served = ServedModel(tmp_path / "model", "onnx").predict(texts)
        assert [one.label for one in served] == expected.answers
        assert [one.confidence for one in served] == pytest.approx(expected.confidence, abs=1e-3)


def test_the_task_in_the_folder_starts_again(finished: RunFolder, exported: tuple[Path, Parity]) -> None:
    assert load_task(exported[0]) == Task.model_validate(finished.about()["task"])
    assert "null" not in (exported[0] / "task.yaml").read_text()


def test_nothing_is_overwritten_or_left_half_written(
    finished: RunFolder, exported: tuple[Path, Parity], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="exists already; choose another folder"):
        export_run(finished.path, exported[0])
    unfinished = RunFolder(tmp_path / "unfinished")
    about = {key: value for key, value in finished.about().items() if key != "stop"}
    unfinished.create(about)
    with pytest.raises(InputError, match="is unfinished; continue it with `tutelage resume"):
        export_run(unfinished.path, tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        export_run(finished.path, tmp_path / "file" / "model")
    assert {path.name for path in tmp_path.iterdir()} == {"unfinished", "file"}


def test_without_onnx_only_the_model_for_transformers_is_written(finished: RunFolder, tmp_path: Path) -> None:
    assert export_run(finished.path, tmp_path / "model", onnx=False) is None
    assert not (tmp_path / "model" / "onnx").exists()
    assert "ONNX" not in (tmp_path / "model" / "README.md").read_text()
