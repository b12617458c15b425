"""The child process: ``python -m muster_compression.child`` reads one order on stdin and answers in JSON lines.

Whatever libraries or a user's own module print goes to stderr; the answer has a descriptor of its own.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter

from muster_compression.answers import Answers
from muster_compression.cache import cache_dir
from muster_compression.disk_fault import disk_fault
from muster_compression.orders import ExportOrder, HoldoutOrder, ImportOrder, RecipeOrder, VariantOrder
from muster_compression.part_of import OnProgress
from muster_compression.workspace import final_folder
from muster_protos import errors
from muster_protos.errors import InvalidInputError, MusterError


def main() -> int:
    """Do one order; the exit status is 0 only when an answer without error was written."""
    answers = Answers(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)
    request = json.loads(sys.stdin.buffer.readline())
    _limit(int(request["address_space_bytes"]), int(request["file_bytes"]))
    _die_with_parent()
    warnings.simplefilter("ignore")
    order_type, do = _verb(str(request["verb"]))
    order = TypeAdapter(order_type).validate_python(request["order"])
    try:
        result = do(order, answers.progress)
        answers.end({"result": TypeAdapter(type(result)).dump_python(result, mode="json")})
    except MusterError as error:
        answers.end({"error": str(error), "kind": _shared_kind(error)})
        return 1
    except MemoryError:
        limit_gib = int(request["address_space_bytes"]) / 2**30
        answers.end({"error": f"ran out of the {limit_gib:.0f} GiB that it may use", "kind": "PermanentError"})
        return 1
    except OSError as error:
        traceback.print_exc()
        cache = getattr(order, "cache_dir", None) or cache_dir()
        answers.end({"error": disk_fault(error, final_folder(order.out_dir), cache), "kind": "PermanentError"})
        return 1
    return 0


def _verb(name: str) -> tuple[type[Any], Callable[[Any, OnProgress], object]]:
    """The function that does an order; imported late, they are heavy."""
    match name:
        case "ImportOrder":
            from muster_compression.importing import do_import

            return ImportOrder, do_import
        case "VariantOrder":
            from muster_compression.ready_made import do_variant

            return VariantOrder, do_variant
        case "RecipeOrder":
            from muster_compression.runner import do_recipe

            return RecipeOrder, do_recipe
        case "HoldoutOrder":
            from muster_compression.holding_out import do_holdout

            return HoldoutOrder, do_holdout
        case "ExportOrder":
            from muster_compression.exporting import do_export

            return ExportOrder, do_export
    raise InvalidInputError(f"expected an order that this child knows, found {name!r}")


def _shared_kind(error: MusterError) -> str:
    """The nearest class that both sides know: leaves of other packages travel as what they are a kind of."""
    return next(cls.__name__ for cls in type(error).__mro__ if hasattr(errors, cls.__name__))


def _limit(address_space_bytes: int, file_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes, address_space_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))


def _die_with_parent() -> None:
    """End when the parent does: its end of stdin closes then."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
