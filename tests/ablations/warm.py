"""A process that has imported everything, and copies itself for each call of the command line."""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import multiprocessing
import os
import pkgutil
import sys
import threading
import traceback

import ablations


def serve() -> None:
    """For each line of standard input a copy of this process makes the call, and answers with its number; a line with
    a number is answered with the exit code of that copy, or null while it runs."""
    for module in pkgutil.walk_packages(ablations.__path__, "ablations."):
        importlib.import_module(module.name)
    # what the first optimizer of a process imports, which takes a second, and the first PDF
    for name in ("torch._dynamo", "matplotlib.backends.backend_pdf"):
        importlib.import_module(name)
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        if isinstance(request, int):
            ended, status = os.waitpid(request, os.WNOHANG)
            answer(os.waitstatus_to_exitcode(status) if ended else None)
        elif not os.fork():
            become(**request)


def answer(number: int | None) -> None:
    sys.stdout.write(f"{json.dumps(number)}\n")
    sys.stdout.flush()


def become(
    folder: str, arguments: list[str], variables: dict[str, str], output: str, errors: str, session: bool
) -> None:
    """The command line, and the end of the process: Python's own takes a second after so many imports."""
    from ablations.cli.app import main

    if session:
        os.setsid()
    answer(os.getpid())  # from here on its group is its own
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    if variables.get("JOBLIB_MULTIPROCESSING") == "0":
        # read by joblib when it was imported; nor does it start processes from a daemon
        multiprocessing.current_process().daemon = True
    sys.argv = ["run_ablations.py", *arguments]
    for descriptor, path in enumerate((os.devnull, output, errors)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), descriptor)
    code = 1
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    threading._shutdown()  # workers of joblib end here
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    serve()
