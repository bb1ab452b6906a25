"""task.yaml: what a user writes, checked field by field."""

import re
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)
from tutelage.agents.analyst import Brief
from tutelage.agents.budget import Budget
from tutelage.agents.capabilities import Structured
from tutelage.agents.limits import Limits
from tutelage.agents.models import ModelSpec
from tutelage.agents.redact import redact
from tutelage.graph.strategies import STRATEGIES, Strategy
from tutelage.graph.variants import varied
from tutelage.prompts import ROLES, render
from tutelage.student.encoder import EMBEDDED
from tutelage.student.errors import InputError
from tutelage.student.exam import Metric
from tutelage.student.fields import ONE, PAIR, RESERVED, Kind
from tutelage.student.training import Recipe


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Part):
    """Where rows come from: a file, or a `datasets` hub name with its split.

    `text` is the column of the text, or the two of a pair; by default as the task calls its `fields`.
    `per_label` draws that many rows of each label, at random by the run's seed, never one that another set
    already holds.
    """

    path: Path | None = None
    hub: str | None = None
    split: str = "train"
    text: tuple[str, ...] | None = None
    label: str = "label"
    per_label: int | None = Field(default=None, ge=1)

    @field_validator("text", mode="before")
    @classmethod
    def _column_alone(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("give either `path` or `hub`")
        return self


class Data(_Part):
    """The sets of a task. Agents read seed and diagnose; gate and test are sealed from them.

    `unlabelled` is the pool that strategies with `source: pool` draw from; of its rows only the text is read.
    """

    seed: Source
    diagnose: Source | None = None
    gate: Source | None = None
    test: Source | None = None
    unlabelled: Source | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class StudentPart(_Part):
    """See student/training.py: Recipe."""

    mode: Literal["full", "head"] = "full"
    base: str = EMBEDDED
    epochs: int = Field(default=Recipe.epochs, ge=1)
    batch: int = Field(default=Recipe.batch, ge=1)
    learning_rate: float | None = Field(default=None, gt=0)
    max_tokens: int = Field(default=Recipe.max_tokens, ge=8, le=512)
    device: str = "auto"


class ExpertPart(_Part):
    """KSM's white-box teacher: any sequence classifier with the task's labels, by folder or hub name; another
    model is trained on the seeds first (see student/training.py: Recipe).
    """

    base: str
    epochs: int = Field(default=Recipe.epochs, ge=1)
    batch: int = Field(default=Recipe.batch, ge=1)
    learning_rate: float | None = Field(default=None, gt=0)


class Model(_Part):
    """See agents/models.py: ModelSpec."""

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


class _RolePart(_Part):
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


class RoleParts(_Part):
    """One for each role that differs."""

    analyst: RoleModel | None = None  # type: ignore[valid-type]
    generator: RoleModel | None = None  # type: ignore[valid-type]
    labeler: RoleModel | None = None  # type: ignore[valid-type]
    critic: RoleModel | None = None  # type: ignore[valid-type]


class TeacherPart(Model):
    """The model of every role, what single roles change of it, and how it may be asked.

    See agents/limits.py for `concurrency` to `poll`. `votes`: times a text is labelled where there
    are no log-probabilities. `calibrate`: diagnose texts the labeler labels first, to learn how far its
    confidence can be trusted; 0 is none. `batch`: through the provider's batch API, at half the price.
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


class BudgetPart(_Part):
    """Where a run stops; everything counts the whole run, over all its resumes."""

    rounds: int = Field(default=3, ge=0)
    calls: int | None = Field(default=None, ge=0)
    tokens: int | None = Field(default=None, ge=0)
    money: float | None = Field(default=None, ge=0)
    minutes: float | None = Field(default=None, gt=0)


class Task(_Part):
    """A whole task.yaml; paths in it are made absolute by `load_task`."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9._-]+$")
    kind: Kind = "classification"
    instruction: str = Field(min_length=1)
    fields: tuple[str, ...] = ONE
    labels: dict[str, str]
    data: Data
    student: StudentPart = StudentPart()
    expert: ExpertPart | None = None
    encoder: str = EMBEDDED
    teacher: TeacherPart = TeacherPart()
    strategy: str | dict[str, Any] = "auto"
    budget: BudgetPart = BudgetPart()
    metric: Metric = "macro_f1"
    duplicate_above: float = Field(default=0.92, gt=0, le=1)
    prompts: Path | None = None
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _fields_of_kind(cls, raw: Any) -> Any:
        pairs = isinstance(raw, dict) and raw.get("kind") == "pairs"
        return {"fields": PAIR, **raw} if pairs else raw

    @field_validator("fields")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [name for name in value if not name.isidentifier() or name in RESERVED]:
            raise ValueError(
                f"{wrong[0]!r} cannot name a text: letters, digits and _, and none of {', '.join(RESERVED)}"
            )
        return value

    @field_validator("labels", mode="before")
    @classmethod
    def _described(cls, value: Any) -> Any:
        if isinstance(value, list):
            value = {str(label): "" for label in value}
        if isinstance(value, dict):
            if any(isinstance(label, bool) for label in value):
                raise ValueError("YAML reads yes, no, on and off as truth values: put such labels in quotes")
            value = {str(label): str(text or "") for label, text in value.items()}
            if len(value) < 2:
                raise ValueError(f"{len(value)} label given, a classifier needs at least two")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        expected = 2 if self.kind == "pairs" else 1
        if len(set(self.fields)) != expected or (expected == 1 and self.fields != ONE):
            raise ValueError(
                "`fields` names the two texts of a pair, such as [premise, hypothesis], and is for"
                " `kind: pairs` alone; where only a column is called otherwise, set `text` of the source"
            )
        for name in type(self.data).model_fields:
            columns = getattr(getattr(self.data, name), "text", None)
            if columns and len(columns) != expected:
                raise ValueError(f"`data.{name}.text` names {len(columns)} columns, expected {expected}")
        strategy = self.resolved_strategy()
        if strategy.source == "pool" and self.data.unlabelled is None:
            raise ValueError(
                f"strategy {strategy.name!r} draws from texts of your own: set `data.unlabelled` to a file of"
                " them (only its text is read), or take a strategy that has texts written, such as auto"
            )
        if strategy.objective.knowledge and (self.student.mode == "head" or strategy.carry):
            raise ValueError(
                f"strategy {strategy.name!r} distils a teacher's layers into a fresh student: set"
                " `student.mode` to full and leave the strategy's `carry` false"
            )
        if problem := _unused(strategy):
            raise ValueError(problem)
        if self.expert and not strategy.objective.knowledge:
            raise ValueError(
                f"`expert` is for strategy ksm, and strategy {strategy.name!r} has none; leave it out"
            )
        if self.data.unlabelled and self.data.unlabelled.per_label:
            raise ValueError("`data.unlabelled` has no labels to draw by; leave `per_label` out")
        specs = self.model_specs().values()
        if any(spec.model == "rehearsal" and spec.corpus is None for spec in specs):
            raise ValueError(
                "the rehearsal teacher answers from labelled texts: set `teacher.corpus` to a file of them,"
                " or `teacher.model` to a language model such as openai:gpt-5-mini"
            )
        if self.teacher.batch and not any(spec.speaks_openai for spec in specs):
            raise ValueError("`teacher.batch` is the OpenAI Batch API, and no role asks an `openai:` model")
        unpriced = [spec.place for spec in specs if spec.price() is None]
        if self.budget.money is not None and unpriced:
            raise ValueError(
                f"`budget.money` needs prices, and that of {unpriced[0]} is unknown: set `price_prompt` and"
                " `price_completion` (per million tokens), or `prices`, under `teacher`"
            )
        return self

    def resolved_strategy(self) -> Strategy:
        """The strategy with the user's overrides; `strategy: {base: evokd, samples: 24}` changes fields."""
        given = {"base": self.strategy} if isinstance(self.strategy, str) else dict(self.strategy)
        base = str(given.pop("base", "auto"))
        if base not in STRATEGIES:
            raise ValueError(f"strategy {base!r} is none of {', '.join(STRATEGIES)}{_near(base, STRATEGIES)}")
        return varied(STRATEGIES[base], given)

    def model_specs(self) -> dict[str, ModelSpec]:
        """Role -> model."""
        shared = {name: getattr(self.teacher, name) for name in Model.model_fields}
        roles = self.teacher.roles.model_dump(exclude_none=True)
        specs = {role: ModelSpec(**{**shared, **_moved(shared, roles.get(role, {}))}) for role in ROLES}
        return {role: replace(spec, base_url=spec.base_url or None) for role, spec in specs.items()}

    def recipe(self) -> Recipe:
        """How the student is trained."""
        return Recipe(**self.student.model_dump(), fields=self.fields)

    def expert_recipe(self) -> Recipe | None:
        """How the white-box teacher is trained, if it has to be; None without one."""
        if self.expert is None:
            return None
        part = self.student
        own = self.expert.model_dump()
        return Recipe(**own, max_tokens=part.max_tokens, device=part.device, fields=self.fields)

    def spending(self) -> Budget:
        """What the teacher's door refuses beyond."""
        return Budget(**self.budget.model_dump(exclude={"rounds"}))

    def limits(self) -> Limits:
        """How the teacher's endpoints may be asked."""
        return Limits(**{name: getattr(self.teacher, name) for name in Limits.__dataclass_fields__})

    def brief(self) -> Brief:
        """What agents are told of the task."""
        told = Brief(task=self.instruction, labels=dict(self.labels))
        return told if len(self.fields) == 1 else {**told, "fields": list(self.fields)}


def _unused(strategy: Strategy) -> str:
    """What of a strategy's objective would do nothing, in words; "" if all of it does something."""
    objective = strategy.objective
    chosen = "`objective.thresholds`" if objective.thresholds else "`objective.target: soft`"
    if objective.thresholds is None and objective.target == "hard":
        return f"{_OWN_LOSSES} `objective.loss`" if objective.knowledge and objective.loss != "ce" else ""
    if objective.knowledge:
        return f"{_OWN_LOSSES} {chosen}"
    if strategy.source == "generate" and not strategy.label_apart:
        return (
            f"{chosen} needs the teacher's confidence, and labels that texts are written for have none: set"
            " `label_apart: true`, or leave it out"
        )
    return ""


_OWN_LOSSES = "`objective.knowledge` brings losses of its own; leave out"


def _moved(shared: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A role's fields; where it asks another provider, the shared address and key are not that one's."""
    provider = str(own.get("model", shared["model"])).partition(":")[0]
    if provider == str(shared["model"]).partition(":")[0]:
        return own
    return {"base_url": None, "api_key_env": None, **own}


def load_task(path: Path | str) -> Task:
    """Read and check a task.yaml.

    Raises:
        InputError: one line: the field, what was wrong with it, what was got, what to do.
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; `tutelage init` writes one to start from") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise InputError(f"{path} holds {type(raw).__name__}, expected fields such as `name:` and `labels:`")
    return parse_task(raw, str(path), path.parent.resolve())


def parse_task(raw: dict[str, Any], where: str, folder: Path) -> Task:
    """Check the fields of a task; relative paths are taken from `folder`.

    Raises:
        InputError: as `load_task`.
    """
    try:
        task = Task.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{where}: {_told(error)}") from None
    made = Task.model_validate(_absolute(task.model_dump(exclude_none=True), folder))
    if made.prompts and not made.prompts.is_dir():
        raise InputError(f"{where}: `prompts`: {made.prompts} is no folder")
    for role in ROLES:
        try:
            render(role, {}, made.prompts)
        except (ValueError, OSError) as error:
            raise InputError(f"{where}: `prompts`: {error}") from error
    return made


def override(
    task: Task,
    *,
    strategy: str | None = None,
    seed: int | None = None,
    rounds: int | None = None,
    batch: bool | None = None,
) -> Task:
    """The task with what the command line says instead; a strategy keeps the task's own overrides.

    Raises:
        InputError: the strategy is unknown.
    """
    raw = task.model_dump(exclude_none=True)
    if strategy is not None:
        own = raw["strategy"] if isinstance(raw["strategy"], dict) else {}
        raw["strategy"] = {**own, "base": strategy}
    if seed is not None:
        raw["seed"] = seed
    if rounds is not None:
        raw["budget"]["rounds"] = rounds
    if batch is not None:
        raw["teacher"]["batch"] = batch
    return parse_task(raw, "command line", Path())


def _absolute(value: Any, folder: Path) -> Any:
    if isinstance(value, Path):
        return folder / value.expanduser()
    if isinstance(value, dict):
        # A model is a name of the hub, unless a folder of that name is there.
        return {
            key: str(folder / part)
            if key in ("base", "encoder") and isinstance(part, str) and (folder / part).is_dir()
            else _absolute(part, folder)
            for key, part in value.items()
        }
    return value


def _told(error: ValidationError) -> str:
    """The first problem, as one sentence with the nearest field where one is unknown."""
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        fields = _fields_at(problem["loc"][:-1])
        name = str(problem["loc"][-1])
        return f"unknown field `{place}`{_near(name, fields)} (known here: {', '.join(fields)})"
    if problem["type"] == "missing":
        return f"the field `{place}` is missing; `tutelage init` writes an example with every field"
    message = problem["msg"].removeprefix("Value error, ")
    got = problem["input"]
    shown = "" if problem["type"] == "value_error" else f", got {str(got)[:60]!r}"
    return f"{f'`{place}`: ' if place else ''}{message}{shown}"


def _fields_at(place: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Task
    for part in place:
        hint = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        inner = [kind for kind in (hint, *get_args(hint)) if isinstance(kind, type)]
        model = next((kind for kind in inner if issubclass(kind, BaseModel)), model)
    return list(model.model_fields)


def _near(name: str, known: Any) -> str:
    match = get_close_matches(name, list(known), 1, 0.5)
    return f"; did you mean {match[0]!r}?" if match else ""
