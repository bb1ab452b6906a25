"""Mean-pooled classifiers: a linear layer on the mean of the last hidden states, every weight trained.

Where an architecture brings mean pooling (ModernBERT's `classifier_pooling`), its own classification head is
used, and the saved folder needs no code. Before a probe that head would stand between the embeddings and the
probe with random weights, so a probed student is always modeling_head.py's (benchmarks/few_rows.py).
"""

from typing import Any

from tutelage.student.encoder import load_pretrained
from tutelage.student.training.configuration import Recipe


def pools_itself(config: Any, recipe: Recipe) -> bool:
    """Whether the base's own classification head can pool by the mean, and is to."""
    return hasattr(config, "classifier_pooling") and not recipe.probe_first


def mean_pooled(config: Any, recipe: Recipe) -> Any:
    """Return a `HeadModel` around the pretrained encoder, with a random linear layer.

    Args:
        config: the base's, with the task's labels.
        recipe: its base, and the names of the texts: a pair is read jointly.
    """
    from transformers import AutoModel
    from tutelage.student.models.modeling_head import HeadConfig, HeadModel

    inner = load_pretrained(AutoModel, recipe.base, config=config)
    made = HeadModel(
        HeadConfig(
            encoder=inner.config.to_dict(),
            text_fields=list(recipe.fields),
            joint=len(recipe.fields) > 1,
            id2label=config.id2label,
            label2id=config.label2id,
        )
    )
    made.encoder = inner
    return made
