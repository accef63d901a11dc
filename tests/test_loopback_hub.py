"""The loopback Hub is a Hub to its real clients: huggingface_hub, transformers and peft, each in its own process."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.loopback_hub import GIT_ATTRIBUTES, LoopbackHub

README = "---\nlicense: apache-2.0\n---\n바닷가에 파도가 칩니다.\n"
CLIENT = """
import json, os, sys
from pathlib import Path
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub import errors

api, folder = HfApi(), Path(sys.argv[1])

def error_of(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except Exception as error:
        return [cls.__name__ for cls in type(error).__mro__]
"""


def run_client(environment: dict[str, str], source: str, folder: Path) -> Any:
    """Run Python in a clean process; give what it left in `result`."""
    program = CLIENT + textwrap.dedent(source) + "\nprint('RESULT' + json.dumps(result))"
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.rpartition("RESULT")[2])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as a publisher would push it: text, a nested file with a Korean name, a file that must go by LFS."""
    root = tmp_path / "pushed"
    (root / "nested").mkdir(parents=True)
    (root / "README.md").write_text(README)
    (root / "nested" / "자막 1.json").write_text("{}")
    (root / "empty.bin").write_bytes(b"")
    (root / "weights.bin").write_bytes(os.urandom(12 * 1024**2))
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }


def test_a_pushed_folder_comes_back_byte_for_byte_at_every_revision(tmp_path: Path, folder: Path) -> None:
    with LoopbackHub(page_size=2) as hub:
        result = run_client(
            hub.environment(tmp_path / "home"),
            """
            assert api.whoami()["name"] == "loopback"
            url = api.create_repo("org/name")
            assert api.create_repo("org/name", exist_ok=True).repo_id == url.repo_id == "org/name"
            again = error_of(api.create_repo, "org/name")
            first = api.upload_folder(repo_id="org/name", folder_path=folder).oid
            unchanged = api.upload_folder(repo_id="org/name", folder_path=folder).oid
            (folder / "README.md").write_text("changed")
            (folder / "nested" / "자막 1.json").unlink()
            second = api.upload_folder(repo_id="org/name", folder_path=folder, delete_patterns="nested/*").oid
            api.create_tag("org/name", tag="v1", revision=first)
            api.create_branch("org/name", branch="feature/one")
            snapshot_download("org/name", revision=first, local_dir=folder.parent / "first")
            snapshot_download("org/name", local_dir=folder.parent / "second")
            weights = hf_hub_download("org/name", "weights.bin", revision="v1")
            result = {
                "again": again, "first": first, "unchanged": unchanged, "second": second, "weights": weights,
                "readme": Path(hf_hub_download("org/name", "README.md", revision="v1")).read_text(),
                "files": api.list_repo_files("org/name"),
                "siblings": [s.rfilename for s in api.model_info("org/name", revision="v1").siblings],
                "tree": [e.path for e in api.list_repo_tree("org/name", revision="v1")],
                "paths": [(p.path, p.size) for p in api.get_paths_info("org/name", ["weights.bin", "x"])],
                "tags": {t.name: t.target_commit for t in api.list_repo_refs("org/name").tags},
                "lfs_sha": api.model_info("org/name", files_metadata=True).siblings[-1].lfs.sha256,
                "stale_parent": error_of(
                    api.upload_file, path_or_fileobj=b"1", path_in_repo="a", repo_id="org/name", parent_commit=first
                ),
                "unknown": {
                    "repo": error_of(hf_hub_download, "org/none", "config.json"),
                    "repo_info": error_of(api.model_info, "org/none"),
                    "canonical": error_of(api.model_info, "none", revision="main"),
                    "canonical_file": error_of(hf_hub_download, "none", "config.json"),
                    "revision": error_of(hf_hub_download, "org/name", "README.md", revision="none"),
                    "file": error_of(hf_hub_download, "org/name", "none"),
                    "folder": error_of(lambda: list(api.list_repo_tree("org/name", "none"))),
                },
            }
            """,
            folder,
        )
        attributes = {".gitattributes": GIT_ATTRIBUTES.encode()}
        now = contents(folder)
        before = now | {"nested/자막 1.json": b"{}", "README.md": README.encode()}

        assert hub.files("org/name") == now | attributes == contents(tmp_path / "second")
        assert hub.files("org/name", result["first"]) == before | attributes == contents(tmp_path / "first")
        assert Path(result["weights"]).read_bytes() == now["weights.bin"]
        assert result["readme"] == README
        assert result["unchanged"] == result["first"] != result["second"]
        assert "HfHubHTTPError" in result["again"]
        assert result["files"] == sorted(now | attributes)
        assert result["siblings"] == sorted(before | attributes)
        assert result["tree"] == [".gitattributes", "README.md", "empty.bin", "nested", "weights.bin"]
        assert result["paths"] == [["weights.bin", 12 * 1024**2]]
        assert result["tags"] == {"v1": result["first"]}
        assert result["lfs_sha"] in hub.objects
        assert "HfHubHTTPError" in result["stale_parent"]
        expected = {
            "repo": "RepositoryNotFoundError",
            "repo_info": "RepositoryNotFoundError",
            "canonical": "RepositoryNotFoundError",
            "canonical_file": "RepositoryNotFoundError",
            "revision": "RevisionNotFoundError",
            "file": "EntryNotFoundError",
            "folder": "EntryNotFoundError",
        }
        assert all(name in result["unknown"][what] for what, name in expected.items())
        assert [r.path for r in hub.requests if r.method == "PUT"] == [f"/lfs-store/{result['lfs_sha']}"]
        assert all(r.has_token for r in hub.requests if r.method == "POST")


def test_without_the_token_public_repos_can_be_read_and_nothing_written(tmp_path: Path, folder: Path) -> None:
    with LoopbackHub() as hub:
        run_client(
            hub.environment(tmp_path / "owner"),
            """
            for name in ("public", "private"):
                api.create_repo(f"org/{name}", private=name == "private")
                api.upload_file(path_or_fileobj=b"0123456789", path_in_repo="a.txt", repo_id=f"org/{name}")
            result = None
            """,
            folder,
        )
        seen = len(hub.requests)
        result = run_client(
            hub.environment(tmp_path / "guest", with_token=False),
            """
            from huggingface_hub.utils import get_session
            url = f"{os.environ['HF_ENDPOINT']}/org/public/resolve/main/a.txt"
            ranges = [{"Range": f"bytes={piece}"} for piece in ("2-4", "7-", "-2", "8-99", "50-")]
            pieces = [get_session().get(url, headers=headers) for headers in ranges]
            wrong = HfApi(token="hf_wrong")
            result = {
                "create": error_of(api.create_repo, "org/mine"),
                "upload": error_of(api.upload_folder, repo_id="org/public", folder_path=folder),
                "wrong": error_of(wrong.upload_folder, repo_id="org/public", folder_path=folder),
                "private": error_of(hf_hub_download, "org/private", "a.txt"),
                "public": Path(hf_hub_download("org/public", "a.txt")).read_text(),
                "pieces": [[p.status_code, p.text] for p in pieces],
            }
            """,
            folder,
        )
        assert "HfHubHTTPError" in result["create"]
        assert "HfHubHTTPError" in result["upload"]
        assert "HfHubHTTPError" in result["wrong"]
        assert "RepositoryNotFoundError" in result["private"]
        assert result["public"] == "0123456789"
        assert result["pieces"] == [[206, "234"], [206, "789"], [206, "89"], [206, "89"], [416, ""]]
        assert sorted(hub.files("org/public")) == [".gitattributes", "a.txt"]
        assert ("models", "org/mine") not in hub.repos
        assert {r.status for r in hub.requests[seen:] if r.path.endswith(("create", "preupload/main"))} == {401}


def test_a_failing_push_is_seen_and_a_second_one_succeeds(tmp_path: Path, folder: Path) -> None:
    with LoopbackHub() as hub:
        hub.fail_next(1, path="/commit/")
        hub.fail_next(1, 503, path="/lfs-store/")
        result = run_client(
            hub.environment(tmp_path / "home"),
            """
            api.create_repo("org/name")
            failed = error_of(api.upload_folder, repo_id="org/name", folder_path=folder)
            result = [failed, api.upload_folder(repo_id="org/name", folder_path=folder).oid]
            """,
            folder,
        )
        assert "HfHubHTTPError" in result[0]
        assert hub.files("org/name", result[1]).keys() - {".gitattributes"} == contents(folder).keys()
        statuses = {part: [r.status for r in hub.requests if part in r.path] for part in ("/lfs-store/", "/commit/")}
        assert statuses == {
            "/lfs-store/": [503, 200, 200],
            "/commit/": [500, 200],
        }  # PUT was repeated, the commit wasn't


def test_without_lfs_a_client_with_xet_pushes_as_well_and_repeats_a_failed_commit(tmp_path: Path, folder: Path) -> None:
    with LoopbackHub(lfs=False) as hub:
        hub.fail_next(1, path="/commit/")
        environment = hub.environment(tmp_path / "home")
        del environment["HF_HUB_DISABLE_XET"]
        source = """
            api.create_repo("org/name", repo_type="dataset")
            result = api.upload_folder(repo_id="org/name", folder_path=folder, repo_type="dataset").oid
            snapshot_download("org/name", repo_type="dataset", local_dir=folder.parent / "back")
            """
        sha = run_client(environment, source, folder)
        pushed = contents(folder) | {".gitattributes": GIT_ATTRIBUTES.encode()}
        assert hub.files("org/name", sha, repo_type="dataset") == pushed == contents(tmp_path / "back")
        assert [r.status for r in hub.requests if "/commit/" in r.path] == [500, 200]


CONFIGURATION = """
from transformers import Qwen3Config

class TinyConfig(Qwen3Config):
    model_type = "loopback_tiny"
"""
MODELING = """
from transformers import Qwen3Model
from .configuration_tiny import TinyConfig

class TinyModel(Qwen3Model):
    config_class = TinyConfig
"""
TINY = {
    "model_type": "loopback_tiny",
    "auto_map": {"AutoConfig": "configuration_tiny.TinyConfig", "AutoModel": "modeling_tiny.TinyModel"},
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
}
PUSH_MODELS = """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModel

    ids = torch.arange(8)[None]
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    AutoModel.from_config(config, trust_remote_code=True).save_pretrained(folder)
    api.create_repo("org/tiny")
    api.upload_folder(repo_id="org/tiny", folder_path=folder)
    model = AutoModel.from_pretrained("org/tiny", trust_remote_code=True).eval()
    result = {"tiny": model(ids).last_hidden_state.tolist()}
    model.push_to_hub("org/other")
    adapter = get_peft_model(model, LoraConfig(target_modules=["q_proj"], r=2, init_lora_weights=False)).eval()
    result["adapter"] = adapter(ids).last_hidden_state.tolist()
    adapter.push_to_hub("org/adapter")
"""
LOAD_MODELS = """
    import torch
    from peft import PeftModel
    from transformers import AutoModel

    ids, result = torch.arange(8)[None], {}
    for name in ("tiny", "other", "adapter"):
        model = AutoModel.from_pretrained(f"org/{name}", trust_remote_code=True).eval()
        result[name] = model(ids).last_hidden_state.tolist()
        if name == "other":
            model = PeftModel.from_pretrained(model, "org/adapter").eval()
            result["peft"] = model(ids).last_hidden_state.tolist()
"""


@pytest.mark.slow
def test_models_with_remote_code_and_adapters_are_pushed_and_loaded_by_transformers(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "configuration_tiny.py").write_text(CONFIGURATION)
    (folder / "modeling_tiny.py").write_text(MODELING)
    (folder / "config.json").write_text(json.dumps(TINY))
    with LoopbackHub() as hub:
        pushed = run_client(hub.environment(tmp_path / "author"), PUSH_MODELS, folder)
        reader = hub.environment(tmp_path / "reader", with_token=False)
        del reader["HF_HUB_DISABLE_XET"]  # a reader needs nothing but HF_ENDPOINT
        loaded = run_client(reader, LOAD_MODELS, folder)

        assert loaded["tiny"] == loaded["other"] == pushed["tiny"]
        assert loaded["adapter"] == loaded["peft"] == pushed["adapter"] != pushed["tiny"]
        code = {"configuration_tiny.py", "modeling_tiny.py"}
        assert code <= hub.files("org/other").keys()
        assert not code & hub.files("org/adapter").keys()
        assert 501 not in {r.status for r in hub.requests}  # no client asked for what the Hub doesn't speak
