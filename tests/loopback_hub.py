"""A Hugging Face Hub on 127.0.0.1, for tests: real HTTP, real commits, all in memory.

    with LoopbackHub() as hub:
        subprocess.run([sys.executable, "publish.py", "org/name"], env=hub.environment(tmp_path), check=True)
        assert "config.json" in hub.files("org/name")

`HF_ENDPOINT` is read when `huggingface_hub` is imported, so clients run in subprocesses. Good to know:

- A client that has `hf_xet` sends every file the Hub calls "lfs" to Xet storage, and no answer of a server can stop it.
  `environment()` sets `HF_HUB_DISABLE_XET=1`; to push with Xet left on, use `LoopbackHub(lfs=False)`. Downloads need
  neither, because a client turns to Xet only when it sees an `X-Xet-Hash` header.
- `huggingface_hub` repeats preupload, LFS and tree requests 5 times (after 1, 2, 4, 8 and 8 s) on 408, 429 and 5xx.
  It never repeats `create_repo`, nor the commit of `create_commit` and of `upload_folder` without Xet.
- A 401 raises a plain `HfHubHTTPError` here. From the real Hub it becomes `RepositoryNotFoundError`, because the client
  matches only `https://` addresses.
- Like the real one, a new repo starts with a commit that holds `.gitattributes`.

Not spoken: Xet, pull requests, multi-part LFS, `.gitignore` rules, README validation.
"""

import base64
import hashlib
import hmac
import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

GIT_ATTRIBUTES = "".join(f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in ("bin", "pt", "safetensors"))
MAX_REGULAR_BYTES = 10 * 1024**2
LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n"
DATE = "2026-01-01T00:00:00.000Z"


@dataclass(frozen=True)
class Blob:
    """One file of a commit."""

    content: bytes
    is_lfs: bool = False

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def git_oid(self) -> str:
        stored = LFS_POINTER.format(self.sha256, len(self.content)).encode() if self.is_lfs else self.content
        return hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.is_lfs else self.git_oid

    @property
    def lfs(self) -> dict[str, Any]:
        if not self.is_lfs:
            return {}
        pointer_size = len(LFS_POINTER.format(self.sha256, len(self.content)))
        names = {"oid": self.sha256, "sha256": self.sha256}  # the tree says oid, the repo's siblings say sha256
        return {"lfs": names | {"size": len(self.content), "pointerSize": pointer_size}}


class Commit(NamedTuple):
    sha: str
    files: Mapping[str, Blob]

    def entries(self) -> dict[str, dict[str, Any]]:
        """Describe every file and folder, by path."""
        entries: dict[str, dict[str, Any]] = {}
        for path, blob in sorted(self.files.items()):
            for parent in reversed(PurePosixPath(path).parents[:-1]):
                oid = hashlib.sha1(f"{self.sha}:{parent}".encode()).hexdigest()
                entries.setdefault(str(parent), {"type": "directory", "path": str(parent), "oid": oid, "size": 0})
            entries[path] = {"type": "file", "path": path, "oid": blob.git_oid, "size": len(blob.content), **blob.lfs}
        return entries


@dataclass
class Repo:
    """Commits by sha, which stay for ever, and the branches and tags that point at them."""

    private: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: Mapping[str, Blob]) -> str:
        tree = sorted((path, blob.git_oid) for path, blob in files.items())
        sha = hashlib.sha1(repr((len(self.commits), self.branches.get(branch), tree)).encode()).hexdigest()
        self.commits[sha] = Commit(sha, dict(files))
        self.branches[branch] = sha
        return sha

    def at(self, revision: str) -> Commit:
        name = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        sha = self.branches.get(name) or self.tags.get(name) or revision
        if sha not in self.commits:
            raise Refusal(404, f"Invalid rev id: {revision}", code="RevisionNotFound")
        return self.commits[sha]


class Request(NamedTuple):
    """One request as the Hub saw it, and the status of the answer."""

    method: str
    path: str  # without the query
    has_token: bool
    status: int


class Reply(NamedTuple):
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


class Refusal(Exception):
    """An error answer; `code` becomes `X-Error-Code`, from which `huggingface_hub` picks its exception."""

    def __init__(self, status: int, message: str, *, code: str = "", commit_sha: str = "") -> None:
        super().__init__(message)
        named = {"X-Error-Message": message, "X-Error-Code": code, "X-Repo-Commit": commit_sha}
        self.reply = as_json({"error": message}, status, {name: value for name, value in named.items() if value})


def as_json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


class LoopbackHub:
    """The Hub; it answers inside `with`. Writing needs `token`; reading a public repo doesn't.

    Args:
        lfs: Whether large and binary files travel by LFS; otherwise every file travels inside the commit.
        page_size: Entries per page of a tree listing; the real Hub's is 1000.
    """

    def __init__(self, *, lfs: bool = True, page_size: int = 1000) -> None:
        self.lfs = lfs
        self.page_size = page_size
        self.token = "hf_loopback"
        self.requests: list[Request] = []
        self.repos: dict[tuple[str, str], Repo] = {}  # ("models", "org/name") -> repo
        self.objects: dict[str, bytes] = {}  # LFS content by sha256
        self.faults: list[tuple[str, int]] = []  # part of a path, status
        self.lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "LoopbackHub":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self, cache_dir: str | Path, *, with_token: bool = True) -> dict[str, str]:
        """Give the whole environment of a client: this process's own, pointed at the Hub and at `cache_dir`."""
        ours = ("HF_", "HUGGING", "TRANSFORMERS_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
        kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(ours)}
        client = {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(cache_dir), "NO_PROXY": "127.0.0.1"}
        quiet = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        return kept | client | quiet | ({"HF_TOKEN": self.token} if with_token else {})

    def files(self, repo_id: str, revision: str = "main", *, repo_type: str = "model") -> dict[str, bytes]:
        """Give every file's content at a branch, tag or sha.

        Raises:
            KeyError: If there is no such repo.
            Refusal: If there is no such revision.
        """
        with self.lock:
            commit = self.repos[f"{repo_type}s", repo_id].at(revision)
            return {path: blob.content for path, blob in commit.files.items()}

    def fail_next(self, count: int, status: int = 500, *, path: str = "") -> None:
        """Answer the next `count` requests whose path contains `path` with an error, before they change anything."""
        with self.lock:
            self.faults += [(path, status)] * count


Route = Callable[["_Handler"], Reply]
ROUTES: list[tuple[str, re.Pattern[str], bool, Route]] = []
REPO_ID = r"(?P<repo_id>[^/]+(?:/[^/]+)?)"  # without a namespace none exists, but 404 is the answer, not 501
API = r"/api/(?P<kind>models|datasets|spaces)/" + REPO_ID
WEB = r"/(?:(?P<kind>datasets|spaces)/)?" + REPO_ID
REVISION = r"/(?P<revision>[^/]+)"


def route(method: str, pattern: str, *, needs_token: bool = False) -> Callable[[Route], Route]:
    def register(answer: Route) -> Route:
        ROUTES.append((method, re.compile(pattern), needs_token, answer))
        return answer

    return register


class _Handler(BaseHTTPRequestHandler):
    """The HTTP API. Connections are kept alive, so a body is read to its end even before a refusal."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else headers, then body, cost 40 ms per answer

    def __init__(self, hub: LoopbackHub, *args: Any) -> None:
        self.hub = hub
        super().__init__(*args)

    def do_GET(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        self.query = parse_qs(url.query)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.has_token = token == self.hub.token
        with self.hub.lock:
            try:
                for fault in [fault for fault in self.hub.faults if fault[0] in url.path][:1]:
                    self.hub.faults.remove(fault)
                    raise Refusal(fault[1], "fail_next() asked for this failure")
                if token and not self.has_token:
                    raise Refusal(401, "Invalid credentials in Authorization header")
                reply = self._answer(url.path)
            except Refusal as refusal:
                reply = refusal.reply
            self.hub.requests.append(Request(self.command, url.path, bool(token), reply.status))
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent: `LoopbackHub.requests` is the log."""

    def _answer(self, path: str) -> Reply:
        method = "GET" if self.command == "HEAD" else self.command
        for route_method, pattern, needs_token, answer in ROUTES:
            if route_method == method and (match := pattern.fullmatch(path)):
                if needs_token and not self.has_token:
                    raise Refusal(401, "Invalid username or password.")
                self.parts = {name: unquote(value) for name, value in match.groupdict().items() if value}
                return answer(self)
        raise Refusal(501, f"the loopback Hub doesn't speak {method} {path}; add a route to {__name__}.py")

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body or b"{}")

    @property
    def repo(self) -> Repo:
        repo = self.hub.repos.get((self.parts.get("kind", "models"), self.parts["repo_id"]))
        if repo is None or (repo.private and not self.has_token):
            raise Refusal(404, "Repository not found", code="RepoNotFound")
        return repo

    @property
    def commit(self) -> Commit:
        return self.repo.at(self.parts.get("revision", "main"))

    @route("GET", "/api/whoami-v2", needs_token=True)
    def whoami(self) -> Reply:
        return as_json({"type": "user", "name": "loopback", "orgs": [], "auth": {"accessToken": {"role": "write"}}})

    @route("POST", "/api/validate-yaml")
    def validate_yaml(self) -> Reply:
        return as_json({"errors": [], "warnings": []})

    @route("POST", "/api/repos/create", needs_token=True)
    def create_repo(self) -> Reply:
        kind = f"{self.json.get('type') or 'model'}s"
        repo_id = f"{self.json.get('organization') or 'loopback'}/{self.json['name']}"
        url = f"{self.hub.endpoint}/{'' if kind == 'models' else kind + '/'}{repo_id}"
        if (kind, repo_id) in self.hub.repos:
            return as_json({"error": "You already created this repo", "url": url}, 409)
        repo = self.hub.repos[kind, repo_id] = Repo(private=self.json.get("visibility") == "private")
        repo.commit("main", {".gitattributes": Blob(GIT_ATTRIBUTES.encode())})
        return as_json({"url": url, "name": repo_id})

    @route("GET", API + f"(?:/revision{REVISION})?")
    def repo_info(self) -> Reply:
        siblings = [
            {"rfilename": path, "size": len(blob.content), "blobId": blob.git_oid, **blob.lfs}
            if "blobs" in self.query
            else {"rfilename": path}
            for path, blob in sorted(self.commit.files.items())
        ]
        counts = {"downloads": 0, "likes": 0, "tags": [], "createdAt": DATE, "lastModified": DATE}
        access = {"private": self.repo.private, "gated": False, "disabled": False}
        return as_json({"id": self.parts["repo_id"], "sha": self.commit.sha, "siblings": siblings, **counts, **access})

    @route("GET", API + "/refs")
    def refs(self) -> Reply:
        branches, tags = (
            [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": sha} for name, sha in shas.items()]
            for kind, shas in (("heads", self.repo.branches), ("tags", self.repo.tags))
        )
        return as_json({"branches": branches, "tags": tags, "converts": [], "pullRequests": []})

    @route("POST", API + "/branch/(?P<name>[^/]+)", needs_token=True)
    def create_branch(self) -> Reply:
        if self.parts["name"] in self.repo.branches:
            raise Refusal(409, "Reference already exists")
        self.repo.branches[self.parts["name"]] = self.repo.at(self.json.get("startingPoint") or "main").sha
        return as_json({})

    @route("POST", API + "/tag" + REVISION, needs_token=True)
    def create_tag(self) -> Reply:
        if self.json["tag"] in self.repo.tags:
            raise Refusal(409, "Tag reference exists already")
        self.repo.tags[self.json["tag"]] = self.commit.sha
        return as_json({})

    @route("GET", API + f"/tree{REVISION}(?:/(?P<folder>.+))?")
    def tree(self) -> Reply:
        folder, recursive = self.parts.get("folder", ""), self.query.get("recursive", ["false"])[0].lower()
        inside = [e for path, e in self.commit.entries().items() if not folder or path.startswith(folder + "/")]
        if folder and not inside:
            raise Refusal(404, f"{folder} does not exist", code="EntryNotFound", commit_sha=self.commit.sha)
        if recursive != "true":
            inside = [entry for entry in inside if str(PurePosixPath(entry["path"]).parent) == (folder or ".")]
        start = int(self.query.get("cursor", ["0"])[0])
        end = start + self.hub.page_size
        next_page = f"{self.hub.endpoint}{urlsplit(self.path).path}?recursive={recursive}&cursor={end}"
        return as_json(inside[start:end], headers={"Link": f'<{next_page}>; rel="next"'} if end < len(inside) else {})

    @route("POST", API + "/paths-info" + REVISION)
    def paths_info(self) -> Reply:
        entries = self.commit.entries()
        return as_json([entries[path] for path in parse_qs(self.body.decode()).get("paths", []) if path in entries])

    @route("GET", WEB + f"/resolve{REVISION}/(?P<path>.+)")
    def resolve(self) -> Reply:
        blob = self.commit.files.get(self.parts["path"])
        if blob is None:
            raise Refusal(404, "Entry not found", code="EntryNotFound", commit_sha=self.commit.sha)
        size, headers = len(blob.content), {"ETag": f'"{blob.etag}"', "X-Repo-Commit": self.commit.sha}
        headers |= {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if blob.is_lfs:
            headers |= {"X-Linked-ETag": f'"{blob.etag}"', "X-Linked-Size": str(size)}
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not wanted or wanted[0] == "bytes=-":
            return Reply(200, blob.content, headers)
        start = int(wanted[1]) if wanted[1] else max(size - int(wanted[2]), 0)
        end = min(int(wanted[2]) + 1, size) if wanted[1] and wanted[2] else size
        if start >= end:
            return Reply(416, b"", headers | {"Content-Range": f"bytes */{size}"})
        return Reply(206, blob.content[start:end], headers | {"Content-Range": f"bytes {start}-{end - 1}/{size}"})

    @route("POST", API + "/preupload" + REVISION, needs_token=True)
    def preupload(self) -> Reply:
        """Say how each file is to travel, and what is here already so that the client can skip it."""
        files = self.commit.files
        attributes = files.get(".gitattributes", Blob(b"")).content.decode().splitlines()
        lfs_patterns = [line.split()[0] for line in attributes if "filter=lfs" in line]

        def planned(file: dict[str, Any]) -> dict[str, Any]:
            is_large = file["size"] > MAX_REGULAR_BYTES or b"\0" in base64.b64decode(file["sample"])
            is_lfs = is_large or any(fnmatch(file["path"], pattern) for pattern in lfs_patterns)
            is_lfs = is_lfs and self.hub.lfs and file["size"] > 0
            old = files.get(file["path"])
            known = {"oid": old.etag} if old and old.is_lfs == is_lfs else {}
            return {"path": file["path"], "uploadMode": "lfs" if is_lfs else "regular", "shouldIgnore": False, **known}

        return as_json({"files": [planned(file) for file in self.json["files"]]})

    @route("POST", WEB + r"\.git/info/lfs/objects/batch", needs_token=True)
    def lfs_batch(self) -> Reply:
        """Hand out upload links; the client sends no token with the PUT, so they are signed as the real Hub's are."""
        self.commit  # noqa: B018 - refuses when there is no such repo

        def planned(wanted: dict[str, Any]) -> dict[str, Any]:
            if wanted["oid"] in self.hub.objects:
                return wanted  # no action: the content is here already
            href = f"{self.hub.endpoint}/lfs-store/{wanted['oid']}"
            upload = {"href": f"{href}?signature={self._sign(wanted['oid'])}"}
            return wanted | {"actions": {"upload": upload, "verify": {"href": href}}}

        return as_json({"transfer": "basic", "objects": [planned(wanted) for wanted in self.json["objects"]]})

    def _sign(self, oid: str) -> str:
        return hmac.new(self.hub.token.encode(), oid.encode(), "sha256").hexdigest()

    @route("PUT", "/lfs-store/(?P<oid>[0-9a-f]{64})")
    def lfs_put(self) -> Reply:
        oid = self.parts["oid"]
        if self.query.get("signature") != [self._sign(oid)]:
            raise Refusal(403, "SignatureDoesNotMatch")
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refusal(400, f"the content's sha256 isn't {oid}")
        self.hub.objects[oid] = self.body
        return Reply(200)

    @route("POST", "/lfs-store/(?P<oid>[0-9a-f]{64})", needs_token=True)
    def lfs_verify(self) -> Reply:
        if len(self.hub.objects.get(self.parts["oid"], b"")) != self.json["size"]:
            raise Refusal(404, "the object wasn't uploaded, or has another size")
        return as_json({})

    @route("POST", API + "/commit" + REVISION, needs_token=True)
    def create_commit(self) -> Reply:
        branch, parent, files = self.parts["revision"], self.commit, dict(self.commit.files)
        if branch not in self.repo.branches or "create_pr" in self.query:
            raise Refusal(400, f"{branch} isn't a branch, or a pull request was asked for; commit to a branch")
        for line in self.body.splitlines():
            operation = json.loads(line)
            key, value = operation["key"], operation["value"]
            if key == "header":
                if value.get("parentCommit", parent.sha) != parent.sha:
                    raise Refusal(412, "A commit has happened since. Please refresh and try again.")
            elif key == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]))
            elif key == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    raise Refusal(400, f"LFS pointer pointed to a file that does not exist: {value['path']}")
                files[value["path"]] = Blob(self.hub.objects[value["oid"]], is_lfs=True)
            else:  # deletedFile, deletedFolder
                root = value["path"].rstrip("/")
                gone = [path for path in files if path == root or path.startswith(root + "/")]
                if not gone:
                    raise Refusal(404, "A file with this name doesn't exist", code="EntryNotFound")
                files = {path: blob for path, blob in files.items() if path not in gone}
        sha = self.repo.commit(branch, files)
        url = f"{self.hub.endpoint}/{self.parts['repo_id']}/commit/{sha}"
        return as_json({"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})
