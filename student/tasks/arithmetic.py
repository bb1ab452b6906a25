"""Arithmetic expressions in targets: their value, a metric and a filter."""

import ast
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from math import isclose, isfinite

_LONGEST = 500  # characters; a longer text is not an answer to a word problem
_ARITHMETIC = re.compile(r"[0-9.()+*/\s-]+")  # excludes other number formats of Python
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
    """Return the value of an expression of numbers, + - * / and parentheses, or None for any other text. Only
    the part after the last `####` counts, if there is one (as in GSM8K, arXiv 2110.14168).
    """
    text = written.rpartition("####")[2].strip().removeprefix("$").strip()
    text = _THOUSANDS.sub("", text)
    if len(text) > _LONGEST or not _ARITHMETIC.fullmatch(text):
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # Python warns about some malformed answers
            result = _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError, RecursionError, MemoryError):
        return None
    return result if isfinite(result) else None


def same_value(answer: str, target: str, text: str) -> float:
    """Return 1 if answer and target have the same value, else 0: a metric, as GOLD measures SVAMP (arXiv
    2403.19754). A target that is not arithmetic has to be matched exactly.
    """
    expected, actual = value(target), value(answer)
    if expected is None:
        return float(answer == target)
    return float(actual is not None and isclose(actual, expected, rel_tol=1e-6, abs_tol=1e-9))


def evaluates(row: Mapping[str, str]) -> str:
    """Reject a target that is not arithmetic: the filter of GOLD for SVAMP."""
    return "" if value(row["target"]) is not None else "its target is not an arithmetic expression"


def _value(node: ast.AST) -> float:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.UnaryOp(op=sign, operand=part) if type(sign) in _OPERATORS:
            return _OPERATORS[type(sign)](_value(part))
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
            return _OPERATORS[type(sign)](_value(left), _value(right))
    raise ValueError("not an arithmetic expression")
