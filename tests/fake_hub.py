"""The Hub's client, faked over a local folder."""

from __future__ import annotations

import fnmatch
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
from huggingface_hub import errors as hub_errors


def http_error(kind, status: int):
    response = SimpleNamespace(status_code=status, headers={}, request=None)
    return kind("the server's words", response=response)


class FakeHub:
    """Repositories in a folder, with the parts of the client's behaviour that matter here.

    Like the real client, `create_repo` leaves a repository that exists as it is, and adds the
    account's name to one without.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.private: dict[str, bool] = {}
        self.tokens: list[str | None] = []
        self.error: Exception | None = None

    def api(self, *, token=None, **_):
        self.tokens.append(token)
        return self

    def create_repo(self, repo_id, *, private=None, exist_ok=False):
        self.fail()
        repo_id = repo_id if "/" in repo_id else f"somebody/{repo_id}"
        if repo_id in self.private and not exist_ok:
            raise http_error(hub_errors.HfHubHTTPError, 409)
        self.private.setdefault(repo_id, bool(private))
        return SimpleNamespace(repo_id=repo_id)

    def repo_info(self, repo_id):
        return SimpleNamespace(private=self.private[repo_id])

    def upload_folder(self, *, repo_id, folder_path, commit_message, delete_patterns=None):
        uploaded = {path.name for path in Path(folder_path).iterdir()}
        for name in self.files(repo_id) - uploaded:
            if delete_patterns and fnmatch.fnmatch(name, delete_patterns):
                (self.folder / repo_id / name).unlink()
        shutil.copytree(folder_path, self.folder / repo_id, dirs_exist_ok=True)
        return SimpleNamespace(commit_url=f"https://hub.invalid/{repo_id}/commit/1")

    def snapshot_download(self, repo_id, *, revision=None, allow_patterns, token=None, **_):
        self.tokens.append(token)
        huggingface_hub.utils.validate_repo_id(repo_id)
        self.fail()
        if repo_id not in self.private:
            raise http_error(hub_errors.RepositoryNotFoundError, 404)
        if revision not in (None, "main"):
            raise http_error(hub_errors.RevisionNotFoundError, 404)
        snapshot = self.folder / "cache" / repo_id
        shutil.rmtree(snapshot, ignore_errors=True)
        snapshot.mkdir(parents=True)
        for path in (self.folder / repo_id).glob("*"):
            if any(fnmatch.fnmatch(path.name, pattern) for pattern in allow_patterns):
                shutil.copy(path, snapshot)
        return str(snapshot)

    def fail(self):
        if self.error is not None:
            raise self.error

    def files(self, repo_id) -> set[str]:
        return {path.name for path in (self.folder / repo_id).glob("*")}
