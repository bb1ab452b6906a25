"""Causal students and reasons: adapters alone are trained, kept and worked in; a reason is a target more."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tutelage.agents.labeler import label
from tutelage.graph.config import parse_task
from tutelage.graph.samples import sample_task
from tutelage.student.adapting import CausalWriter, check
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.lessons import Lessons
from tutelage.student.load import load_student
from tutelage.student.objectives import PLAIN, Objective
from tutelage.student.recipe import Recipe
from tutelage.student.rows import Row, content_id, read_rows
from tutelage.student.scratch import scratch_writer
from tutelage.student.training import train, untouched
from tutelage.student.writing import fresh, learner

pytest.importorskip("peft")
PAIRS = [("say a", "aa"), ("say b", "bb"), ("say c", "cc"), ("say it: d", "dd")] * 6
ROWS = [Row(id=content_id(f"{text}{i}"), text=text, label=target) for i, (text, target) in enumerate(PAIRS)]
TEXTS, TARGETS = [text for text, _ in PAIRS[:4]], [target for _, target in PAIRS[:4]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A causal model of two layers, with the byte-level vocabulary of a small T5."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("causal")
    words = scratch_writer(folder / "t5", [part for pair in PAIRS for part in pair], words=270)
    tokenizer = AutoTokenizer.from_pretrained(words)
    tokenizer.save_pretrained(folder / "llama")
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    signs = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **sizes, **signs)
    LlamaForCausalLM(config).save_pretrained(folder / "llama")
    return str(folder / "llama")


@pytest.fixture(scope="module")
def recipe(base: str) -> Recipe:
    sizes: dict[str, Any] = {"max_target": 8, "max_tokens": 32, "lora": 8}
    return Recipe(kind="seq2seq", base=base, epochs=20, learning_rate=0.01, device="cpu", **sizes)


@pytest.fixture(scope="module")
def student(recipe: Recipe, encoder: Encoder) -> CausalWriter:
    made = train(ROWS, [], recipe, seed=0, encoder=encoder)
    assert isinstance(made, CausalWriter)
    return made


def test_only_adapters_are_trained(recipe: Recipe, student: CausalWriter) -> None:
    taught = learner(Lessons.of(ROWS), student, recipe, PLAIN)
    names = [name for name, weight in student.model.named_parameters() if weight.requires_grad]
    assert names
    assert all("lora_" in name for name in names)
    assert len(taught.parameters) == len(names)


def test_adapters_alone_teach_it_the_targets(recipe: Recipe, student: CausalWriter, encoder: Encoder) -> None:
    assert not set(untouched([], recipe, seed=0, encoder=encoder).answer(TEXTS)) & set(TARGETS)
    assert student.answer(TEXTS) == TARGETS


def test_a_batch_changes_no_figure(student: CausalWriter) -> None:
    together = student.read(TEXTS, TARGETS)
    for i, (text, target) in enumerate(zip(TEXTS, TARGETS, strict=True)):
        alone = student.read([text], [target])
        assert alone.answers[0] == together.answers[i]
        assert alone.nll == pytest.approx(together.nll[i : i + 1], abs=1e-4)  # type: ignore[index]
        assert alone.energy == pytest.approx(together.energy[i : i + 1], abs=1e-4)


def test_the_logits_foretell_the_target_given_the_text(student: CausalWriter) -> None:
    import torch

    [text], [target] = student.ids(TEXTS[:1]), student.targets(TARGETS[:1])
    logits, goals = student.forced([text], [target])
    with torch.inference_mode():
        whole = student.model(input_ids=torch.tensor([text + target])).logits[0]
    assert goals[0].tolist() == target
    assert np.allclose(logits[0].detach().numpy(), whole[len(text) - 1 : -1].numpy(), atol=1e-4)


def test_saved_it_is_small_and_exported_it_is_whole(student: CausalWriter, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    student.save(tmp_path / "kept")
    student.export(tmp_path / "whole")
    again, alone = load_student(tmp_path / "kept"), load_student(tmp_path / "whole")
    assert (tmp_path / "kept" / "adapter_model.safetensors").exists()
    assert not (tmp_path / "kept" / "model.safetensors").exists()
    assert again.answer(TEXTS) == alone.answer(TEXTS) == student.answer(TEXTS)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "whole")
    prompt = tokenizer(f"{TEXTS[0]}\n", add_special_tokens=False, return_tensors="pt")
    found = model.generate(**prompt, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(found, skip_special_tokens=True).strip() == student.answer(TEXTS[:1])[0]


def test_a_base_that_writes_nothing_is_refused_before_anything_is_paid(recipe: Recipe) -> None:
    with pytest.raises(InputError, match="minilm cannot write; take an encoder-decoder"):
        check(ROWS, Recipe(kind="seq2seq", base="minilm"))
    check(ROWS, recipe)


# Reasons


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("writer")
    return str(scratch_writer(folder / "t5", [part for pair in PAIRS for part in pair], words=270))


def test_a_reason_is_a_second_target_of_its_text_and_weight(writer: str) -> None:
    recipe = Recipe(kind="seq2seq", base=writer, max_target=8, device="cpu")
    rows = [Row(**{**ROWS[0], "rationale": "why"}), ROWS[1]]
    student = fresh(recipe, 0)
    taught = learner(Lessons.of(rows), student, recipe, Objective(rationale=0.5))
    assert taught.weights.tolist() == [1.0, 1.0, 0.5]
    read = [student.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in taught.texts]
    assert read == ["[label] say a", "[label] say b", "[rationale] say a"]
    assert student.tokenizer.decode(taught.targets[2], skip_special_tokens=True).strip() == "why"


def test_without_reasons_a_text_is_read_as_it_stands(writer: str) -> None:
    recipe = Recipe(kind="seq2seq", base=writer, max_target=8, device="cpu")
    student = fresh(recipe, 0)
    taught = learner(Lessons.of([Row(**{**ROWS[0], "rationale": "why"})]), student, recipe, PLAIN)
    assert len(taught.texts) == 1
    assert student.prefix == ""


def test_a_student_of_reasons_says_so_when_it_is_loaded(
    writer: str, encoder: Encoder, tmp_path: Path
) -> None:
    recipe = Recipe(kind="seq2seq", base=writer, epochs=1, max_target=8, device="cpu")
    made = train(ROWS[:4], [], recipe, seed=0, encoder=encoder, objective=Objective(rationale=1.0))
    made.save(tmp_path / "student")
    assert load_student(tmp_path / "student").answer(TEXTS) == made.answer(TEXTS)
    assert (
        json.loads((tmp_path / "student" / "tokenizer_config.json").read_text())["text_prefix"] == "[label] "
    )


def test_reasons_come_from_a_column(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "target": "b", "why": "c"}\n')
    kind = sample_task("seq2seq", tmp_path / "task").form
    [row] = read_rows(tmp_path / "rows.jsonl", [], kind=kind, rationale_field="why")
    assert row["rationale"] == "c"
    with pytest.raises(InputError, match="line 1: field 'because' is NoneType, expected the reason"):
        read_rows(tmp_path / "rows.jsonl", [], kind=kind, rationale_field="because")


def test_the_labeler_s_reason_is_kept_for_a_student_that_writes(
    scripted: Callable[..., Any], teacher_at: Callable[..., Any], draft: Callable[..., Any]
) -> None:
    reply = {"labels": [{"id": "1", "reason": "it says so", "target": "2024-05-03", "confidence": 0.9}]}
    url, _ = scripted(json.dumps(reply))
    brief: Any = {"task": "dates", "kind": "seq2seq"}
    [sample] = label(teacher_at(url, logprobs=False), brief, [draft("on 3 May 2024")], seed=0)
    assert (sample["label"], sample["rationale"]) == ("2024-05-03", "it says so")


@pytest.mark.parametrize(
    ("kind", "strategy", "told"),
    [
        ("classification", {"objective": {"rationale": 1}}, "`objective.rationale` is not for"),
        ("seq2seq", {"base": "zerogen", "objective": {"rationale": 1}}, "set `label_apart: true`"),
    ],
)
def test_reasons_where_there_are_none_are_refused(
    kind: str, strategy: dict[str, Any], told: str, tmp_path: Path
) -> None:
    labels = {"labels": ["a", "b"]} if kind == "classification" else {}
    raw = {"name": "x", "kind": kind, "instruction": "x", "data": {"seed": "seed.jsonl"}, **labels}
    with pytest.raises(InputError, match=told):
        parse_task({**raw, "strategy": strategy, "teacher": {"model": "openai:x"}}, "task", tmp_path)
