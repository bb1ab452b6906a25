"""A linear classifier on a mean-pooled encoder, as a transformers model.

`save_pretrained` copies this file beside the weights, so that the folder loads anywhere with
`pipeline("text-classification", folder, trust_remote_code=True)`, without tutelage.
"""

from typing import Any

import torch
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class HeadConfig(PretrainedConfig):
    """The labels, and the encoder's configuration as a dict. `text_fields` has two names for pairs. The texts
    of a pair are encoded as one sequence if `joint` is true, else each by itself.
    """

    model_type = "tutelage-head"

    def __init__(
        self,
        encoder: dict[str, Any] | None = None,
        text_fields: list[str] | None = None,
        joint: bool = False,
        **options: Any,
    ):
        self.encoder, self.text_fields, self.joint = dict(encoder or {}), text_fields or ["text"], joint
        self.encoder.pop("_name_or_path", None)  # a folder of the machine that trained it
        super().__init__(**options)


class HeadModel(PreTrainedModel):
    """Logits = W · x + b. For a single text or a jointly encoded pair, x = u = normalise(mean of the last
    hidden states over the tokens). For a pair of separately encoded texts, x = `u, v, |u - v|, √d · u · v`.
    """

    config_class = HeadConfig

    def __init__(self, config: HeadConfig, encoder: PreTrainedModel | None = None):
        super().__init__(config)
        inner = AutoConfig.for_model(**config.encoder)
        self.encoder = encoder or AutoModel.from_config(inner)
        self.apart = len(config.text_fields) > 1 and not config.joint
        parts = 4 if self.apart else 1
        self.classifier = torch.nn.Linear(parts * inner.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
        **other: Any,
    ) -> SequenceClassifierOutput:
        """Return logits of shape (batch, labels) for token ids and mask of shape (batch, length)."""
        x = self.embed(input_ids, attention_mask, token_type_ids)
        return SequenceClassifierOutput(logits=self.classifier(x))

    def embed(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return x, the input of the linear layer, of shape (batch, width)."""
        if not self.apart:
            types = (
                {"token_type_ids": token_type_ids} if self.config.joint and token_type_ids is not None else {}
            )
            return self._pooled(input_ids, attention_mask, **types)
        u, v = (self._pooled(*side) for side in self._split_pair(input_ids, attention_mask))
        return torch.cat([u, v, (u - v).abs(), u.shape[1] ** 0.5 * u * v], 1)

    def _pooled(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **types: torch.Tensor
    ) -> torch.Tensor:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **types).last_hidden_state
        mask = attention_mask.unsqueeze(-1)
        return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)

    def _split_pair(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return ids and masks of the two texts of a pair, each as if tokenized alone. The tokenizer wrote
        `start a end b end`, or `start a end end b end` as RoBERTa's does.
        """
        sides: tuple[list[torch.Tensor], list[torch.Tensor]] = [], []
        for ids, mask in zip(input_ids, attention_mask, strict=True):
            real = ids[mask.bool()]
            end = real[-1]
            cut = int((real == end).nonzero()[0])
            rest = real[cut + 1 :]
            rest = rest[1:] if rest[0] == end else rest
            sides[0].append(real[: cut + 1])
            sides[1].append(torch.cat([real[:1], rest]))
        return [self._padded(side) for side in sides]

    def _padded(self, texts: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(text) for text in texts], batch_first=True)
        return ids, mask
