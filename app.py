"""Open the studio: `python app.py`, on this machine or on a Space."""

from studio.environment import pause_collector, prepare, resume_collector

prepare()

from typing import TYPE_CHECKING  # noqa: E402

from studio.build import Studio, build_app, build_studio, warm  # noqa: E402
from studio.settings import Settings  # noqa: E402

if TYPE_CHECKING:
    import gradio as gr


def serve(settings: Settings) -> tuple[Studio, "gr.Blocks"]:
    """Serve the page, and make the models ready while people already look at it."""
    pause_collector()
    from studio.ui.launch import hush, launch_options

    studio = build_studio(settings)
    page = build_app(studio).queue(api_open=False, max_size=64)
    warm(studio, then=resume_collector)
    hush()
    page.launch(**launch_options(settings))
    return studio, page


def main() -> None:
    """Open the studio as the environment says, until it is ended."""
    _, page = serve(Settings.from_env())
    page.block_thread()


if __name__ == "__main__":
    main()
