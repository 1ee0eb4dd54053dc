"""Shows the tag of the browser script."""

from typing import Annotated

import typer

from tools.ops.operating import end_with, operating

app = typer.Typer()


@app.command()
def script(
    *,
    at: Annotated[str, typer.Option(help="How browsers reach ingest, such as https://counts.example.com.")] = "",
    key: Annotated[str, typer.Option(help="The publishable key of the page, of the scope pubwrite.")] = "",
) -> None:
    """Show the tag that a page needs to count plays, with the hash by which browsers know the script."""
    from schemas.browser_script import tag

    with operating() as settings:
        path = settings.ingest.script_path
        if not path:
            end_with("VIEW_COUNTS_INGEST_SCRIPT_PATH is empty, so that ingest serves no script")
        if key and not key.startswith("vc_pubwrite_"):
            end_with("--key is no key of the scope pubwrite, and everybody can read what a page has; make one of that")
        base = at or f"http://{settings.ingest.host}:{settings.ingest.port}"
        typer.echo(tag(base.rstrip("/") + path, key, is_local=settings.access.mode == "open"))
