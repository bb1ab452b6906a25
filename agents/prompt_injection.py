"""Hostile texts: those that read like instructions are shown alone, so that they reach no other's fate.

Prompts say that texts are data; a model may still obey one. Labelled or judged alone, such a text
changes what is said of itself and of nothing else. The list of signs is ours; it errs on the side of a
call too many.
"""

import re
from collections.abc import Sequence

from tutelage.student.corpus import Sample

_SIGNS = re.compile(
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


def is_hostile(text: str) -> bool:
    """Whether a text reads like an instruction to the model that labels or judges it."""
    return bool(_SIGNS.search(text))


def apart(samples: Sequence[Sample], size: int) -> list[Sequence[Sample]]:
    """Batches of at most `size` in order, hostile texts each in one of its own."""
    calm = [sample for sample in samples if not is_hostile(sample["text"])]
    alone: list[Sequence[Sample]] = [[sample] for sample in samples if is_hostile(sample["text"])]
    return [calm[i : i + size] for i in range(0, len(calm), size)] + alone
