"""Captions from many machines: a Ray Data pipeline that reads clips in tasks and captions them in actors.

Lines come back to the process that asked, and it alone writes them, so a run goes on as one without Ray does. A worker
that dies is replaced, and its clips, which have no lines yet, are done again. Every machine needs this repository, the
model and the clips under the same paths. Source: Ray Data's guide to batch inference.
"""

import logging
import math
import os
import pickle
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import ray
import ray.data
from ray.exceptions import RayError, RayTaskError

from configuration.coded_errors_kocap import Notice
from modeling.caption_lines import BatchCaptioner, CaptionLine, CaptionSettings
from modeling.clip_reading import Clip, can_isolate, read_clip
from processing.video_processing_kocap import KoCapVideoProcessor

from .caption_engines import ClusterError, Engine, EngineError, load_engine

KNOCK_S = 10.0
MAX_BLOCKS = 2000  # Ray keeps an entry for each


class CaptionFleet:
    """The cluster of `RAY_ADDRESS`, or one that is started on this machine.

    Args:
        model: Checkpoint or adapter, folder or Hub id, which every machine has.
        batch_size: Clips per forward pass.
        trust_remote_code: See `load_captioner`.

    Attributes:
        made_by: What its lines say of the model, and `settings`.
        notices: See `CaptionSettings.check`.

    Raises:
        ClusterError: If there is no cluster at `RAY_ADDRESS`.
        OSError, ValueError: What `load_engine` and `CaptionSettings.check` raise, on a machine of the cluster.
    """

    def __init__(
        self,
        model: str,
        settings: CaptionSettings,
        engine: Engine,
        *,
        batch_size: int,
        trust_remote_code: bool = False,
    ):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody asked for telling somebody
        address = os.environ.get("RAY_ADDRESS", "")
        try:
            _knock(address)
            ray.init(log_to_driver=False, logging_level=logging.ERROR, ignore_reinit_error=True)
        except (OSError, RuntimeError, ValueError) as error:  # no such machine, no cluster there, no address
            raise ClusterError(f"RAY_ADDRESS={address}: {error}") from error
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False  # the caller has one
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        self._gpus, self._cpus = (int(ray.cluster_resources().get(name, 0)) for name in ("GPU", "CPU"))
        self._share = min(1.0, self._cpus / 2)  # of a processor: with only one, readers must find room beside an actor
        self._model = os.path.abspath(model) if Path(model).is_dir() else model
        self._engine, self._batch_size, self._settings = engine, batch_size, settings
        self._trust = trust_remote_code
        asked = ray.remote(max_calls=1, **self._needs)(_describe)  # a process of its own, which leaves the GPU again
        try:
            self.made_by, self._eye, self.notices = ray.get(
                asked.remote(self._model, engine, settings, trust_remote_code=trust_remote_code)
            )
        except RayTaskError as error:
            ray.shutdown()
            raise error.cause from None

    @property
    def _needs(self) -> dict[str, float]:
        """What one captioning process takes of the cluster."""
        return {"num_gpus": 1, "num_cpus": 0} if self._gpus else {"num_cpus": self._share}

    def caption(self, clips: Sequence[Clip]) -> Iterator[CaptionLine]:
        """Caption clips; lines come as they are ready. The cluster is left afterwards.

        Raises:
            EngineError: If the cluster is lost, or one of its machines has other weights.
        """
        try:
            if clips:
                yield from self._run(clips)
        except RayError as error:
            *_, reason = [type(error).__name__, *str(error).strip().splitlines()]
            raise EngineError(reason) from error
        finally:
            ray.shutdown()

    def _run(self, clips: Sequence[Clip]) -> Iterator[CaptionLine]:
        blocks = min(MAX_BLOCKS, math.ceil(len(clips) / self._batch_size))
        actors = ray.data.ActorPoolStrategy(min_size=1, max_size=self._gpus or max(1, self._cpus // 2))
        job = {"model": self._model, "engine": self._engine, "settings": self._settings, "made_by": self.made_by}
        job["trust_remote_code"] = self._trust
        rows = [{"clip": pickle.dumps(clip), "path": os.path.abspath(clip.path)} for clip in clips]
        lines = (
            ray.data.from_items(rows, override_num_blocks=blocks)
            .map(read_row, fn_kwargs=self._eye, num_cpus=self._share / 2)
            .map_batches(
                CaptionActor,
                fn_constructor_kwargs={**job, "batch_size": self._batch_size},
                batch_size=self._batch_size,
                compute=actors,
                **self._needs,  # other than a reader's, or Ray would make one of both
            )
        )
        for row in lines.iter_rows():
            yield pickle.loads(row["captioned"])  # from our own cluster, which runs what we send it anyway


def _knock(address: str) -> None:
    """See whether somebody answers at `host:port`: Ray itself tries for minutes.

    Raises:
        OSError: If nobody does.
    """
    place = urlsplit(address if "://" in address else f"//{address}")
    if place.hostname and place.port:
        socket.create_connection((place.hostname, place.port), KNOCK_S).close()


def read_row(row: dict[str, Any], *, processor: KoCapVideoProcessor, look: dict[str, Any]) -> dict[str, bytes]:
    """A reader's task: one clip's frames, or what is wrong with it; arguments as for `read_clip`."""
    reading = read_clip(Clip(row["path"]), processor, look, isolated=can_isolate())
    return {"reading": pickle.dumps(replace(reading, clip=pickle.loads(row["clip"])))}


class CaptionActor:
    """The model in a process of its own, on a GPU where the cluster has some."""

    def __init__(
        self,
        model: str,
        engine: Engine,
        settings: CaptionSettings,
        made_by: dict[str, Any],
        *,
        batch_size: int,
        trust_remote_code: bool,
    ):
        _be_quiet()
        pipe, own = load_engine(model, engine, slots=batch_size, trust_remote_code=trust_remote_code)
        if any(made_by[name] != value for name, value in own.items()):
            raise RuntimeError(f"this machine's {model} is {own}, another's {made_by}; copy the same checkpoint here.")
        self._captioner = BatchCaptioner(pipe, settings, own, batch_size)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[bytes]]:
        """Readings to lines."""
        readings = [pickle.loads(reading) for reading in batch["reading"]]
        return {"captioned": [pickle.dumps(line) for line in self._captioner.caption(readings)]}


def _describe(
    model: str, engine: Engine, settings: CaptionSettings, *, trust_remote_code: bool
) -> tuple[dict[str, Any], dict[str, Any], list[Notice]]:
    """What lines say of the model and how it is asked; what a reader needs: `read_clip`'s arguments; and notices."""
    _be_quiet()
    pipe, made_by = load_engine(model, engine, slots=1, trust_remote_code=trust_remote_code)
    notices = settings.check(pipe)
    eye = {"processor": pipe.processor.video_processor, "look": settings.look(pipe.processor)}
    return {**made_by, "settings": settings.as_said(pipe.processor)}, eye, notices


def _be_quiet() -> None:
    for room in ("transformers", "processing"):
        logging.getLogger(room).setLevel(logging.ERROR)
