"""A page for whoever tries the product on this machine: a video that counts, and its count. In open access alone."""

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from schemas.browser_script import versioned
from services.docs_page import STYLE

PATH = "/try"
VIDEO = "try-it"
# The address of the query service differs from this page's in its port, which the page may be told.
PORT = "query"
QUERY_PORT = 8090
_PAGE = """<!doctype html><html lang=en><meta charset=utf-8><title>View counts: try it</title>
<style>{style} video {{ display: block; width: 20rem; margin: 1rem 0; border: 1px solid #ccc }}</style>
<script defer src="{script}" data-local data-engaged="5"></script>
<h1>Play it, and it is counted</h1>
<p>A view when the video shows its first frame, <code>engaged</code> after 5 seconds of playing.</p>
<video data-video-id="{video}" muted playsinline controls></video>
<table><tr><th>kind<th>count</tr><tr><td>view<td><output id=view>?</output></tr>
<tr><td>engaged<td><output id=engaged>?</output></tr></table>
<p id=trouble></p>
<p>The tag of this page, and what else it can do: see <code>docs/browser.md</code>. The counts are those of
<a id=query>the query service</a>.</p>
<script>
"use strict";
const port = new URLSearchParams(location.search).get("{port}") || {query_port};
const query = `${{location.protocol}}//${{location.hostname}}:${{Number(port)}}/v1/videos/{video}/views`;
document.querySelector("#query").href = query;
// The video is drawn here, so that no file is needed.
const canvas = document.createElement("canvas");
const drawing = canvas.getContext("2d");
let frame = 0;
setInterval(() => {{
  drawing.fillStyle = `hsl(${{frame++ % 360}} 60% 50%)`;
  drawing.fillRect(0, 0, canvas.width, canvas.height);
}}, 40);
document.querySelector("video").srcObject = canvas.captureStream();
async function show() {{
  let trouble = "";
  for (const kind of ["view", "engaged"]) {{
    try {{
      const answer = await (await fetch(`${{query}}?kind=${{kind}}`, {{ cache: "no-store" }})).json();
      if (answer.error) trouble = answer.error;
      else document.querySelector(`#${{kind}}`).value = answer.views;
    }} catch {{
      trouble = "The query service does not answer.";
    }}
  }}
  document.querySelector("#trouble").textContent = trouble;
  setTimeout(show, 300);
}}
show();
</script>"""


def try_routes(script_path: str) -> list[Route]:
    """The route of the page. Without a script there is none."""
    if not script_path:
        return []
    page = _PAGE.format(style=STYLE, script=versioned(script_path), video=VIDEO, port=PORT, query_port=QUERY_PORT)

    async def get(_request: Request) -> Response:
        return HTMLResponse(page, headers={"Cache-Control": "no-store"})

    return [Route(PATH, get)]
