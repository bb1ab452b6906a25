"""Push an exported folder to the model hub, without what is private: the task file and the samples."""

import warnings
from pathlib import Path

from tutelage.student.errors import InputError

_PRIVATE = ["task.yaml"]  # it names files, servers and prompts of the user's machine
_SAMPLES = ["dataset/*"]


def push_to_hub(folder: Path, name: str, *, public: bool = False, samples: bool = False) -> str:
    """Create a repository on the hub and upload a folder that `export_run` wrote; return its address.

    The token is that of huggingface_hub: the environment variable HF_TOKEN, or the one that a login stored.

    Args:
        folder: the exported folder. task.yaml is not uploaded.
        name: the name of a new repository: `user/name`, or `name` for the owner of the token.
        public: whether everyone can read it.
        samples: whether to upload the samples (`dataset/`) too.

    Raises:
        InputError: the name is invalid or exists, the token is missing or may not do this, or the hub cannot
            be reached or fails. The folder stays as it is.
    """
    from huggingface_hub import HfApi

    api, created = HfApi(), ""
    try:
        created = api.create_repo(name, private=not public).repo_id
        ignored = _PRIVATE + ([] if samples else _SAMPLES)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Parquet files beside a model
            api.upload_folder(
                repo_id=created,
                folder_path=folder,
                commit_message="Add a student distilled by tutelage",
                ignore_patterns=ignored,
            )
    except Exception as error:  # the client raises many types, also of its HTTP library
        left = f"; {created} was created and is incomplete" if created else ""
        raise InputError(
            f"{name!r} was not pushed: {_reason(error, name)}{left}; {folder} was written and stays."
            " To push it later, to a repository that does not exist yet:"
            f" hf upload NAME {folder} --private --exclude task.yaml --exclude 'dataset/*'"
        ) from error
    return f"{api.endpoint}/{created}"


def _reason(error: BaseException, name: str) -> str:
    """Return what went wrong and what to do, from an error or the one that caused it."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    inner: BaseException | None = error
    while inner and not isinstance(inner, HfHubHTTPError):
        inner = inner.__cause__
    if isinstance(inner, HfHubHTTPError):
        return _refusal(inner.response.status_code, inner)
    if isinstance(error, HFValidationError):
        return f"a repository has a name of the form user/name ({_first_line(error)})"
    if isinstance(error, OfflineModeIsEnabled):
        return "the offline mode is on; unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE"
    if type(error).__module__.startswith("httpx") or isinstance(error, ConnectionError):
        return f"the connection to the hub failed ({_first_line(error)}); check the network and HF_ENDPOINT"
    return _first_line(error)


def _refusal(status: int, error: BaseException) -> str:
    """Return what a status of the hub means."""
    if status == 401:
        return "the hub refuses the token (401); set HF_TOKEN, or log in with `hf auth login`"
    if status == 403:
        return "the token may not write there (403); take one with write access, or another name"
    if status == 409:
        return "a repository of this name exists (409); choose another name"
    if status >= 500:
        return f"the hub has failed ({status}); try again later"
    return f"the hub refused it ({status}): {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0].rstrip(".")
