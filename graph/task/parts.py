"""The sections of task.yaml as pydantic models. Each one validates its own fields."""

import re
import shlex
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, create_model, field_validator, model_validator
from tutelage.agents.providers.capabilities import Structured
from tutelage.agents.providers.redact import redact
from tutelage.graph.task.data_parts import Part
from tutelage.student.models.windows import Long
from tutelage.student.pretrained import EMBEDDED
from tutelage.student.training.candidates import Training
from tutelage.student.training.class_weights import ClassWeights
from tutelage.student.training.configuration import Pooling, TrainingConfig


class StudentPart(Part):
    """How the student is trained.

    A field that is set here overrides that field of every training configuration. A field that is left out
    keeps the value of the configuration. Which of them are compared depends on the task type.
    """

    mode: Literal["full", "head"] = "full"
    """`full` trains all weights; `head` a linear classifier on frozen embeddings, in seconds."""
    base: str = EMBEDDED
    """The pretrained model: `minilm`, a folder or a hub name. For `kind: seq2seq` the default is t5-small."""
    training: Literal["auto"] | Training = "auto"
    """The training configuration; `auto` compares several on your rows."""
    epochs: int | None = Field(default=None, ge=0)
    """Passes over the rows. 0 trains nothing but a linear probe."""
    min_steps: int | None = Field(default=None, ge=0)
    """The minimum number of training steps; the default depends on the task type."""
    batch: int = Field(default=TrainingConfig.batch, ge=1)
    """Rows per step."""
    learning_rate: float | None = Field(default=None, gt=0)
    """By default 3e-4 at MiniLM's width of 384; it falls with the square of larger widths."""
    class_weights: ClassWeights | None = None
    """How much more rare labels weigh in the loss: not at all, by the root of their rarity, or by it."""
    pooling: Pooling | None = None
    """`cls` takes the base's own classification head, `mean` a linear layer on mean-pooled states."""
    probe_first: bool | None = None
    """Whether a linear probe is fitted before all weights are trained."""
    contrastive_steps: int | None = Field(default=None, ge=0, le=10_000)
    """The number of contrastive steps before the probe."""
    smoothing: float | None = Field(default=None, ge=0, lt=1)
    """The share of a label's target that is spread over all labels."""
    average: float | None = Field(default=None, ge=0, lt=1)
    """The share of the last steps over which the weights are averaged; 0 keeps the last weights."""
    frozen_layers: int = Field(default=TrainingConfig.frozen_layers, ge=0)
    """The number of lower layers that are not trained, nor are the embeddings then; 0 trains everything."""
    layer_decay: float = Field(default=TrainingConfig.layer_decay, gt=0, le=1)
    """The factor by which the learning rate falls from a layer to the one below."""
    recompute: bool = TrainingConfig.recompute
    """Whether the states of the layers are computed again for the gradient, which needs less memory."""
    early_stopping: bool = TrainingConfig.early_stopping
    """Whether to hold out a fifth of the training rows and keep the weights with the lowest loss on them."""
    max_tokens: int = Field(default=TrainingConfig.max_tokens, ge=8, le=512)
    """The maximum length of a text in tokens."""
    long: Long = TrainingConfig.long
    """What is read of a longer text: its beginning (`cut`), or all of it in windows (`window`)."""
    max_target: int | None = Field(default=None, ge=1, le=1024)
    """The maximum number of tokens of an answer, for `kind: seq2seq`."""
    beams: int | None = Field(default=None, ge=1, le=32)
    """The number of beams with which an answer is searched, for `kind: seq2seq`."""
    lora: int | None = Field(default=None, ge=1, le=512)
    """The rank of the adapters of a causal base, for `kind: seq2seq`."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    processes: int | None = Field(default=None, ge=0, le=64)
    """In how many child processes the students of a round are trained side by side; 0 trains one after the
    other in the process of the run. By default, as many as torch has threads if the training is long enough
    for it to pay, and one for each GPU, whose memory is then free after the training."""
    launcher: str | None = None
    """The command that starts several processes to train a student together, each on a part of every batch,
    such as `torchrun --standalone --nproc-per-node 2` (docs/models.md). The students of a round are
    then trained one after the other. By default a student is trained by one process."""

    @model_validator(mode="after")
    def _training_fits(self) -> Self:
        probe_only = self.training in ("probe", "contrastive")
        if self.epochs == 0 and not (probe_only or self.probe_first):
            raise ValueError(
                "`epochs: 0` trains nothing but a linear probe: set `training: probe` or `probe_first: true`"
            )
        if self.epochs and probe_only:
            raise ValueError(f"`training: {self.training}` has no epochs; leave `epochs` or `training` out")
        if self.early_stopping and probe_only:
            raise ValueError(f"`training: {self.training}` has no steps to stop; leave `early_stopping` out")
        if self.probe_first and self.pooling == "cls":
            raise ValueError("`probe_first` needs mean-pooled embeddings; leave `pooling: cls` out")
        if self.launcher is not None and self.mode == "head":
            raise ValueError("`mode: head` is trained in seconds by one process; leave `launcher` out")
        if self.launcher is not None and self.processes is not None:
            raise ValueError("`launcher` starts the processes itself; leave `processes` or `launcher` out")
        if self.launcher is not None and ":" in self.device:
            raise ValueError(
                f"`launcher` gives each of its processes a device, and `device: {self.device}` is a single"
                " one: take auto, cuda or cpu, and limit the devices by CUDA_VISIBLE_DEVICES"
            )
        return self

    @field_validator("launcher")
    @classmethod
    def _is_a_command(cls, value: str | None) -> str | None:
        try:
            words = shlex.split(value or "")
        except ValueError as error:  # an open quotation
            raise ValueError(f"expected a command as in a shell: {error}") from None
        if value is not None and not words:
            raise ValueError("expected a command, such as torchrun --standalone --nproc-per-node 2")
        return value

    def fixed(self) -> dict[str, Any]:
        """Return the fields that are set, as keyword arguments of `TrainingConfig`."""
        return self.model_dump(exclude_none=True, exclude={"training", "processes", "launcher"})


class WhiteBoxPart(Part):
    """KSM's white-box teacher: any sequence classifier with the task's labels, by folder or hub name.

    A model without these labels is first trained on the seeds.
    """

    base: str
    """A sequence classifier: a folder or a hub name."""
    epochs: int = Field(default=TrainingConfig.epochs, ge=1)
    """Passes over the seeds, if the model has to be trained first."""
    batch: int = Field(default=TrainingConfig.batch, ge=1)
    """Rows per step of this training."""
    learning_rate: float | None = Field(default=None, gt=0)
    """The learning rate of this training; the default is that of the student."""


class Model(Part):
    """Which language model is called, and how."""

    model: str = "rehearsal"
    """`openai:<name>`, `hf:<hub name or folder>`, another `provider:name` of LangChain, or `rehearsal`."""
    base_url: str | None = None
    """The address of any server with the OpenAI protocol, such as http://localhost:8000/v1."""
    api_key_env: str | None = None
    """The name of the environment variable that holds the key, never the key itself. By default
    OPENAI_API_KEY, or none with `base_url`."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """The sampling temperature; by default none is sent, because some models refuse it."""
    max_tokens: int | None = Field(default=None, ge=1)
    """The maximum number of tokens of a reply; by default it is computed for each call."""
    timeout: float = Field(default=120.0, gt=0)
    """The seconds that one call may take."""
    structured: Structured | Literal["auto"] = "auto"
    """How replies in JSON are requested; `auto` takes the strictest way that the endpoint supports."""
    logprobs: bool = True
    """Whether the confidence of a label is taken from the probabilities of its tokens, if available."""
    price_prompt: float | None = Field(default=None, ge=0)
    """The price of a million prompt tokens; by default that of the shipped list."""
    price_completion: float | None = Field(default=None, ge=0)
    """The price of a million tokens of replies."""
    prices: Path | None = None
    """A price list of your own, in the form of agents/providers/prices.yaml."""
    corpus: Path | None = None
    """Rehearsal teacher: the labelled texts that it looks its answers up in."""
    label_noise: float = Field(default=0.1, ge=0, le=1)
    """Rehearsal teacher: the share of texts that it labels wrongly."""
    typicality: float = Field(default=1.5, ge=0)
    """Rehearsal teacher: how typical of their label the texts are that it writes."""
    faults: float = Field(default=0.0, ge=0, lt=1)
    """Rehearsal teacher: the share of its replies that fail."""

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
        check_address(
            value,
            looks="begins with http:// or https:// and usually ends with /v1",
            secret="name the environment variable that holds the key with `api_key_env`",
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
    """Overrides for the role that names weaknesses."""
    generator: RoleModel | None = None  # type: ignore[valid-type]
    """Overrides for the role that writes texts."""
    labeler: RoleModel | None = None  # type: ignore[valid-type]
    """Overrides for the role that labels texts."""
    critic: RoleModel | None = None  # type: ignore[valid-type]
    """Overrides for the role that judges disputed labels."""


class TeacherPart(Model):
    """The model that all roles share, the overrides of single roles, and the limits on calls."""

    roles: RoleParts = RoleParts()
    """Fields of this section that are different for a role: analyst, generator, labeler, critic."""
    concurrency: int = Field(default=8, ge=1)
    """The maximum number of calls in flight. It is lowered automatically after status 429."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """The maximum number of requests per minute."""
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """The maximum number of tokens per minute."""
    patience: float = Field(default=120.0, gt=0)
    """The seconds without any reply after which the run stops; it can be resumed."""
    tries: int = Field(default=6, ge=1)
    """The maximum number of tries of a call while other calls are answered."""
    poll: float = Field(default=30.0, gt=0)
    """The seconds between two status requests for a batch."""
    votes: int = Field(default=1, ge=1)
    """How often a text is labelled without log-probabilities; the share that agrees is the confidence."""
    calibrate: int = Field(default=100, ge=0)
    """How many of your rows are labelled first, to measure the teacher. 0 skips this."""
    batch: bool = False
    """Whether requests go through the provider's batch API, at half the price."""
    force: bool = False
    """Whether a run goes on with a teacher that is no better on your rows than the student."""


class BudgetPart(Part):
    """The limits at which a run stops. Each counts the whole run, including all resumes."""

    rounds: int = Field(default=3, ge=0)
    """The number of rounds."""
    calls: int | None = Field(default=None, ge=0)
    """The maximum number of calls to the teacher."""
    tokens: int | None = Field(default=None, ge=0)
    """The maximum number of tokens, of prompts and replies together."""
    money: float | None = Field(default=None, ge=0)
    """The maximum cost, in the currency of the prices (US dollars for the shipped ones)."""
    minutes: float | None = Field(default=None, gt=0)
    """The maximum number of minutes."""


def check_address(value: str | None, *, looks: str, secret: str) -> None:
    """Raise ValueError for an address that is none or holds a secret.

    Args:
        value: the address, or nothing.
        looks: what a right one looks like, for the error message.
        secret: where a secret goes instead.
    """
    if value and not value.startswith(("http://", "https://")):
        raise ValueError(f"an address {looks}")
    parts = urlsplit(value or "")
    try:
        parts.port  # noqa: B018
    except ValueError as error:
        raise ValueError(f"an address {looks}; of this one the port is wrong: {error}") from None
    if parts.username or parts.password or parts.query:
        raise ValueError(
            "an address with a user, a password or a query would be written into every run folder;"
            f" {secret} instead"
        )


def role_overrides(shared: dict[str, Any], role: dict[str, Any]) -> dict[str, Any]:
    """Return a role's overrides. With another provider it does not inherit the shared address and key."""
    provider = str(role.get("model", shared["model"])).partition(":")[0]
    if provider == str(shared["model"]).partition(":")[0]:
        return role
    return {"base_url": None, "api_key_env": None, **role}
