"""Shows an OpenAPI description as a page of HTML, without scripts and without files from other servers."""

import base64
import hashlib
import html
import json
from typing import Any

from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code, pre { font: 14px/1.4 ui-monospace, monospace; background: #f4f4f4; padding: .1rem .3rem }
pre { padding: .8rem; overflow: auto } table { border-collapse: collapse } td, th { text-align: left;
padding: .2rem 1rem .2rem 0; vertical-align: top }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
# The page needs its own style and nothing else, from nowhere, and no other page shows it within itself.
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def description_routes(description: dict[str, Any]) -> list[Route]:
    """The routes at which an application shows its own description, to programs and to people."""
    page = docs_page(description)
    return [
        Route("/openapi.json", lambda _request: JSONResponse(description)),
        Route("/docs", lambda _request: HTMLResponse(page, headers={"Content-Security-Policy": POLICY})),
    ]


def docs_page(description: dict[str, Any]) -> str:
    """One page of HTML with the operations of an OpenAPI 3.1 document."""
    info = description["info"]
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{_text(info['title'])}</title>",
        f"<style>{STYLE}</style><h1>{_text(info['title'])}</h1><p>{_text(info['description'])}</p>",
        '<p>The same for programs: <a href="openapi.json">openapi.json</a></p>',
    ]
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<h2><code>{method.upper()} {_text(path)}</code></h2><p>{_text(operation['summary'])}</p>")
            parts.append(_parameters(operation.get("parameters", [])))
            parts.extend(_bodies(operation.get("requestBody", {})))
            parts.append("<table><tr><th>answer<th>meaning</tr>")
            parts.extend(
                f"<tr><td>{code}<td>{_text(answer['description'])}</tr>"
                for code, answer in operation["responses"].items()
            )
            parts.append("</table>")
    return "".join(parts)


def _parameters(parameters: list[dict[str, Any]]) -> str:
    if not parameters:
        return ""
    rows = "".join(
        f"<tr><td><code>{_text(p['name'])}</code><td>{p['in']}<td>{_text(p['description'])}</tr>" for p in parameters
    )
    return f"<table><tr><th>parameter<th>in<th>meaning</tr>{rows}</table>"


def _bodies(body: dict[str, Any]) -> list[str]:
    return [
        f"<p>Body, <code>{_text(media)}</code>: {_text(content.get('schema', {}).get('description', ''))}</p>"
        + (f"<pre>{_text(json.dumps(content['example'], indent=1))}</pre>" if "example" in content else "")
        for media, content in body.get("content", {}).items()
    ]


def _text(value: object) -> str:
    return html.escape(str(value))
