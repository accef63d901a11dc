"""What Prometheus is told: how many, how long, how full. No user content, and no labels that users choose."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from .admission import Admission
from .engine import Engine

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class GatewayMetrics:
    """The gateway's counters, in a registry of their own."""

    def __init__(self, engine: Engine, admission: Admission):
        self._registry = CollectorRegistry()
        self.requests = self._add(Counter, "kocap_requests", "Requests answered", ["route", "status"])
        self.seconds = self._add(Histogram, "kocap_request_seconds", "Time to answer", ["route"], buckets=SECONDS)
        self.waited = self._add(Histogram, "kocap_queue_seconds", "Time waiting for a slot", buckets=SECONDS)
        self.read = self._add(Histogram, "kocap_read_seconds", "Time reading videos", buckets=SECONDS)
        self.first = self._add(Histogram, "kocap_first_token_seconds", "Slot to first text", buckets=SECONDS)
        self.tokens = self._add(Counter, "kocap_tokens", "Tokens read and written", ["kind"])
        inside = self._add(Gauge, "kocap_requests_inside", "Requests running or waiting")
        inside.set_function(lambda: admission.inside)
        running = self._add(Gauge, "kocap_requests_running", "Answers being written")
        running.set_function(lambda: admission.running)
        up = self._add(Gauge, "kocap_engine_up", "Whether the engine takes jobs")
        up.set_function(lambda: engine.ready)
        restarts = self._add(Gauge, "kocap_engine_restarts", "How often the engine was started again")
        restarts.set_function(lambda: engine.restarts)

    def _add(self, kind: Any, *arguments: Any, **options: Any) -> Any:
        return kind(*arguments, **options, registry=self._registry)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)
