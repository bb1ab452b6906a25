"""Arithmetic that a student or a teacher writes: its value, a figure and a filter made of it."""

import ast
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from math import isclose, isfinite

_LONGEST = 500  # characters: what is longer is no answer to a word problem
_ARITHMETIC = re.compile(r"[0-9.()+*/\s-]+")  # and not all that Python reads as a number
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


def value(written: str) -> float | None:
    """What an expression of numbers, + - * / and parentheses comes to; None if it is none. Of a text that
    reasons first, what stands after the last `####` (as in GSM8K, arXiv 2110.14168).
    """
    text = written.rpartition("####")[2].strip().removeprefix("$").strip()
    text = _THOUSANDS.sub("", text)
    if len(text) > _LONGEST or not _ARITHMETIC.fullmatch(text):
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # what it makes of a student's garbage
            found = _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError, RecursionError, MemoryError):
        return None
    return found if isfinite(found) else None


def same_value(answer: str, target: str, text: str) -> float:
    """A figure: 1 where answer and target come to the same, as GOLD measures SVAMP (arXiv 2403.19754). A
    target that is no arithmetic has to be met word for word.
    """
    wanted, given = value(target), value(answer)
    if wanted is None:
        return float(answer == target)
    return float(given is not None and isclose(given, wanted, rel_tol=1e-6, abs_tol=1e-9))


def evaluates(row: Mapping[str, str]) -> str:
    """A filter: the target has to be arithmetic (GOLD's, of SVAMP)."""
    return "" if value(row["target"]) is not None else "its target is no arithmetic"


def _value(node: ast.AST) -> float:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.UnaryOp(op=sign, operand=part) if type(sign) in _OPERATORS:
            return _OPERATORS[type(sign)](_value(part))
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
            return _OPERATORS[type(sign)](_value(left), _value(right))
    raise ValueError("no arithmetic")
