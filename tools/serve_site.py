"""Show the built site on this computer: python tools/serve_site.py [port]"""

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SITE = Path(__file__).resolve().parent.parent / "_docs"
PORT = 8000


class Quiet(SimpleHTTPRequestHandler):
    """A handler that does not print each request, and never lets a browser keep an old page."""

    def end_headers(self):
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, *_):
        pass


def server(site, port=PORT):
    """A server of the folder `site`, for this computer only; on a free port if `port` is taken."""
    handler = partial(Quiet, directory=str(site))
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError:
        return ThreadingHTTPServer(("127.0.0.1", 0), handler)


def main():
    if not (SITE / "index.html").is_file():
        sys.exit(f"there is no site in {SITE} yet: run make docs")
    with server(SITE, int(sys.argv[1]) if len(sys.argv) > 1 else PORT) as running:
        print(
            f"The course is at http://127.0.0.1:{running.server_port}/ (Ctrl-C stops it)",
            flush=True,
        )
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
