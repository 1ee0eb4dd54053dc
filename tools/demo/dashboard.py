"""The demo as a whole: its traffic, its probes, and the table or the lines that show what becomes of them.

The numbers come from threads of their own; the caller's thread only shows what they know.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from rich.console import Console
from rich.live import Live

from settings import Settings
from tools.demo.accounts import Totals
from tools.demo.canary import Canary
from tools.demo.counters import WINDOW_S, Counters, CounterWindow
from tools.demo.sources import CountsSource, JudgedSource, Poller
from tools.demo.titles import demo_metadata
from tools.demo.traffic import DemoTraffic
from tools.demo.view import Snapshot, as_line, as_table
from tools.metadata import publish

RATE_WINDOW_S = 10.0
REFRESH_S = 1.0
LINE_EVERY_S = 5.0
TOP_REFRESH_S = 2.0
BASELINE_WAIT_S = 10.0


@dataclass(frozen=True)
class DemoOptions:
    """What to send and what to show.

    `settings` point at the stack; `endpoints` hold the URLs of "ingest", "query" and "flink".
    `events_per_second` 0 sends nothing at all. `started_at_s` (epoch seconds) is what the first visible count is
    measured from.
    """

    settings: Settings
    endpoints: Mapping[str, str]
    events_per_second: int
    started_at_s: float


class Demo:
    """A context: entered, it sends and looks; left, it has stopped both."""

    def __init__(self, options: DemoOptions) -> None:
        self._options = options
        self._stopping = threading.Event()
        self._judged_source = JudgedSource(options.settings)
        self._judged = Poller(self._judged_source.read, REFRESH_S, self._stopping)
        self._clients = _Clients(options, self._stopping) if options.events_per_second else None
        self._window = CounterWindow()
        self._before: Totals | None = None
        self._first_count_told = False
        self._began_s = time.monotonic()

    def __enter__(self) -> Self:
        self._judged.start()
        # What the ledger holds already is of former runs: look before anything is sent.
        self._judged.wait_first(BASELINE_WAIT_S)
        self._began_s = time.monotonic()
        self._window.add(self._began_s, Counters())
        if self._clients is not None:
            self._clients.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        if self._clients is not None:
            self._clients.join()
        self._judged.join()
        self._judged_source.close()

    def show(self, console: Console, goes_on: Callable[[], bool], once_counting: Callable[[], None]) -> None:
        """Show until `goes_on` says no: a table that renews itself on a terminal, else a line now and then.

        `once_counting` is called when the first count is visible; at once when nothing is sent.
        """
        if self._clients is None:
            once_counting()
        if console.is_terminal:
            with Live(console=console, auto_refresh=False) as live:
                while goes_on():
                    live.update(as_table(self._snapshot()), refresh=True)
                    self._tell_first_count(console, once_counting)
                    time.sleep(REFRESH_S)
            return
        line_at_s = time.monotonic()
        while goes_on():
            snapshot = self._snapshot()
            self._tell_first_count(console, once_counting)
            if time.monotonic() >= line_at_s:
                console.print(as_line(snapshot), soft_wrap=True, highlight=False)
                line_at_s += LINE_EVERY_S
            time.sleep(REFRESH_S)

    def _snapshot(self) -> Snapshot:
        now_s = time.monotonic()
        judged, clients = self._judged.value, self._clients
        counters = self._counters(judged.totals if judged else None)
        self._window.add(now_s, counters)
        counts = clients.counts.value if clients else None
        return Snapshot(
            running_s=now_s - self._began_s,
            sends=clients is not None,
            total=counters,
            recent=self._window.gained(WINDOW_S),
            per_second=self._window.per_second(RATE_WINDOW_S),
            lag_records=judged.lag_records if judged else None,
            freshness=clients.canary.freshness if clients else None,
            waiting_s=clients.canary.waiting_s if clients else 0.0,
            complete_through=counts.complete_through if counts else None,
            top=counts.videos if counts else (),
            addresses=self._addresses(),
            trouble=clients.traffic.trouble if clients else "",
        )

    def _counters(self, totals: Totals | None) -> Counters:
        if totals is not None and self._before is None:
            self._before = totals
        since = totals.minus(self._before) if totals and self._before else Totals()
        return Counters(
            sent=self._clients.sent if self._clients else 0,
            accepted=self._clients.accepted if self._clients else 0,
            refused=self._clients.traffic.refused if self._clients else 0,
            received=since.received,
            counted=since.counted,
            duplicate=since.duplicate,
            late=since.late,
            invalid=since.invalid,
            dead_lettered=since.dead_lettered,
            blocked=since.blocked,
        )

    def _addresses(self) -> dict[str, str]:
        at = self._options.endpoints
        addresses = {
            "ingest": f"POST {at['ingest']}/v1/events, described at {at['ingest']}/docs",
            "query": f"GET {at['query']}/v1/videos/VIDEO/views, described at {at['query']}/docs",
            "Flink": at["flink"],
        }
        if self._clients is not None:
            addresses["for example"] = f"curl {at['query']}/v1/videos/{self._clients.traffic.top_videos[0]}/views"
        return addresses

    def _tell_first_count(self, console: Console, once_counting: Callable[[], None]) -> None:
        if self._clients is None or self._first_count_told:
            return
        at_s = self._clients.canary.first_visible_at_s
        if at_s is not None:
            self._first_count_told = True
            console.print(f"first count visible after {at_s - self._options.started_at_s:.1f} s", highlight=False)
            once_counting()


class _Clients:
    """Those who use the services: the demo's traffic, the canary, and whoever asks for the top videos."""

    def __init__(self, options: DemoOptions, stopping: threading.Event) -> None:
        ingest, query = options.endpoints["ingest"], options.endpoints["query"]
        self.traffic = DemoTraffic(ingest, options.events_per_second, options.settings.counting.salts, stopping)
        self.canary = Canary(ingest, query, stopping)
        self._kafka = options.settings.kafka
        self._counts_source = CountsSource(query, self.traffic.top_videos)
        self.counts = Poller(self._counts_source.read, TOP_REFRESH_S, stopping)

    @property
    def sent(self) -> int:
        """Events sent by any of them."""
        return self.traffic.sent + self.canary.sent

    @property
    def accepted(self) -> int:
        """Events acknowledged to any of them."""
        return self.traffic.accepted + self.canary.accepted

    def start(self) -> None:
        # Without titles the demo is poorer, and counts all the same.
        with contextlib.suppress(KafkaException):
            publish(self._kafka, demo_metadata(self.traffic.videos))
        self.traffic.start()
        self.canary.start()
        self.counts.start()

    def join(self) -> None:
        self.traffic.join()
        self.canary.join()
        self.counts.join()
        self._counts_source.close()
