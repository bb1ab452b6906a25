"""The parts of a task.yaml, each checked for itself."""

import re
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, create_model, field_validator, model_validator
from tutelage.agents.providers.capabilities import Structured
from tutelage.agents.providers.redact import redact
from tutelage.student.encoder import EMBEDDED
from tutelage.student.training.candidates import Training
from tutelage.student.training.class_weights import ClassWeights
from tutelage.student.training.configuration import Pooling, Recipe


class Part(BaseModel):
    """Fields that are all known, and do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(Part):
    """Where rows come from: a file, or a `datasets` hub name with its split.

    `text` is the column of the text, or the two of a pair; by default as the task calls its `fields`.
    `label` is the column of the label, by default as the task's kind calls it; `rationale` that of its
    reason. `per_label` draws that many rows of each label, `rows` so many in all, at random by the run's
    seed, never one that another set already holds.
    """

    path: Path | None = None
    hub: str | None = None
    split: str = "train"
    text: tuple[str, ...] | None = None
    label: str | None = None
    rationale: str | None = None
    per_label: int | None = Field(default=None, ge=1)
    rows: int | None = Field(default=None, ge=1)

    @field_validator("text", mode="before")
    @classmethod
    def _column_alone(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("give either `path` or `hub`")
        if self.per_label and self.rows:
            raise ValueError("`per_label` and `rows` both say how many are drawn: give one of them")
        return self

    @property
    def drawn(self) -> bool:
        """Whether rows are drawn from it."""
        return bool(self.per_label or self.rows)


class Data(Part):
    """The data of a task, in one of three forms.

    `labelled` holds all rows that the user has labelled. They are divided into `folds` stratified parts
    (default: 3 for a full student, 5 for a head): every row is trained on, and every score comes from a
    student that has not learnt the row it answers.

    `seed`, `diagnose` and `gate` are separate sets, as the published methods need them: the student begins
    with the seeds, agents read its errors on diagnose, and gate accepts or rolls back each round.

    With neither, the teacher labels a first set of the unlabelled texts or, without any, writes one.

    `test` is opened once, at the end. `unlabelled` is the pool that texts are drawn from; of its rows only
    the text is read.
    """

    labelled: Source | None = None
    folds: int | None = Field(default=None, ge=2, le=20)
    seed: Source | None = None
    diagnose: Source | None = None
    gate: Source | None = None
    test: Source | None = None
    unlabelled: Source | None = None

    @field_validator("labelled", "seed", "diagnose", "gate", "test", "unlabelled", mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        separate = [name for name in ("seed", "diagnose", "gate") if getattr(self, name)]
        if self.labelled and separate:
            raise ValueError(
                f"`labelled` and `{separate[0]}` are two ways to give labelled rows: put all rows into"
                " `labelled`, or leave it out"
            )
        if separate and self.seed is None:
            raise ValueError(
                f"`{separate[0]}` goes with `seed`, which is missing: add it, or put all labelled rows into"
                " `labelled`"
            )
        if self.folds and self.seed:
            raise ValueError("`folds` divides `labelled` rows; leave it out beside `seed`")
        return self

    @property
    def folded(self) -> bool:
        """Whether labelled rows are divided into folds."""
        return self.seed is None


class StudentPart(Part):
    """How the student is trained: see student/training/configuration.py for the fields.

    `training` names a configuration of student/training/candidates.py; `auto` compares several on the user's
    own rows. A field that is set here overrides that of every configuration; None leaves it to them.
    """

    mode: Literal["full", "head"] = "full"
    base: str = EMBEDDED
    training: Literal["auto"] | Training = "auto"
    epochs: int | None = Field(default=None, ge=0)
    min_steps: int | None = Field(default=None, ge=0)
    batch: int = Field(default=Recipe.batch, ge=1)
    learning_rate: float | None = Field(default=None, gt=0)
    class_weights: ClassWeights | None = None
    pooling: Pooling | None = None
    probe_first: bool | None = None
    contrastive_steps: int | None = Field(default=None, ge=0, le=10_000)
    smoothing: float | None = Field(default=None, ge=0, lt=1)
    average: float | None = Field(default=None, ge=0, lt=1)
    max_tokens: int = Field(default=Recipe.max_tokens, ge=8, le=512)
    max_target: int | None = Field(default=None, ge=1, le=1024)
    beams: int | None = Field(default=None, ge=1, le=32)
    lora: int | None = Field(default=None, ge=1, le=512)
    device: str = "auto"

    @model_validator(mode="after")
    def _training_fits(self) -> Self:
        alone = self.training in ("probe", "contrastive")
        if self.epochs == 0 and not (alone or self.probe_first):
            raise ValueError("`epochs: 0` leaves a probe alone: set `training: probe`, or `probe_first`")
        if self.epochs and alone:
            raise ValueError(f"`training: {self.training}` has no epochs; leave `epochs` out, or `training`")
        if self.probe_first and self.pooling == "cls":
            raise ValueError("`probe_first` is on mean-pooled embeddings; leave `pooling: cls` out")
        return self

    def fixed(self) -> dict[str, Any]:
        """The fields that are set, as a `Recipe` has them."""
        return self.model_dump(exclude_none=True, exclude={"training"})


class ExpertPart(Part):
    """KSM's white-box teacher: any sequence classifier with the task's labels, by folder or hub name; another
    model is trained on the seeds first (see student/training/configuration.py).
    """

    base: str
    epochs: int = Field(default=Recipe.epochs, ge=1)
    batch: int = Field(default=Recipe.batch, ge=1)
    learning_rate: float | None = Field(default=None, gt=0)


class Model(Part):
    """See agents/providers/models.py: ModelSpec."""

    model: str = "rehearsal"
    base_url: str | None = None
    api_key_env: str | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1)
    timeout: float = Field(default=120.0, gt=0)
    structured: Structured | Literal["auto"] = "auto"
    logprobs: bool = True
    price_prompt: float | None = Field(default=None, ge=0)
    price_completion: float | None = Field(default=None, ge=0)
    prices: Path | None = None
    corpus: Path | None = None
    label_noise: float = Field(default=0.1, ge=0, le=1)
    typicality: float = Field(default=1.5, ge=0)
    faults: float = Field(default=0.0, ge=0, lt=1)

    @field_validator("model")
    @classmethod
    def _of_a_provider(cls, value: str) -> str:
        if value != "rehearsal" and not re.fullmatch(r"[^:]+:.+", value):
            raise ValueError("expected provider:name, e.g. openai:gpt-5-mini, or 'rehearsal'")
        return value

    @field_validator("api_key_env")
    @classmethod
    def _a_name(cls, value: str | None) -> str | None:
        name = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value or "_")
        if not name or redact(value or "") != (value or ""):
            raise ValueError(  # and never shown: it may be the key itself
                "expected the name of an environment variable, such as OPENAI_API_KEY; put the key there,"
                " not here"
            )
        return value

    @model_validator(mode="after")
    def _both_prices(self) -> Self:
        if (self.price_prompt is None) != (self.price_completion is None):
            raise ValueError("`price_prompt` and `price_completion` go together: give both, or neither")
        return self

    @field_validator("base_url")
    @classmethod
    def _no_secret(cls, value: str | None) -> str | None:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("an address begins with http:// or https://, and mostly ends with /v1")
        parts = urlsplit(value or "")
        if parts.username or parts.password or parts.query:
            raise ValueError(
                "an address with a user, a password or a query would be written into every run; name the"
                " variable that holds the key with `api_key_env`"
            )
        return value


class _RolePart(Part):
    @field_validator("base_url", mode="before", check_fields=False)
    @classmethod
    def _own_address(cls, value: Any) -> Any:
        return value or ""  # null, too, says: that of its provider, not the shared one


# What a role changes of the shared model: every field of Model, none needed.
RoleModel = create_model(
    "RoleModel",
    __base__=_RolePart,
    **{name: (field.annotation | None, None) for name, field in Model.model_fields.items()},  # type: ignore[call-overload, operator]
)


class RoleParts(Part):
    """One for each role that differs."""

    analyst: RoleModel | None = None  # type: ignore[valid-type]
    generator: RoleModel | None = None  # type: ignore[valid-type]
    labeler: RoleModel | None = None  # type: ignore[valid-type]
    critic: RoleModel | None = None  # type: ignore[valid-type]


class TeacherPart(Model):
    """The model of every role, what single roles change of it, and how it may be asked.

    See agents/endpoints/limits.py for `concurrency` to `poll`. `votes`: times a text is labelled where there
    are no log-probabilities. `calibrate`: of the user's own rows, so many are labelled first, to learn how
    often the teacher is right and how far its confidence can be trusted; 0 is none. `force`: a run goes on
    though the teacher is no better on them than the student. `batch`: through the provider's batch API, at
    half the price.
    """

    roles: RoleParts = RoleParts()
    concurrency: int = Field(default=8, ge=1)
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    patience: float = Field(default=120.0, gt=0)
    tries: int = Field(default=6, ge=1)
    poll: float = Field(default=30.0, gt=0)
    votes: int = Field(default=1, ge=1)
    calibrate: int = Field(default=100, ge=0)
    batch: bool = False
    force: bool = False


class BudgetPart(Part):
    """Where a run stops; everything counts the whole run, over all its resumes."""

    rounds: int = Field(default=3, ge=0)
    calls: int | None = Field(default=None, ge=0)
    tokens: int | None = Field(default=None, ge=0)
    money: float | None = Field(default=None, ge=0)
    minutes: float | None = Field(default=None, gt=0)
