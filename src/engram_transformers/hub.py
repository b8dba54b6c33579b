"""Tables and banks on the Hugging Face Hub."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import huggingface_hub
from huggingface_hub import errors as hub_errors

from engram_transformers.errors import HubError
from engram_transformers.files import FILE_NAMES, save_table

if TYPE_CHECKING:
    from engram_transformers.table import UserTable

_LIBRARY = "engram-transformers"
_LOG_IN = "Log in with `hf auth login`, or give a token that may do this."


def fetch_table(repo_id: str, revision: str | None) -> Path:
    """Download a table's files; see `fetch`."""
    return fetch(repo_id, revision, FILE_NAMES)


def fetch(
    repo_id: str, revision: str | None, names: Sequence[str], *, token: str | None = None
) -> Path:
    """Download files, or find them in the Hub's local cache.

    Args:
        repo_id: "name/repository".
        revision: A branch, tag or commit; None means the newest.
        names: Of the files; `*` stands for anything.
        token: Of the Hub account; None uses the one that is logged in.

    Returns:
        A folder; nothing in it has been checked yet.

    Raises:
        HubError: If there is no such repository, no access to it, or no way to the Hub.
    """
    with _named_errors(repo_id, "loaded from"):
        folder = huggingface_hub.snapshot_download(
            repo_id,
            revision=revision,
            allow_patterns=list(names),
            library_name=_LIBRARY,
            token=token,
        )
    return Path(folder)


def push_table(
    table: UserTable, repo_id: str, *, private: bool, store_text: bool, token: str | None
) -> str:
    """Upload a table; see `UserTable.push_to_hub`."""
    return push_folder(
        lambda folder: save_table(table, folder, store_text=store_text),
        repo_id,
        private=private,
        token=token,
        message=f"Table version {table.version}",
    )


def push_folder(
    save: Callable[[Path], object],
    repo_id: str,
    *,
    private: bool,
    token: str | None,
    message: str,
    replaced: str | None = None,
) -> str:
    """Upload what is saved to a folder.

    It is saved first, so that nothing is made on the Hub if it can't be.

    Args:
        save: Writes the files to a folder.
        repo_id: "name/repository"; made if it does not exist.
        private: Make a new repository private, and refuse one that exists and is public.
        token: Of the Hub account; None uses the one that is logged in.
        message: Of the commit.
        replaced: Which of the repository's files go, unless they are uploaded again.

    Returns:
        The commit's address.

    Raises:
        HubError: If the Hub refuses or can't be reached, or the repository is public. Whatever
            `save` raises is passed on.
    """
    given = {} if replaced is None else {"delete_patterns": replaced}
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder))
        with _named_errors(repo_id, "pushed to"):
            api: Any = huggingface_hub.HfApi(token=token, library_name=_LIBRARY)
            repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            # exist_ok leaves a repository that exists as public as it is.
            if private and not api.repo_info(repo_id).private:
                raise HubError(
                    repo_id,
                    "pushed to",
                    "the repository exists and is public.",
                    "Nothing was uploaded. Make it private, or say private=False.",
                )
            commit = api.upload_folder(
                repo_id=repo_id, folder_path=folder, commit_message=message, **given
            )
    return str(commit.commit_url)


@contextmanager
def _named_errors(repo_id: str, action: str) -> Generator[None, None, None]:
    """Turn what the Hub's client raises into a `HubError`."""
    try:
        yield
    except HubError:
        raise
    except Exception as error:  # also the HTTP client's classes, which change between versions
        reason, advice = _explain(error)
        raise HubError(repo_id, action, reason, advice) from error


def _explain(error: Exception) -> tuple[str, str]:
    """Return what happened and what to do, one sentence each."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, hub_errors.HFValidationError):
        return (
            "there is no such folder here, and the name is not one of a repository.",
            'Give an existing folder, or a repository as "name/repository".',
        )
    if isinstance(error, hub_errors.GatedRepoError) or status == 403:
        return "access to it was refused.", _LOG_IN
    if isinstance(error, hub_errors.RevisionNotFoundError):
        return "it has no such revision.", "Give a branch, a tag or a commit that exists."
    if isinstance(error, hub_errors.RepositoryNotFoundError):
        return (
            "there is no such repository (and no such folder here), or it is private and not"
            " yours to see.",
            f"Check the spelling. {_LOG_IN}",
        )
    if isinstance(error, hub_errors.LocalTokenNotFoundError) or status == 401:
        return "nobody is logged in, or the token is not valid.", _LOG_IN
    if isinstance(error, (hub_errors.LocalEntryNotFoundError, ConnectionError, TimeoutError)):
        return (
            f"it can't be reached ({_one_line(error)}).",
            "Check the connection. A folder that was saved before can be loaded without.",
        )
    return f"it gave no usable answer ({_one_line(error)}).", "Check the connection and try again."


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
