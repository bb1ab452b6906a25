"""Students of every family of bases in docs/models.md, on tiny random models of the same architecture."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tutelage.student.data.rows import Row
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.models.base import FullStudent
from tutelage.student.models.load import load_student
from tutelage.student.models.onnx import write_onnx
from tutelage.student.models.standalone import Model
from tutelage.student.pretrained import load_pretrained
from tutelage.student.tasks.fields import join
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train

LABELS = ["refund", "status"]
WORDS = "refund money back want my order where is parcel late a the broken lost it now please"
TEXTS = ["i want my money back", "where is the late parcel", "", "please " * 200, "it"]
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
POOLINGS: dict[str, dict[str, Any]] = {
    "cls": {},
    "mean": {"pooling": "mean"},
    "probe": {"probe_first": True},
}
Base = Callable[[str], Path]


def bert(folder: Path) -> Any:
    from transformers import BertConfig, BertModel, BertTokenizerFast

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split()]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **SIZES))


def sentencepiece_of_xlm(folder: Path) -> int:
    """Save a tokenizer as XLM-RoBERTa's, without a length limit, and return the size of its vocabulary."""
    from transformers import XLMRobertaTokenizer

    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces = [*special, *((f"▁{word}", -2.0) for word in WORDS.split()), ("<mask>", 0.0)]
    XLMRobertaTokenizer(vocab=pieces).save_pretrained(folder)
    return len(pieces)


def e5(folder: Path) -> Any:
    """Multilingual E5-small: a BERT with the tokenizer of XLM-RoBERTa, whose padding has another id."""
    from transformers import BertConfig, BertModel

    size = sentencepiece_of_xlm(folder)
    return BertModel(BertConfig(vocab_size=size, max_position_embeddings=64, pad_token_id=0, **SIZES))


def xlm_roberta(folder: Path) -> Any:
    from transformers import XLMRobertaConfig, XLMRobertaModel

    tokens = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1}
    size = sentencepiece_of_xlm(folder)
    return XLMRobertaModel(XLMRobertaConfig(vocab_size=size, max_position_embeddings=66, **tokens, **SIZES))


def deberta(folder: Path) -> Any:
    """DeBERTa-v3: relative positions in buckets, none in the embeddings, no token types."""
    from transformers import DebertaV2Config, DebertaV2Model, DebertaV2Tokenizer

    special = [("[PAD]", 0.0), ("[CLS]", 0.0), ("[SEP]", 0.0), ("[UNK]", 0.0)]
    pieces = [*special, *((f"▁{word}", -2.0) for word in WORDS.split()), ("[MASK]", 0.0)]
    DebertaV2Tokenizer(vocab=pieces).save_pretrained(folder)
    positions: dict[str, Any] = {
        "relative_attention": True,
        "position_buckets": 16,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "max_position_embeddings": 64,
        "type_vocab_size": 0,
        "pooler_hidden_size": 32,
    }
    return DebertaV2Model(DebertaV2Config(vocab_size=len(pieces), **positions, **SIZES))


def modernbert(folder: Path) -> Any:
    """ModernBERT: rotary positions, local attention in every second layer, a byte-level tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import ModernBertConfig, ModernBertModel, PreTrainedTokenizerFast

    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    ids = {token: i for i, token in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    inner = Tokenizer(models.BPE(vocab=ids, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    form = {"single": "[CLS] $A [SEP]", "pair": "[CLS] $A [SEP] $B [SEP]"}
    inner.post_processor = processors.TemplateProcessing(**form, special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    names = {f"{token[1:-1].lower()}_token": token for token in special}
    inputs = ["input_ids", "attention_mask"]
    PreTrainedTokenizerFast(tokenizer_object=inner, model_input_names=inputs, **names).save_pretrained(folder)
    tokens = {"pad_token_id": 3, "bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2, "sep_token_id": 2}
    window = {"local_attention": 16, "global_attn_every_n_layers": 2}
    return ModernBertModel(ModernBertConfig(vocab_size=len(ids), **window, **tokens, **SIZES))


FAMILIES = {"bert": bert, "e5": e5, "xlm_roberta": xlm_roberta, "deberta": deberta, "modernbert": modernbert}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """Return a function that saves a base of a family and returns its folder."""

    def make(family: str) -> Path:
        folder = tmp_path_factory.mktemp(family)
        torch.manual_seed(0)
        FAMILIES[family](folder).save_pretrained(folder)
        return folder

    return make


def trained(folder: Path, rows: list[Row], **fields: Any) -> FullStudent:
    quick = {"epochs": 1, "min_steps": 30, "learning_rate": 2e-3, "max_tokens": 512, "device": "cpu"}
    training_config = TrainingConfig(base=str(folder), **{**quick, **fields})
    return train(rows, LABELS, training_config, seed=0, encoder=Encoder(str(folder), device="cpu"))


def through_transformers(folder: Path, texts: list[str]) -> np.ndarray:
    """Return the probabilities of the saved model and tokenizer in plain transformers."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        logits = model(**tokenizer(texts, padding=True, truncation=True, return_tensors="pt")).logits
    return logits.softmax(-1).numpy()


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_student_learns_and_is_the_same_after_saving(
    family: str, pooling: str, base: Base, easy: list[Row], tmp_path: Path
) -> None:
    folder = base(family)
    student = trained(folder, easy, **POOLINGS[pooling])
    found = student.predict_proba([row["text"] for row in easy])
    assert (found.argmax(1) == np.repeat([0, 1], 12)).mean() > 0.9
    expected = student.predict_proba(TEXTS)
    student.divide_logits(2.0)
    softened = student.predict_proba(TEXTS)
    assert np.abs(softened - 0.5).max() < np.abs(expected - 0.5).max()
    student.save(tmp_path / "student")
    assert str(folder) not in (tmp_path / "student" / "config.json").read_text()
    loaded = load_student(tmp_path / "student", device_name="cpu")
    assert loaded.predict_proba(TEXTS) == pytest.approx(softened, abs=1e-6)
    assert through_transformers(tmp_path / "student", TEXTS) == pytest.approx(softened, abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_student_of_pairs_is_the_same_after_saving(family: str, base: Base, tmp_path: Path) -> None:
    names = ("first", "second")
    pairs = [("where is", "my parcel"), ("my", "money back please")]
    texts = [join(dict(zip(names, pair, strict=True)), names) for pair in pairs]
    rows = [Row(id=str(i), text=text, label=LABELS[i]) for i, text in enumerate(texts)]
    student = trained(base(family), rows, kind="pairs", fields=names)
    student.save(tmp_path / "student")
    loaded = load_student(tmp_path / "student", device_name="cpu")
    assert loaded.predict_proba(texts) == pytest.approx(student.predict_proba(texts), abs=1e-6)
    assert student.predict(texts).answers == LABELS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "pooling"),
    [("e5", "cls"), ("xlm_roberta", "probe"), ("deberta", "cls"), ("modernbert", "probe")],
)
def test_a_student_answers_the_same_as_onnx(
    family: str, pooling: str, base: Base, easy: list[Row], tmp_path: Path
) -> None:
    trained(base(family), easy, **POOLINGS[pooling]).export(tmp_path / "out")
    loaded = load_student(tmp_path / "out", device_name="cpu")
    assert isinstance(loaded, FullStudent)
    assert write_onnx(loaded, tmp_path / "out", TEXTS)["difference"] < 1e-5
    assert Model(tmp_path / "out").predict_proba(TEXTS) == pytest.approx(
        loaded.predict_proba(TEXTS), abs=1e-5
    )


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("family", ["deberta", "modernbert"])
def test_a_base_in_16_bits_is_trained_in_32(family: str, pooling: str, base: Base, easy: list[Row]) -> None:
    folder = base(family)
    FAMILIES[family](folder).half().save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float16"
    student = trained(folder, easy, **POOLINGS[pooling])
    assert {one.dtype for one in student.model.parameters()} == {torch.float32}
    found = student.predict_proba([row["text"] for row in easy])
    assert (found.argmax(1) == np.repeat([0, 1], 12)).mean() > 0.9


def test_a_student_reads_as_many_tokens_as_its_base_has_positions(base: Base, easy: list[Row]) -> None:
    found = {family: trained(base(family), easy[::12], min_steps=1).max_tokens for family in FAMILIES}
    assert found == {"bert": 64, "e5": 64, "xlm_roberta": 64, "deberta": 64, "modernbert": 512}


@pytest.mark.skipif(find_spec("sentencepiece") is not None, reason="sentencepiece is installed")
def test_a_tokenizer_that_needs_sentencepiece_is_named_in_one_line(base: Base) -> None:
    from transformers import AutoTokenizer

    folder = base("deberta")
    (folder / "tokenizer.json").unlink()
    (folder / "spm.model").write_bytes(b"\n\x0e\n\x05[PAD]")
    with pytest.raises(InputError, match="run: pip install sentencepiece") as caught:
        load_pretrained(AutoTokenizer, str(folder))
    assert "\n" not in str(caught.value)
