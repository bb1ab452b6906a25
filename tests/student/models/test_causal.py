"""Test students on a causal base, of which only adapters are trained."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tutelage.student.data.rows import Row, content_id
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.models.causal import CausalStudent
from tutelage.student.models.load import load_student
from tutelage.student.models.tiny_seq2seq import tiny_seq2seq
from tutelage.student.training.adapters.causal import check
from tutelage.student.training.adapters.seq2seq import adapter, fresh
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train, untrained_student
from tutelage.student.training.training_set import TrainingSet

pytest.importorskip("peft")
PAIRS = [("say a", "aa"), ("say b", "bb"), ("say c", "cc"), ("say it: d", "dd")] * 6
ROWS = [Row(id=content_id(f"{text}{i}"), text=text, label=target) for i, (text, target) in enumerate(PAIRS)]
TEXTS, TARGETS = [text for text, _ in PAIRS[:4]], [target for _, target in PAIRS[:4]]


@pytest.fixture(scope="module")
def llama_base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a causal model of two layers, with the byte-level vocabulary of a small T5."""
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
def training_config(llama_base: str) -> TrainingConfig:
    sizes: dict[str, Any] = {"max_target": 8, "max_tokens": 32, "lora": 8}
    return TrainingConfig(
        kind="seq2seq", base=llama_base, epochs=20, learning_rate=0.01, device="cpu", **sizes
    )


@pytest.fixture(scope="module")
def student(training_config: TrainingConfig, encoder: Encoder) -> CausalStudent:
    made = train(ROWS, [], training_config, seed=0, encoder=encoder)
    assert isinstance(made, CausalStudent)
    return made


def test_only_adapters_are_trained(training_config: TrainingConfig, student: CausalStudent) -> None:
    taught = adapter(TrainingSet.of(ROWS), student, training_config)
    names = [name for name, weight in student.model.named_parameters() if weight.requires_grad]
    assert names
    assert all("lora_" in name for name in names)
    assert len(taught.parameters) == len(names)


def test_training_only_adapters_teaches_the_targets(
    training_config: TrainingConfig, student: CausalStudent, encoder: Encoder
) -> None:
    assert not set(untrained_student([], training_config, seed=0, encoder=encoder).predict_best(TEXTS)) & set(
        TARGETS
    )
    assert student.predict_best(TEXTS) == TARGETS


def test_predictions_do_not_depend_on_the_batch(student: CausalStudent) -> None:
    together = student.predict(TEXTS, TARGETS)
    for i, (text, target) in enumerate(zip(TEXTS, TARGETS, strict=True)):
        alone = student.predict([text], [target])
        assert alone.answers[0] == together.answers[i]
        assert alone.nll == pytest.approx(together.nll[i : i + 1], abs=1e-4)  # type: ignore[index]
        assert alone.energy == pytest.approx(together.energy[i : i + 1], abs=1e-4)


def test_the_logits_are_those_of_the_target_after_the_text(student: CausalStudent) -> None:
    import torch

    [text], [target] = student.ids(TEXTS[:1]), student.targets(TARGETS[:1])
    logits, goals = student.teacher_forced([text], [target])
    with torch.inference_mode():
        whole = student.model(input_ids=torch.tensor([text + target])).logits[0]
    assert goals[0].tolist() == target
    assert np.allclose(logits[0].detach().numpy(), whole[len(text) - 1 : -1].numpy(), atol=1e-4)


def test_a_saved_student_holds_only_adapters_and_an_exported_one_all_weights(
    student: CausalStudent, tmp_path: Path
) -> None:
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


def test_a_base_that_cannot_generate_text_is_refused(
    training_config: TrainingConfig,
) -> None:
    with pytest.raises(InputError, match="minilm cannot generate text; take an encoder-decoder"):
        check(ROWS, TrainingConfig(kind="seq2seq", base="minilm"))
    check(ROWS, training_config)


def test_a_text_is_tokenised_as_by_the_exported_tokenizer(llama_base: str, tmp_path: Path) -> None:
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    plain, begun = AutoTokenizer.from_pretrained(llama_base), AutoTokenizer.from_pretrained(llama_base)
    begun.bos_token = "</s>"
    begun.backend_tokenizer.post_processor = TemplateProcessing(
        single="</s> $A", special_tokens=[("</s>", 1)]
    )
    plain.backend_tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    for tokenizer, first in ((plain, []), (begun, [1])):
        student = CausalStudent(NoModel(), tokenizer, 32, 8, 1)
        assert student.ids(["say a"]) == tokenizer(["say a\n"])["input_ids"]
        assert student.ids(["say a"])[0][: len(first)] == first
        [cut] = student.ids(["say it: d " * 20])
        assert (len(cut), cut[: len(first)], tokenizer.decode(cut[-1:])) == (32, first, "\n")


class NoModel:
    """The part of a model that a student needs to tokenise."""

    generation_config = None


@pytest.mark.parametrize(("sizes", "total"), [((121, 8), "129"), ((120, 8), ""), ((8, 121), "129")])
def test_text_and_target_must_fit_the_positions_of_a_causal_model(
    training_config: TrainingConfig, sizes: tuple[int, int], total: str
) -> None:
    wanted = replace(training_config, max_tokens=sizes[0], max_target=sizes[1])
    if not total:
        assert check(ROWS, wanted) == []
        return
    with pytest.raises(InputError, match=rf"together {total}, and \S+ has 128 positions: lower them"):
        check(ROWS, wanted)


def test_a_target_must_fit_the_positions_of_an_encoder_decoder_and_a_text_is_truncated(
    t5_base: str, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer, BartConfig, BartForConditionalGeneration

    parts = {"layers": 1, "ffn_dim": 8, "attention_heads": 2}
    sizes = {f"{side}_{part}": n for side in ("encoder", "decoder") for part, n in parts.items()}
    signs = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "decoder_start_token_id": 1}
    config = BartConfig(vocab_size=300, d_model=8, max_position_embeddings=16, **sizes, **signs)
    BartForConditionalGeneration(config).save_pretrained(tmp_path / "bart")
    AutoTokenizer.from_pretrained(t5_base).save_pretrained(tmp_path / "bart")
    training_config = TrainingConfig(kind="seq2seq", base=str(tmp_path / "bart"), max_target=17, device="cpu")
    with pytest.raises(InputError, match=r"`student.max_target` is 17, and \S+ has 16 positions: lower"):
        check(ROWS, training_config)
    student = fresh(replace(training_config, max_target=16), 0)
    assert student.predict(["say it, and say more than there are positions for"], ["aa"]).nll is not None
    short = fresh(replace(training_config, max_target=16, max_tokens=8), 0)
    short.store_generation_settings(short.model)
    assert short.room == 16, "whatever the saved tokenizer's maximum length is"
    assert fresh(replace(training_config, base=t5_base), 0).room is None, "T5 has no maximum position"


def test_targets_with_characters_missing_from_the_vocabulary_are_reported_and_not_trained_on(
    tmp_path: Path,
) -> None:
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


@pytest.fixture(scope="module")
def t5_base(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("writer")
    return str(tiny_seq2seq(folder / "t5", [part for pair in PAIRS for part in pair], words=270))
