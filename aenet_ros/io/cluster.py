"""Spreads sources over a cluster: Dask's scheduler and workers, which run elsewhere, do what the processes of --jobs do here."""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from aenet_ros.core.errors import MissingDependencyError, SourceError
from aenet_ros.io.jobs import Died

CONNECT_S = 20


def run_on_dask(address: str, tasks: Sequence[Any], work: Callable[..., Any], on_end: Callable[[int, Any], None]) -> None:
    """``work(task, tell)`` for every task on the workers of the scheduler at ``address``; ``on_end`` gets each result with its index.

    The workers must see the same paths and have the same version of this package. A task whose worker dies is tried on another;
    one that cannot be done gives a Died as its result. Ctrl-C here cancels what is not begun.
    Raises MissingDependencyError without Dask, SourceError where nobody answers.
    """
    try:
        distributed: Any = import_module("distributed")
    except ImportError as error:
        raise MissingDependencyError("--dask needs Dask: pip install 'aenet_ros[cluster]' (or distributed)") from error
    try:
        client = distributed.Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise SourceError(f"--dask {address}: no scheduler answers ({error}); start one with `dask scheduler`") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_S)
        except TimeoutError as error:
            raise SourceError(f"--dask {address}: the scheduler has no workers; start some with `dask worker {address}`") from error
        # pure=False: the same task again is to be done again, not answered from memory.
        futures = {client.submit(work, task, _nobody, pure=False): index for index, task in enumerate(tasks)}
        try:
            for future in distributed.as_completed(futures, loop=client.loop):
                fault = future.exception()
                on_end(futures[future], Died(f"{type(fault).__name__}: {fault}") if fault else future.result())
        except BaseException:
            client.cancel(list(futures), force=True)
            raise


def _nobody(_news: Any) -> None:
    """Progress within a source stays on its worker."""
