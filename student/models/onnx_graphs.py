"""Convert the models of students to ONNX graphs, and quantise them."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.student.errors import InputError
from tutelage.student.models.base import FullStudent
from tutelage.student.models.seq2seq import Seq2seqStudent
from tutelage.student.models.tagger import Tagger

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


def convert(student: FullStudent | Tagger, folder: Path, texts: Sequence[str]) -> None:
    """Write `model.onnx`, in full precision; the number of texts and their length stay free.

    Raises:
        InputError: the model cannot be converted.
    """
    import torch

    model = student.model.eval().float().cpu()
    if isinstance(student, Tagger):
        example = student.tokenizer.pad([one.inputs for one in student.words(texts)], return_tensors="pt")
    else:
        example = student.tokens(texts, padding=True, return_tensors="pt")
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in example]

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.model(**dict(zip(names, inputs, strict=True))).logits
            return logits

    inputs = {name: example[name] for name in names}
    shapes = (tuple({0: "batch", 1: "length"} for _ in names),)  # of *inputs
    _write(Logits(), inputs, ["logits"], shapes, folder / "model.onnx")


def convert_encoder_decoder(student: Seq2seqStudent, folder: Path, texts: Sequence[str]) -> None:
    """Write `encoder.onnx` and `decoder.onnx`, in full precision; all lengths stay free.

    The encoder returns the keys and values of the decoder's cross-attention, shape (2 x layers, texts, heads,
    tokens, width). The decoder takes them with those of its self-attention for the tokens before, and returns
    logits, shape (texts, tokens, vocabulary), and the longer keys and values.

    Raises:
        InputError: the model cannot be converted.
    """
    import torch
    from transformers import EncoderDecoderCache

    model = deepcopy(student.model).eval().float().cpu()
    model.set_attn_implementation("eager")  # the exporter fails on T5's scaled-dot-product attention
    # A transposed weight that the embedding shares would be dequantised at each token by the 8-bit decoder.
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone())

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            first = input_ids[:, :1]  # any token: keys and values of the cross-attention depend on none
            out = self.model(input_ids, attention_mask, decoder_input_ids=first, use_cache=True)
            return _stacked(out.past_key_values.cross_attention_cache)

    class Decoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(
            self, ids: torch.Tensor, mask: torch.Tensor, cross: torch.Tensor, past: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor]:
            cache = EncoderDecoderCache(_cache(past), _cache(cross))
            unused = (cross.new_zeros(*mask.shape, 1),)  # only its shape is read
            out = self.model(
                encoder_outputs=unused,
                attention_mask=mask,
                decoder_input_ids=ids,
                past_key_values=cache,
                use_cache=True,
            )
            return out.logits, _stacked(out.past_key_values.self_attention_cache)

    tokens = student.tokenizer.pad({"input_ids": student.ids(texts)}, return_tensors="pt")
    inputs = {name: tokens[name] for name in ("input_ids", "attention_mask")}
    shape = {0: "batch", 1: "length"}
    _write(Encoder(), inputs, ["cross"], (shape, shape), folder / "encoder.onnx")
    with torch.inference_mode():
        cross = Encoder()(*inputs.values())
    inputs = {
        "decoder_input_ids": inputs["input_ids"][:, :2],
        "attention_mask": inputs["attention_mask"],
        "cross": cross,
        "past": torch.zeros(*cross.shape[:3], 3, cross.shape[4]),
    }
    shapes = ({0: "batch", 1: "tokens"}, shape, {1: "batch", 3: "length"}, {1: "batch", 3: "before"})
    _write(Decoder(), inputs, ["logits", "present"], shapes, folder / "decoder.onnx")


def _stacked(cache: Any) -> "Tensor":
    """Return the keys and values of all layers as one tensor."""
    import torch

    return torch.stack([tensor for layer in cache.layers for tensor in (layer.keys, layer.values)])


def _cache(tensor: "Tensor") -> Any:
    """Return the keys and values that `_stacked` returned as a cache."""
    from transformers import DynamicCache

    return DynamicCache(list(zip(tensor[::2], tensor[1::2], strict=True)))


def _write(model: "Module", inputs: dict[str, Any], outputs: list[str], shapes: Any, path: Path) -> None:
    """Write a module. `shapes` names the axes of each argument that stay free."""
    import onnx
    import torch

    with warnings.catch_warnings(), quiet("torch", "onnxscript", "onnx_ir"):
        warnings.simplefilter("ignore")
        try:
            program: Any = torch.onnx.export(
                model,
                tuple(inputs.values()),
                dynamo=True,
                verbose=False,
                input_names=list(inputs),
                output_names=outputs,
                dynamic_shapes=shapes,
                opset_version=20,
            )
            program.save(str(path))
        except Exception as error:  # the exporter raises many types
            first = str(error).strip().split("\n")[0]
            raise InputError(f"the student cannot be written as ONNX ({first}); use --no-onnx") from error
    graph = onnx.load(str(path))
    del graph.graph.value_info[:]  # shapes of the example; quantizing would insist on them
    onnx.save(graph, str(path))


def quantise(path: Path) -> None:
    """Write a graph with 8-bit weights, one scale a column, beside it: `NAME_int8.onnx`.

    The weights use seven of the bits, because on CPUs without VNNI sums of two products of eight bits can
    saturate. On such a CPU classifiers kept as many answers with seven as with eight bits, and more than with
    one scale for the whole matrix (benchmarks/quantisation.py).
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    small = path.with_stem(f"{path.stem}_int8")
    with quiet(""):
        quantize_dynamic(
            str(path),
            str(small),
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Show only errors of some loggers."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
