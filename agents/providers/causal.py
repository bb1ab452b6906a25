"""A Hugging Face causal model: its tokenizer, its weights, and the one thread in which they work."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

from tutelage.student.encoder import device, load_pretrained, longest
from tutelage.student.errors import InputError

Turn = Mapping[str, Any]


class Causal:
    """The model of a hub name or a folder; tokenizer and weights are loaded when first needed.

    Whoever uses it does so in `thread`, one task after the other.
    """

    def __init__(self, name: str):
        self.name = name
        self.thread = ThreadPoolExecutor(1, thread_name_prefix=f"hf:{name}")

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer.

        Raises:
            InputError: it cannot be loaded, or has no chat template.
        """
        from transformers import AutoTokenizer

        tokenizer = load_pretrained(AutoTokenizer, self.name)
        if not tokenizer.chat_template:
            raise InputError(
                f"model {self.name!r} has no chat template, so it was not trained to answer;"
                " take its instruct or chat variant"
            )
        return tokenizer

    @cached_property
    def model(self) -> Any:
        """The weights: bfloat16 on CUDA, float32 elsewhere.

        Raises:
            InputError: they cannot be loaded.
        """
        from transformers import AutoModelForCausalLM, GenerationConfig

        place = device()
        dtype = "bfloat16" if place == "cuda" else "float32"
        model = load_pretrained(AutoModelForCausalLM, self.name, dtype=dtype).eval().to(place)
        # Chat tokenizers may end a turn with another token than the base model's configuration says.
        given = model.generation_config.eos_token_id
        ends = {*(given if isinstance(given, list) else [given]), self.tokenizer.eos_token_id} - {None}
        # All else that a model's authors recommend (top-p, repetition penalty) would bend the probabilities.
        model.generation_config = GenerationConfig(
            eos_token_id=sorted(ends) or None, pad_token_id=min(ends, default=0)
        )
        return model

    def prompt(self, turns: Sequence[Turn]) -> Any:
        """The tokens of a conversation, of shape (1, tokens).

        Args:
            turns: each with `role` (system, user, assistant) and `content`.

        Raises:
            InputError: the chat template refuses it.
        """
        from jinja2 import TemplateError

        refusal: TemplateError | None = None
        for form in (turns, _without_system(turns)):  # some templates, as Gemma's first, know no system role
            try:
                return self.tokenizer.apply_chat_template(
                    form,
                    add_generation_prompt=True,
                    # A text that holds the token of a turn's end must not end the turn.
                    sanitize_control_tokens=True,
                    enable_thinking=False,
                    return_tensors="pt",
                )
            except TemplateError as error:
                refusal = error
        raise InputError(f"the chat template of model {self.name!r} refuses the conversation: {refusal}")

    def generate(
        self, prompt: Any, max_tokens: int, choose: Callable[[Any, Any], Any]
    ) -> tuple[list[int], bool]:
        """(the reply's tokens, whether the model ended it).

        Args:
            prompt: from `prompt()`.
            max_tokens: the longest reply.
            choose: from the tokens so far and the scores of the next one, of shape (1, vocabulary), to
                scores of which the highest is taken.

        Raises:
            InputError: the prompt leaves no room for a reply.
        """
        model, asked = self.model, prompt["input_ids"].shape[1]
        limit = longest(self.tokenizer, model.config.get_text_config(), asked + max_tokens)
        if limit <= asked:
            raise InputError(
                f"the prompt has {asked:,} tokens, model {self.name!r} takes {limit:,} with the reply;"
                " shorten the texts, or take a model with a longer context"
            )
        tokens = model.generate(
            **prompt.to(model.device),
            max_new_tokens=limit - asked,
            do_sample=False,
            logits_processor=[choose],
        )
        ids = tokens[0, asked:].tolist()
        ended = ids[-1] in (model.generation_config.eos_token_id or ())
        return ids, ended


def _without_system(turns: Sequence[Turn]) -> list[Turn]:
    """The same, with what the system part says at the head of the first other part."""
    system = [turn["content"] for turn in turns if turn["role"] == "system"]
    others = [turn for turn in turns if turn["role"] != "system"]
    first, *rest = others or [{"role": "user", "content": ""}]
    return [{**first, "content": "\n\n".join([*system, first["content"]])}, *rest]
