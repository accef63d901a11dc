"""The HTTP service: OpenAI's chat completions with videos, and captions, in front of any engine.

It reads files itself (`MediaReader`), fetches addresses only where that is allowed (`MediaFetcher`), lets in no more
requests than it can answer (`Admission`), and hands sampled frames to the engine. `RequestGuard` stands around it.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any, BinaryIO, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from modeling.subtitles import to_srt, to_vtt
from processing.video_processing_kocap import ClipMetadata, KoCapVideoProcessor
from processing.vision_tokens_kocap import CAPTION_PROMPT

from .admission import Admission
from .caption_answers import caption_body, caption_cues
from .chat_answers import EventStream, chat_body, chat_events
from .chat_requests import CaptionRequest, ChatRequest, ImagePart, Message, TextPart, VideoPart, check
from .choices import several, together, whole
from .engine import Ending, Engine, Job, Piece
from .gateway_errors import ClientGoneError, GatewayError, TooSlowError, UnknownModelError
from .gateway_metrics import GatewayMetrics
from .gateway_settings import GatewaySettings
from .media_fetching import MediaFetcher
from .media_reading import MediaReader, decode_data_url, is_data_url
from .request_guard import RequestGuard

ROUTES = ("/v1/chat/completions", "/v1/captions", "/v1/models", "/health", "/metrics")
READING = ["GET", "HEAD"]
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
FORM_FIELDS = 12
T = TypeVar("T")


class Gateway:
    """Answers requests.

    Args:
        engine: Started and closed by whoever made it.
        model: The name by which clients call it.
        video_processor: The checkpoint's.
        fetcher: Default: one as the settings say.
    """

    def __init__(
        self,
        engine: Engine,
        model: str,
        video_processor: KoCapVideoProcessor,
        settings: GatewaySettings,
        fetcher: MediaFetcher | None = None,
    ):
        self.engine, self.model, self.settings = engine, model, settings
        self.began = int(time.time())
        self.admission = Admission(
            slots=settings.slots, queue=settings.queue, ahead=settings.readers, per_client=settings.per_client
        )
        self.metrics = GatewayMetrics(engine, self.admission)
        self.usual_frames = video_processor.num_frames
        self.fetcher = fetcher or MediaFetcher(settings)
        self.reader = MediaReader(
            video_processor,
            readers=settings.readers,
            read_timeout_s=settings.read_timeout_s,
            max_frames=settings.max_frames,
            max_pixels=settings.max_pixels,
        )

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions"""
        async with AsyncExitStack() as stack:
            stack.enter_context(self.admission.place(request.state.body))
            asked = await asyncio.to_thread(check, ChatRequest, await request.body())
            deadline = self._deadline()
            self._check_model(asked.model)
            job = await until(deadline, while_connected(request, self._chat_job(request, asked, stack)))
            writing = [self._write(request, each, deadline) for each in several(job, asked.n or 1)]
            answers = await stack.enter_async_context(aclosing(together(writing)))
            if not asked.stream:
                written = await while_connected(request, whole(answers))
                return JSONResponse(chat_body(self.model, request.state.request_id, written))
            first = await while_connected(request, anext(answers))  # what fails until here still gets a status
            usage = asked.stream_options is not None and asked.stream_options.include_usage
            told = {"choices": len(writing), "usage": usage}
            events = chat_events(self.model, request.state.request_id, first, answers, **told)
            return EventStream(events, release=stack.pop_all())

    async def captions(self, request: Request) -> Response:
        """POST /v1/captions"""
        async with AsyncExitStack() as stack:
            stack.enter_context(self.admission.place(request.state.body))
            asked, source = await self._caption_request(request, stack)
            deadline = self._deadline()
            self._check_model(asked.model or self.model)
            await until(deadline, while_connected(request, stack.enter_async_context(self.admission.reading_slots)))
            look = self._read_video(request, source, asked.sampling, stack)
            frames, clip = await until(deadline, while_connected(request, look))
            content = [{"type": "video", "video": frames}, {"type": "text", "text": asked.prompt}]
            messages = [{"role": "user", "content": content}]
            job = Job(
                messages,
                (clip,),
                asked.max_new_tokens,
                request_id=request.state.request_id,
                **asked.token_choice,
            )
            answers = await stack.enter_async_context(aclosing(together([self._write(request, job, deadline)])))
            ((text, ending),) = await while_connected(request, whole(answers))
        if asked.format == "json":
            settings = {"num_frames": len(frames)} | asked.sampling
            return JSONResponse(caption_body(self.model, self.engine.revision, asked, settings, clip, text, ending))
        write, media = (to_srt, "application/x-subrip") if asked.format == "srt" else (to_vtt, "text/vtt")
        return Response(write(caption_cues(text, clip)), media_type=f"{media}; charset=utf-8")

    async def models(self, request: Request) -> Response:
        """GET /v1/models"""
        return JSONResponse({"object": "list", "data": [self._model_card()]})

    async def one_model(self, request: Request) -> Response:
        """GET /v1/models/{name}"""
        self._check_model(request.path_params["name"])
        return JSONResponse(self._model_card())

    async def health(self, request: Request) -> Response:
        """GET /health: 200 when the engine takes jobs and says so itself, 503 while it starts or does not answer."""
        if await self.engine.answers(self.settings.health_timeout_s):
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "not answering" if self.engine.ready else "starting"}, 503)

    async def prometheus(self, request: Request) -> Response:
        """GET /metrics"""
        return Response(self.metrics.text(), media_type=PROMETHEUS)

    async def close(self) -> None:
        self.reader.close()
        await self.fetcher.close()

    def _model_card(self) -> dict[str, Any]:
        return {"id": self.model, "object": "model", "created": self.began, "owned_by": "kocap"}

    def _check_model(self, name: str) -> None:
        if name != self.model:
            raise UnknownModelError(f"this server has no model of that name; it serves {self.model!r}.")

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self.settings.request_timeout_s

    async def _caption_request(self, request: Request, stack: AsyncExitStack) -> tuple[CaptionRequest, str | BinaryIO]:
        """The request of a form or a JSON object, and its video: an uploaded file or an address."""
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        if kind != b"multipart/form-data":
            asked = await asyncio.to_thread(check, CaptionRequest, await request.body())
            if asked.video is None:
                raise GatewayError("video is missing. Give an address (data: or https), or upload a form with a file.")
            return asked, asked.video
        if options.get(b"charset", b"utf-8").lower() != b"utf-8":
            raise GatewayError("the form's charset is not UTF-8. Send it in UTF-8.")
        form = await stack.enter_async_context(request.form(max_files=1, max_fields=FORM_FIELDS))
        fields = dict(form.items())
        file = fields.pop("file", None)
        asked = check(CaptionRequest, fields)
        if isinstance(file, UploadFile):
            return asked, file.file
        if asked.video is None:
            raise GatewayError("the form has neither a file named 'file' nor a field named 'video'. Add one of them.")
        return asked, asked.video

    async def _chat_job(self, request: Request, asked: ChatRequest, held: AsyncExitStack) -> Job:
        """Read the videos that the chat shows; their reading slot is held until the stack ends."""
        shown = [part for message in asked.messages for part in message.content if not isinstance(part, TextPart)]
        if len(shown) > self.settings.max_media:
            raise GatewayError(
                f"{len(shown)} videos and pictures were sent; the limit is {self.settings.max_media}. Send fewer."
            )
        if any(isinstance(part, VideoPart) for part in shown):
            await held.enter_async_context(self.admission.reading_slots)
        messages, clips = [], []
        for message in asked.messages:
            content = [await self._look(request, part, asked.sampling, clips) for part in message.content]
            messages.append({"role": "system" if message.role == "developer" else message.role, "content": content})
            if message.role == "user" and not _says_anything(message):
                content.append({"type": "text", "text": CAPTION_PROMPT})
        return Job(
            messages,
            tuple(clips),
            asked.max_new_tokens,
            stop=tuple(asked.stop or ()),
            request_id=request.state.request_id,
            **asked.token_choice,
        )

    async def _look(
        self, request: Request, part: TextPart | VideoPart | ImagePart, sampling: dict, clips: list[ClipMetadata]
    ) -> dict[str, Any]:
        async with AsyncExitStack() as stack:
            if isinstance(part, VideoPart):
                frames, clip = await self._read_video(request, part.video_url.url, sampling, stack)
                clips.append(clip)
                return {"type": "video", "video": frames}
            if isinstance(part, ImagePart):
                return {"type": "image", "image": part.image_url.url}  # read when the request has its slot
            return {"type": "text", "text": part.text}

    async def _read_video(self, request: Request, source: str | BinaryIO, sampling: dict, stack: AsyncExitStack):
        file = await self._open(source, stack) if isinstance(source, str) else source
        began = time.monotonic()
        frames, clip = await self.reader.video(file, sampling)
        self._note(request, self.metrics.read, "read_s", began)
        return frames, clip

    async def _read_pictures(self, job: Job) -> None:
        """Put the pictures where their addresses stand."""
        for part in [part for message in job.messages for part in message["content"]]:
            if part["type"] == "image" and isinstance(part["image"], str):  # else another choice has read it
                async with AsyncExitStack() as stack:
                    part["image"] = await self.reader.image(await self._open(part["image"], stack))

    async def _open(self, url: str, stack: AsyncExitStack) -> bytes | BinaryIO:
        if is_data_url(url):
            return await asyncio.to_thread(decode_data_url, url)
        file = await self.fetcher.fetch(url)
        stack.callback(file.close)
        return file

    async def _write(self, request: Request, job: Job, deadline: float) -> AsyncGenerator[Piece | Ending]:
        """Wait for a slot, then pass on what the engine writes."""
        began = time.monotonic()
        async with AsyncExitStack() as stack:
            await until(deadline, stack.enter_async_context(self.admission.slot()))
            self._note(request, self.metrics.waited, "waited_s", began)
            await until(deadline, self._read_pictures(job))
            began = time.monotonic()
            answer = await stack.enter_async_context(aclosing(self.engine.write(job)))
            is_first = True
            while True:
                item = await until(deadline, anext(answer))
                if is_first:
                    self._note(request, self.metrics.first, "first_text_s", began)
                    is_first = False
                if isinstance(item, Ending):
                    self.metrics.tokens.labels("prompt").inc(item.prompt_tokens)
                    self.metrics.tokens.labels("completion").inc(item.completion_tokens)
                    facts = request.state.facts
                    facts["completion_tokens"] = facts.get("completion_tokens", 0) + item.completion_tokens
                yield item
                if isinstance(item, Ending):
                    return

    def _note(self, request: Request, histogram: Any, name: str, began: float) -> None:
        seconds = time.monotonic() - began
        histogram.observe(seconds)
        facts = request.state.facts
        facts[name] = round(facts.get(name, 0.0) + seconds, 4)


def build_gateway(gateway: Gateway) -> FastAPI:
    """The application, ready for a server."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await gateway.close()
        await gateway.engine.close()

    app = FastAPI(title="KoCap", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route("/v1/chat/completions", gateway.chat, methods=["POST"])
    app.add_api_route("/v1/captions", gateway.captions, methods=["POST"])
    app.add_api_route("/v1/models", gateway.models, methods=READING)
    app.add_api_route("/v1/models/{name:path}", gateway.one_model, methods=READING)
    app.add_api_route("/health", gateway.health, methods=READING)
    app.add_api_route("/metrics", gateway.prometheus, methods=READING)
    app.add_exception_handler(HTTPException, _pass_on)
    app.add_middleware(RequestGuard, settings=gateway.settings, metrics=gateway.metrics, routes=ROUTES)
    if gateway.settings.allow_origins:  # around the guard: browsers ask without a key, and must see its errors, too
        app.add_middleware(
            CORSMiddleware,
            allow_origins=gateway.settings.allow_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["X-Request-Id", "Retry-After"],
        )
    return app


async def _pass_on(request: Request, error: Exception) -> Response:
    raise error  # to the guard, which words it as it does all others


def _says_anything(message: Message) -> bool:
    return any(isinstance(part, TextPart) and part.text.strip() for part in message.content)


async def until(deadline: float, work: Awaitable[T]) -> T:
    """The result, if it comes in time.

    Raises:
        TooSlowError: When it does not.
    """
    try:
        async with asyncio.timeout_at(deadline):
            result = await work
        if asyncio.get_running_loop().time() >= deadline:  # what is ready at once is never interrupted
            raise TimeoutError
        return result
    except TimeoutError:
        raise TooSlowError("no answer within the time limit. Ask for a shorter one, or again later.") from None


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """The result, unless the client leaves first; then the work is cancelled.

    Raises:
        ClientGoneError: When it left.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_leaving(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return task.result()
    finally:
        for waiting in (task, gone):
            waiting.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _leaving(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
