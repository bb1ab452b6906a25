"""Review in a terminal: one text after the other, each answered with a line. It also works in a pipe."""

from collections.abc import Callable, Iterable

from tutelage.graph.review.decisions import Action, Item
from tutelage.graph.review.open_review import OpenReview
from tutelage.graph.review.view import ShownItem, shown_item, whose_label
from tutelage.student.errors import InputError

LITERAL = "="  # before a label that would be read as a key
_KEYS: dict[str, Action] = {"": "accept", "a": "accept", "r": "refuse", "s": "skip"}
_FORMS = {
    "multilabel": 'numbers or names with | between, or a list such as [] or ["a", "b"]',
    "ner": 'a list such as [] or [{"text": "words of the text", "type": "a label"}]',
    "seq2seq": "the right target text",
}


def review_in_terminal(review: OpenReview, lines: Iterable[str], write: Callable[[str], object]) -> bool:
    """Ask for a decision about each text of the queue. Each one is on disk before the next text is shown.

    Args:
        review: a review that waits for decisions.
        lines: the person's answers, such as `sys.stdin`.
        write: is called with what is shown, which ends without a line break where an answer is expected.

    Returns:
        Whether the review is finished: all texts are decided, or the person has said so. It is not after `q`
        and at the end of `lines`.
    """
    answers = iter(lines)
    write(_safe(review.task.instruction) + "\n")
    back: Item | None = None  # the text whose decision was taken back
    while waiting := review.waiting:
        item, back = back or waiting[0], None
        write(_text_lines(review, item))
        while True:
            write("> ")
            if (line := next(answers, None)) is None or line.strip() == "q":
                return False
            key = line.strip()
            if key == "f":
                review.finish()
                return True
            try:
                if key == "u":
                    if (back := review.undo()) is None:
                        raise InputError("there is no decision to take back")
                else:
                    _decide(review, item, key)
                break
            except InputError as error:
                write(f"{_safe(str(error))}\n")
    write("all texts are decided\n")
    return True


def _decide(review: OpenReview, item: Item, key: str) -> None:
    if key in _KEYS:
        review.decide(item["id"], _KEYS[key])
    elif key.startswith(LITERAL):
        review.decide(item["id"], "relabel", key.removeprefix(LITERAL))
    else:
        review.decide(item["id"], "relabel", _label(review, key))


def _label(review: OpenReview, key: str) -> str:
    """Return the label that a line stands for, with names in place of numbers."""
    names = list(review.task.labels)
    if not _numbered(names):
        return key
    parts = [part.strip() for part in key.split("|")] if review.task.kind == "multilabel" else [key]
    known = {str(number): name for number, name in enumerate(names, 1)}
    return "|".join(known.get(part, part) for part in parts)


def _numbered(names: list[str]) -> bool:
    """Return whether a number is clear, which it is not if a label is one."""
    return bool(names) and not any(name.isdecimal() for name in names)


def _text_lines(review: OpenReview, item: Item) -> str:
    """Return what is shown about a text."""
    shown, total = shown_item(review, item), len(review.queue["items"])
    lines = ["", f"text {total - len(review.waiting) + 1} of {total}; why you are asked: {item['reason']}"]
    lines += [f"  {text}" for text in _texts(shown["fields"])]
    if shown["judged_line"] is not None:
        lines.append(f"label: {shown['judged_line']} ({whose_label(shown)})")
    if shown["answered_line"] is not None:
        lines.append(f"the students' answer: {shown['answered_line']}")
    near = [
        f"  {row['similarity']:.2f} {row['label']}: {' | '.join(_texts(row['fields']))}"
        for row in shown["near"]
    ]
    lines += ["your nearest rows:", *near] if near else []
    return "\n".join(map(_safe, [*lines, *_label_lines(review), _help(review, shown)])) + "\n"


def _texts(fields: dict[str, str]) -> list[str]:
    return [f"{name}: {text}" if len(fields) > 1 else text for name, text in fields.items()]


def _label_lines(review: OpenReview) -> list[str]:
    names = list(review.task.labels)
    signs = [f"{number} " if _numbered(names) else "" for number in range(1, len(names) + 1)]
    described = [f"{name}: {text}" if text else name for name, text in review.task.labels.items()]
    return (
        ["labels:", *(f"  {sign}{one}" for sign, one in zip(signs, described, strict=True))] if names else []
    )


def _help(review: OpenReview, shown: ShownItem) -> str:
    accept = "" if shown["judged"] is None else "Enter: accept; "
    refuse = "" if shown["own"] else "r: refuse, "
    form = _FORMS.get(
        review.task.kind, "its number or name" if _numbered(list(review.task.labels)) else "its name"
    )
    return (
        f"{accept}another label: {form} (after {LITERAL} if it looks like a key);"
        f" {refuse}s: skip, u: undo, f: finish, q: stop"
    )


def _safe(text: str) -> str:
    """Return a text without control characters: it could move the cursor of a terminal or recolour it."""
    return "".join(
        sign if sign.isprintable() or sign in "\n\t" else "\N{REPLACEMENT CHARACTER}" for sign in text
    )
