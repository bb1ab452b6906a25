"""The section `data` of task.yaml, and the base of all sections."""

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from tutelage.student.data.readers import value_name


class Part(BaseModel):
    """Base of the sections: unknown fields are errors, and instances are immutable.

    The text below a field is its description, which the reference in docs/ shows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Source(Part):
    """Where the rows of a set come from: a file or folder (`path`), or a data set of the hub (`hub`).

    The run's seed decides which rows a random sample has. Rows of other sets are left out of it.
    """

    path: Path | None = None
    """A file, or a folder that `save_to_disk` of `datasets` wrote. Relative to task.yaml."""
    hub: str | None = None
    """The name of a data set of the Hugging Face hub, in place of `path`."""
    config: str | None = None
    """The configuration of the hub's data set."""
    revision: str | None = None
    """The commit, branch or tag of the hub's data set."""
    split: str = "train"
    """The split of a hub's data set, or of a folder that has several."""
    encoding: str | None = None
    """The encoding of a text file that is not UTF-8, such as `windows-1252`."""
    text: tuple[str, ...] | None = None
    """The column of the text, or the two columns of a pair. By default the task's `fields`."""
    label: str | None = None
    """The column of the label. The default depends on the task type."""
    label_names: dict[str, str] = Field(default_factory=dict)
    """What the values of the label column mean: a mapping, or a list for the numbers from 0."""
    rationale: str | None = None
    """The column of the reason for the label."""
    per_label: int | None = Field(default=None, ge=1)
    """Use a random sample of this many rows for each label."""
    rows: int | None = Field(default=None, ge=1)
    """Use a random sample of this many rows in all."""

    @field_validator("text", mode="before")
    @classmethod
    def _single_column(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("label_names", mode="before")
    @classmethod
    def _by_value(cls, value: Any) -> Any:
        if isinstance(value, list):
            value = dict(enumerate(value))
        return {value_name(key): name for key, name in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _path_or_hub(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("give either `path` or `hub`")
        for name in ("config", "revision"):
            if getattr(self, name) and not self.hub:
                raise ValueError(f"`{name}` applies to `hub`; leave it out")
        if self.encoding and self.hub:
            raise ValueError("`encoding` applies to text files (`path`); leave it out")
        if self.per_label and self.rows:
            raise ValueError("`per_label` and `rows` both set the sample size: give only one of them")
        return self

    def __str__(self) -> str:
        return str(self.path) if self.path else f"{self.hub}[{self.split}]"

    @property
    def drawn(self) -> bool:
        """Whether the set is a random sample of the source."""
        return bool(self.per_label or self.rows)


class Data(Part):
    """The data of a task. Labelled rows are given in one of three ways.

    1. `labelled` holds all rows that the user has labelled. They are divided into `folds` stratified folds
       (default: 3 for a full student, 5 for a head). Every row is used for training, and every score comes
       from a student that was not trained on the row it predicts.
    2. `seed`, `diagnose` and `gate` are separate sets, which the published methods need: the first student is
       trained on the seeds, agents see its errors on diagnose, and the score on gate accepts a round or rolls
       it back.
    3. Without either, the teacher labels a first set of unlabelled texts or, without any, of written ones.

    `test` is used once, at the end. `unlabelled` is the pool that texts are drawn from; only texts are read.
    """

    labelled: Source | None = None
    """All rows that you have labelled. They are divided into folds."""
    folds: int | None = Field(default=None, ge=2, le=20)
    """The number of folds of `labelled`; by default 3, and 5 for a head."""
    seed: Source | None = None
    """Rows that the first student is trained on, in place of `labelled`."""
    diagnose: Source | None = None
    """Rows whose errors the agents see, beside `seed`."""
    gate: Source | None = None
    """Rows whose score accepts a round or rolls it back, beside `seed`."""
    test: Source | None = None
    """Rows that are read once, at the end."""
    unlabelled: Source | None = None
    """The pool: texts without labels, from which those to be labelled are drawn."""

    @field_validator("labelled", "seed", "diagnose", "gate", "test", "unlabelled", mode="before")
    @classmethod
    def _single_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        separate = [name for name in ("seed", "diagnose", "gate") if getattr(self, name)]
        if self.labelled and separate:
            raise ValueError(
                f"`labelled` and `{separate[0]}` are two ways to give labelled rows: put all rows into"
                f" `labelled` and leave `{separate[0]}` out, or leave `labelled` out"
            )
        if separate and self.seed is None:
            raise ValueError(
                f"`{separate[0]}` goes with `seed`, which is missing: add `seed`, or put all labelled rows"
                " into `labelled`"
            )
        if self.folds and self.seed:
            raise ValueError("`folds` divides `labelled` rows; leave it out when you give `seed`")
        return self

    @property
    def folded(self) -> bool:
        """Whether the labelled rows are divided into folds (cross-validation)."""
        return self.seed is None
