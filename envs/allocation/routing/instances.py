"""Benchmark instances of CVRPLIB, as they come with the package VRPSolverEasy (0.1.4, extra `traces`): the sets A, B, E, F, M, P, and X up
to 200 nodes. Nothing is read at import; the files are compared with a known hash before the first one is parsed.

    network = instances.load("A-n32-k5")
    instances.published("A-n32-k5")          # 784

The published value is that of the number of routes in the instance's name. The environment does not limit the number of routes: where
more of them are shorter (E-n30-k3), a score can be below it.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import re
from functools import lru_cache
from pathlib import Path

import numpy as np

from envs.allocation.routing.generator import Network
from envs.allocation.routing.variants import VARIANTS

VERSION = "0.1.4"
FILES = 114
SHA256 = "8ac5e5386b421d3a7534c920fbb15f70749e0c8eb0c0329f9d0c44010d40bae2"  # of the names and contents of all files

_FIELD = re.compile(r"^([A-Z_]+)\s*:\s*(.*?)\s*$", re.M)
_SECTION = re.compile(r"^([A-Z_]+)_SECTION\s*$(.*?)(?=^[A-Z])", re.M | re.S)


class DataError(RuntimeError):
    """The instances are not the ones that the environments were tested with."""


def names() -> tuple[str, ...]:
    """Names of all instances. ImportError: the extra `traces` is missing. DataError: they are other ones."""
    return tuple(_texts())


def check(name: str, variant: str) -> None:
    """Raise ValueError where there is no such instance, or where the variant cannot take one; see `names` for more errors."""
    legal = [label for label, kind in VARIANTS.items() if _fits(kind)]
    if variant not in legal:
        raise ValueError(f"instance={name!r}: variant {variant!r} takes no benchmark instance; these do: {', '.join(legal)}")
    if name not in names():
        near = difflib.get_close_matches(str(name), names(), 4, 0.3)
        raise ValueError(f"instance={name!r} is not in VRPSolverEasy {VERSION}; nearest: {', '.join(near or names()[:4])}")
    network = load(name)
    largest = int(np.asarray(network.demand).max())
    if largest > int(network.capacity):
        raise ValueError(f"instance={name!r} is infeasible: its largest demand {largest} exceeds the capacity {int(network.capacity)}")


def _fits(kind) -> bool:
    more = kind.backhaul or kind.limit or kind.windows or kind.pairs or kind.collect
    return kind.capacity and kind.depots == 1 and not more


@lru_cache(maxsize=16)
def load(name: str) -> Network:
    """An instance, NumPy arrays: place in the file's units, demand, capacity; the depot is node 0."""
    text = _texts()[name]
    fields = dict(_FIELD.findall(text))
    sections = {key: np.array(body.split(), np.float64) for key, body in _SECTION.findall(text + "\nEOF\n")}
    size = int(fields["DIMENSION"])
    place = sections["NODE_COORD"].reshape(-1, 3)
    demand = sections["DEMAND"].reshape(-1, 2)
    if (
        fields["EDGE_WEIGHT_TYPE"] != "EUC_2D"
        or len(place) != size
        or len(demand) != size
        or int(sections["DEPOT"][0]) != 1
        or demand[0, 1]
    ):
        raise DataError(f"{name}: {size} nodes with EUC_2D distances and the depot first are expected")
    return Network(
        place=place[:, 1:].astype(np.float32),
        demand=demand[:, 1].astype(np.int32),
        capacity=np.int32(fields["CAPACITY"]),
    )


def published(name: str) -> int | None:
    """Value of the best or optimal solution that the file states, for the number of routes in its name; None where it states none."""
    found = re.search(r"(?:Optimal|Best) value: (\d+)", _texts()[name], re.I)
    return int(found[1]) if found else None


@lru_cache(maxsize=1)
def _texts() -> dict[str, str]:
    spec = importlib.util.find_spec("VRPSolverEasy")
    if spec is None or spec.origin is None:
        raise ImportError("benchmark instances need the extra 'traces': pip install 'taskloom[traces]'")
    files = sorted((Path(spec.origin).parent / "demos" / "data" / "CVRP").glob("*.vrp"))
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    if len(files) != FILES or digest.hexdigest() != SHA256:
        raise DataError(
            f"the {len(files)} CVRP instances of VRPSolverEasy differ from version {VERSION}; "
            f"reinstall it with: pip install --force-reinstall VRPSolverEasy=={VERSION}"
        )
    return {file.stem: file.read_text(encoding="ascii") for file in files}
