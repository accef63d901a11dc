"""The demo as people use it: Debian's Chromium, the embedded model, and pictures of the page in artifacts/demo/."""

import io
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from launched_demo import launched, loaded
from video_fixtures import make_clip

from demo.captioners import Captioner
from demo.limits import UploadLimits
from demo.models import Models
from modeling.checkpoint_names import EMBEDDED_MODEL

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="the browser tests need Debian's package chromium"),
]

ROOT = Path(__file__).resolve().parent.parent
CLIP = ROOT / "docs" / "media" / "clip.mp4"
PICTURES = ROOT / "artifacts" / "demo"
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]  # a ball that rolls, and a yes
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PATIENCE_MS = 240_000  # a busy machine writes slowly
WATCH_CAPTION = """
window.lengths = [];
setInterval(() => {
  const length = document.querySelector('#caption textarea')?.value.length;
  if (length && length !== window.lengths.at(-1)) window.lengths.push(length);
}, 20);
"""


@pytest.fixture(scope="module")
def models() -> Models:
    return loaded()


@pytest.fixture(scope="module")
def captioner(models) -> Captioner:
    return models.captioners()[0]


@pytest.fixture(scope="module")
def url(models) -> Iterator[str]:
    with launched(models, UploadLimits(), [CLIP]) as url:
        yield url


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", *CAMERA]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, url):
    """Opens the page as one visitor; whatever its scripts complain about fails the test."""
    contexts, complaints = [], []

    def open_page(query: str = "", *, at: str = url, **options):
        context = browser.new_context(**({"viewport": DESKTOP, "locale": "de-DE"} | options))
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(WATCH_CAPTION)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{at}{query}")
        ready(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of eight shots, 3 s each."""
    values = ["000000", "ffffff", "c80000", "00a000", "ffff00", "0000c8", "ffa0a0", "202020"]
    colours = [np.frombuffer(bytes.fromhex(value), np.uint8) for value in values]
    pictures = [np.broadcast_to(colours[index // 30], (180, 320, 3)) for index in range(240)]
    path = tmp_path_factory.mktemp("clips") / "여덟 장면.mp4"
    path.write_bytes(make_clip(pictures))
    return path


def picture(page, name: str, **options) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png", **options)


def ready(page) -> None:
    """Wait until everything has been drawn: Gradio loads its parts one by one."""
    for part in ("#caption textarea", "#question textarea", "#describe"):
        page.locator(part).wait_for()
    page.locator("#clip input[type=file]").first.wait_for(state="attached")


def upload(page, path: Path) -> None:
    page.locator("#clip input[type=file]").first.set_input_files(path)
    page.locator("#clip video").wait_for()


def describe(page) -> str:
    """Press the button, and wait for the caption's downloads, which come with its last word."""
    page.locator("#describe").click()
    page.locator("#saves a").first.wait_for()
    return page.locator("#caption textarea").input_value()


def begin_timeline(page, path: Path) -> None:
    """Ask for a time line, and wait for its first part."""
    upload(page, path)
    page.get_by_role("tab", name="시간표").click()
    page.locator("#make-timeline").click()
    page.locator("#timeline tbody tr").first.wait_for()


def test_a_caption_streams_in_plays_and_downloads(visit, captioner):
    page = visit()
    picture(page, "empty")
    upload(page, CLIP)
    caption = describe(page)
    (expected,) = captioner.pipe(str(CLIP), generate_kwargs={"do_sample": False})
    assert caption == expected["generated_text"]
    lengths = page.evaluate("window.lengths")
    assert len(lengths) > 5 and lengths == sorted(lengths), "words came one after the other"
    assert page.locator("#seen figure").count() == len(expected["frame_times_s"])

    with page.expect_download() as download:
        page.locator("#saves a[download$='.srt']").click()
    assert download.value.suggested_filename == "clip.srt"
    with av.open(io.BytesIO(Path(download.value.path()).read_bytes()), format="srt") as subtitles:
        assert "".join(bytes(packet).decode() for packet in subtitles.demux()) == caption.replace(". ", ".")

    page.wait_for_function("document.querySelector('#player video').textTracks[0].cues?.length > 0")
    page.wait_for_function("document.querySelector('#player video').readyState > 0")
    assert page.evaluate("document.querySelector('#player video').textTracks[0].mode") == "showing"
    picture(page, "caption", full_page=True)
    page.emulate_media(color_scheme="dark")
    page.goto(f"{page.url}?__theme=dark")
    ready(page)
    upload(page, CLIP)
    describe(page)
    picture(page, "dark", full_page=True)


def test_korean_comes_first_and_english_by_the_toggle(visit):
    page = visit()
    assert page.locator("#describe").inner_text() == "설명 만들기"
    assert "영상을 한국어로" in page.locator("h1").inner_text()
    page.get_by_role("link", name="English").click()
    page.locator("#describe", has_text="Describe").wait_for()
    assert page.locator("h1").inner_text() == "KoCap · videos in Korean words"
    visible = page.locator("body").inner_text().replace("한국어", "")
    assert not re.findall("[가-힣]+", visible), "English leaves nothing in Korean"
    picture(page, "english")
    page.get_by_role("link", name="한국어").click()
    page.locator("#describe", has_text="설명 만들기").wait_for()


def test_a_bad_file_is_explained_and_the_next_one_works(visit, tmp_path):
    page = visit()
    bad = tmp_path / "노래.mp4"
    bad.write_bytes(b"no video at all" * 99)
    upload(page, bad)
    page.locator("#describe").click()
    page.locator("#notice", has_text="E_NOT_VIDEO").wait_for()
    assert "영상 파일이 아니거나" in page.locator("#notice").inner_text()
    picture(page, "error")
    page.locator("#clip button[title='지우기']").last.click()
    upload(page, CLIP)
    assert describe(page).endswith("니다.")
    assert "E_NOT_VIDEO" not in page.locator("#notice").inner_text()


def test_a_full_queue_is_told_in_both_languages(visit):
    page = visit()
    upload(page, CLIP)
    page.route("**/queue/join*", lambda route: route.fulfill(status=503, json={"detail": "Queue is full."}))
    page.locator("#describe").click()
    told = page.get_by_text("더 기다릴 자리가 없습니다")
    told.wait_for()
    assert "the queue is full" in page.locator("body").inner_text()
    assert "currently busy" not in page.locator("body").inner_text()


@pytest.fixture
def slow_model(captioner) -> Iterator[None]:
    """A model that takes its time over every token, so that a page on a busy machine is not overtaken by it."""
    hook = captioner.pipe.model.register_forward_hook(lambda *_: time.sleep(0.2))
    yield
    hook.remove()


def test_stop_frees_the_model_for_the_next_visitor(visit, shots, slow_model):
    page = visit()
    begin_timeline(page, shots)
    page.locator("#stop").click()
    page.locator("#notice", has_text="멈추었습니다").wait_for()
    other = visit()
    upload(other, CLIP)
    assert describe(other).endswith("니다.")
    assert page.locator("#timeline tbody tr").count() < 8, "it stopped before its end"
    assert page.locator("#timeline-saves a").count() == 0


def test_another_clip_ends_what_runs_for_the_first(visit, shots, slow_model):
    page = visit()
    begin_timeline(page, shots)
    page.locator("#clip button[title='지우기']").last.click()
    page.locator("#timeline .empty").first.wait_for()
    upload(page, CLIP)
    assert describe(page).endswith("니다.")
    assert page.locator("#timeline tbody tr").count() == 0, "nothing of the first clip is left"


def test_the_time_line_is_a_table_that_downloads(visit, shots):
    page = visit()
    upload(page, shots)
    page.get_by_role("tab", name="시간표").click()
    page.locator("#make-timeline").click()
    page.locator("#timeline-saves a").first.wait_for()
    assert page.locator("#timeline tbody th").all_inner_texts()[:2] == ["0:00.0 – 0:03.0", "0:03.0 – 0:06.0"]
    with page.expect_download() as download:
        page.locator("#timeline-saves a[download$='.srt']").click()
    assert Path(download.value.path()).read_text(encoding="utf-8").count(" --> ") == 8
    picture(page, "timeline", full_page=True)


def test_two_visitors_at_once_and_two_settings_side_by_side(visit):
    pages = [visit(), visit()]
    for page in pages:
        upload(page, CLIP)
    for page in pages:
        page.locator("#describe").click()
    for page in pages:
        page.locator("#saves a").first.wait_for()
    first, second = (page.locator("#caption textarea").input_value() for page in pages)
    assert first == second and first.endswith("니다.")

    page = pages[0]
    page.get_by_role("tab", name="비교").click()
    page.locator("#compare").click()
    page.wait_for_function("document.querySelector('#compare-right textarea').value.endsWith('니다.')")
    assert page.locator("#compare-left textarea").input_value() == first
    picture(page, "compare", full_page=True)


def test_two_models_side_by_side(visit, tiny_checkpoint, tmp_path):
    shutil.copytree(tiny_checkpoint, tmp_path / "other")
    with launched(loaded(EMBEDDED_MODEL, str(tmp_path / "other")), UploadLimits()) as url:
        page = visit(at=url)
        upload(page, CLIP)
        page.get_by_role("tab", name="비교").click()
        chosen = page.get_by_role("tabpanel").get_by_role("radio", name=re.compile("^(kocap-tiny|other)$"))
        assert [chosen.nth(k).is_checked() for k in range(4)] == [True, False, False, True]
        page.locator("#compare").click()
        page.wait_for_function("document.querySelector('#compare-right textarea').value.length > 0")
        left, right = (page.locator(f"#compare-{side} textarea") for side in ("left", "right"))
        assert left.input_value().endswith("니다.") and right.input_value() not in ("", left.input_value())


def test_who_comes_before_the_model_is_told_so_and_served(visit, captioner):
    models = Models()
    with launched(models, UploadLimits(), [CLIP]) as url:
        page = visit(at=url)
        page.get_by_role("button", name="모델").click()
        page.locator("#facts", has_text="모델을 불러오는 중입니다").wait_for()
        upload(page, CLIP)
        page.locator("#describe").click()
        page.locator("#notice", has_text="모델을 불러오는 중입니다").wait_for()
        picture(page, "early", full_page=True)
        models.load()
        page.locator("#saves a").first.wait_for()
        assert page.locator("#notice").inner_text().strip() == ""
        assert captioner.revision in page.locator("#facts").inner_text()


def test_a_recording_of_the_camera_is_described(visit):
    page = visit(permissions=["camera", "microphone"])
    page.locator("#clip button[aria-label='Capture from camera']").click()
    page.locator("#clip [title='grant webcam access'] button").wait_for()
    picture(page, "camera")
    page.locator("#clip [title='grant webcam access'] button").click()
    button = page.locator("#clip .capture-button")
    button.locator("[title='start recording']").wait_for()
    button.click()
    button.locator("[title='stop recording']").wait_for()
    page.wait_for_timeout(2_000)
    button.click()
    page.locator("#clip video[src]").wait_for()
    assert describe(page).endswith("니다.")


def test_questions_are_answered_below(visit):
    page = visit()
    upload(page, CLIP)
    page.locator("#question textarea").fill("무엇이 보이나요?")
    page.locator("#question textarea").press("Enter")
    page.locator("#chat .bot", has_text=re.compile("[가-힣]")).first.wait_for()
    assert "무엇이 보이나요?" in page.locator("#chat").inner_text()
    picture(page, "question", full_page=True)


def test_a_phone_shows_everything_without_scrolling_sideways(visit):
    page = visit(viewport=PHONE, device_scale_factor=2, has_touch=True, is_mobile=True)
    picture(page, "phone-empty")
    upload(page, CLIP)
    describe(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    picture(page, "phone", full_page=True)
