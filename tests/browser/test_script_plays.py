"""What the browser script counts as a play, in Chromium, by what the real ingest has acknowledged."""

import pytest
from playwright.sync_api import Page

from tests.support.waiting import eventually
from tests.support.watched_site import PATIENCE_S, Site, refusal

LONG, SHORT = "/films/long.webm", "/films/short.webm"
QUICK = 'data-local data-engaged="0.5"'


def film(video_id: str = "A", source: str = LONG, more: str = "autoplay muted") -> str:
    return f'<video data-video-id="{video_id}" src="{source}" {more}></video>'


def counted_by_now(site: Site, page: Page) -> dict[tuple[str, str], int]:
    """What was counted when a play that began now is: nothing else was on its way."""
    page.evaluate("vc.play('the end')")
    found = dict(site.awaited(("the end", "view")))
    del found["the end", "view"]
    return found


def test_a_play_is_one_view_and_is_engaged_once(site: Site, page: Page) -> None:
    page.goto(site.page(film(), tag=QUICK))
    site.awaited(("A", "view"), ("A", "engaged"))
    assert counted_by_now(site, page) == {("A", "view"): 1, ("A", "engaged"): 1}
    (sent, *_) = site.watched.sent
    assert (sent.media.partition(";")[0], sent.query) == ("text/plain", f"key={site.key}")
    assert site.watched.asked_time == 1


def test_events_go_where_the_script_comes_from_unless_the_tag_says_otherwise(site: Site, page: Page) -> None:
    url = site.page(film())
    site.pages["/"] = site.pages["/"].replace("data-to", "data-not-to")
    page.goto(url)
    assert site.awaited(("A", "view")) == {("A", "view"): 1}


def test_a_video_that_comes_later_is_counted_when_it_plays(site: Site, page: Page) -> None:
    page.goto(site.page(film("still", more="muted")))
    page.evaluate("html => document.body.insertAdjacentHTML('beforeend', html)", film("later"))
    site.awaited(("later", "view"))
    assert counted_by_now(site, page) == {("later", "view"): 1}


def test_a_loop_is_one_play_and_a_repeat_after_the_end_is_another(site: Site, page: Page) -> None:
    page.goto(site.page(film("loop", SHORT, "autoplay muted loop") + film("again", SHORT)))
    page.evaluate("""async () => {
        const turns = (video, type) => new Promise(done => {
            let times = 0;
            video.addEventListener(type, () => ++times == 2 && done());
        });
        const [loop, again] = document.querySelectorAll("video");
        again.addEventListener("ended", () => again.play(), { once: true });
        await Promise.all([turns(loop, "seeking"), turns(again, "ended")]);
    }""")
    assert counted_by_now(site, page) == {("loop", "view"): 1, ("again", "view"): 2}


def test_seeks_and_pauses_are_one_play_and_no_time_played(site: Site, page: Page) -> None:
    """The position moves on by 66 s, far faster than the clock."""
    page.goto(site.page(film(), tag='data-local data-engaged="60"'))
    site.awaited(("A", "view"))
    page.evaluate("""async () => {
        const video = document.querySelector("video");
        const seek = (to) => new Promise(done => {
            video.addEventListener("timeupdate", done, { once: true });
            video.currentTime = to;
        });
        for (let times = 0; times < 6; times++) {
            await seek(0);
            await seek(11);
            video.pause();
            await seek(5);
            await video.play();
        }
    }""")
    assert counted_by_now(site, page) == {("A", "view"): 1}


def test_another_video_in_the_same_element_is_another_play(site: Site, page: Page) -> None:
    page.goto(site.page(film()))
    site.awaited(("A", "view"))
    # A player may load the same video again, after an error for example.
    page.evaluate("() => { const v = document.querySelector('video'); v.load(); return v.play(); }")
    page.evaluate("() => { const v = document.querySelector('video'); v.dataset.videoId = 'B'; return v.play(); }")
    site.awaited(("B", "view"))
    assert counted_by_now(site, page) == {("A", "view"): 1, ("B", "view"): 1}


def test_a_video_has_the_id_of_what_is_around_it_or_of_its_file(site: Site, page: Page) -> None:
    page.goto(
        site.page(
            f'<div data-video-id="around"><video src="{LONG}" autoplay muted></video></div>'
            f'<div data-video-id="around"><video data-video-id="" src="{LONG}" autoplay muted></video></div>'
            f'<video src="{LONG}?signature=x" autoplay muted></video><canvas></canvas><video id="stream" muted></video>'
        )
    )
    site.awaited(("around", "view"), (LONG, "view"))
    page.evaluate("""() => {
        const video = document.querySelector("#stream");
        video.srcObject = document.querySelector("canvas").captureStream();
        document.querySelector("canvas").getContext("2d").fillRect(0, 0, 9, 9);
        return video.play();
    }""")
    assert counted_by_now(site, page) == {("around", "view"): 1, (LONG, "view"): 1}
    page.evaluate("document.querySelector('#stream').dataset.videoId = 'a stream'")
    page.evaluate("document.querySelector('canvas').getContext('2d').fillRect(9, 9, 9, 9)")
    site.awaited(("a stream", "view"))


def test_another_player_says_itself_what_plays(site: Site, page: Page) -> None:
    page.goto(site.page("", tag=QUICK))
    page.evaluate("""async () => {
        const moved = vc.play("framed");
        const began = performance.now();
        // As a player does, at 20 times the speed.
        for (let passed = 0; passed < 700; passed = performance.now() - began) {
            moved(passed / 50);
            await new Promise(done => setTimeout(done, 50));
        }
        vc.page("/another/page");
    }""")
    site.awaited(("framed", "engaged"))
    expected = {("framed", "view"): 1, ("framed", "engaged"): 1, ("/another/page", "page"): 1}
    assert counted_by_now(site, page) == expected


def test_a_viewer_is_sent_only_if_the_page_names_one_and_there_are_no_cookies(site: Site, page: Page) -> None:
    page.goto(site.page(film()))
    site.awaited(("A", "view"))
    page.evaluate("vc.viewer_id = 'viewer 1'; vc.play('B')")
    site.awaited(("B", "view"))
    page.goto(site.page("", tag='data-local data-viewer-id="viewer 2"'))
    page.evaluate("vc.play('C')")
    site.awaited(("C", "view"))
    viewers = {event["video_id"]: event.get("viewer_id") for sent in site.watched.sent for event in sent.events}
    assert viewers == {"A": None, "B": "viewer 1", "C": "viewer 2"}
    assert page.context.cookies() == []


@pytest.mark.parametrize(
    ("tag", "counts"),
    [
        ("", False),
        ("data-local", True),
        ('data-local data-hosts="example.com, localhost"', True),
        ('data-local data-hosts="example.com host"', False),
    ],
)
def test_a_page_counts_on_its_own_hosts_alone(site: Site, page: Page, tag: str, counts: bool) -> None:
    page.goto(site.page(film(), tag=tag))
    page.wait_for_function("document.querySelector('video').currentTime > 0.3")
    page.goto(site.page("", path="/counts"))
    assert counted_by_now(site, page) == ({("A", "view"): 1} if counts else {})


def test_who_wants_not_to_be_counted_is_not_until_they_say_so(site: Site, page: Page) -> None:
    page.goto(site.page("", tag="data-local data-pages"))
    site.awaited(("/", "page"))
    site.watched.always = refusal(503)
    page.evaluate("vc.play('waits')")
    assert eventually(lambda: len(site.watched.sent) == 2, PATIENCE_S, 0.02)
    # Another tab of the site says so.
    other = page.context.new_page()
    other.goto(site.page("", path="/other"))
    other.evaluate("vc.off()")
    assert other.evaluate("Object.keys(localStorage).filter(key => key.startsWith('vc:e:'))") == []
    site.watched.always = None
    page.wait_for_function("Date.now() > +localStorage['vc:wait'] + 100")
    page.evaluate("dispatchEvent(new Event('online'))")
    page.goto(site.page(film(), path="/another", tag="data-local data-pages"))
    page.wait_for_function("document.querySelector('video').currentTime > 0.3")
    # Who has not seen this before need not load the page again.
    page.evaluate("html => { vc.off(false); document.body.insertAdjacentHTML('beforeend', html); }", film("B"))
    site.awaited(("B", "view"))
    assert counted_by_now(site, page) == {("/", "page"): 1, ("B", "view"): 1}
