"""Chat models and encoders that a user gives as objects, and the names that stand for them in a task."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tutelage.agents.providers.models import OBJECT
from tutelage.prompts import ROLES
from tutelage.student.encoder import Encoder, GivenEncoder
from tutelage.student.errors import InputError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    Teacher = BaseChatModel | Mapping[str, BaseChatModel]


def models_by_name(teacher: "Teacher | None") -> dict[str, "BaseChatModel"]:
    """Return the model objects by the names that stand for them in the task.

    Args:
        teacher: one chat model for all roles, or models by role.

    Raises:
        InputError: a role is unknown, or something else than a chat model was given.
    """
    if teacher is None:
        return {}
    by_role = teacher if isinstance(teacher, Mapping) else {"": teacher}
    named: dict[str, Any] = {}
    for role, model in by_role.items():
        if role and role not in ROLES:
            raise InputError(f"`teacher`: unknown role {role!r}; the roles are {', '.join(ROLES)}")
        if not callable(getattr(model, "ainvoke", None)):
            raise InputError(
                f"`teacher`: got {type(model).__name__}, expected a LangChain chat model or models by role; a"
                " name such as openai:gpt-5-mini goes into the task, as `teacher: {model: ...}`"
            )
        known = getattr(model, "model_name", None) or getattr(model, "model", None) or type(model).__name__
        named[f"{OBJECT}{role or 'all'}:{known}"] = model
    return named


def with_models(teacher: Mapping[str, Any], models: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `teacher` with the model objects in place of the models that they replace."""
    roles = {role: dict(part) for role, part in (teacher.get("roles") or {}).items() if part}
    by_role = {name.removeprefix(OBJECT).split(":")[0]: name for name in models}
    if name := by_role.pop("all", None):
        kept = {role: _without_model(part) for role, part in roles.items()}
        roles = {role: part for role, part in kept.items() if part}
        return {**_without_model(teacher), "model": name, "roles": roles}
    for role, name in by_role.items():
        roles[role] = {**_without_model(roles.get(role, {})), "model": name, "base_url": None}
    return {**teacher, "roles": roles}


def _without_model(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields without a named model, its address and its prices. Prices without a model are those
    of the object.
    """
    named = fields.get("model", "rehearsal") != "rehearsal"
    gone = ("model", "base_url", "api_key_env", *(("price_prompt", "price_completion") if named else ()))
    return {name: value for name, value in fields.items() if name not in gone}


def given_encoder(encoder: Any) -> Encoder | GivenEncoder | None:
    """Return an encoder for any object that has a method `encode`.

    Raises:
        InputError: the object has none.
    """
    if encoder is None or isinstance(encoder, Encoder):
        return encoder
    if not callable(getattr(encoder, "encode", None)):
        raise InputError(f"`encoder`: {type(encoder).__name__} has no method `encode(list of str)`")
    return GivenEncoder(encoder)
