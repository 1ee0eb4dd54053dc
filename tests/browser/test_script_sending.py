"""What becomes of events that cannot be sent at once, or not by this page: none is lost, and none counts twice."""

import time
from collections import Counter
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.support.waiting import eventually
from tests.support.watched_site import LOST, PATIENCE_S, Site, refusal

FLYING_BYTES_MAX = 60 << 10
STORED_MAX = 500
HOURS_2_MS = 2 * 3_600_000
# Of any machine that runs this: the script asks over the same machine.
CLOCK_MS = 60_000
STORED = "Object.keys(localStorage).filter(key => key.startsWith('vc:e:'))"


def wait_for(condition: Callable[[], bool]) -> None:
    assert eventually(condition, PATIENCE_S, 0.02)


def await_nothing_stored(page: Page) -> None:
    page.wait_for_function(f"{STORED}.length == 0")


def ids_of(site: Site) -> list[list[str]]:
    return [[event["event_id"] for event in sent.events] for sent in site.watched.sent]


def hide(page: Page) -> None:
    """What the page sees when it is hidden. Playwright's pages never are."""
    page.evaluate("""() => {
        Object.defineProperty(document, "hidden", { configurable: true, get: () => true });
        document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
    }""")


def off_by(ms: int) -> str:
    return f"{{ const right = Date.now; Date.now = () => right() + ({ms}); }}"


@pytest.mark.parametrize("off_ms", [HOURS_2_MS, -HOURS_2_MS])
def test_a_wrong_clock_is_corrected_before_anything_is_stored(site: Site, page: Page, off_ms: int) -> None:
    page.add_init_script(off_by(off_ms))
    site.watched.hold.clear()
    page.goto(site.page("", tag="data-local"))
    page.evaluate("vc.play('A'); vc.play('B')")
    page.wait_for_function(f"{STORED}.length == 2")
    stored = page.evaluate(f"{STORED}.map(key => JSON.parse(localStorage[key]))")
    assert all(abs(event["viewed_at"] - time.time() * 1000) < CLOCK_MS for event in stored)
    # The next page of the session knows it.
    page.goto(site.page("", path="/next"))
    page.evaluate("vc.play('C')")
    page.wait_for_function(f"{STORED}.length == 3")
    site.watched.hold.set()
    counted = site.awaited(("A", "view"), ("B", "view"), ("C", "view"))
    assert set(counted.values()) == {1}
    assert site.watched.asked_time == 1
    by_id = {event["event_id"]: event for sent in site.watched.sent for event in sent.events}
    assert [by_id[event["event_id"]] for event in stored] == stored
    assert all(abs(event["viewed_at"] - time.time() * 1000) < CLOCK_MS for event in by_id.values())


def test_a_clock_that_is_set_within_a_session_is_asked_again(site: Site, page: Page) -> None:
    page.goto(site.page("", tag="data-local"))
    page.evaluate("vc.play('before')")
    site.awaited(("before", "view"))
    page.evaluate(off_by(HOURS_2_MS))
    page.evaluate("vc.play('after')")
    site.awaited(("after", "view"))
    assert site.watched.asked_time == 2
    assert abs(site.watched.sent[-1].events[0]["viewed_at"] - time.time() * 1000) < CLOCK_MS


def test_a_clock_that_is_set_between_pages_is_asked_again_when_ingest_says_so(site: Site, page: Page) -> None:
    page.goto(site.page("", tag="data-local"))
    page.evaluate("vc.play('before')")
    site.awaited(("before", "view"))
    page.add_init_script(off_by(-HOURS_2_MS))
    page.goto(f"{site.url}/")
    # This one has the wrong time.
    page.evaluate("vc.play('wrong')")
    site.awaited(("wrong", "view"))
    await_nothing_stored(page)
    page.evaluate("vc.play('after')")
    site.awaited(("after", "view"))
    assert site.watched.asked_time == 2
    assert abs(site.watched.sent[-1].events[0]["viewed_at"] - time.time() * 1000) < CLOCK_MS


def test_a_page_that_never_hears_the_time_takes_what_the_last_session_knew(
    site: Site, profile: BrowserContext, page: Page
) -> None:
    profile.add_init_script(off_by(-HOURS_2_MS))
    page.goto(site.page("", tag="data-local"))
    page.evaluate("vc.play('A')")
    site.awaited(("A", "view"))
    another = profile.new_page()
    another.route("**/v1/time", lambda route: route.abort())
    another.goto(f"{site.url}/")
    another.evaluate("vc.play('B')")
    assert another.evaluate(STORED) == []
    hide(another)
    (stored,) = another.evaluate(f"{STORED}.map(key => JSON.parse(localStorage[key]))")
    assert abs(stored["viewed_at"] - time.time() * 1000) < CLOCK_MS
    another.close()
    page.goto(f"{site.url}/")
    assert site.awaited(("B", "view")) == {("A", "view"): 1, ("B", "view"): 1}


@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_is_waited_out_and_the_same_event_sent_again(site: Site, page: Page, status: int) -> None:
    site.watched.instead.append(refusal(status, 1))
    page.goto(site.page("", tag="data-local"))
    page.evaluate("vc.play('A')")
    wait_for(lambda: len(site.watched.sent) == 1)
    # Nobody is asked sooner, whatever else happens here, and by whichever page.
    page.wait_for_function("localStorage['vc:wait'] > Date.now()")
    page.goto(f"{site.url}/")
    page.evaluate("vc.play('B')")
    assert site.awaited(("A", "view"), ("B", "view")) == {("A", "view"): 1, ("B", "view"): 1}
    first, second, *_ = site.watched.sent
    assert first.events[0] in second.events
    assert second.at_s - first.at_s >= 1
    await_nothing_stored(page)


def test_a_wait_is_kept_where_nothing_can_be_stored(site: Site, page: Page) -> None:
    page.add_init_script("""for (const name of ["localStorage", "sessionStorage"])
        Object.defineProperty(window, name, { get() { throw new DOMException("no", "SecurityError"); } });""")
    site.watched.instead.append(refusal(503, 1))
    page.goto(site.page("", tag="data-local"))
    page.evaluate("vc.play('A')")
    assert site.awaited(("A", "view")) == {("A", "view"): 1}
    first, second = site.watched.sent
    assert (first.events, second.at_s - first.at_s >= 1) == (second.events, True)


def test_what_a_page_could_not_send_the_next_one_sends(site: Site, profile: BrowserContext, page: Page) -> None:
    site.watched.always = refusal(503)
    page.goto(site.page("", tag="data-local"))
    page.evaluate("vc.play('A')")
    wait_for(lambda: len(site.watched.sent) == 1)
    page.close()
    site.watched.always = None
    later = profile.new_page()
    later.goto(f"{site.url}/")
    assert site.awaited(("A", "view")) == {("A", "view"): 1}
    await_nothing_stored(later)
    assert len({*map(tuple, ids_of(site))}) == 1


def test_a_page_that_goes_away_at_once_is_counted(site: Site, page: Page) -> None:
    page.goto(site.page("", tag="data-local"))
    page.evaluate("vc.play('A')")
    site.awaited(("A", "view"))
    site.page("", path="/without", tag='data-local data-store="another"')
    page.evaluate("setTimeout(() => { vc.play('B'); location = '/without'; })")
    assert site.awaited(("B", "view")) == {("A", "view"): 1, ("B", "view"): 1}


def test_offline_and_back(site: Site, profile: BrowserContext, page: Page) -> None:
    page.goto(site.page("", tag="data-local"))
    page.evaluate("vc.play('before')")
    site.awaited(("before", "view"))
    profile.set_offline(offline=True)
    page.evaluate("vc.play('A'); vc.play('B')")
    page.wait_for_function("localStorage['vc:wait']")
    profile.set_offline(offline=False)
    assert set(site.awaited(("A", "view"), ("B", "view")).values()) == {1}
    await_nothing_stored(page)


def test_an_answer_that_was_lost_counts_nothing_twice(site: Site, page: Page) -> None:
    """Ingest has taken the event, and the page hears of no answer."""
    site.watched.instead.append(LOST)
    page.goto(site.page("", tag="data-local"))
    page.evaluate("vc.play('A')")
    wait_for(lambda: len(site.watched.sent) == 2)
    await_nothing_stored(page)
    assert site.counted() == {("A", "view"): 1}
    assert site.watched.sent[0].events == site.watched.sent[1].events


def test_two_tabs_share_one_storage(site: Site, profile: BrowserContext, page: Page) -> None:
    """Each takes over what the other has not sent yet, while both add to it."""
    tabs = [page, profile.new_page()]
    site.watched.hold.clear()
    names = [[f"{tab}-{number}" for number in range(20)] for tab in range(2)]
    page.goto(site.page("", tag="data-local"))
    for tab, own in zip(tabs, names, strict=True):
        tab.goto(f"{site.url}/")
        tab.evaluate("names => names.slice(0, 10).forEach(vc.play)", own)
        tab.wait_for_function(f"{STORED}.length >= 10")
    tabs[0].goto(f"{site.url}/")
    for tab, own in zip(tabs, names, strict=True):
        tab.evaluate("names => names.slice(10).forEach(vc.play)", own)
    tabs[1].wait_for_function(f"{STORED}.length == 40")
    site.watched.hold.set()
    wanted = [(name, "view") for own in names for name in own]
    assert site.awaited(*wanted) == Counter(wanted)
    for tab in tabs:
        await_nothing_stored(tab)


def test_at_most_60_kib_are_on_their_way_and_500_events_are_stored(site: Site, page: Page) -> None:
    page.goto(site.page("", tag="data-local"))
    page.evaluate("vc.play('first')")
    site.awaited(("first", "view"))
    site.watched.hold.clear()
    page.evaluate("for (let n = 0; n < 600; n++) vc.play('video ' + n)")
    assert page.evaluate(f"{STORED}.length") == STORED_MAX
    # A hidden page sends as much as it may at once.
    hide(page)
    wait_for(lambda: site.watched.bytes_now > FLYING_BYTES_MAX / 2)
    site.watched.hold.set()
    await_nothing_stored(page)
    counted = site.counted()
    # The one that was on its way and the oldest others gave way.
    assert {(f"video {number}", "view"): 1 for number in range(100, 600)}.items() <= counted.items()
    assert site.watched.bytes_most <= FLYING_BYTES_MAX


def test_a_beacon_is_sent_only_by_a_hidden_page_whose_fetch_is_refused(site: Site, page: Page) -> None:
    page.goto(site.page("", tag="data-local"))
    page.evaluate("vc.play('A')")
    site.awaited(("A", "view"))
    page.evaluate("""() => {
        window.beacons = 0;
        const send = navigator.sendBeacon.bind(navigator);
        navigator.sendBeacon = (...what) => { beacons++; return send(...what); };
        window.fetch = () => Promise.reject(new TypeError("refused"));
        vc.play("B");
    }""")
    page.wait_for_function("localStorage['vc:wait']")
    assert page.evaluate("beacons") == 0
    page.evaluate("localStorage.removeItem('vc:wait')")
    page.wait_for_function("localStorage['vc:wait']")
    hide(page)
    assert site.awaited(("B", "view")) == {("A", "view"): 1, ("B", "view"): 1}
    assert site.watched.sent[-1].media.startswith("text/plain")
    # Nobody has heard the answer: the next page sends it again, as the same event.
    page.goto(f"{site.url}/")
    await_nothing_stored(page)
    assert site.counted() == {("A", "view"): 1, ("B", "view"): 1}


def test_a_bad_event_is_dropped_and_the_others_are_sent(site: Site, page: Page) -> None:
    page.goto(site.page("", tag="data-local"))
    page.evaluate("""() => {
        localStorage["vc:e:broken"] = "{";
        vc.play("x".repeat(70000));
        vc.play();
    }""")
    page.goto(f"{site.url}/")
    page.evaluate("vc.play('good')")
    assert ("good", "view") in site.awaited(("good", "view"))
    await_nothing_stored(page)
