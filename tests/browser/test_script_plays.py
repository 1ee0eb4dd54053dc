"""What the browser script counts as a play, in Chromium, by what the real ingest has acknowledged."""

from playwright.sync_api import Page

from tests.support.watched_site import Site

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
