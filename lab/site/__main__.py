"""`python -m lab.site [serve] RESULTS`: every study of a results folder on one page, as files, or served to this
machine alone while studies run."""

import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import matplotlib

from lab.console.commands import command_named, refused
from lab.console.parser import Parser
from lab.console.printing import log_to_stderr, print
from lab.errors import ConfigError, DataError
from lab.site.pages import build
from lab.site.serve import LOOPBACK, server
from lab.store.frames import open_results
from lab.store.place import VARIABLE, Place
from lab.store.tables import Results, ResultsError, StorageError

SERVE, PORT = "serve", 8642


def parser() -> Parser:
    result = Parser(prog="python -m lab.site", description=" ".join((__doc__ or "").split()))
    result.add_argument("words", nargs="*", metavar="[serve] RESULTS",
                        help=f"serve: at {LOOPBACK} instead of writing files; RESULTS: a folder or an object store's "
                        f"address (default: {VARIABLE}, else results)")  # fmt: skip
    result.add_argument("--results", metavar="PLACE", help="the same as RESULTS")
    result.add_argument("--out", type=Path, metavar="DIR", help="of files; by default reports beside local records")
    result.add_argument("--port", type=int, default=PORT, help=f"of serve (default: {PORT}; 0: any that is free)")
    return result


@command_named("lab.site")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, or 2 with one line on stderr."""
    options = parser().parse_args(arguments)
    matplotlib.use("agg")  # a search's figures are drawn by pyplot, which would ask for a display
    log_to_stderr()
    try:
        serving, where = _asked(options.words, options.results)
        results = open_results(Place.of(where).url)
        return _serve(results, options.port) if serving else _write(results, options.out)
    except (ConfigError, DataError, ResultsError, StorageError, OSError) as error:
        text = error.strerror if isinstance(error, StorageError) and error.strerror else str(error)
        return refused(error, " ".join(text.split()))


def _asked(words: Sequence[str], option: str | None) -> tuple[bool, str | None]:
    """Whether to serve, and which results. A folder that is called serve is `./serve`."""
    serving, *places = (True, *words[1:]) if words[:1] == [SERVE] else (False, *words)
    places += [] if option is None else [option]
    if len(places) > 1:
        raise ConfigError(f"one results folder is wanted, got {len(places)}: {', '.join(map(str, places))}")
    return bool(serving), str(places[0]) if places else None


def _write(results: Results, out: Path | None) -> int:
    folder = out or Path(results.storage.root if results.storage.local else ".") / "reports"
    path, without = build(results, folder)
    for study, why in without.items():
        print(f"note: no report of {study}: {why}", file=sys.stderr)
    print(f"wrote {path}\n\nto see it while studies run: python -m lab.site {SERVE} {results.storage.url}")
    return 0


def _serve(results: Results, port: int) -> int:
    made, site = server(results.storage.url, port)
    print(f"http://{LOOPBACK}:{made.server_port}/ shows {results.storage.url} to this machine; Ctrl-C ends it",
          flush=True)  # fmt: skip
    threading.Thread(target=site.make_all, daemon=True).start()
    try:
        made.serve_forever()
    finally:
        made.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
