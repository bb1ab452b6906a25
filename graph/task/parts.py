"""The sections of task.yaml as pydantic models. Each one validates its own fields."""

import re
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, create_model, field_validator, model_validator
from tutelage.agents.providers.capabilities import Structured
from tutelage.agents.providers.redact import redact
from tutelage.student.data.readers import value_name
from tutelage.student.models.windows import Long
from tutelage.student.pretrained import EMBEDDED
from tutelage.student.training.candidates import Training
from tutelage.student.training.class_weights import ClassWeights
from tutelage.student.training.configuration import Pooling, TrainingConfig


class Part(BaseModel):
    """Base of the sections: unknown fields are errors, and instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(Part):
    """Where the rows of a set come from: a file or data set folder (`path`), or a `datasets` hub name (`hub`)
    with its `config` and `revision`. `split` is the split of a hub name or of a folder that has several.
    `encoding` is that of a text file that is not UTF-8.

    `text` names the column of the text, or the two columns of a pair. The default is the task's `fields`.
    `label` names the column of the label. The default depends on the task type. `label_names` says which
    labels its values mean, as a mapping, or as a list for the numbers from 0. `rationale` names the column of
    the label's reason. `per_label` draws a random sample of that many rows for each label, `rows` one of
    that many rows in all. The run's seed decides the sample, and rows of other sets are left out of it.
    """

    path: Path | None = None
    hub: str | None = None
    config: str | None = None
    revision: str | None = None
    split: str = "train"
    encoding: str | None = None
    text: tuple[str, ...] | None = None
    label: str | None = None
    label_names: dict[str, str] = Field(default_factory=dict)
    rationale: str | None = None
    per_label: int | None = Field(default=None, ge=1)
    rows: int | None = Field(default=None, ge=1)

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
    folds: int | None = Field(default=None, ge=2, le=20)
    seed: Source | None = None
    diagnose: Source | None = None
    gate: Source | None = None
    test: Source | None = None
    unlabelled: Source | None = None

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


class StudentPart(Part):
    """How the student is trained. See student/training/configuration.py for the fields.

    `training` names a training configuration of student/training/candidates.py; `auto` compares several on
    the user's own rows. A field that is set here overrides that field of every training configuration; None
    keeps the configuration's value.
    """

    mode: Literal["full", "head"] = "full"
    base: str = EMBEDDED
    training: Literal["auto"] | Training = "auto"
    epochs: int | None = Field(default=None, ge=0)
    min_steps: int | None = Field(default=None, ge=0)
    batch: int = Field(default=TrainingConfig.batch, ge=1)
    learning_rate: float | None = Field(default=None, gt=0)
    class_weights: ClassWeights | None = None
    pooling: Pooling | None = None
    probe_first: bool | None = None
    contrastive_steps: int | None = Field(default=None, ge=0, le=10_000)
    smoothing: float | None = Field(default=None, ge=0, lt=1)
    average: float | None = Field(default=None, ge=0, lt=1)
    max_tokens: int = Field(default=TrainingConfig.max_tokens, ge=8, le=512)
    long: Long = TrainingConfig.long
    max_target: int | None = Field(default=None, ge=1, le=1024)
    beams: int | None = Field(default=None, ge=1, le=32)
    lora: int | None = Field(default=None, ge=1, le=512)
    device: str = "auto"

    @model_validator(mode="after")
    def _training_fits(self) -> Self:
        probe_only = self.training in ("probe", "contrastive")
        if self.epochs == 0 and not (probe_only or self.probe_first):
            raise ValueError(
                "`epochs: 0` trains nothing but a linear probe: set `training: probe` or `probe_first: true`"
            )
        if self.epochs and probe_only:
            raise ValueError(f"`training: {self.training}` has no epochs; leave `epochs` or `training` out")
        if self.probe_first and self.pooling == "cls":
            raise ValueError("`probe_first` needs mean-pooled embeddings; leave `pooling: cls` out")
        return self

    def fixed(self) -> dict[str, Any]:
        """Return the fields that are set, as keyword arguments of `TrainingConfig`."""
        return self.model_dump(exclude_none=True, exclude={"training"})


class WhiteBoxPart(Part):
    """KSM's white-box teacher: any sequence classifier with the task's labels, by folder or hub name.

    A model without these labels is first trained on the seeds (see student/training/configuration.py).
    """

    base: str
    epochs: int = Field(default=TrainingConfig.epochs, ge=1)
    batch: int = Field(default=TrainingConfig.batch, ge=1)
    learning_rate: float | None = Field(default=None, gt=0)


class Model(Part):
    """Which language model is called, and how; see `ModelSpec` in agents/providers/models.py."""

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
    def _has_provider(cls, value: str) -> str:
        if value != "rehearsal" and not re.fullmatch(r"[^:]+:.+", value):
            raise ValueError("expected provider:name, e.g. openai:gpt-5-mini, or 'rehearsal'")
        return value

    @field_validator("api_key_env")
    @classmethod
    def _variable_name(cls, value: str | None) -> str | None:
        name = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value or "_")
        if not name or redact(value or "") != (value or ""):
            raise ValueError(  # without the value: it may be the key itself
                "expected the name of an environment variable, such as OPENAI_API_KEY; put the key into that"
                " variable, not into this file"
            )
        return value

    @model_validator(mode="after")
    def _both_prices(self) -> Self:
        if (self.price_prompt is None) != (self.price_completion is None):
            raise ValueError("`price_prompt` and `price_completion` go together: give both or neither")
        return self

    @field_validator("base_url")
    @classmethod
    def _no_secret(cls, value: str | None) -> str | None:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("an address begins with http:// or https:// and usually ends with /v1")
        parts = urlsplit(value or "")
        if parts.username or parts.password or parts.query:
            raise ValueError(
                "an address with a user, a password or a query would be written into every run folder; name"
                " the environment variable that holds the key with `api_key_env` instead"
            )
        return value


class _RolePart(Part):
    @field_validator("base_url", mode="before", check_fields=False)
    @classmethod
    def _explicit_null(cls, value: Any) -> Any:
        return value or ""  # null means the provider's own address, not the shared one


# What one role overrides of the shared model: every field of Model, all optional.
RoleModel = create_model(
    "RoleModel",
    __base__=_RolePart,
    **{name: (field.annotation | None, None) for name, field in Model.model_fields.items()},  # type: ignore[call-overload, operator]
)


class RoleParts(Part):
    """The overrides of each role that does not use the shared model as it is."""

    analyst: RoleModel | None = None  # type: ignore[valid-type]
    generator: RoleModel | None = None  # type: ignore[valid-type]
    labeler: RoleModel | None = None  # type: ignore[valid-type]
    critic: RoleModel | None = None  # type: ignore[valid-type]


class TeacherPart(Model):
    """The model that all roles share, the overrides of single roles, and the limits on calls.

    See agents/endpoints/limits.py for `concurrency` to `poll`. `votes` is how often a text is labelled where
    there are no log-probabilities. `calibrate` is how many of the user's own rows are labelled first, to
    measure the teacher's accuracy and to calibrate its confidence; 0 skips this. With `force` a run continues
    even if the teacher is no better on these rows than the student. `batch` sends requests through the
    provider's batch API, at half the price.
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
    """The limits at which a run stops. Each counts the whole run, including all resumes."""

    rounds: int = Field(default=3, ge=0)
    calls: int | None = Field(default=None, ge=0)
    tokens: int | None = Field(default=None, ge=0)
    money: float | None = Field(default=None, ge=0)
    minutes: float | None = Field(default=None, gt=0)
