"""Which language the browser shows: Gradio asks `navigator.language` once, before any script of a page can run.

So the answer is given in the document itself: `?lang=zh` chooses, and every Chinese without a table of its own
(`zh`, `zh-HK`, `zh-Hans-SG`) reads `zh-CN`, where Gradio would fall back to English.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

QUERY_PARAMETER = "lang"

SCRIPT = """<script>
(() => {
  const wanted = new URLSearchParams(location.search).get("PARAMETER") || navigator.language || "en";
  const language = /^zh(?!-TW$)/i.test(wanted) ? "zh-CN" : wanted;
  Object.defineProperty(navigator, "language", { value: language, configurable: true });
  document.documentElement.lang = language;
})();
</script>""".replace("PARAMETER", QUERY_PARAMETER)

# Handlers for buttons: the same page in the other language, or in the other theme.
SWITCH_LANGUAGE = """() => {
  const address = new URL(location.href);
  address.searchParams.set("PARAMETER", navigator.language.startsWith("zh") ? "en" : "zh");
  location.href = address;
}""".replace("PARAMETER", QUERY_PARAMETER)
SWITCH_THEME = '() => { document.body.classList.toggle("dark"); }'


class LanguageMiddleware:
    """Puts SCRIPT at the start of the page's head."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].endswith("/"):
            await self.app(scope, receive, send)
            return
        start: Message = {}
        body = bytearray()

        async def send_patched(message: Message) -> None:
            """Hold an HTML answer back until it is whole; let everything else pass."""
            nonlocal start
            if message["type"] == "http.response.start" and _is_html(message):
                start = message
            elif message["type"] == "http.response.body" and start:
                body.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    patched = bytes(body).replace(b"<head>", b"<head>" + SCRIPT.encode(), 1)
                    await send(_with_length(start, len(patched)))
                    await send({"type": "http.response.body", "body": patched})
            else:
                await send(message)

        await self.app(scope, receive, send_patched)


def _is_html(start: Message) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/html") for name, value in start["headers"])


def _with_length(start: Message, length: int) -> Message:
    headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
    return {**start, "headers": [*headers, (b"content-length", str(length).encode())]}
