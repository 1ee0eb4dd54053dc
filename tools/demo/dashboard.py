"""The whole demo: its traffic, its freshness probes, and the table or the lines that show the numbers.

Threads of their own get the numbers; the caller's thread only shows them.
"""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from confluent_kafka import KafkaException
from rich.console import Console
from rich.live import Live

from schemas.ledger import FATES
from settings import Settings
from tools.demo.canary import Canary
from tools.demo.counters import WINDOW_S, Counters, CounterWindow
from tools.demo.sources import CountsSource, JudgedSource, Poller
from tools.demo.titles import demo_metadata
from tools.demo.traffic import DemoTraffic
from tools.demo.view import Snapshot, as_line, as_table
from tools.metadata import publish
from tools.stack.machine.ports import DEFAULT_PORTS

RATE_WINDOW_S = 10.0
REFRESH_S = 1.0
LINE_EVERY_S = 5.0
TOP_REFRESH_S = 2.0
BASELINE_WAIT_S = 10.0


@dataclass(frozen=True)
class DemoOptions:
    """What the demo sends and shows.

    `settings` must point at the stack. `endpoints` has the URLs of "ingest", "query" and "flink". With
    `events_per_second` 0 the demo sends nothing. The time to the first visible count is measured from `started_at_s`,
    in seconds since 1970.
    """

    settings: Settings
    endpoints: Mapping[str, str]
    events_per_second: int
    started_at_s: float


class Demo:
    """A context manager: the demo sends and polls between its begin and its end."""

    def __init__(self, options: DemoOptions) -> None:
        self._options = options
        self._stopping = threading.Event()
        self._judged_source = JudgedSource(options.settings)
        self._judged = Poller(self._judged_source.read, REFRESH_S, self._stopping)
        self._clients = _Clients(options, self._stopping) if options.events_per_second else None
        self._window = CounterWindow()
        self._before: Counter[str] | None = None
        self._first_count_shown = False
        self._began_s = time.monotonic()

    def __enter__(self) -> Self:
        self._judged.start()
        # The ledger may have numbers of earlier runs, so it is read before anything is sent.
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
        """Show the numbers until `goes_on` returns False: on a terminal a table, otherwise a line now and then.

        `once_counting` is called when the first count is visible, or at once if the demo sends nothing.
        """
        if self._clients is None:
            once_counting()
        if console.is_terminal:
            with Live(console=console, auto_refresh=False) as live:
                while goes_on():
                    live.update(as_table(self._snapshot()), refresh=True)
                    self._show_first_count(console, once_counting)
                    time.sleep(REFRESH_S)
            return
        line_at_s = time.monotonic()
        while goes_on():
            snapshot = self._snapshot()
            self._show_first_count(console, once_counting)
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

    def _counters(self, totals: Counter[str] | None) -> Counters:
        since = Counter[str]()
        if totals is not None:
            if self._before is None:
                self._before = totals
            since.update(totals)
            since.subtract(self._before)
        return Counters(
            sent=self._clients.sent if self._clients else 0,
            accepted=self._clients.accepted if self._clients else 0,
            refused=self._clients.traffic.refused if self._clients else 0,
            **{name: since[name] for name in ("received", *FATES)},
        )

    def _addresses(self) -> dict[str, str]:
        at = self._options.endpoints
        addresses = {
            "ingest": f"POST {at['ingest']}/v1/events, described at {at['ingest']}/docs",
            "query": f"GET {at['query']}/v1/videos/VIDEO/views, described at {at['query']}/docs",
            "Flink": at["flink"],
            "in a browser": f"{at['ingest']}/try{_asking(at['query'])} counts what you play",
        }
        if self._clients is not None:
            addresses["for example"] = f"curl {at['query']}/v1/videos/{self._clients.traffic.top_videos[0]}/views"
        return addresses

    def _show_first_count(self, console: Console, once_counting: Callable[[], None]) -> None:
        if self._clients is None or self._first_count_shown:
            return
        at_s = self._clients.canary.first_visible_at_s
        if at_s is not None:
            self._first_count_shown = True
            console.print(f"first count visible after {at_s - self._options.started_at_s:.1f} s", highlight=False)
            once_counting()


def _asking(query_url: str) -> str:
    """What tells the page in the browser whom it asks for counts, if that is not the usual port."""
    port = urlsplit(query_url).port
    return "" if port == DEFAULT_PORTS["query"] else f"?query={port}"


class _Clients:
    """The clients of the services: the demo's traffic, the canary, and the poller of the top videos."""

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
        # The demo counts without titles, too.
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
