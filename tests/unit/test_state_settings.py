"""The shell of the windows over a state that says by which settings it was made; dicts are Flink's state."""

from types import SimpleNamespace
from typing import Any

import pytest

from settings import Settings
from tests.support.random_streams import NOW_MS
from udfs.logic.minutes import partials
from udfs.logic.stream.kept_settings import SettingsRefusedError, decode, of_state
from udfs.operators.dedup import PARTIAL
from udfs.operators.window import Window

KEY = 7


class Value:
    """A ValueState of one key."""

    def __init__(self) -> None:
        self.stored: bytes | None = None
        self.writes = 0

    def value(self) -> bytes | None:
        return self.stored

    def update(self, value: bytes) -> None:
        self.stored = value
        self.writes += 1


class Chunks(dict[int, bytes]):
    """A MapState of one key."""

    def put(self, key: int, value: bytes) -> None:
        self[key] = value

    def remove(self, key: int) -> None:
        del self[key]


class Backend:
    """What a window's states hold of one key."""

    def __init__(self) -> None:
        self.values = {"header": Value(), "settings": Value()}
        self.chunks = Chunks()

    def window(self, settings: Settings, *, key: int = KEY, accepts: bool = False) -> Window:
        """A window that was started from here."""
        keys = [key, *range(1000, 999 + settings.counting.shards)]
        made = Window(settings.counting, settings.job, of_state(settings, accepts=accepts), keys)
        made.open(
            SimpleNamespace(
                get_state=lambda descriptor: self.values[descriptor.name],
                get_map_state=lambda _descriptor: self.chunks,
                get_metrics_group=lambda: SimpleNamespace(gauge=lambda _name, _figure: None),
            )
        )
        return made


def take(window: Window, elements: int = 1) -> None:
    timers = SimpleNamespace(current_processing_time=lambda: NOW_MS, register_processing_time_timer=lambda _at: None)
    context: Any = SimpleNamespace(get_current_key=lambda: KEY, timer_service=lambda: timers)
    for n in range(elements):
        window.process_element(PARTIAL + partials.encode_frontier(0, NOW_MS + n), context)


def others(**counting: int) -> Settings:
    settings = Settings()
    return settings.model_copy(update={"counting": settings.counting.model_copy(update=counting)})


def test_state_says_once_by_which_settings_it_was_made_and_refuses_others() -> None:
    backend = Backend()
    take(backend.window(Settings()), elements=5)
    stamp = backend.values["settings"]
    assert stamp.writes == 1
    assert stamp.stored is not None
    assert decode(stamp.stored) == of_state(Settings()).values
    take(backend.window(Settings()))
    assert stamp.writes == 1
    for counting in ({"generation_ms": 780_000}, {"shards": 4}, {"salts": 32}, {"lateness_ms": 660_000}):
        (name,) = counting
        with pytest.raises(SettingsRefusedError, match=rf"the state of windows was made by counting\.{name}="):
            take(backend.window(others(**counting), accepts=True))
    # What may fall is from then on what it has fallen to.
    take(backend.window(others(lateness_ms=540_000)))
    with pytest.raises(SettingsRefusedError, match=r"counting\.lateness_ms=540000, and the settings say 600000"):
        take(backend.window(Settings()))


def test_state_of_before_is_carried_on_when_that_is_accepted_once() -> None:
    backend = Backend()
    take(backend.window(Settings()))
    stamp = backend.values["settings"]
    stamp.stored = None
    with pytest.raises(SettingsRefusedError, match=r"the state of windows does not say .* give --accept-settings once"):
        take(backend.window(Settings()))
    take(backend.window(Settings(), accepts=True))
    take(backend.window(Settings()))
    # What it shows by itself is compared all the same.
    stamp.stored = None
    with pytest.raises(SettingsRefusedError, match=r"made by counting\.salts=16, and the settings say 32"):
        take(backend.window(others(salts=32), accepts=True))


def test_a_key_that_the_settings_do_not_make_is_refused() -> None:
    backend = Backend()
    take(backend.window(Settings()))
    backend.values["settings"].stored = None
    with pytest.raises(SettingsRefusedError, match=r"a key that neither of counting\.shards=8 and .*=128 makes"):
        take(backend.window(Settings(), key=8, accepts=True))
