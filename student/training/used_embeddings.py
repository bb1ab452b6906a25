"""Train only the rows of the word embedding whose tokens occur in the training set (ours).

All other rows have no gradient: AdamW only decays them, all by the same factor. MiniLM has 22.7 million
weights, 11.7 million of them in its word embedding; a few hundred texts use 3 to 8 % of its rows. The trained
weights are the same up to rounding, without the gradient and the optimizer's state of the other rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tutelage.student.models.base import HEAD_TYPE
from tutelage.student.training.adapters.base import TrainerAdapter

_MOST = 0.5  # share of used rows above which the exchange does not pay


@contextmanager
def used_embeddings(adapter: TrainerAdapter) -> Iterator[None]:
    """Let an adapter train a small embedding of the used tokens in this block, and then write it back.

    It changes nothing for adapters without `token_ids`, and for models that share the weights of their
    embedding with other layers.
    """
    import torch

    full = _word_embedding(adapter.model) if adapter.token_ids else None
    used = torch.tensor(sorted(adapter.token_ids), device=adapter.device)
    if type(full) is not torch.nn.Embedding or len(used) > _MOST * len(full.weight) or _shared(adapter, full):
        yield
        return
    # AdamW decays the last row, of ones, like every unused row: it ends as their common factor.
    weight = torch.cat([full.weight.detach()[used], torch.ones_like(full.weight[:1])])
    places = torch.full((len(full.weight),), len(used), device=adapter.device)
    places[used] = torch.arange(len(used), device=adapter.device)
    padding = None if full.padding_idx is None else int(places[full.padding_idx])
    make: Any = torch.nn.Embedding.from_pretrained
    small = make(weight, freeze=False, padding_idx=padding)
    small.register_forward_pre_hook(lambda module, inputs: (places[inputs[0]],))
    everything = adapter.parameters
    adapter.parameters = [small.weight if one is full.weight else one for one in everything]
    _exchange(adapter.model, full, small)
    try:
        yield
    finally:
        _exchange(adapter.model, small, full)
        adapter.parameters = everything
        with torch.no_grad():
            full.weight *= small.weight[-1]
            full.weight[used] = small.weight[:-1]


def _word_embedding(model: Any) -> Any:
    """Return the module that embeds token ids; None if the architecture does not name it."""
    try:
        return (model.encoder if model.config.model_type == HEAD_TYPE else model).get_input_embeddings()
    except NotImplementedError:
        return None


def _shared(adapter: TrainerAdapter, full: Any) -> bool:
    """Return whether another layer has the same weights, or they are not trained."""
    owners = [
        module
        for module in adapter.model.modules()
        if any(one is full.weight for one in module.parameters(recurse=False))
    ]
    return len(owners) > 1 or not any(one is full.weight for one in adapter.parameters)


def _exchange(model: Any, old: Any, new: Any) -> None:
    """Put a module in the place of another one."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if child is old:
                setattr(parent, name, new)
