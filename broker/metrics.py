"""Counters, histograms and gauges for `/metrics`. No label names a tenant, an identity or anything they
chose.

One process keeps its numbers in memory. Several behind one port (`folder` given) keep them in files of one
folder, so that whichever answers a scrape answers for all; the process that starts them empties it first
(`empty_folder`) and tells of each that ended (`process_ended`).
"""

import os
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, mmap_dict, multiprocess, values
from prometheus_client.exposition import generate_latest
from prometheus_client.values import MutexValue

# The library leaves these two without types.
_MmapedDict: Any = mmap_dict.MmapedDict
_MultiProcessCollector: Any = multiprocess.MultiProcessCollector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_MANY: Final = 200
_OTHER: Final = "other"
LAG_SECONDS: Final = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 100.0)


def empty_folder(folder: Path) -> None:
    """Makes `folder`, or removes the files of processes that are gone. Call before any process starts
    counting.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink(missing_ok=True)


def process_ended(folder: Path, pid: int) -> None:
    """Forgets the gauges of a process that is gone; what it counted stays counted."""
    for file in folder.glob(f"gauge_live*_{pid}.db"):
        file.unlink(missing_ok=True)


class _Files:
    """This process's files in `folder`, named as prometheus_client's collector expects them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, Any] = {}
        self.lock: Final = Lock()
        """Held while a file is opened, read, written or closed."""

    def file(self, prefix: str) -> Any:
        """The file of one kind of number, made where it is not there yet. The caller holds `lock`."""
        if prefix not in self._open:
            self._open[prefix] = _MmapedDict(str(self._folder / f"{prefix}_{os.getpid()}.db"))
        return self._open[prefix]

    def close(self) -> None:
        """Lets go of every file."""
        with self.lock:
            for file in self._open.values():
                file.close()
            self._open.clear()


class _FileValue:
    """One number in `files`: what prometheus_client asks of a value, given the files first."""

    def __init__(
        self,
        files: _Files,
        typ: str,
        metric_name: str,
        name: str,
        labelnames: Any,
        labelvalues: Any,
        help_text: str,
        *_: Any,
        **more: Any,
    ) -> None:
        multiprocess_mode = more.get("multiprocess_mode", "")
        prefix = f"{typ}_{multiprocess_mode}" if typ == "gauge" else typ
        self._lock = files.lock
        with self._lock:
            self._file = files.file(prefix)
            self._key = mmap_dict.mmap_key(metric_name, name, labelnames, labelvalues, help_text)
            self._value, _stamp = self._file.read_value(self._key)

    def inc(self, amount: float) -> None:
        self.set(self._value + amount)

    def set(self, value: float, timestamp: float | None = None) -> None:
        with self._lock:
            self._value = value
            self._file.write_value(self._key, value, timestamp or 0.0)

    def get(self) -> float:
        return float(self._value)

    def _no_exemplar(self, *_: Any) -> None:
        """Exemplars are not kept in files."""

    set_exemplar = get_exemplar = _no_exemplar


class _Storage:
    """Chooses where numbers made inside `with` live. The library's choice is a module global: it is put back
    at once.
    """

    def __init__(self, folder: Path | None) -> None:
        self._files = None if folder is None else _Files(folder)
        self._chosen: Any = MutexValue if self._files is None else partial(_FileValue, self._files)
        self._before: Any = None

    def __enter__(self) -> None:
        self._before, values.ValueClass = values.ValueClass, self._chosen

    def __exit__(self, *_: object) -> None:
        values.ValueClass = self._before

    def close(self) -> None:
        """Lets go of the files, if there are any."""
        if self._files is not None:
            self._files.close()


class _Labelled:
    """A counter's children by label values, bounded: past 200 combinations the rest count as `other`."""

    def __init__(self, counter: Counter, names: int, storage: "_Storage") -> None:
        self._counter = counter
        self._names = names
        self._storage = storage
        self._children: dict[tuple[str, ...], Any] = {}

    def inc(self, *labels: str, by: float = 1) -> None:
        child = self._children.get(labels)
        if child is None:
            if len(self._children) >= _MANY:
                labels = (_OTHER,) * self._names
            with self._storage:
                child = self._children.setdefault(labels, self._counter.labels(*labels))
        child.inc(by)


class Metrics:
    """Every number this process counts, on a registry of its own."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._registry = CollectorRegistry()
        self._storage = _Storage(folder)
        with self._storage:
            self._make()

    def _make(self) -> None:
        r = self._registry

        def counted(name: str, told: str, *labels: str) -> _Labelled:
            return _Labelled(Counter(name, told, labels, registry=r), len(labels), self._storage)

        def timed(name: str, told: str) -> Histogram:
            return Histogram(name, told, buckets=SECONDS, registry=r)

        def gauge(name: str, told: str) -> Gauge:
            return Gauge(name, told, registry=r, multiprocess_mode="livesum")

        self._calls = counted("keyreeve_calls", "Upstream calls that ended.", "outcome", "effect")
        self._refusals = counted("keyreeve_refusals", "Requests refused, by problem code.", "code")
        self._suppressed = Counter(
            "keyreeve_refusals_counted", "Refusals that are in the audit as a count alone.", registry=r
        )
        self._cancellations_dropped = Counter(
            "keyreeve_cancellations_dropped", "Cancelled requests that other processes were not told of.", registry=r
        )
        self._auth = counted("keyreeve_auth_failures", "Requests without a usable bearer.", "code")
        self._swept = Counter("keyreeve_swept_calls", "Open calls the sweeper closed as unknown.", registry=r)
        self._definitions = counted("keyreeve_definition_checks", "Looks at what MCP servers declare.", "outcome")
        self._jobs = counted("keyreeve_job_runs", "Runs of periodic jobs.", "job", "result")
        self._total = timed("keyreeve_call_seconds", "A call, from request to answer.")
        self._upstream = timed("keyreeve_upstream_seconds", "The upstream's share of a call.")
        self._admit = timed("keyreeve_admit_seconds", "Admitting a call (one database round trip).")
        self._settle = timed("keyreeve_settle_seconds", "Settling a call (one database round trip).")
        self._waited = timed("keyreeve_budget_wait_seconds", "Queueing for budget before a call.")
        self._programs = counted("keyreeve_programs", "Programs that ran, by how they ended.", "tool", "outcome")
        self._program_limits = counted("keyreeve_program_limits", "Programs stopped by a limit.", "limit")
        self._program_cpu = timed("keyreeve_program_cpu_seconds", "CPU time of a program.")
        self._program_wall = timed("keyreeve_program_seconds", "A program, from start to result.")
        self._line = timed("keyreeve_line_seconds", "Requests that waited for their tenant's turn.")
        self._loop_lag = Histogram(
            "keyreeve_event_loop_lag_seconds", "How late a timer of 20 ms fired.", buckets=LAG_SECONDS, registry=r
        )
        self._in_flight = gauge("keyreeve_calls_in_flight", "Calls between admit and settle.")
        self._pool_size = gauge("keyreeve_db_pool_connections", "Connections of the hot path's pool.")
        self._pool_idle = gauge("keyreeve_db_pool_idle", "Idle connections of the hot path's pool.")

    # counting

    def in_flight(self, calls: int) -> None:
        """So many calls of this process are under way."""
        self._in_flight.set(calls)

    def call(
        self,
        outcome: str,
        effect: str,
        *,
        total: float,
        upstream: float | None = None,
        admit: float | None = None,
        settle: float | None = None,
        wait: float | None = None,
    ) -> None:
        """A call ended. Times in seconds; None where that part did not happen."""
        self._calls.inc(outcome, effect)
        self._total.observe(total)
        if upstream is not None:
            self._upstream.observe(upstream)
        if admit is not None:
            self._admit.observe(admit)
        if settle is not None:
            self._settle.observe(settle)
        if wait:
            self._waited.observe(wait)

    def program(self, tool: str, outcome: str, *, cpu: float, wall: float, limit: str | None) -> None:
        """A program ended. Times in seconds; `limit` names the one that stopped it."""
        self._programs.inc(tool, outcome)
        self._program_cpu.observe(cpu)
        self._program_wall.observe(wall)
        if limit is not None:
            self._program_limits.inc(limit)

    def waited_in_line(self, seconds: float) -> None:
        """A request waited so long for its tenant's turn."""
        self._line.observe(seconds)

    def loop_late(self, seconds: float) -> None:
        """A timer fired so much after its time."""
        self._loop_lag.observe(seconds)

    def refused(self, code: str) -> None:
        """A request was refused with this problem code."""
        self._refusals.inc(code)

    def suppressed(self, refusals: int) -> None:
        """So many refusals went into the audit as one counting event."""
        self._suppressed.inc(refusals)

    def cancellation_dropped(self) -> None:
        """A client took back a request that is not of this process, and too many such are being told already."""
        self._cancellations_dropped.inc()

    def auth_failed(self, code: str) -> None:
        """A request had no usable bearer."""
        self._auth.inc(code)

    def swept(self, calls: int) -> None:
        """The sweeper closed so many calls."""
        self._swept.inc(calls)

    def definitions_checked(self, outcome: str) -> None:
        """A server's definitions were looked at again: `same`, `changed`, `held` (an admin must accept), `failed`."""
        self._definitions.inc(outcome)

    def job(self, name: str, *, ok: bool) -> None:
        """A periodic job ran."""
        self._jobs.inc(name, "ok" if ok else "failed")

    def pool(self, size: int, idle: int) -> None:
        """The hot path's pool as it is now."""
        self._pool_size.set(size)
        self._pool_idle.set(idle)

    def close(self) -> None:
        """Lets go of the files. Nothing may be counted afterwards."""
        self._storage.close()

    # showing

    def render(self) -> bytes:
        """The Prometheus text format, 0.0.4, of this process or of all that share the folder."""
        if self._folder is None:
            return generate_latest(self._registry)
        merged = CollectorRegistry()
        _MultiProcessCollector(merged, path=str(self._folder))
        return generate_latest(merged)
