"""The language script stands in the page, and nothing else is touched."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from studio.ui.language import SCRIPT, LanguageMiddleware

PAGE = "<!doctype html><html><head><title>中文</title></head><body></body></html>"


def client() -> TestClient:
    async def page(request: Request) -> Response:
        return HTMLResponse(PAGE)

    async def pieces(request: Request) -> Response:
        return StreamingResponse(iter([PAGE[:20], PAGE[20:]]), media_type="text/html")

    async def data(request: Request) -> Response:
        return JSONResponse({"text": "<head>"})

    routes = [Route("/", page), Route("/pieces/", pieces), Route("/data/", data), Route("/file.html", page)]
    app = Starlette(routes=routes)
    app.add_middleware(LanguageMiddleware)
    return TestClient(app)


def test_the_script_comes_first_in_the_head():
    answer = client().get("/")
    assert answer.text == PAGE.replace("<head>", "<head>" + SCRIPT)
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_a_page_in_pieces_is_put_together():
    assert client().get("/pieces/").text == PAGE.replace("<head>", "<head>" + SCRIPT)


def test_what_is_not_html_passes_unchanged():
    assert client().get("/data/").json() == {"text": "<head>"}


def test_a_file_passes_unchanged():
    assert client().get("/file.html").text == PAGE
