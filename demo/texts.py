"""Every word on the page, Korean and English.

Labels go through `gr.I18n`, which translates in the browser; HTML carries both languages and CSS shows one. Korean is
shown whatever the browser prefers, English where the address says `?lang=en`.
"""

import html

import gradio as gr
from gradio.i18n import I18nData

TEXTS: dict[str, tuple[str, str]] = {
    "title": ("KoCap · 영상을 한국어로", "KoCap · videos in Korean words"),
    "tagline": ("영상을 보고 한국어로 자세히 설명합니다.", "Watches a video and describes it in detail, in Korean."),
    "mistakes": (
        "모델이 쓴 설명에는 틀린 내용이 있을 수 있습니다.",
        "What the model writes may be wrong.",
    ),
    "embedded": (
        "지금은 작은 데모 모델이 실려 있습니다. 그림으로 그린 풍경만 배웠기 때문에 실제로 촬영한 영상은 제대로"
        " 설명하지 못하고, 질문에도 제대로 답하지 못합니다.",
        "This is a small demonstration model. It has only ever seen drawn scenes, so it describes real footage badly"
        " and cannot answer questions.",
    ),
    "loading": (
        "모델을 불러오는 중입니다. 다 불러오면 바로 시작합니다.",
        "The model is being loaded. It starts as soon as that is done.",
    ),
    # the clip
    "video": ("영상", "Video"),
    "limits": (
        "{0} MB, {1}분, {2}×{3} 화소까지 됩니다. 올린 파일은 한 시간이 지나면 지워집니다.",
        "Up to {0} MB, {1} minutes and {2}×{3} pixels. Uploads are deleted after an hour.",
    ),
    "examples": ("예시 영상 (그린 풍경)", "Examples (drawn scenes)"),
    # settings
    "settings": ("설정", "Settings"),
    "num_frames": ("모델이 볼 프레임 수", "Frames that the model sees"),
    "sampling": ("프레임 고르기", "Choice of frames"),
    "uniform": ("고르게", "Evenly"),
    "scene": ("장면마다", "Every shot"),
    "detail": ("설명의 길이", "Detail"),
    "long": ("자세히", "Long"),
    "short": ("두 문장", "Two sentences"),
    "temperature": ("온도", "Temperature"),
    "temperature_info": ("0이면 늘 같은 설명, 높을수록 다양한 설명", "0: always the same caption; higher: more varied"),
    "max_tokens": ("설명의 최대 길이 (토큰)", "Longest caption (tokens)"),
    "about_model": ("모델", "Model"),
    "parameters": ("매개변수", "parameters"),
    "revision": ("판", "revision"),
    # captions
    "caption_tab": ("설명", "Caption"),
    "describe": ("설명 만들기", "Describe"),
    "stop": ("멈추기", "Stop"),
    "stopped": ("멈추었습니다.", "Stopped."),
    "caption": ("설명", "Caption"),
    "caption_empty": ("설명이 여기에 나타납니다.", "The caption will appear here."),
    "seen": ("모델이 본 장면", "What the model saw"),
    "seen_empty": ("모델이 본 장면과 시각이 여기에 나타납니다.", "The frames that the model saw will appear here."),
    "watch": ("자막과 함께 보기", "Watch with subtitles"),
    "save": ("저장", "download"),
    # time line
    "timeline_tab": ("시간표", "Time line"),
    "timeline_info": (
        "장면이 바뀌는 곳에서 영상을 나누어 하나씩 설명합니다. 긴 영상에 알맞습니다.",
        "Cuts the clip where its shots change and describes each part. For long clips.",
    ),
    "make_timeline": ("시간표 만들기", "Make a time line"),
    "timeline_empty": ("시각과 설명의 표가 여기에 나타납니다.", "Times and captions will appear here."),
    "time": ("시각", "Time"),
    "waiting": ("남은 장면: {0}", "Parts to come: {0}"),
    # comparison
    "compare_tab": ("비교", "Compare"),
    "compare_info": (
        "같은 영상을 두 가지 설정이나 두 모델로 설명해 나란히 놓습니다.",
        "Describes one clip with two settings, or two models, side by side.",
    ),
    "compare": ("비교하기", "Compare"),
    "left": ("왼쪽", "Left"),
    "right": ("오른쪽", "Right"),
    # questions
    "questions": ("영상에 대해 묻기", "Ask about the video"),
    "questions_empty": (
        "위의 영상에 대해 물어보세요. 예: 사람이 몇 명 보이나요?",
        "Ask about the clip above, for example: how many people are there?",
    ),
    "question": ("질문", "Question"),
    "ask": ("묻기", "Ask"),
}
PREFIX = "kocap_"  # Gradio has words of its own under keys such as `video`
I18N = gr.I18n(
    ko={PREFIX + key: korean for key, (korean, _) in TEXTS.items()},
    en={PREFIX + key: english for key, (_, english) in TEXTS.items()},
)


def label(key: str) -> I18nData:
    """A text for Gradio's own parts, which the browser translates."""
    return I18N(PREFIX + key)


def pair(key: str, *values: object) -> tuple[str, str]:
    """A text in Korean and in English, with values filled in."""
    korean, english = TEXTS[key]
    return korean.format(*values), english.format(*values)


def both(key: str, *values: object) -> str:
    """A text as HTML in both languages, of which the style sheet shows one."""
    korean, english = pair(key, *values)
    return (
        f'<span class="ko" lang="ko">{html.escape(korean)}</span>'
        f'<span class="en" lang="en">{html.escape(english)}</span>'
    )
