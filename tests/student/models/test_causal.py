"""Causal students and reasons: adapters alone are trained, kept and worked in; a reason is a target more."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tutelage.agents.labeler import label
from tutelage.graph.task.load import parse_task
from tutelage.graph.task.samples import sample_task
from tutelage.student.data.rows import Row, content_id, read_rows
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.models.causal import CausalStudent
from tutelage.student.models.load import load_student
from tutelage.student.models.seq2seq import Seq2seqStudent
from tutelage.student.models.tiny_seq2seq import tiny_seq2seq
from tutelage.student.training.adapters.causal import check
from tutelage.student.training.adapters.seq2seq import adapter, fresh
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train, untrained_student
from tutelage.student.training.losses import PLAIN, Objective
from tutelage.student.training.training_set import TrainingSet

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
    words = tiny_seq2seq(folder / "t5", [part for pair in PAIRS for part in pair], words=270)
    tokenizer = AutoTokenizer.from_pretrained(words)
    tokenizer.save_pretrained(folder / "llama")
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    signs = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **sizes, **signs)
    LlamaForCausalLM(config).save_pretrained(folder / "llama")
    return str(folder / "llama")


@pytest.fixture(scope="module")
def training_config(base: str) -> TrainingConfig:
    sizes: dict[str, Any] = {"max_target": 8, "max_tokens": 32, "lora": 8}
    return TrainingConfig(kind="seq2seq", base=base, epochs=20, learning_rate=0.01, device="cpu", **sizes)


@pytest.fixture(scope="module")
def student(training_config: TrainingConfig, encoder: Encoder) -> CausalStudent:
    made = train(ROWS, [], training_config, seed=0, encoder=encoder)
    assert isinstance(made, CausalStudent)
    return made


def test_only_adapters_are_trained(training_config: TrainingConfig, student: CausalStudent) -> None:
    taught = adapter(TrainingSet.of(ROWS), student, training_config, PLAIN)
    names = [name for name, weight in student.model.named_parameters() if weight.requires_grad]
    assert names
    assert all("lora_" in name for name in names)
    assert len(taught.parameters) == len(names)


def test_adapters_alone_teach_it_the_targets(
    training_config: TrainingConfig, student: CausalStudent, encoder: Encoder
) -> None:
    assert not set(untrained_student([], training_config, seed=0, encoder=encoder).predict_best(TEXTS)) & set(
        TARGETS
    )
    assert student.predict_best(TEXTS) == TARGETS


def test_a_batch_changes_no_figure(student: CausalStudent) -> None:
    together = student.predict(TEXTS, TARGETS)
    for i, (text, target) in enumerate(zip(TEXTS, TARGETS, strict=True)):
        alone = student.predict([text], [target])
        assert alone.answers[0] == together.answers[i]
        assert alone.nll == pytest.approx(together.nll[i : i + 1], abs=1e-4)  # type: ignore[index]
        assert alone.energy == pytest.approx(together.energy[i : i + 1], abs=1e-4)


def test_the_logits_foretell_the_target_given_the_text(student: CausalStudent) -> None:
    import torch

    [text], [target] = student.ids(TEXTS[:1]), student.targets(TARGETS[:1])
    logits, goals = student.teacher_forced([text], [target])
    with torch.inference_mode():
        whole = student.model(input_ids=torch.tensor([text + target])).logits[0]
    assert goals[0].tolist() == target
    assert np.allclose(logits[0].detach().numpy(), whole[len(text) - 1 : -1].numpy(), atol=1e-4)


def test_saved_it_is_small_and_exported_it_is_whole(student: CausalStudent, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    student.save(tmp_path / "kept")
    student.export(tmp_path / "whole")
    again, alone = load_student(tmp_path / "kept"), load_student(tmp_path / "whole")
    assert (tmp_path / "kept" / "adapter_model.safetensors").exists()
    assert not (tmp_path / "kept" / "model.safetensors").exists()
    assert again.predict_best(TEXTS) == alone.predict_best(TEXTS) == student.predict_best(TEXTS)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "whole")
    prompt = tokenizer(f"{TEXTS[0]}\n", add_special_tokens=False, return_tensors="pt")
    found = model.generate(**prompt, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(found, skip_special_tokens=True).strip() == student.predict_best(TEXTS[:1])[0]


def test_a_base_that_writes_nothing_is_refused_before_anything_is_paid(
    training_config: TrainingConfig,
) -> None:
    with pytest.raises(InputError, match="minilm cannot generate text; take an encoder-decoder"):
        check(ROWS, TrainingConfig(kind="seq2seq", base="minilm"))
    check(ROWS, training_config)


def test_a_text_is_read_as_the_exported_model_s_tokenizer_reads_it(base: str, tmp_path: Path) -> None:
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    plain, begun = AutoTokenizer.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    begun.bos_token = "</s>"
    begun.backend_tokenizer.post_processor = TemplateProcessing(
        single="</s> $A", special_tokens=[("</s>", 1)]
    )
    plain.backend_tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    for tokenizer, first in ((plain, []), (begun, [1])):
        student = CausalStudent(Bare(), tokenizer, 32, 8, 1)
        assert student.ids(["say a"]) == tokenizer(["say a\n"])["input_ids"]
        assert student.ids(["say a"])[0][: len(first)] == first
        [cut] = student.ids(["say it: d " * 20])
        assert (len(cut), cut[: len(first)], tokenizer.decode(cut[-1:])) == (32, first, "\n")


class Bare:
    """As much of a model as a student needs that only reads."""

    generation_config = None


@pytest.mark.parametrize(("sizes", "told"), [((121, 8), "129"), ((120, 8), ""), ((8, 121), "129")])
def test_text_and_target_have_to_fit_into_a_causal_model_s_positions(
    training_config: TrainingConfig, sizes: tuple[int, int], told: str
) -> None:
    wanted = replace(training_config, max_tokens=sizes[0], max_target=sizes[1])
    if not told:
        assert check(ROWS, wanted) == []
        return
    with pytest.raises(InputError, match=rf"together {told}, and \S+ has 128 positions: lower them"):
        check(ROWS, wanted)


def test_a_target_has_to_fit_into_an_encoder_decoder_s_positions_and_a_text_is_cut_to_them(
    writer: str, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer, BartConfig, BartForConditionalGeneration

    parts = {"layers": 1, "ffn_dim": 8, "attention_heads": 2}
    sizes = {f"{side}_{part}": n for side in ("encoder", "decoder") for part, n in parts.items()}
    signs = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "decoder_start_token_id": 1}
    config = BartConfig(vocab_size=300, d_model=8, max_position_embeddings=16, **sizes, **signs)
    BartForConditionalGeneration(config).save_pretrained(tmp_path / "bart")
    AutoTokenizer.from_pretrained(writer).save_pretrained(tmp_path / "bart")
    training_config = TrainingConfig(kind="seq2seq", base=str(tmp_path / "bart"), max_target=17, device="cpu")
    with pytest.raises(InputError, match=r"`student.max_target` is 17, and \S+ has 16 positions: lower"):
        check(ROWS, training_config)
    student = fresh(replace(training_config, max_target=16), 0)
    assert student.predict(["say it, and say more than there are positions for"], ["aa"]).nll is not None
    short = fresh(replace(training_config, max_target=16, max_tokens=8), 0)
    short.store_generation_settings(short.model)
    assert short.room == 16, "whatever a saved tokenizer says of texts"
    assert fresh(replace(training_config, base=writer), 0).room is None, "T5's have no end"


def test_signs_that_a_vocabulary_lacks_are_told_and_their_samples_not_learnt(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    words = {"<pad>": 0, "</s>": 1, "<unk>": 2, "rm": 3, "file": 4}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    T5ForConditionalGeneration(T5Config(vocab_size=5, d_model=8, num_layers=1)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    training_config = TrainingConfig(kind="seq2seq", base=str(tmp_path), device="cpu")
    rows = [Row(id=str(i), text="do", label=label) for i, label in enumerate(("rm file", "rm {", "rm ~ {"))]
    [note] = check(rows, training_config)
    assert note.startswith("2 of your 3 targets have characters ({ ~) that the vocabulary of")
    student = fresh(training_config, 0)
    assert student.why_unlearnable("rm file") == ""
    assert student.why_unlearnable("rm {") == "the student's vocabulary lacks characters of the target 'rm {'"


# Reasons


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("writer")
    return str(tiny_seq2seq(folder / "t5", [part for pair in PAIRS for part in pair], words=270))


LONG = "because it says so, and says it more than once"


def test_a_reason_is_a_second_target_of_its_text(writer: str) -> None:
    training_config = TrainingConfig(kind="seq2seq", base=writer, max_target=8, device="cpu")
    rows = [ROWS[0], Row(**{**ROWS[1], "rationale": LONG})]
    student = fresh(training_config, 0)
    taught = adapter(TrainingSet.of(rows), student, training_config, Objective(rationale=0.5))
    [(text, reason)] = taught.reasons.values()
    told = [student.tokenizer.decode(ids, skip_special_tokens=True) for ids in (*taught.texts, text, reason)]
    assert told == [" say a", " say b", " [rationale] say b", f" {LONG}"], "not cut as a target is"
    assert reason[-1] == student.tokenizer.eos_token_id
    assert [*taught.reasons] == [1]
    assert taught.lengths[1] - taught.lengths[0] == len(text) + len(reason)


@pytest.mark.parametrize("batch", [[0, 1, 2], [1, 2], [0], [2, 1]], ids=str)
@pytest.mark.parametrize("weight", [1.0, 0.1])
def test_a_step_s_loss_is_that_of_its_targets_and_by_its_weight_that_of_their_reasons(
    writer: str, batch: list[int], weight: float
) -> None:
    training_config, objective = (
        TrainingConfig(kind="seq2seq", base=writer, device="cpu"),
        Objective(rationale=weight),
    )
    rows = [ROWS[0], Row(**{**ROWS[1], "rationale": LONG}), Row(**{**ROWS[2], "rationale": "why"})]
    student = fresh(training_config, 0)
    student.model.eval()
    taught = adapter(TrainingSet.of(rows), student, training_config, objective)
    of_targets = mean_loss(student, [rows[i]["text"] for i in batch], [rows[i]["label"] for i in batch])
    told = [rows[i] for i in batch if "rationale" in rows[i]]
    texts = [f"[rationale] {row['text']}" for row in told]
    of_reasons = mean_loss(student, texts, [row["rationale"] for row in told]) if told else 0.0
    found = taught.losses(taught.logits(batch), batch, objective).mean()
    assert found.item() == pytest.approx(of_targets + weight * of_reasons, rel=1e-5)


def mean_loss(student: Seq2seqStudent, texts: list[str], targets: list[str]) -> float:
    """As transformers computes it: the mean over all tokens."""
    import torch

    ids = student.tokenizer(text_target=targets, padding=True, return_tensors="pt")
    labels = ids["input_ids"].masked_fill(ids["attention_mask"] == 0, -100)
    with torch.no_grad():
        inputs = student.tokenizer(texts, padding=True, return_tensors="pt")
        return float(student.model(**inputs, labels=labels).loss)


def test_reasons_change_the_student_as_far_as_they_weigh(writer: str, encoder: Encoder) -> None:
    training_config = TrainingConfig(kind="seq2seq", base=writer, epochs=2, max_target=8, device="cpu")
    rows = [Row(**{**row, "rationale": LONG}) for row in ROWS]
    plain, hardly, much = (
        train(rows, [], training_config, seed=0, encoder=encoder, objective=Objective(rationale=weight))
        for weight in (0.0, 1e-6, 1.0)
    )
    figures = [one.predict(TEXTS, TARGETS).nll for one in (plain, hardly, much)]
    assert figures[1] == pytest.approx(figures[0], abs=1e-3)
    assert figures[2] != pytest.approx(figures[0], abs=1e-2)


def test_without_reasons_a_text_is_read_as_it_stands(writer: str) -> None:
    training_config = TrainingConfig(kind="seq2seq", base=writer, max_target=8, device="cpu")
    student = fresh(training_config, 0)
    taught = adapter(
        TrainingSet.of([Row(**{**ROWS[0], "rationale": "why"})]), student, training_config, PLAIN
    )
    assert not taught.reasons


def test_a_student_of_reasons_writes_targets_wherever_it_is_loaded(
    writer: str, encoder: Encoder, tmp_path: Path
) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    training_config = TrainingConfig(
        kind="seq2seq", base=writer, epochs=20, learning_rate=0.01, max_target=8, device="cpu"
    )
    rows = [Row(**{**row, "rationale": LONG}) for row in ROWS]
    made = train(rows, [], training_config, seed=0, encoder=encoder, objective=Objective(rationale=1.0))
    assert made.predict_best(TEXTS) == TARGETS
    made.save(tmp_path / "student")
    assert load_student(tmp_path / "student").predict_best(TEXTS) == TARGETS
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "student")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "student")
    written = model.generate(**tokenizer(TEXTS, return_tensors="pt", padding=True))
    assert [one.strip() for one in tokenizer.batch_decode(written, skip_special_tokens=True)] == TARGETS


def test_reasons_come_from_a_column(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "target": "b", "why": "c"}\n')
    task_type = sample_task("seq2seq", tmp_path / "task").type
    [row] = read_rows(tmp_path / "rows.jsonl", [], task_type=task_type, rationale_field="why")
    assert row["rationale"] == "c"
    with pytest.raises(InputError, match="line 1: field 'because' is NoneType, expected a string"):
        read_rows(tmp_path / "rows.jsonl", [], task_type=task_type, rationale_field="because")


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
