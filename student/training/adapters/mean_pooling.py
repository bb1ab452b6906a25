"""Mean-pooled classifiers: a linear layer on the mean of the last hidden states, with all weights trained.

If an architecture supports mean pooling (ModernBERT's `classifier_pooling`), its own classification head is
used, and the saved folder needs no custom code. With a probe, the random weights of that head would stand
between embeddings and probe, so a probed student always uses modeling_head.py (benchmarks/few_rows.py).
"""

from typing import Any

from tutelage.student.pretrained import load_model
from tutelage.student.training.configuration import TrainingConfig


def pools_itself(config: Any, training_config: TrainingConfig) -> bool:
    """Return whether the base's own classification head supports mean pooling and no probe replaces it."""
    return hasattr(config, "classifier_pooling") and not training_config.probe_first


def mean_pooled(config: Any, training_config: TrainingConfig) -> Any:
    """Return a `HeadModel` around the pretrained encoder, with a random linear layer.

    Args:
        config: the base's configuration, with the task's labels.
        training_config: names the base and the text fields; the two texts of a pair are encoded jointly.
    """
    from transformers import AutoModel
    from tutelage.student.models.modeling_head import HeadConfig, HeadModel

    inner = load_model(AutoModel, training_config.base, config=config)
    model = HeadModel(
        HeadConfig(
            encoder=inner.config.to_dict(),
            text_fields=list(training_config.fields),
            joint=len(training_config.fields) > 1,
            id2label=config.id2label,
            label2id=config.label2id,
        )
    )
    model.encoder = inner
    return model
