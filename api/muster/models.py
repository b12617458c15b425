"""Models and variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from muster.connection import Connection, OnBytes
from muster.devices import quoted
from muster.operation import Operation, OperationView
from muster.view import View
from muster_protos.errors import InvalidInputError

BUILTIN = "builtin:"


class Variant(View):
    """One compressed form of a model."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        manifest: Mapping[str, Any] = self.fields["manifest"]
        return manifest

    @property
    def id(self) -> str:
        return str(self.manifest["variant_id"])

    @property
    def name(self) -> str:
        return str(self.manifest["name"])

    @property
    def is_kept(self) -> bool:
        return bool(self.fields["is_kept"])

    @property
    def accuracy(self) -> float | None:
        """On the host's validation set; None without labels."""
        found = self.manifest["accuracy"]
        return None if found is None else found["value"]

    def __repr__(self) -> str:
        return f"Variant({self.id})"


class Model(View):
    """One version of a model."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection, fields: Mapping[str, Any]) -> None:
        super().__init__(fields)
        self._connection = connection

    @property
    def id(self) -> str:
        return str(self.fields["model_id"])

    @property
    def version(self) -> int:
        return int(self.fields["version"])

    @property
    def reference(self) -> str:
        """``name:version``, as the command line takes it."""
        return f"{self.id}:{self.version}"

    def variants(self, only_kept: bool = True) -> list[Variant]:
        """The baseline first, then the others by name."""
        found = [Variant(fields) for fields in self._connection.items(f"/v1/models/{self.reference}/variants")]
        found.sort(key=lambda variant: (bool(variant.manifest["parent_variant_id"]), variant.name))
        return [variant for variant in found if variant.is_kept or not only_kept]

    def compress(
        self, recipe: str | Path = "quick", floor: Mapping[str, float | str] | None = None
    ) -> Operation[list[Variant]]:
        """Run a recipe, a name or a YAML file, on the controller; ``.result()`` is every kept variant.

        The finished operation's ``view()`` says in ``remarks`` what was dropped and why, in ``not_made`` what could
        not be made.
        """
        body: dict[str, Any] = {"recipe": recipe.read_text() if isinstance(recipe, Path) else recipe}
        unknown = sorted(set(floor or {}) - {"accuracy"})
        if unknown:
            raise InvalidInputError(f'expected a floor for "accuracy", found {", ".join(unknown)}')
        if floor:
            body["floor"] = str(floor["accuracy"])
        started = View(self._connection.post(f"/v1/models/{self.reference}/compress", body))
        return Operation(self._connection, started, lambda _: self.variants())

    def add_variant(
        self,
        path: Path | str,
        name: str,
        on_bytes: OnBytes | None = None,
        *,
        force: bool = False,
        parent: str = "",
        recipe: str = "",
    ) -> Operation[Variant]:
        """Hand in a ready-made ONNX or TFLite file as a variant.

        One whose outputs disagree with the baseline's is refused unless ``force``. ``parent`` names the variant that it
        was made from (the baseline when absent), ``recipe`` the recipe that made it.
        """
        upload = self._connection.upload(Path(path), on_bytes)
        body = {"name": name, "source_upload": upload, "force": force, "parent": parent, "recipe": recipe}
        started = View(self._connection.post(f"/v1/models/{self.reference}/variants", body))

        def collect(_: OperationView) -> Variant:
            return next(variant for variant in self.variants(only_kept=False) if variant.name == name)

        return Operation(self._connection, started, collect)

    def __repr__(self) -> str:
        return f"Model({self.reference})"


class Models:
    """``fleet.models``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self) -> list[Model]:
        """The newest version of each."""
        return [Model(self._connection, fields) for fields in self._connection.items("/v1/models", limit=1000)]

    def get(self, reference: str) -> Model:
        """By ``name`` or ``name:version``. NotFoundError suggests the nearest names."""
        return Model(self._connection, self._connection.get(f"/v1/models/{quoted(reference)}"))

    def remove(self, reference: str) -> None:
        self._connection.delete(f"/v1/models/{quoted(reference)}")

    def register(self, path: Path | str, name: str, data: Path | str = "", **options: Any) -> Model:
        """``add`` and wait for the new version."""
        return self.add(path, name, data, **options).result()

    def add(
        self,
        path: Path | str,
        name: str,
        data: Path | str = "",
        metric: str = "",
        class_labels: Sequence[str] = (),
        source: str = "",
        on_bytes: OnBytes | None = None,
    ) -> Operation[Model]:
        """Send an ONNX or TFLite file (and an .npz, or ``builtin:NAME``) and import it as the next version.

        The finished operation's ``view().remarks`` are what the import noticed about model and data.
        """
        source_upload = self._connection.upload(Path(path), on_bytes)
        builtin = str(data).removeprefix(BUILTIN) if str(data).startswith(BUILTIN) else ""
        data_upload = self._connection.upload(Path(data), on_bytes) if data and not builtin else ""
        body = {
            "name": name,
            "source_upload": source_upload,
            "data_upload": data_upload,
            "builtin_data": builtin,
            "metric": metric,
            "class_labels": [*class_labels],
            "source": source or Path(path).name,
        }
        started = View(self._connection.post("/v1/models", body))
        return Operation(self._connection, started, lambda done: self.get(done.note.partition("\n")[0]))

    def export(self, variant_id: str, target: Path | str) -> int:
        """Write a variant's file to ``target``; its size in bytes."""
        return self._connection.download(f"/v1/variants/{quoted(variant_id)}/artifact", Path(target))
