"""Shows a snapshot of the demo as a table for a terminal, or as one line for a log. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tools.demo.canary import Freshness
from tools.demo.counters import WINDOW_S, Counters

# If a view has waited for longer than this, its waiting time is shown beside the freshness of earlier views.
WAITING_SHOWN_S = 3.0
_SENT_ROWS = (("sent", "sent"), ("accepted", "accepted"), ("refused", "refused"))
_LEDGER_ROWS = (
    ("received", "received"),
    ("counted", "counted"),
    ("duplicates", "duplicate"),
    ("late", "late"),
    ("invalid", "invalid"),
    ("dead letters", "dead_lettered"),
    ("blocked", "blocked"),
)


@dataclass(frozen=True)
class Snapshot:
    """Everything that is shown. What is not known yet is None or empty. `sends` says whether the demo sends events."""

    running_s: float
    sends: bool
    total: Counters
    recent: Counters
    per_second: Mapping[str, float]
    lag_records: int | None = None
    freshness: Freshness | None = None
    waiting_s: float = 0.0
    complete_through: str | None = None
    top: Sequence[tuple[str, int]] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)
    trouble: str = ""


def as_table(snapshot: Snapshot) -> RenderableType:
    """A table with the counters and the top videos, and below it lag, freshness and addresses."""
    events = Table("events", box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("per second", f"last {WINDOW_S / 60:.0f} min", "since the start"):
        events.add_column(title, justify="right")
    for title, name in (*(_SENT_ROWS if snapshot.sends else ()), *_LEDGER_ROWS):
        per_second, recent, total = (
            snapshot.per_second.get(name, 0.0), getattr(snapshot.recent, name), getattr(snapshot.total, name)
        )  # fmt: skip
        events.add_row(title, f"{per_second:,.0f}", f"{recent:,}", f"{total:,}")

    state = Table(box=None, show_header=False, pad_edge=False)
    state.add_row("running", _duration(snapshot.running_s))
    state.add_row("lag", _lag(snapshot))
    if snapshot.sends:
        state.add_row("freshness", _freshness(snapshot))
    if snapshot.complete_through is not None:
        state.add_row("complete through", snapshot.complete_through)
    for name, address in snapshot.addresses.items():
        state.add_row(name, address)
    if snapshot.trouble:
        state.add_row("trouble", Text(snapshot.trouble, style="red"))

    parts: list[RenderableType] = [events]
    if snapshot.top:
        top = Table("top videos", box=box.SIMPLE_HEAD, pad_edge=False)
        top.add_column("views", justify="right")
        for video, views in snapshot.top:
            top.add_row(video, f"{views:,}")
        side_by_side = Table.grid(padding=(0, 4))
        side_by_side.add_row(events, top)
        parts = [side_by_side]
    return Group(*parts, state, Text("Ctrl-C stops everything; the data stays", style="dim"))


def as_line(snapshot: Snapshot) -> str:
    """The same numbers in one line, without the addresses."""
    total = snapshot.total
    parts = [_duration(snapshot.running_s)]
    if snapshot.sends:
        parts.append(f"sent {snapshot.per_second.get('sent', 0.0):,.0f}/s, accepted {total.accepted:,}")
    parts.append(f"counted {total.counted:,} ({snapshot.per_second.get('counted', 0.0):,.0f}/s)")
    # Blocked events are left out while there are none, because the line is long.
    parts += [
        f"{title} {getattr(total, name):,}" for title, name in _LEDGER_ROWS[2:] if name != "blocked" or total.blocked
    ]
    parts.append(f"lag {_lag(snapshot)}")
    if snapshot.sends:
        parts.append(f"freshness {_freshness(snapshot)}")
    if snapshot.top:
        video, views = snapshot.top[0]
        parts.append(f"top {video} {views:,}")
    if snapshot.trouble:
        parts.append(f"trouble: {snapshot.trouble}")
    return "; ".join(parts)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _lag(snapshot: Snapshot) -> str:
    return "not known yet" if snapshot.lag_records is None else f"{snapshot.lag_records:,} records"


def _freshness(snapshot: Snapshot) -> str:
    fresh = snapshot.freshness
    parts = [] if fresh is None else [f"{fresh.last_s:.1f} s (median {fresh.median_s:.1f}, p99 {fresh.p99_s:.1f})"]
    if fresh is None or snapshot.waiting_s > WAITING_SHOWN_S:
        parts.append(f"waiting for {snapshot.waiting_s:.0f} s")
    return ", ".join(parts)
