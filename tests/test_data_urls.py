"""data: URLs as browsers and clients write them."""

import base64
import textwrap
from urllib.parse import quote

import pytest
from gateway_fixtures import CLIP, TEXT, Stage, play

from serving.gateway_errors import GatewayError
from serving.media_reading import decode_data_url, is_data_url

CONTENT = bytes(range(256)) * 3 + b"\xfb\xff"  # + and / in base64, and two bytes more than a multiple of three
PLAIN = base64.b64encode(CONTENT).decode()
ACCEPTED = {
    "plain": f"data:video/mp4;base64,{PLAIN}",
    "MediaRecorder": f"data:video/webm;codecs=vp8,opus;base64,{PLAIN}",
    "quoted codecs": f'data:video/webm;codecs="vp9,opus";base64,{PLAIN}',
    "no type": f"data:;base64,{PLAIN}",
    "upper case": f"DATA:VIDEO/MP4;BASE64,{PLAIN}",
    "mixed case and blanks": f"  Data:video/mp4; Base64 ,{PLAIN}",
    "folded": "data:video/mp4;base64," + "\r\n ".join(textwrap.wrap(PLAIN, 76)) + "\n",
    "unpadded": f"data:video/mp4;base64,{PLAIN.rstrip('=')}",
    "URL-safe": f"data:video/mp4;base64,{base64.urlsafe_b64encode(CONTENT).decode()}",
    "URL-safe, unpadded": f"data:video/mp4;base64,{base64.urlsafe_b64encode(CONTENT).decode().rstrip('=')}",
    "percent-encoded": f"data:video/mp4;base64,{quote(PLAIN, safe='')}",
}
REFUSED = {
    "no comma": "data:video/mp4;base64",
    "not base64": "data:video/mp4,abc",
    "base64 elsewhere": f"data:video/mp4;base64=no,{PLAIN}",
    "a letter too many": f"data:;base64,{PLAIN.rstrip('=')[:4]}A",
    "padding inside": "data:;base64,QQ==QQ==",
    "other letters": "data:;base64,QUJ!",
    "Korean": "data:;base64,영상",
    "half a surrogate pair": "data:;base64,\ud800",
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_data_urls_are_parsed_by_the_standard(name):
    assert is_data_url(ACCEPTED[name])
    assert decode_data_url(ACCEPTED[name]) == CONTENT
    for length in (0, 1, 2):  # all paddings
        assert decode_data_url(f"data:;base64,{base64.b64encode(CONTENT[length:]).decode()}") == CONTENT[length:]


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_base64_is_a_coded_error(name):
    with pytest.raises(GatewayError, match="E_REQUEST"):
        decode_data_url(REFUSED[name])


def test_a_recording_of_a_browser_is_captioned():
    async def scenario(stage: Stage) -> None:
        url = f"DATA:video/webm;codecs=vp8,opus;base64,{base64.urlsafe_b64encode(CLIP).decode().rstrip('=')}"
        response = await stage.client.post("/v1/captions", json={"video": url})
        assert (response.status_code, response.json().get("caption")) == (200, TEXT)
        part = {"type": "video_url", "video_url": {"url": url}}
        assert (await stage.chat(part)).status_code == 200

    play(scenario)
