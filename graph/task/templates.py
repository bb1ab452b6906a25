"""`tutelage init`: a commented task.yaml and data stubs to replace, for each kind of task."""

import json
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import yaml
from tutelage.student.errors import InputError
from tutelage.student.tasks import KINDS
from tutelage.student.tasks.fields import ONE, Fields, KindName

Stub = tuple[Any, ...]  # the fields of a text, then its label


_READER = """\
  mode: full                       # every weight; head: a classifier on frozen embeddings, seconds a round
  base: minilm                     # or any hub name or local folder of a sequence classifier's backbone
  training: auto                   # compares several ways of training, out of fold on your labelled rows; or:
                                   # plain, weighted, probe, probe_first, contrastive
  # epochs: 4
  # learning_rate: 0.0003          # default: 3e-4 for MiniLM's width, less for wider models
  # class_weights: root            # none, root (of the inverse frequency), inverse
"""
_TAGGER = """\
  base: minilm                     # or any hub name or local folder of a token classifier's backbone
  training: auto                   # compares two ways of training on your labelled rows; or plain, weighted
  # epochs: 4
  # min_steps: 200                 # however few the rows: a tagger learns nothing from less
  # learning_rate: 0.0003          # default: 3e-4 for MiniLM's width, less for wider models
"""
_EXPERT = """\
# expert: {base: my-classifier}    # for ksm: a sequence classifier to learn from; without the task's
                                   # labels it is trained on the seeds first
"""
_WRITER = """\
  base: google-t5/t5-small         # or any encoder-decoder of the hub, or a folder
  # epochs: 4
  # min_steps: 30                  # however few the rows; a pretrained base may want hundreds
  # learning_rate: 0.0003          # default: 3e-4 at a width of 384, less for wider models
  # max_tokens: 128                # of a text that are read
  # max_target: 64                 # of a target that are written
  # beams: 1                       # tried at exams and by `predict`
"""


@dataclass(frozen=True)
class _Example:
    """What is written for a kind: what task.yaml says of it and of its student, an example of other columns,
    and the stubs.
    """

    task: str
    column: str
    stubs: dict[str, list[Stub]]
    fields: Fields = ONE
    key: str = "label"
    answer: str = "verdict"  # the column of the label in an example of other columns
    student: str = _READER


_EXAMPLES: dict[KindName, _Example] = {
    "classification": _Example(
        task="""\
kind: classification               # one label a text
instruction: >-                    # what every agent is told of the task
  Say whether a customer's review of a product is positive or negative.
labels:                            # label: description (the better described, the better labelled)
  positive: the customer is glad to have bought it
  negative: the customer regrets having bought it
""",
        column="review",
        stubs={
            "labelled": [
                ("Works as described, I would buy it again.", "positive"),
                ("My daughter has used it every day since her birthday and loves it.", "positive"),
                ("It fell apart in a week.", "negative"),
                ("Nothing like the picture, and far too loud.", "negative"),
                ("Not bad at all for the price.", "positive"),
                ("Great, another charger that lasts two days.", "negative"),
                ("I had doubts, but it does the job.", "positive"),
                ("If you enjoy sending things back, go ahead.", "negative"),
            ],
            "unlabelled": [
                ("Does what it says.",),
                ("Came without a plug.",),
                ("Second order already.",),
            ],
            "test": [
                ("Sturdy, quiet and quick to set up.", "positive"),
                ("The second one broke as well.", "negative"),
            ],
        },
    ),
    "pairs": _Example(
        task="""\
kind: pairs                        # one label for two texts together
fields: [question, passage]        # what they are called, in the data and to every agent
instruction: >-                    # what every agent is told of the task
  Say whether a passage of a manual answers a customer's question.
labels:                            # label: description (the better described, the better labelled)
  answers: the passage says what the question asks
  related: the passage is about the same thing and does not say it
  unrelated: the passage is about something else
""",
        column="[asked, found]",
        stubs={
            "labelled": [
                ("How do I reset the clock?", "Hold SET for three seconds, then turn the dial.", "answers"),
                ("How do I reset the clock?", "The clock is lit for ten seconds.", "related"),
                ("How do I reset the clock?", "Empty the water tank every day.", "unrelated"),
                ("Can it stand outside?", "Keep the device indoors at all times.", "answers"),
                ("Can it stand outside?", "The feet can be screwed in for uneven floors.", "related"),
                ("Can it stand outside?", "Press OK to confirm the language.", "unrelated"),
                ("Which batteries does it take?", "It runs on four AA cells.", "answers"),
                ("Which batteries does it take?", "Take the batteries out before storing it.", "related"),
                ("How long is the warranty?", "We repair it free of charge for two years.", "answers"),
                ("How long is the warranty?", "Keep the receipt with the warranty card.", "related"),
            ],
            "unlabelled": [
                ("Where is the filter?", "Open the flap on the left."),
                ("Where is the filter?", "Change the filter twice a year."),
                ("Can I turn off the sound?", "Press MUTE for a second."),
            ],
            "test": [
                ("Is the jug safe in a dishwasher?", "Wash the jug by hand only.", "answers"),
                ("Is the jug safe in a dishwasher?", "The jug holds two litres.", "related"),
            ],
        },
        fields=("question", "passage"),
    ),
    "multilabel": _Example(
        task="""\
kind: multilabel                   # any number of labels a text, also none
instruction: >-                    # what every agent is told of the task
  Say what a guest of a hotel writes about, whether in praise or in blame.
labels:                            # label: description (the better described, the better labelled)
  room: the room, the bed, noise, the bathroom
  food: breakfast, the restaurant, the bar
  staff: whoever works there, and how they treat guests
""",
        column="review",
        stubs={
            "labelled": [
                ("The bed was hard and the street loud.", ["room"]),
                ("Fresh bread every morning.", ["food"]),
                ("The porter found my lost bag within an hour.", ["staff"]),
                ("Small bathroom, but the waiters know you by name.", ["room", "staff"]),
                ("We came by train.", []),
                ("No window, cold soup.", ["room", "food"]),
                ("They let us check out at noon.", ["staff"]),
                ("The cook came out to ask about my allergy.", ["food", "staff"]),
                ("Towels like sandpaper.", ["room"]),
            ],
            "unlabelled": [
                ("The soup was worth the trip.",),
                ("Paper walls, kind people.",),
                ("Sunny all weekend.",),
            ],
            "test": [
                ("Friendly at the desk, mould in the shower.", ["room", "staff"]),
                ("It rained all week.", []),
            ],
        },
        key="labels",
        answer="topics",
    ),
    "ner": _Example(
        task="""\
kind: ner                          # named entities: spans of the text, each of a type
instruction: >-                    # what every agent is told of the task
  Mark what a cook's notes speak of.
labels:                            # type: description, with what belongs to the span
  ingredient: what is cooked or eaten, without its amount
  amount: how much of it, with the unit
  tool: what it is prepared with or in
""",
        column="tokens",
        stubs={
            "labelled": [
                (
                    "Melt 50 g butter in a pan.",
                    [("amount", "50 g"), ("ingredient", "butter"), ("tool", "pan")],
                ),
                ("Add two eggs.", [("amount", "two"), ("ingredient", "eggs")]),
                ("Whisk well.", []),
                ("Sieve the flour into the bowl.", [("ingredient", "flour"), ("tool", "bowl")]),
                ("A pinch of salt is enough.", [("amount", "A pinch"), ("ingredient", "salt")]),
                ("Leave the wok on the fire.", [("tool", "wok")]),
                ("Pour in half a litre of stock.", [("amount", "half a litre"), ("ingredient", "stock")]),
                ("Let it rest.", []),
            ],
            "unlabelled": [
                ("Heat the oven and butter the tin.",),
                ("Half a lemon will do.",),
                ("Stir until it thickens.",),
            ],
            "test": [
                ("Grate the ginger with a knife.", [("ingredient", "ginger"), ("tool", "knife")]),
                (
                    "Three lemons, no sugar.",
                    [("amount", "Three"), ("ingredient", "lemons"), ("ingredient", "sugar")],
                ),
            ],
        },
        key="entities",
        answer="tags",
        student=_TAGGER,
    ),
    "seq2seq": _Example(
        task="""\
kind: seq2seq                      # a target that the student writes
instruction: >-                    # what every agent is told of the task: above all the form of a target
  Turn a remark about a meeting into one line for a calendar: what, day, hour, in small letters, with commas
  between.
""",
        column="remark",
        stubs={
            "labelled": [
                ("Lunch with Ann on Friday at one.", "lunch with ann, friday, 13:00"),
                ("Could you be at the dentist's Monday, 9 sharp?", "dentist, monday, 9:00"),
                ("The board sits on Tuesday at half past four.", "board meeting, tuesday, 16:30"),
                ("Football, Saturday, quarter to ten.", "football, saturday, 9:45"),
                ("See you Thursday at noon for the review!", "review, thursday, 12:00"),
                ("Call the bank on Wednesday at ten past two.", "call the bank, wednesday, 14:10"),
            ],
            "unlabelled": [
                ("Dinner at the Rossis', Saturday at eight.",),
                ("Yoga moves to Tuesday, seven in the evening.",),
                ("The plumber comes on Monday at noon.",),
            ],
            "test": [("Choir is on Sunday evening at eight.", "choir, sunday, 20:00")],
        },
        key="target",
        answer="line",
        student=_WRITER,
    ),
}


def scaffold(folder: Path, kind: KindName = "classification") -> list[Path]:
    """Write task.yaml and three data stubs; nothing is overwritten.

    Raises:
        InputError: one of the files is there already, or the folder cannot be written.
    """
    example = _EXAMPLES[kind]
    template = (files("tutelage.graph") / "sample" / "template.yaml").read_text(encoding="utf-8")
    metric, *others = KINDS[kind].metrics
    own = ", file.py:function" if KINDS[kind].writes else ""
    metrics = f"{metric:<27}# or {', '.join(others)}{own}"
    single = KINDS[kind].key == "label"  # what goes by the probability of one label a text is for these alone
    given = folder.resolve().name
    fits = re.fullmatch(r"[A-Za-z0-9._-]+", given) and given == yaml.safe_load(given)  # not `123`, nor `no`
    text = Template(template).substitute(
        name=f"{given if fits else 'my-task':<28}",
        task=example.task,
        column=example.column,
        answer=example.answer,
        metric=metrics,
        student=example.student,
        pool="llkd, entropy" if single else "entropy, least_confidence",
        expert=_EXPERT if single else "",
    )
    contents = {"task.yaml": text}
    names = [*example.fields, example.key]
    for name, rows in example.stubs.items():
        columns = example.fields if name == "unlabelled" else names
        lines = [json.dumps(dict(zip(columns, map(_filed, row), strict=True))) for row in rows]
        contents[f"{name}.jsonl"] = "".join(f"{line}\n" for line in lines)
    there = [name for name in contents if (folder / name).exists()]
    if there:
        raise InputError(f"{folder / there[0]} exists already; choose another folder, or remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error}") from error
    return [folder / name for name in contents]


def _filed(value: Any) -> Any:
    """A label as a file holds it; entities stand above as pairs."""
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        return [{"text": text, "type": kind} for kind, text in value]
    return value
