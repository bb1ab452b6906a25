"""How a node looks: its kind, the colours of each kind, and the words below its name."""

from typing import Literal, NamedTuple

from tutelage.graph.drawing.layout import PLACES, ROLES, STUDENT
from tutelage.graph.drawing.traffic import Traffic

Kind = Literal["agent", "student", "step", "never", "current"]


class Look(NamedTuple):
    """The colours of a kind of node, and what it stands for."""

    fill: str
    border: str
    ink: str
    meaning: str


LOOKS: dict[Kind, Look] = {
    "agent": Look("#ece5fb", "#7557c0", "#1d2733", "agent"),
    "student": Look("#dff1e4", "#37845a", "#1d2733", "trains or tests students"),
    "step": Look("#f2f5f9", "#66758a", "#1d2733", "other step"),
    "never": Look("#ffffff", "#d3d8df", "#a9b2bd", "never reached"),
    "current": Look("#ffe8bf", "#d9820f", "#1d2733", "at work"),
}


def kind_of(node: str, traffic: Traffic | None) -> Kind:
    """Return the kind of a node; `never` and `current` are those of a run."""
    if traffic is not None and node == traffic.current:
        return "current"
    if traffic is not None and not traffic.reached(node):
        return "never"
    return "agent" if node in ROLES else "student" if node in STUDENT else "step"


def words(node: str, traffic: Traffic | None) -> str:
    """Return what a node does or, in a run, how often it ran and how long; "" if there is nothing to say."""
    return PLACES[node].about if traffic is None else traffic.words(node)


def legend(traffic: Traffic | None) -> dict[Kind, str]:
    """Return the kinds of node that a drawing can show, and what they stand for."""
    shown = {kind: look.meaning for kind, look in LOOKS.items()}
    if traffic is None:
        del shown["never"]
    if traffic is None or not traffic.current:
        del shown["current"]
    elif not traffic.running:
        shown["current"] = "unfinished"
    return shown
