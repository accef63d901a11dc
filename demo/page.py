"""The page: what stands where, and which action answers which button."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.themes import Default as Theme
from gradio.themes import sizes
from starlette.middleware import Middleware

from .actions import NO_ANSWERS, NO_CAPTION, NO_COMPARISON, NO_TIMELINE, Actions
from .api import Api
from .file_inputs import UploadsOnly
from .limits import ConnectionLimits, UploadLimits
from .listeners import Listeners
from .messages import QUEUE_FULL
from .models import Models
from .page_head import LANGUAGE_SCRIPT, PageHead, full_queue_script
from .settings import HOTTEST, MOST_FRAMES, MOST_TOKENS, USUAL_FRAMES, USUAL_TOKENS
from .texts import I18N, TEXTS, both
from .texts import label as t
from .visitor_guard import VisitorGuard

if TYPE_CHECKING:
    from .captioners import Captioner

FONTS = ["Pretendard", "Apple SD Gothic Neo", "Malgun Gothic", "Noto Sans KR", "Noto Sans CJK KR", "NanumGothic"]
STYLE = Path(__file__).with_name("style.css")
DELETE_EVERY_S, DELETE_AFTER_S = 600, 3600  # uploads
MAX_SESSIONS = 256  # that Gradio remembers, 0.2 MB each; those of API clients it never forgets otherwise
MAX_WAITING = 32  # visitors in the queue; the next one is told that it is full
# Not a second listener of the button: Gradio would cancel the first one's event.
SHOW_CAPTION = """(...values) => {
  const tabs = document.querySelector("#tabs");
  tabs.querySelector("[role=tab]").click();
  tabs.scrollIntoView({ block: "nearest", behavior: "smooth" });
  return values;
}"""
ONE_AT_A_TIME = {"concurrency_id": "model", "concurrency_limit": 1}  # there is one model


def build_page(models: Models, examples: Sequence[Path], limits: UploadLimits) -> gr.Blocks:
    """The page, not yet launched.

    Args:
        models: They need not be loaded yet.
        examples: Clips to choose from.
    """
    actions, api = Actions(models, limits), Api(models, limits)
    title = " · ".join(TEXTS["title"])
    with UploadsOnly(title=title, analytics_enabled=False, delete_cache=(DELETE_EVERY_S, DELETE_AFTER_S)) as page:
        gr.HTML(_header(models), elem_id="head")
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                video = gr.Video(label=t("video"), sources=["upload", "webcam"], height=300, elem_id="clip")
                gr.HTML(_limits(limits), elem_id="limits")
                with gr.Row():
                    describe = gr.Button(
                        t("describe"), variant="primary", size="lg", elem_id="describe", scale=3, min_width=160
                    )
                    stop = gr.Button(t("stop"), size="lg", elem_id="stop", scale=1, min_width=90)
                chosen = gr.Examples([[str(path)] for path in examples], inputs=[video], label=t("examples"))
                settings = _settings()
                with gr.Accordion(t("about_model"), open=False):
                    facts = gr.HTML(f"<p>{both('loading')}</p>", elem_id="facts")
            with gr.Column(scale=7, min_width=320):
                notice = gr.HTML(elem_id="notice", html_template='<div role="status">${value}</div>')
                with gr.Tabs(elem_id="tabs"):
                    with gr.Tab(t("caption_tab"), id="caption"):
                        captioned = _caption_tab()
                    with gr.Tab(t("timeline_tab"), id="timeline"):
                        make_timeline, lined = _timeline_tab()
                    with gr.Tab(t("compare_tab"), id="compare"):
                        compare, sides, compared = _compare_tab(models.names)
        chat, question, ask = _questions()

        running = [
            _when(describe.click, actions.describe, [video, *settings], [notice, *captioned], js=SHOW_CAPTION),
            _when(make_timeline.click, actions.make_timeline, [video, *settings], [notice, *lined]),
            _when(compare.click, actions.compare, [video, settings[2], settings[4], *sides], [notice, *compared]),
            *(
                _when(event, actions.ask, [video, question, chat, *settings], [notice, chat, question])
                for event in (ask.click, question.submit)
            ),
        ]
        quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        # Twice, because something that was on its way may arrive after the first.
        stopped = (lambda: f"<small>{both('stopped')}</small>", None, notice)
        stop.click(*stopped, cancels=running, **quiet).then(*stopped, **quiet)
        nothing = ["", *NO_CAPTION[1:], *NO_TIMELINE[1:], *NO_COMPARISON[1:], NO_ANSWERS[1]]

        def forget(request: gr.Request) -> list[Any]:
            actions.leave(request.session_hash)
            return nothing

        # Not `video.change`, which comes once more when the clip has been drawn; and without `cancels=`, which would
        # end the caption that is asked for next.
        for new_clip in (video.upload, video.stop_recording, video.clear, chosen.load_input_event.then):
            new_clip(forget, None, [notice, *captioned, *lined, *compared, chat], **quiet)
        _offer_api(api, video, settings)

        told = [facts, settings[0], settings[4], *sides[1::4]]
        page.load(lambda: _tell(models.captioners()), None, told, **quiet)
    return page.queue(max_size=MAX_WAITING, api_open=False)  # no way around the queue


def launch_options(limits: UploadLimits, connections: ConnectionLimits | None = None) -> dict[str, Any]:
    """How the page is launched: looks, languages and limits."""
    connections = connections or ConnectionLimits()
    listeners, max_upload_bytes = Listeners(connections.max_unheard_s), limits.max_file_mb << 20
    guard = Middleware(
        VisitorGuard,
        limits=connections,
        max_upload_bytes=max_upload_bytes,
        listeners=listeners,  # type: ignore[arg-type]
    )
    return {
        "theme": Theme(
            primary_hue="teal",
            secondary_hue="teal",
            neutral_hue="slate",
            radius_size=sizes.radius_lg,
            font=[*FONTS, "sans-serif"],  # none is fetched
            font_mono=["D2Coding", "monospace"],
        ).set(  # dark enough for white letters
            button_primary_background_fill="*primary_700", button_primary_background_fill_hover="*primary_800"
        ),
        "app_kwargs": {"middleware": [guard, Middleware(PageHead, _head())], "lifespan": listeners.watch},
        "i18n": I18N,
        "footer_links": ["api", "gradio", "settings"],
        "max_file_size": f"{limits.max_file_mb}mb",
        "allowed_paths": [],
        "state_session_capacity": MAX_SESSIONS,
        "ssr_mode": False,  # Spaces would render on their server, which knows no `?lang=en`
        "mcp_server": importlib.util.find_spec("mcp") is not None,
    }


def _head() -> str:
    return f"{LANGUAGE_SCRIPT}{full_queue_script(QUEUE_FULL)}<style>{STYLE.read_text(encoding='utf-8')}</style>"


def _when(event: Callable, action: Callable, inputs: list, outputs: list, *, js: str | None = None) -> Any:
    """Wire an action that needs the model; its place in the queue shows on the second output."""
    return event(
        action,
        inputs,
        outputs,
        api_name=f"page_{action.__name__}",  # not to take the names of the endpoints
        api_visibility="private",
        js=js,
        show_progress_on=outputs[1],
        **ONE_AT_A_TIME,
    )


def _offer_api(api: Api, video: gr.Video, settings: list[Any]) -> None:
    """The endpoints, which are wired to buttons that nobody sees."""
    answer = gr.JSON(visible=False)
    num_frames, max_tokens = (gr.Number(visible=False, precision=0) for _ in range(2))  # they may be empty
    _, sampling, detail, temperature, _ = settings
    for name, function, inputs in (
        ("describe", api.describe, [video, num_frames, sampling, detail, temperature, max_tokens]),
        ("timeline", api.timeline, [video, num_frames, detail, temperature, max_tokens]),
    ):
        gr.Button(visible=False).click(function, inputs, answer, api_name=name, **ONE_AT_A_TIME)


def _settings() -> list[Any]:
    """The settings, in the order of `Settings`, folded away."""
    with gr.Accordion(t("settings"), open=False, elem_id="settings"):
        return [
            gr.Slider(1, MOST_FRAMES, USUAL_FRAMES, step=1, label=t("num_frames")),
            gr.Radio([(t("uniform"), "uniform"), (t("scene"), "scene")], value="uniform", label=t("sampling")),
            gr.Radio([(t("long"), "long"), (t("short"), "short")], value="long", label=t("detail")),
            gr.Slider(0, HOTTEST, 0, step=0.1, label=t("temperature"), info=t("temperature_info")),
            gr.Slider(16, MOST_TOKENS, USUAL_TOKENS, step=16, label=t("max_tokens")),
        ]


def _caption_tab() -> list[Any]:
    """Caption, frames, player, downloads."""
    caption = gr.Textbox(
        label=t("caption"), placeholder=t("caption_empty"), lines=7, max_lines=24, buttons=["copy"], elem_id="caption"
    )
    seen = gr.HTML(NO_CAPTION[2], elem_id="seen")
    return [caption, seen, gr.HTML(elem_id="player"), gr.HTML(elem_id="saves")]


def _timeline_tab() -> tuple[gr.Button, list[Any]]:
    """The button, and table, player, downloads."""
    gr.HTML(f"<p>{both('timeline_info')}</p>")
    button = gr.Button(t("make_timeline"), variant="primary", elem_id="make-timeline")
    table = gr.HTML(NO_TIMELINE[1], elem_id="timeline")
    return button, [table, gr.HTML(elem_id="timeline-player"), gr.HTML(elem_id="timeline-saves")]


def _compare_tab(names: Sequence[str]) -> tuple[gr.Button, list[Any], list[Any]]:
    """The button, the settings of both sides, and the two captions."""
    gr.HTML(f"<p>{both('compare_info')}</p>")
    choices = [(name, number) for number, name in enumerate(names)]
    sides, captions = [], []
    button = gr.Button(t("compare"), variant="primary", elem_id="compare")
    with gr.Row(equal_height=False):
        for index, side in enumerate(("left", "right")):
            with gr.Column(min_width=240):
                sides += [
                    gr.Radio(
                        choices,
                        value=choices[min(index, len(choices) - 1)][1],
                        label=t("about_model"),
                        visible=len(choices) > 1,
                    ),
                    gr.Slider(1, MOST_FRAMES, USUAL_FRAMES, step=1, label=t("num_frames")),
                    gr.Radio([(t("uniform"), "uniform"), (t("scene"), "scene")], value="uniform", label=t("sampling")),
                    gr.Slider(0, HOTTEST, 0, step=0.1, label=t("temperature")),
                ]
                captions.append(
                    gr.Textbox(
                        label=t(side),
                        placeholder=t("caption_empty"),
                        lines=7,
                        max_lines=24,
                        buttons=["copy"],
                        elem_id=f"compare-{side}",
                    )
                )
    return button, sides, captions


def _questions() -> tuple[gr.Chatbot, gr.Textbox, gr.Button]:
    chat = gr.Chatbot(
        label=t("questions"),
        placeholder=f'<div class="hint">{both("questions_empty")}</div>',
        height=280,
        render_markdown=False,
        buttons=[],
        elem_id="chat",
    )
    with gr.Row(equal_height=True, elem_id="asking"):
        question = gr.Textbox(
            show_label=False,
            label=t("question"),
            placeholder=t("question"),
            scale=8,
            max_length=500,
            elem_id="question",
            min_width=200,
        )
        ask = gr.Button(t("ask"), scale=1, min_width=90, elem_id="ask")
    return chat, question, ask


def _header(models: Models) -> str:
    note = f'<p class="note">{both("embedded")}</p>' if models.has_embedded_model else ""
    return (
        f'<div class="bar"><h1>{both("title")}</h1><nav aria-label="언어 · Language">'
        '<a href="?lang=ko" lang="ko" hreflang="ko">한국어</a><a href="?lang=en" lang="en" hreflang="en">English</a>'
        f"</nav></div><p>{both('tagline')} {both('mistakes')}</p>{note}"
    )


def _limits(limits: UploadLimits) -> str:
    minutes = f"{limits.max_duration_s / 60:g}"
    return f"<p>{both('limits', limits.max_file_mb, minutes, limits.max_width, limits.max_height)}</p>"


def _tell(captioners: "Sequence[Captioner]") -> list[Any]:
    """The models' facts; how many frames and tokens the first is used to; and the frames of both compared sides."""
    first, second = captioners[0], captioners[-1]
    right = second.num_frames if second is not first else max(1, first.num_frames // 2)
    facts = "".join(_model_facts(captioner) for captioner in captioners)
    return [facts, first.num_frames, first.max_new_tokens, first.num_frames, right]


def _model_facts(captioner: "Captioner") -> str:
    size = f"{captioner.num_parameters / 1e6:,.1f} M {both('parameters')}"
    return f"<p><b>{captioner.name}</b><br>{size}<br>{both('revision')} <code>{captioner.revision or '?'}</code></p>"
