"""What the browser script counts in tabs that nobody sees, that are prerendered, and that visitors go back to."""

from tests.support.plain_chromium import PlainChromium
from tests.support.watched_site import Site

FILM = '<video data-video-id="{}" src="/films/long.webm" autoplay muted></video>'


def test_a_hidden_tab_counts_when_it_is_shown_and_once(site: Site, plain: PlainChromium) -> None:
    """What began in sight goes on being played when it is hidden."""
    hidden = site.page(
        """<video data-video-id="hidden" src="/films/heard.webm" loop></video><script>
        const video = document.querySelector("video");
        video.ontimeupdate = () => {
            if (!document.hidden || video.currentTime < 0.5) return;
            video.ontimeupdate = null;
            mark("plays unseen");
        };
        told("hide").then(() => video.play());
        document.onvisibilitychange = () => mark("now " + document.visibilityState);
        mark("here");
        </script>""",
        path="/hidden",
        tag='data-local data-engaged="2"',
    )
    tab = plain.open(hidden)
    site.marked("here")
    other = plain.open(site.page("", path="/other"))
    site.marked("now hidden")
    site.tell("hide")
    site.marked("plays unseen")
    assert site.counted() == {}
    plain.show(tab)
    site.awaited(("hidden", "view"))
    plain.show(other)
    site.awaited(("hidden", "view"), ("hidden", "engaged"))
    site.marked("now hidden", 2)
    plain.close(tab)
    plain.close(other)
    assert site.counted() == {("hidden", "view"): 1, ("hidden", "engaged"): 1}


def test_a_prerendered_page_counts_when_it_is_shown(site: Site, plain: PlainChromium) -> None:
    before = site.page(
        """<script type="speculationrules">
        {"prerender": [{"source": "list", "urls": ["/shown"], "eagerness": "immediate"}]}
        </script><script>told("go").then(() => { location = "/shown"; });</script>""",
        path="/before",
        tag="data-local data-pages",
    )
    site.page(
        FILM.format("prerendered")
        + """<script>
        document.addEventListener("DOMContentLoaded", () => {
            mark(document.prerendering ? "prerendering" : "no prerendering");
            if (document.prerendering) vc.play("by the page");
        });
        document.addEventListener("prerenderingchange", () => mark("activated"));
        </script>""",
        path="/shown",
        tag="data-local data-pages",
    )
    tab = plain.open(before)
    site.marked("prerendering")
    assert site.awaited(("/before", "page")) == {("/before", "page"): 1}
    site.tell("go")
    site.marked("activated")
    counted = site.awaited(("/shown", "page"), ("prerendered", "view"), ("by the page", "view"))
    assert set(counted.values()) == {1}
    plain.close(tab)


def test_who_goes_back_goes_on_with_the_same_play_and_sees_the_page_again(site: Site, plain: PlainChromium) -> None:
    first = site.page(
        FILM.format("A")
        + """<script>
        addEventListener("pageshow", async (event) => {
            if (event.persisted) {
                await document.querySelector("video").play();
                await mark("kept");
                await told("end");
                vc.play("the end");
            } else {
                await told("leave");
                location = "/second";
            }
        });
        </script>""",
        path="/first",
        tag="data-local data-pages",
    )
    site.page(
        """<script>told("back").then(() => history.back());</script>""", path="/second", tag="data-local data-pages"
    )
    tab = plain.open(first)
    site.awaited(("/first", "page"), ("A", "view"))
    site.tell("leave")
    site.awaited(("/second", "page"))
    site.tell("back")
    site.marked("kept")
    site.tell("end")
    counted = site.awaited(("the end", "view"))
    assert counted == {("/first", "page"): 2, ("/second", "page"): 1, ("A", "view"): 1, ("the end", "view"): 1}
    plain.close(tab)
