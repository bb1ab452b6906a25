"""Prompt injection: a text that reads like instructions is sent in a call of its own.

The prompts say that texts are data, but a model may still obey one. A text that is labelled or judged alone
can affect only its own result. The list of patterns is ours; a false alarm costs one extra call.
"""

import re
from collections.abc import Sequence

from tutelage.student.corpus import Sample

_PATTERNS = re.compile(
    r"""
    \b(ignore|disregard|forget|override|bypass)\b.{0,40}\b(instruction|prompt|rule|above|previous|prior|order)
    | \b(label|classify|mark|tag|answer|rate|judge|accept|reject|score)\b.{0,30}
      \b(all|every|everything|any|each|others?|rest|following|these|texts?|samples?)\b
    | \b(system|developer|assistant)\b\s*(prompt|message|:|>)
    | <\|?/?(im_start|im_end|system|user|assistant|endoftext|inst)\b | \[/?(INST|SYS)\]
    | \byou\s+(are\s+now|must|will|should\s+now)\b | \b(new|real|actual|updated)\s+(instruction|task|rule)
    | ``` | "(labels?|verdicts?|texts|samples|drafts|id)"\s*:
    | \b(ignorier|ignorez|ignora|ignore[zr])\w*\b.{0,40}\b(anweisung|instruction|instrucci|istruzion)
    | 忽略.{0,12}(指令|指示|说明|提示) | игнорируй.{0,40}(инструкц|указан)
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def is_injection(text: str) -> bool:
    """Return whether a text reads like an instruction to the model that labels or judges it."""
    return bool(_PATTERNS.search(text))


def batches_isolating_injections(samples: Sequence[Sample], size: int) -> list[Sequence[Sample]]:
    """Split samples into batches of at most `size`; each likely injection gets its own batch, at the end."""
    harmless = [sample for sample in samples if not is_injection(sample["text"])]
    suspicious: list[Sequence[Sample]] = [[sample] for sample in samples if is_injection(sample["text"])]
    return [harmless[i : i + size] for i in range(0, len(harmless), size)] + suspicious
