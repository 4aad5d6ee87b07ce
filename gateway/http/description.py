"""The API described: `/openapi.json`, and `/docs`, a page of it that needs no other host."""

from functools import cache
from pathlib import Path

from gateway.errors import Problem
from gateway.http import requests as read
from gateway.http import table
from gateway.http.app import Context, Reply
from gateway.http.openapi import document
from gateway.http.routes import Route
from gateway.strict_json import dumps

STATIC = Path(__file__).parent / "static"
PAGE = "docs.html"
FILES = {
    "docs.css": "text/css; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
    "favicon.png": "image/png",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
}
"""What the page is made of, by media type. Nothing else of the folder is served."""

# Swagger UI sets `style` attributes and draws its icons from data: URLs; it needs nothing else beyond its own files.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@cache
def _document() -> bytes:
    """Made on the first request, since it takes longer than all else that a start does."""
    return dumps(document(table.routes()))


@cache
def _file(name: str) -> bytes:
    return (STATIC / name).read_bytes()


async def openapi(context: Context) -> Reply:
    """This very description."""
    read.query(context.scope, ())
    return Reply(raw=_document())


async def docs(context: Context) -> Reply:
    """A page to read the API and to try it, which works without any other host."""
    read.query(context.scope, ())
    return _page_part(PAGE, "text/html; charset=utf-8")


async def docs_file(context: Context) -> Reply:
    """A file that the page at `/docs` is made of."""
    read.query(context.scope, ())
    name = context.scope["raw_path"].rsplit(b"/", 1)[1].decode("latin-1")
    if name not in FILES:
        raise Problem("not-found", "There is no such file; see /docs.")
    return _page_part(name, FILES[name])


def _page_part(name: str, media: str) -> Reply:
    headers = {"content-security-policy": POLICY, "referrer-policy": "no-referrer"}
    return Reply(raw=_file(name), media=media, headers=headers)


def routes() -> tuple[Route, ...]:
    """The routes of the description itself."""
    return (
        Route("GET", "/openapi.json", "openapi", "This API as OpenAPI 3.1", openapi, answer="OpenApiDocument"),
        Route("GET", "/docs", "docs", "This API as a page that works offline", docs, media="text/html"),
        Route(
            "GET", "/docs/{file}", "docs_file", "A file of that page", docs_file, media="*/*", problems=("not-found",)
        ),
    )
