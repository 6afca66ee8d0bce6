"""Kitchen recipes as graphs of tasks, and what each kind of worker does how fast. Durations in minutes, at a speed of 1.

The setting (two robots with different capabilities, a person who helps, recipes as graphs) follows MOSAIC (Wang et al. 2024); recipes and
times are this project's own.
"""

from __future__ import annotations

import numpy as np

SKILLS = ("fetch", "wash", "chop", "mix", "heat", "serve")
# Quarters of the duration at which a kind of worker does a task of each skill, 0: not at all; and its price per minute.
TEAM = {
    "arm": ((0, 0, 4, 4, 4, 6), 1),
    "mobile": ((4, 4, 0, 6, 6, 4), 1),
    "helper": ((6, 5, 6, 6, 5, 5), 4),
}

# Recipe -> steps: name, skill, minutes, the steps that it needs.
RECIPES: dict[str, tuple[tuple[str, str, int, tuple[str, ...]], ...]] = {
    "tomato_soup": (
        ("fetch_tomatoes", "fetch", 3, ()),
        ("fetch_onions", "fetch", 3, ()),
        ("fetch_stock", "fetch", 4, ()),
        ("wash_tomatoes", "wash", 3, ("fetch_tomatoes",)),
        ("chop_tomatoes", "chop", 6, ("wash_tomatoes",)),
        ("chop_onions", "chop", 5, ("fetch_onions",)),
        ("fry_onions", "heat", 6, ("chop_onions",)),
        ("simmer", "heat", 15, ("fry_onions", "chop_tomatoes", "fetch_stock")),
        ("blend", "mix", 4, ("simmer",)),
        ("fetch_bowls", "fetch", 3, ()),
        ("serve_soup", "serve", 3, ("blend", "fetch_bowls")),
    ),
    "garden_salad": (
        ("fetch_lettuce", "fetch", 3, ()),
        ("fetch_cucumber", "fetch", 3, ()),
        ("fetch_peppers", "fetch", 3, ()),
        ("fetch_oil", "fetch", 2, ()),
        ("wash_lettuce", "wash", 4, ("fetch_lettuce",)),
        ("wash_vegetables", "wash", 4, ("fetch_cucumber", "fetch_peppers")),
        ("tear_lettuce", "chop", 4, ("wash_lettuce",)),
        ("chop_vegetables", "chop", 7, ("wash_vegetables",)),
        ("stir_dressing", "mix", 4, ("fetch_oil",)),
        ("toss", "mix", 3, ("tear_lettuce", "chop_vegetables", "stir_dressing")),
        ("serve_salad", "serve", 3, ("toss",)),
    ),
    "pancakes": (
        ("fetch_flour", "fetch", 3, ()),
        ("fetch_milk_and_eggs", "fetch", 4, ()),
        ("fetch_berries", "fetch", 3, ()),
        ("whisk_batter", "mix", 6, ("fetch_flour", "fetch_milk_and_eggs")),
        ("wash_berries", "wash", 3, ("fetch_berries",)),
        ("heat_pan", "heat", 4, ()),
        ("bake_first", "heat", 6, ("whisk_batter", "heat_pan")),
        ("bake_second", "heat", 6, ("bake_first",)),
        ("stew_berries", "heat", 7, ("wash_berries",)),
        ("fetch_plates", "fetch", 3, ()),
        ("serve_pancakes", "serve", 4, ("bake_second", "stew_berries", "fetch_plates")),
    ),
    "pasta": (
        ("fetch_pasta", "fetch", 3, ()),
        ("fetch_basil", "fetch", 3, ()),
        ("fetch_cheese", "fetch", 3, ()),
        ("boil_water", "heat", 8, ()),
        ("cook_pasta", "heat", 10, ("boil_water", "fetch_pasta")),
        ("wash_basil", "wash", 3, ("fetch_basil",)),
        ("chop_basil", "chop", 4, ("wash_basil",)),
        ("grate_cheese", "chop", 5, ("fetch_cheese",)),
        ("grind_pesto", "mix", 6, ("chop_basil", "grate_cheese")),
        ("drain", "wash", 2, ("cook_pasta",)),
        ("stir_in", "mix", 3, ("drain", "grind_pesto")),
        ("serve_pasta", "serve", 3, ("stir_in",)),
    ),
    "vegetable_curry": (
        ("fetch_rice", "fetch", 3, ()),
        ("fetch_vegetables", "fetch", 4, ()),
        ("fetch_spices", "fetch", 2, ()),
        ("fetch_coconut_milk", "fetch", 3, ()),
        ("wash_rice", "wash", 3, ("fetch_rice",)),
        ("boil_rice", "heat", 14, ("wash_rice",)),
        ("wash_vegetables", "wash", 4, ("fetch_vegetables",)),
        ("chop_vegetables", "chop", 8, ("wash_vegetables",)),
        ("grind_paste", "mix", 5, ("fetch_spices",)),
        ("fry_paste", "heat", 4, ("grind_paste",)),
        ("stew", "heat", 12, ("fry_paste", "chop_vegetables", "fetch_coconut_milk")),
        ("season", "mix", 2, ("stew",)),
        ("wash_pot", "wash", 4, ("boil_rice",)),
        ("serve_curry", "serve", 4, ("season", "boil_rice")),
    ),
    "pizza": (
        ("fetch_flour", "fetch", 3, ()),
        ("fetch_toppings", "fetch", 4, ()),
        ("fetch_cheese", "fetch", 3, ()),
        ("knead", "mix", 9, ("fetch_flour",)),
        ("roll_out", "mix", 4, ("knead",)),
        ("wash_toppings", "wash", 3, ("fetch_toppings",)),
        ("chop_toppings", "chop", 6, ("wash_toppings",)),
        ("grate_cheese", "chop", 4, ("fetch_cheese",)),
        ("heat_oven", "heat", 10, ()),
        ("top", "mix", 4, ("roll_out", "chop_toppings", "grate_cheese")),
        ("bake", "heat", 12, ("top", "heat_oven")),
        ("slice", "chop", 3, ("bake",)),
        ("serve_pizza", "serve", 3, ("slice",)),
    ),
}
LONGEST = max(len(steps) for steps in RECIPES.values())


def tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int32[6, L] skill of each step (-1 for the padding), int32[6, L] minutes, int32[6, L, 3] the steps that it needs (-1: none)."""
    skill, minutes = np.full((len(RECIPES), LONGEST), -1, np.int32), np.zeros((len(RECIPES), LONGEST), np.int32)
    needs = np.full((len(RECIPES), LONGEST, 3), -1, np.int32)
    for i, steps in enumerate(RECIPES.values()):
        place = {name: number for number, (name, *_) in enumerate(steps)}
        for number, (_, kind, time, sources) in enumerate(steps):
            skill[i, number], minutes[i, number] = SKILLS.index(kind), time
            needs[i, number, : len(sources)] = [place[source] for source in sources]
    return skill, minutes, needs
