"""The examples of `tutelage init`: what differs between the task types in task.yaml, and example rows."""

from dataclasses import dataclass
from typing import Any

from tutelage.student.tasks.fields import ONE, Fields, TaskTypeName

Stub = tuple[Any, ...]  # the text fields of a row, then its label

_CLASSIFIER = """\
  mode: full                       # train all weights; head: only a classifier on frozen embeddings (seconds)
  base: minilm                     # or any encoder for sequence classification, by hub name or local folder
  training: auto                   # compares training configurations by cross-validation; or name one:
                                   # plain, weighted, probe, probe_first, contrastive
  # epochs: 4                      # a small set is repeated until min_steps (200) is reached
  # learning_rate: 0.0003          # default: 3e-4 for MiniLM's width, less for wider models
  # class_weights: root            # none, root (square root of the inverse label frequency) or inverse
"""
_TAGGER = """\
  base: minilm                     # or any encoder for token classification, by hub name or local folder
  training: auto                   # compares plain and weighted by cross-validation; or name one
  # epochs: 4
  # min_steps: 200                 # fewest training steps; with fewer a tagger learns nothing
  # learning_rate: 0.0003          # default: 3e-4 for MiniLM's width, less for wider models
"""
WHITE_BOX = """\
# white_box_teacher: {base: my-classifier}   # for ksm: a sequence classifier to distil. If it does not have
                                             # the task's labels, it is first trained on the seeds
"""
_SEQ2SEQ = """\
  base: google-t5/t5-small         # or any encoder-decoder, by hub name or local folder
  # epochs: 4
  # min_steps: 30                  # fewest training steps; a pretrained base may need hundreds
  # learning_rate: 0.0003          # default: 3e-4 at a width of 384, less for wider models
  # max_tokens: 128                # input tokens; longer texts are cut
  # max_target: 64                 # most tokens of a generated target
  # beams: 1                       # beam width in evaluations and `predict`
"""


@dataclass(frozen=True)
class Example:
    """What `scaffold` writes for one task type: the parts of task.yaml that differ, and the example rows."""

    task: str
    column: str  # the column of the text in the commented example with other column names
    stubs: dict[str, list[Stub]]
    fields: Fields = ONE
    key: str = "label"
    answer: str = "verdict"  # the column of the label in that example
    student: str = _CLASSIFIER


EXAMPLES: dict[TaskTypeName, Example] = {
    "classification": Example(
        task="""\
kind: classification               # one label for each text
instruction: >-                    # the task in words; every agent reads it
  Say whether a customer's review of a product is positive or negative.
labels:                            # label: description. A precise description gives better labels
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
    "pairs": Example(
        task="""\
kind: pairs                        # one label for each pair of texts
fields: [question, passage]        # names of the two texts, in the data and for every agent
instruction: >-                    # the task in words; every agent reads it
  Say whether a passage of a manual answers a customer's question.
labels:                            # label: description. A precise description gives better labels
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
    "multilabel": Example(
        task="""\
kind: multilabel                   # any number of labels for each text, also none
instruction: >-                    # the task in words; every agent reads it
  Say what a guest of a hotel writes about, whether in praise or in blame.
labels:                            # label: description. A precise description gives better labels
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
    "ner": Example(
        task="""\
kind: ner                          # named entities: spans of the text, each with a type
instruction: >-                    # the task in words; every agent reads it
  Mark what a cook's notes speak of.
labels:                            # entity type: description; say what belongs to the span
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
    "seq2seq": Example(
        task="""\
kind: seq2seq                      # the student generates a target text
instruction: >-                    # the task in words; describe how a target has to look
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
        student=_SEQ2SEQ,
    ),
}
