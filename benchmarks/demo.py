"""How long the demo takes to open, and to say its first words, in a real browser.

    python benchmarks/demo.py
    python benchmarks/demo.py --rounds 1

Each round starts `app.py` with the embedded model, opens the page in Debian's Chromium, uploads a drawn scene of 15 s
at 720p, and presses the button. Seconds are of this machine's wall clock:

    page      from starting Python to a page whose button can be pressed (examples are drawn already)
    model     from starting Python until the model is loaded, too; what follows is measured after that
    upload    from choosing the file to its preview
    words     from choosing the file to the first words; the button is pressed as soon as the preview is there
    whole     from choosing the file to the whole caption with its downloads
"""

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx
import typer
from playwright.sync_api import Browser, sync_playwright
from run_record import save_result

from corpus.scenes import sample_scene, write_clip

ROOT = Path(__file__).resolve().parent.parent
SEED, LENGTH_S = 1_500_000_040, 15.0
PATIENCE_S = 120


@contextlib.contextmanager
def running_demo() -> Iterator[str]:
    """Start `app.py` as its own process; yields its address as soon as it has been started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False"}
    process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait()


def wait_for(url: str, end: float) -> None:
    """Return when the address answers."""
    while time.monotonic() < end:
        with contextlib.suppress(httpx.TransportError):
            httpx.get(url, timeout=PATIENCE_S)
            return
        time.sleep(0.05)
    raise TimeoutError(f"{url} did not answer in {PATIENCE_S} s.")


def one_round(browser: Browser, clip: Path) -> dict[str, float]:
    """Seconds of one start, one upload and one caption."""
    seconds, start = {}, time.monotonic()
    with running_demo() as url:
        wait_for(url, start + PATIENCE_S)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE_S * 1000)
        page.goto(url)
        page.locator("#describe").wait_for()
        seconds["page"] = time.monotonic() - start
        page.get_by_role("button", name="모델").click()
        page.locator("#facts", has_text="매개변수").wait_for()
        seconds["model"] = time.monotonic() - start
        start = time.monotonic()
        page.locator("#clip input[type=file]").first.set_input_files(clip)
        page.locator("#clip video").wait_for()
        seconds["upload"] = time.monotonic() - start
        page.locator("#describe").click()
        page.wait_for_function("document.querySelector('#caption textarea').value.length > 0", polling=20)
        seconds["words"] = time.monotonic() - start
        page.locator("#saves a").first.wait_for()
        seconds["whole"] = time.monotonic() - start
        page.close()
    return seconds


def main(
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    chromium: Annotated[str, typer.Option(help="Debian's package chromium")] = "/usr/bin/chromium",
) -> None:
    """Measure, print medians, and keep them in results/demo.json."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        clip = Path(folder) / "scene.mp4"
        write_clip(replace(sample_scene(SEED), duration_s=LENGTH_S), clip, height=720, width=1280, fps=30)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        measured = [one_round(browser, clip) for _ in range(rounds)]
        browser.close()
        clip_bytes = clip.stat().st_size
    medians = {name: statistics.median(each[name] for each in measured) for name in measured[0]}
    for name, median in medians.items():
        print(f"{name:8s} {median:6.2f} s   (least {min(each[name] for each in measured):.2f}, {rounds} rounds)")
    save_result("demo", {"clip_bytes": clip_bytes, "median_s": medians, "rounds": measured})


if __name__ == "__main__":
    typer.run(main)
