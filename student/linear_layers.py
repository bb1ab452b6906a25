"""Linear layers on AMD CPUs, where oneDNN multiplies matrices faster than MKL, torch's default.

On AMD CPUs MKL uses AVX2, and oneDNN AVX-512: 106 against 235 GFLOP/s on one core of a Zen 5 EPYC, both in 32
bits (ours; other generations were not measured). torch takes oneDNN where its precision setting `bf16`
allows a rounding that these CPUs do not make. The setting holds only for the products of linear layers: with
it, attention was 15 to 20 times slower, as it multiplies many tiny matrices.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any


@contextmanager
def fast_linear_layers(model: Any) -> Iterator[None]:
    """Let the linear layers of a model use oneDNN in this block, if its products are faster and as exact.
    A `model` of None changes nothing. It is for the training of a model that no other thread uses: vectors
    and predictions, which several threads ask for, must not depend on who was inside such a block.
    """
    import torch

    if model is None or model.device.type != "cpu" or not _onednn_is_better():
        yield
        return
    layers = [module for module in model.modules() if type(module) is torch.nn.Linear]
    for layer in layers:
        layer.forward = partial(_forward, layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _forward(layer: Any, inputs: Any) -> Any:
    """Return the output of a linear layer."""
    return _product().apply(inputs, layer.weight, layer.bias)


@cache
def _product() -> Any:
    """Return the differentiable function; the class is made here because importing torch takes seconds."""
    import torch

    class Product(torch.autograd.Function):
        """`inputs · weightᵀ + bias`, with oneDNN in both directions."""

        @staticmethod
        def forward(ctx: Any, inputs: Any, weight: Any, bias: Any) -> Any:
            ctx.save_for_backward(inputs, weight)
            with _onednn:
                return torch.nn.functional.linear(inputs, weight, bias)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            inputs, weight = ctx.saved_tensors
            flat = gradient.reshape(-1, gradient.shape[-1])
            to_inputs, to_weight, to_bias = ctx.needs_input_grad
            with _onednn:
                of_inputs = (flat @ weight).view_as(inputs) if to_inputs else None
                of_weight = flat.t() @ inputs.reshape(-1, inputs.shape[-1]) if to_weight else None
            return of_inputs, of_weight, flat.sum(0) if to_bias else None

    return Product


class _OneDnn:
    """A context manager in which torch multiplies matrices of 32 bits with oneDNN. The setting is one for the
    whole process: of several threads, the first one to enter makes it, and the last one takes it back.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, ""

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before, self._setting.fp32_precision = self._setting.fp32_precision, "bf16"
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._setting.fp32_precision = self._before

    @property
    def _setting(self) -> Any:
        import torch

        backends: Any = torch.backends  # whose types do not have it
        return backends.mkldnn.matmul


_onednn = _OneDnn()


@cache
def _onednn_is_better() -> bool:
    """Return whether this is an AMD CPU with AVX-512 on which the products of oneDNN are not rounded."""
    import torch

    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.13 or later
    if not ("AMD" in found.get("cpu_name", "") and found.get("avx512_f")):
        return False
    left, right = (torch.linspace(-1, 1, 256 * 64).sin().view(256, 64).roll(by) for by in (0, 7))
    with _onednn:
        product = left @ right.t()
    return torch.allclose(product.double(), left.double() @ right.double().t(), rtol=0, atol=1e-4)
