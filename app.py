"""Open the studio: `python app.py`, on this machine or on a Space."""

from studio.environment import prepare

prepare()

from studio.build import build_app, build_studio, warm  # noqa: E402
from studio.settings import Settings  # noqa: E402


def main() -> None:
    """Serve the page, then make the models ready while people already look at it."""
    from studio.ui.launch import hush, launch_options

    settings = Settings.from_env()
    studio = build_studio(settings)
    page = build_app(studio).queue(api_open=False, max_size=64)
    hush()
    page.launch(**launch_options(settings))
    warm(studio)
    page.block_thread()


if __name__ == "__main__":
    main()
