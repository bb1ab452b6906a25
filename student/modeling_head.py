"""A linear classifier on a frozen, mean-pooled encoder, as a transformers model.

`save_pretrained` copies this file beside the weights, so that the folder loads anywhere with
`pipeline("text-classification", folder, trust_remote_code=True)`; it knows nothing of tutelage.
"""

from typing import Any

import torch
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class HeadConfig(PretrainedConfig):
    """The encoder's own configuration as a dict, beside the labels."""

    model_type = "tutelage-head"

    def __init__(self, encoder: dict[str, Any] | None = None, **options: Any):
        self.encoder = encoder or {}
        super().__init__(**options)


class HeadModel(PreTrainedModel):
    """Logits = W · normalise(mean of the last hidden states over the tokens) + b."""

    config_class = HeadConfig

    def __init__(self, config: HeadConfig):
        super().__init__(config)
        inner = AutoConfig.for_model(**config.encoder)
        self.encoder = AutoModel.from_config(inner)
        self.classifier = torch.nn.Linear(inner.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **other: Any
    ) -> SequenceClassifierOutput:
        """Logits of shape (batch, labels) for token ids and mask of shape (batch, length)."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1)
        pooled = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
        return SequenceClassifierOutput(logits=self.classifier(pooled))
