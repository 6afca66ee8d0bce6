"""Benchmark instances as they come with the package VRPSolverEasy (0.1.4, extra `traces`), and files of one's own in their formats.

Nothing is read at import; the files of the package are compared with a known hash before the first one is parsed.

    network = instances.load("A-n32-k5")
    instances.published("A-n32-k5")          # 784

| set | variants | instances | lengths |
|---|---|---|---|
| CVRP | CVRP, mCVRP, CVRP-minmax, OVRP, SDVRP | CVRPLIB's A, B, E, F, M, P, and X up to 200 nodes | rounded to whole numbers |
| CVRPTW | VRPTW, mVRPTW, OVRPTW | Solomon (1987), 100 customers; Gehring and Homberger (1999), 200 | in tenths, rounded down |
| MDVRP | MDVRP, MDOVRP | Cordeau, Gendreau and Laporte (1997), those without a limit on the duration of routes | exact |

Lengths and times of the second set are whole numbers of tenths of the file's unit, as in the 12th DIMACS Implementation Challenge: 16377 is
what the literature of exact methods calls 1637.7. Published values are those of the best or optimal solution known, in the same unit, with
the number of vehicles that the instance allows (CVRP: of the number of routes in its name). The environment does not limit the number of
routes: where more of them are shorter (E-n30-k3, p03, p04), a score can be below it.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from envs.allocation.numbers import whole
from envs.allocation.routing import checks
from envs.allocation.routing.generator import Network
from envs.allocation.routing.variants import VARIANTS, Variant

VERSION = "0.1.4"


class Files(NamedTuple):
    """A folder of the package: names of its files, how many there are, and the hash of the names and contents of all."""

    pattern: str
    number: int
    sha256: str


SETS = {
    "CVRP": Files("*.vrp", 114, "8ac5e5386b421d3a7534c920fbb15f70749e0c8eb0c0329f9d0c44010d40bae2"),
    "CVRPTW": Files("*.txt", 116, "92819b1a1659c44918c0f8eb60a0f46bcc91e88be15b5417cf7a31c00daa4e5d"),
    "MDVRP": Files("p*", 34, "4efffd32f35af6ede6adb4f2d66b8ae9450e3afb752d2fbad2ef3b83cf85aeba"),
}
TENTHS = 10  # lengths and times of CVRPTW
OWN = (".vrp", ".txt", ".mdvrp")  # ends of names that stand for files of one's own

# Best known lengths of Solomon's instances, in tenths (12th DIMACS Implementation Challenge, 2022): 01, 02, ... of each class.
_SOLOMON = {
    "C1": (8273, 8273, 8263, 8229, 8273, 8273, 8273, 8273, 8273),
    "C2": (5891, 5891, 5887, 5881, 5864, 5860, 5858, 5858),
    "R1": (16377, 14666, 12087, 9715, 13553, 12346, 10646, 9321, 11469, 10680, 10487, 9486),
    "R2": (11432, 10296, 8708, 7313, 9498, 8759, 7940, 7010, 8548, 9005, 7467),
    "RC1": (16198, 14574, 12580, 11323, 15137, 13727, 12078, 11142),
    "RC2": (12618, 10923, 9237, 7835, 11540, 10511, 9629, 7761),
}
# Best known lengths of Cordeau's instances without a limit on durations (Vidal, Crainic, Gendreau, Lahrichi and Rei 2012, table of MDVRP).
_CORDEAU = {
    "p01": 576.87,
    "p02": 473.53,
    "p03": 641.19,
    "p04": 1001.04,
    "p05": 750.03,
    "p06": 876.50,
    "p07": 881.97,
    "p12": 1318.95,
    "p15": 2505.42,
    "p18": 3702.85,
    "p21": 5474.84,
}

_FIELD = re.compile(r"^([A-Z_]+)\s*:\s*(.*?)\s*$", re.M)
_SECTION = re.compile(r"^([A-Z_]+)_SECTION\s*$(.*?)(?=^[A-Z])", re.M | re.S)


class DataError(RuntimeError):
    """The instances are not the ones that the environments were tested with."""


class Instance(NamedTuple):
    """network: NumPy arrays. depots: how many of its nodes, the first ones. kind: the set in whose format it is. numbers: float64[N] of the
    nodes in the file."""

    network: Network
    depots: int
    kind: str
    numbers: np.ndarray


def names(kind: str = "CVRP") -> tuple[str, ...]:
    """Names of all instances of a set. ImportError: the extra `traces` is missing. DataError: they are other ones."""
    return tuple(_texts(kind))


def set_of(variant: str) -> str | None:
    """The set whose instances a variant takes; None where it takes none."""
    kind: Variant = VARIANTS[variant]
    if not kind.capacity or kind.backhaul or kind.limit or kind.pairs or kind.collect or (kind.windows and kind.depots > 1):
        return None
    return "CVRPTW" if kind.windows else "MDVRP" if kind.depots > 1 else "CVRP"


def check(name: str, variant: str) -> None:
    """Raise ValueError where there is no such instance, where the variant cannot take it, or where something in it is not legal (the
    message names the field, the node and the legal values); see `names` for more errors."""
    kind = set_of(variant)
    if kind is None:
        legal = [label for label in VARIANTS if set_of(label)]
        raise ValueError(f"instance={name!r}: variant {variant!r} takes no benchmark instance; these do: {', '.join(legal)}")
    if not is_own(name):
        known = {one: names(one) for one in SETS}
        if name not in known[kind]:
            other = next((one for one in SETS if name in known[one]), None)
            if other is not None:
                legal = [label for label in VARIANTS if set_of(label) == other]
                raise ValueError(f"instance={name!r}: variant {variant!r} does not take it; these do: {', '.join(legal)}")
            near = difflib.get_close_matches(str(name), known[kind], 4, 0.3)
            raise ValueError(f"instance={name!r} is not in VRPSolverEasy {VERSION}; nearest: {', '.join(near or known[kind][:4])}")
    found = read(name)
    if found.kind != kind:
        raise ValueError(f"instance={name!r} has the format of {found.kind}; variant {variant!r} takes {kind}")
    try:
        checks.check(VARIANTS[variant]._replace(depots=found.depots), found.network, _way(found), found.numbers)
    except ValueError as error:
        raise ValueError(f"instance={name!r}: {error}") from error


def is_own(name: str) -> bool:
    """Whether a name stands for a file, not for an instance of the package."""
    return "/" in name or name.endswith(OWN)


def load(name: str) -> Network:
    """The nodes of an instance, NumPy arrays, depots first: float32 places in the file's unit (CVRPTW: its tenths), int32 demands and
    capacity, and with windows float32 tenths. ValueError: something in it is no number, or not a whole one where it must be."""
    return read(name).network


@lru_cache(maxsize=16)
def read(name: str) -> Instance:
    """As `load`, with what else is known of an instance."""
    if is_own(name):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"instance={name!r} cannot be read: {error}") from error
    else:
        text = next((_texts(kind)[name] for kind in SETS if name in _texts(kind)), None) or _unknown(name)
    try:
        if "NODE_COORD_SECTION" in text:
            return _cvrplib(text)
        if "CUSTOMER" in text:
            return _solomon(text)
        return _cordeau(text)
    except ValueError as error:
        raise ValueError(f"instance={name!r}: {error}") from error
    except (KeyError, IndexError) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else "lines are missing"
        raise ValueError(f"instance={name!r} is not complete, or of none of the formats {', '.join(SETS)}: {what}") from error


def _unknown(name: str) -> str:
    raise ValueError(f"instance={name!r} is not in VRPSolverEasy {VERSION}")


def published(name: str) -> float | None:
    """Value of the best or optimal solution known, in the unit of the lengths; None where the file states none and none is known here."""
    if name in names():
        found = re.search(r"(?:Optimal|Best) value: (\d+)", _texts("CVRP")[name], re.I)
        return int(found[1]) if found else None
    solomon = re.fullmatch(r"(C|R|RC)([12])(\d\d)", name)
    if solomon:
        values = _SOLOMON[solomon[1] + solomon[2]]
        return values[int(solomon[3]) - 1] if 0 < int(solomon[3]) <= len(values) else None
    return _CORDEAU.get(name)


def rounded(kind: str | None, length: Any, xp: Any = np) -> Any:
    """Lengths as a set counts them; None: as they are."""
    return xp.floor(length + 0.5) if kind == "CVRP" else xp.floor(length) if kind == "CVRPTW" else length


def _way(found: Instance) -> np.ndarray:
    place = np.asarray(found.network.place, np.float64)
    with np.errstate(invalid="ignore"):  # places are checked after this
        return rounded(found.kind, np.sqrt(np.square(place[:, None] - place[None]).sum(-1)))


# ---- formats ----------------------------------------------------------------------------------------------------------------------------


def _cvrplib(text: str) -> Instance:
    fields = dict(_FIELD.findall(text))
    sections = {f"{key}_SECTION": body for key, body in _SECTION.findall(text + "\nEOF\n")}
    size = int(fields["DIMENSION"])
    if fields["EDGE_WEIGHT_TYPE"] != "EUC_2D":
        raise ValueError(f"EDGE_WEIGHT_TYPE={fields['EDGE_WEIGHT_TYPE']}: EUC_2D is legal")
    place, demand = (_rows(key, sections[key], size, width) for key, width in (("NODE_COORD_SECTION", 3), ("DEMAND_SECTION", 2)))
    if _numbers("DEPOT_SECTION", sections["DEPOT_SECTION"])[0] != 1:
        raise ValueError("DEPOT_SECTION: the depot must be node 1")
    return _instance("CVRP", 1, place[:, 0], place[:, 1:], demand[:, 1], float(fields["CAPACITY"]))


def _numbers(field: str, text: str) -> np.ndarray:
    """float64[n] of what a part of a file holds; ValueError: the first word that is no number."""
    for word in text.split():
        try:
            float(word)
        except ValueError:
            raise ValueError(f"{field}: {word!r} is no number") from None
    return np.array(text.split(), np.float64)


def _rows(field: str, text: str, size: int, width: int) -> np.ndarray:
    """float64[size, width] of a section."""
    found = _numbers(field, text)
    if found.size != size * width:
        raise ValueError(f"{field}: {size} rows of {width} numbers are expected, as DIMENSION says; it holds {found.size} numbers")
    return found.reshape(size, width)


def _solomon(text: str) -> Instance:
    head, body = text.split("CUSTOMER", 1)
    capacity = float(head.split()[-1])
    rows = np.array([line.split() for line in body.splitlines()[2:] if line.strip()], np.float64)  # behind the names of the columns
    if rows.ndim != 2 or rows.shape[1] != 7 or rows[0, 0] != 0:
        raise ValueError("rows of number, place, demand, window and time of service are expected, the depot, number 0, first")
    ready, due, service = TENTHS * rows[:, 4:].T
    times = {"ready": ready, "due": due, "service": service, "latest": due[0]}
    return _instance("CVRPTW", 1, rows[:, 0], TENTHS * rows[:, 1:3], rows[:, 3], capacity, **times)


def _cordeau(text: str) -> Instance:
    lines = [np.array(line.split(), np.float64) for line in text.splitlines() if line.strip()]
    if len(lines[0]) != 4 or lines[0][0] != 2:
        raise ValueError("the first line of an MDVRP instance is 2, vehicles, customers, depots")
    customers, depots = (int(x) for x in lines[0][2:])
    limits = np.array([line[:2] for line in lines[1 : 1 + depots]])
    nodes = np.array([line[:5] for line in lines[1 + depots : 1 + 2 * depots + customers]])
    if len(nodes) != customers + depots or limits.shape != (depots, 2):
        raise ValueError(f"{customers} customers and {depots} depots are expected")
    if limits[:, 0].any() or nodes[:, 3].any():
        raise ValueError(f"routes of limited duration ({limits[:, 0].max():g}) and times of service are no part of MDVRP; 0 is legal")
    if (limits[:, 1] != limits[0, 1]).any():
        raise ValueError(f"capacities {sorted(set(limits[:, 1]))}: all depots must have the same")
    nodes = np.roll(nodes, depots, 0)
    return _instance("MDVRP", depots, nodes[:, 0], nodes[:, 1:3], nodes[:, 4], float(limits[0, 1]))


def _instance(
    kind: str, depots: int, numbers: np.ndarray, place: np.ndarray, demand: np.ndarray, capacity: float, **times: Any
) -> Instance:
    with checks.which_node(depots, numbers):
        whole("demand", demand, 0)
    whole("capacity", np.asarray(capacity), 0)
    network = Network(
        place=place.astype(np.float32),
        demand=demand.astype(np.int32),
        capacity=np.int32(capacity),
        **{name: np.asarray(value, np.float32) for name, value in times.items()},
    )
    return Instance(network, depots, kind, numbers)


@lru_cache(maxsize=len(SETS))
def _texts(kind: str) -> dict[str, str]:
    spec = importlib.util.find_spec("VRPSolverEasy")
    if spec is None or spec.origin is None:
        raise ImportError("benchmark instances need the extra 'traces': pip install 'taskloom[traces]'")
    expected = SETS[kind]
    files = sorted((Path(spec.origin).parent / "demos" / "data" / kind).glob(expected.pattern))
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    if len(files) != expected.number or digest.hexdigest() != expected.sha256:
        raise DataError(
            f"the {len(files)} {kind} instances of VRPSolverEasy differ from version {VERSION}; "
            f"reinstall it with: pip install --force-reinstall VRPSolverEasy=={VERSION}"
        )
    return {file.stem: file.read_text(encoding="ascii") for file in files}
