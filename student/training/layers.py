"""The layers of an encoder in training: which of them learn, at which rate, and which states are kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tutelage.student.errors import InputError
from tutelage.student.models.base import HEAD_TYPE
from tutelage.student.training.adapters.base import TrainerAdapter
from tutelage.student.training.configuration import TrainingConfig


@contextmanager
def frozen_layers(adapter: TrainerAdapter, count: int) -> Iterator[None]:
    """Train neither the embeddings nor the first `count` layers in this block; 0 trains everything.

    No gradient is computed below the first layer that learns.
    """
    if not count:
        yield
        return
    everything, depths = adapter.parameters, _depths(adapter.model)
    frozen = [weight for weight in everything if depths.get(id(weight), count + 1) <= count]
    for weight in frozen:
        weight.requires_grad_(False)
    adapter.parameters = [weight for weight in everything if weight.requires_grad]
    try:
        yield
    finally:
        adapter.parameters = everything
        for weight in frozen:
            weight.requires_grad_(True)


@contextmanager
def recomputed_layers(adapter: TrainerAdapter, wanted: bool) -> Iterator[None]:
    """Compute the states of each layer again for the gradient in this block, instead of keeping them: less
    memory for a third more work (Chen et al. 2016, arXiv 1604.06174).
    """
    if not wanted:
        yield
        return
    encoder = _encoder(adapter.model)
    encoder.activation_checkpointing_enable({"use_reentrant": False})
    try:
        yield
    finally:
        encoder.activation_checkpointing_disable()


def parameter_groups(adapter: TrainerAdapter, decay: float) -> list[dict[str, Any]]:
    """Return the parameters for the optimizer: the head has the rate of the adapter, each layer below that of
    the next one times `decay`, the embeddings the lowest (ULMFiT: Howard and Ruder, ACL 2018,
    arXiv 1801.06146; with a factor for each layer: Clark et al., ICLR 2020, arXiv 2003.10555).
    """
    if decay == 1:
        return [{"params": adapter.parameters}]
    depths, top = _depths(adapter.model), len(_layers(adapter.model)) + 1
    groups: dict[int, list[Any]] = {}
    for weight in adapter.parameters:
        groups.setdefault(depths.get(id(weight), top), []).append(weight)
    return [
        {"params": weights, "lr": adapter.rate * decay ** (top - depth)} for depth, weights in groups.items()
    ]


def check_layers(base: Any, training_config: TrainingConfig) -> None:
    """Check that a base has the layers that a training configuration needs.

    Args:
        base: the configuration of the base.
        training_config: its `frozen_layers`, `layer_decay` and `recompute` are checked.

    Raises:
        InputError: it lacks them.
    """
    import torch
    from transformers import AutoModel

    frozen, recompute = training_config.frozen_layers, training_config.recompute
    if not (frozen or recompute or training_config.layer_decay != 1):
        return
    with torch.device("meta"):  # no weights
        model = AutoModel.from_config(base)
    if recompute and not model.supports_gradient_checkpointing:
        raise InputError(f"`recompute` is not available for bases of type {base.model_type}; leave it out")
    if (frozen or training_config.layer_decay != 1) and frozen >= (count := len(_layers(model))):
        raise InputError(f"`frozen_layers` is {frozen}; it must be below {count}, the layers of the base")


def _encoder(model: Any) -> Any:
    return model.encoder if model.config.model_type == HEAD_TYPE else model


def _layers(model: Any) -> Any:
    """Return the list of the encoder's layers, which the models of transformers keep in one list."""
    import torch

    encoder = _encoder(model)
    count = encoder.config.num_hidden_layers
    for module in encoder.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return module
    raise InputError(
        f"the base has no list of {count} layers (model type {encoder.config.model_type}); leave"
        " `frozen_layers` and `layer_decay` out"
    )


def _depths(model: Any) -> dict[int, int]:
    """Return the depth of parameters by their id: 0 for the embeddings and for what all layers share, such as
    embeddings of positions, then the number of the layer from 1. Those above the last layer are left out.
    """
    base = _encoder(model).base_model
    above = ("pooler.", "final_norm.")
    depths = {id(weight): 0 for name, weight in base.named_parameters() if not name.startswith(above)}
    for number, layer in enumerate(_layers(model), 1):
        depths |= {id(weight): number for weight in layer.parameters()}
    return depths
