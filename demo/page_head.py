"""What must stand in the page before Gradio's own scripts run: the language, what a full queue says, the style sheet.

Gradio adds `head=` and `css=` when its scripts have already asked the browser for its language, and prefixes every
selector of `css=`, also those that begin with `html`.
"""

import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEAD = b"<head>"
LANGUAGE_SCRIPT = """<script>
(() => {
  const lang = new URLSearchParams(location.search).get("lang") === "en" ? "en" : "ko";
  Object.defineProperty(navigator, "language", { get: () => lang, configurable: true });
  Object.defineProperty(navigator, "languages", { get: () => [lang], configurable: true });
  document.documentElement.lang = lang;
  document.documentElement.dataset.lang = lang;
})();
</script>"""


def full_queue_script(message: str) -> str:
    """Have the page say `message`, HTML, where Gradio's own English sentence about a full queue would stand.

    Gradio's page says that sentence for a 503, and for other codes what the answer says.
    """
    return f"""<script>
(() => {{
  const fetchIt = window.fetch;
  window.fetch = async (...request) => {{
    const answer = await fetchIt(...request);
    const isFull = answer.status === 503 && /\\/queue\\/join(\\?|$)/.test(answer.url);
    return isFull ? new Response({json.dumps(json.dumps({"detail": message}))}, {{ status: 429 }}) : answer;
  }};
}})();
</script>"""


class PageHead:
    """Middleware that puts HTML at the start of the page's head; everything but the page passes as it is."""

    def __init__(self, app: ASGIApp, html: str):
        self.app, self.html = app, html.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/":
            await self.app(scope, receive, send)
            return
        start: Message = {}
        body = b""

        async def send_page(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message  # held back: its length changes
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                page = body.replace(HEAD, HEAD + self.html, 1)
                headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
                await send({**start, "headers": [*headers, (b"content-length", str(len(page)).encode())]})
                await send({"type": "http.response.body", "body": page})

        await self.app(scope, receive, send_page)
