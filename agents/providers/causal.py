"""A Hugging Face causal language model: its tokenizer, its weights, and the thread that runs them."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

from tutelage.student.device import device
from tutelage.student.errors import InputError
from tutelage.student.pretrained import load_pretrained, longest

Turn = Mapping[str, Any]


class Causal:
    """Generate with a model given by hub name or folder; its tokenizer and weights are loaded on first use.

    All calls must run in `thread`, which executes them one after the other.
    """

    def __init__(self, name: str):
        self.name = name
        self.thread = ThreadPoolExecutor(1, thread_name_prefix=f"hf:{name}")

    @cached_property
    def tokenizer(self) -> Any:
        """Load the tokenizer on first use.

        Raises:
            InputError: the tokenizer cannot be loaded or has no chat template.
        """
        from transformers import AutoTokenizer

        tokenizer = load_pretrained(AutoTokenizer, self.name)
        if not tokenizer.chat_template:
            raise InputError(
                f"model {self.name!r} has no chat template, so it was not trained to answer;"
                " use its instruct or chat variant"
            )
        return tokenizer

    @cached_property
    def model(self) -> Any:
        """Load the weights on first use: bfloat16 on CUDA, float32 elsewhere.

        Raises:
            InputError: the weights cannot be loaded.
        """
        from transformers import AutoModelForCausalLM, GenerationConfig

        target = device()
        dtype = "bfloat16" if target == "cuda" else "float32"
        model = load_pretrained(AutoModelForCausalLM, self.name, dtype=dtype).eval().to(target)
        # Chat tokenizers may end a turn with a token that the base model's configuration does not list.
        eos = model.generation_config.eos_token_id
        ends = {*(eos if isinstance(eos, list) else [eos]), self.tokenizer.eos_token_id} - {None}
        # Other recommended settings (top-p, repetition penalty) would distort the probabilities.
        model.generation_config = GenerationConfig(
            eos_token_id=sorted(ends) or None, pad_token_id=min(ends, default=0)
        )
        return model

    def prompt(self, turns: Sequence[Turn]) -> Any:
        """Return the tokens of a conversation as tokenizer output; `input_ids` is of shape (1, tokens).

        Args:
            turns: each with `role` (system, user, assistant) and `content`.

        Raises:
            InputError: the chat template refuses the conversation.
        """
        from jinja2 import TemplateError

        refusal: TemplateError | None = None
        for variant in (turns, _without_system(turns)):  # some, such as Gemma 1's, refuse a system role
            try:
                return self.tokenizer.apply_chat_template(
                    variant,
                    add_generation_prompt=True,
                    # A text that contains an end-of-turn token must not end the turn.
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
        """Return the reply's token ids, and whether the model ended the reply itself.

        Args:
            prompt: from `prompt()`.
            max_tokens: maximum length of the reply.
            choose: a logits processor: maps the tokens so far and the scores of the next token, of shape
                (1, vocabulary), to new scores; the token with the highest score is taken.

        Raises:
            InputError: the prompt leaves no room for a reply.
        """
        model, size = self.model, prompt["input_ids"].shape[1]
        limit = longest(self.tokenizer, model.config.get_text_config(), size + max_tokens)
        if limit <= size:
            raise InputError(
                f"the prompt has {size:,} tokens, but the context of model {self.name!r} is"
                f" {limit:,} tokens, reply included; shorten the texts, or use a model with a longer context"
            )
        tokens = model.generate(
            **prompt.to(model.device),
            max_new_tokens=limit - size,
            do_sample=False,
            logits_processor=[choose],
        )
        ids = tokens[0, size:].tolist()
        ended = ids[-1] in (model.generation_config.eos_token_id or ())
        return ids, ended


def _without_system(turns: Sequence[Turn]) -> list[Turn]:
    """Return the turns with the system prompt moved to the start of the first other turn."""
    system = [turn["content"] for turn in turns if turn["role"] == "system"]
    others = [turn for turn in turns if turn["role"] != "system"]
    first, *rest = others or [{"role": "user", "content": ""}]
    return [{**first, "content": "\n\n".join([*system, first["content"]])}, *rest]
