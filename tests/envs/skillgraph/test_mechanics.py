"""The compiled transition against a plain-Python oracle, and single rules by hand."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.core.functional import Params, params_axes
from envs.skillgraph import minecraft
from envs.skillgraph.blocks import ID, NAMES, PASSABLE, PLACEABLE, SOIL, SURFACE, UNDERGROUND
from envs.skillgraph.mechanics import DIRECTIONS, OFFSETS, look
from envs.skillgraph.obtain import Obtain
from envs.skillgraph.worldgen import HALO, LAYERS

SLOTS = 16


@pytest.fixture(scope="module")
def env():
    return Obtain(task="hopper_minecart", conditioning="hidden")


@pytest.fixture(scope="module")
def programs(env):
    axes = params_axes()
    rows = jax.tree.map(lambda x: jnp.repeat(jnp.asarray(x)[None], SLOTS, 0), env.default_params().task)
    params = Params(env.shared_params(), rows)
    reset = jax.jit(jax.vmap(env.reset, in_axes=(0, axes)))
    step = jax.jit(jax.vmap(env.step, in_axes=(0, 0, 0, axes)))

    @jax.jit
    def with_mask(worlds):
        def one(world):
            return replace(world, legal=env_legal(env, world))

        return jax.vmap(one)(worlds)

    return params, reset, step, with_mask


def env_legal(env, world):
    from envs.skillgraph.mechanics import legal_actions

    return legal_actions(env.blocks, env.shared_params(), world, look(env.blocks, world.map, world.position))


class Oracle:
    """The rules once more, one slot, with names and dictionaries."""

    def __init__(self, env, world, i):
        self.env, self.tree = env, env.tree
        self.map = np.array(world.map[i])
        self.position = tuple(int(x) for x in world.position[i])
        self.facing = DIRECTIONS[int(world.facing[i])]
        self.have = {item: int(n) for item, n in zip(self.tree.items, world.inventory[i], strict=True)}
        self.heat = int(world.heat[i])
        self.data = minecraft.blocks()

    def block(self, where):
        return NAMES[self.map[where]] if 0 <= where[0] < LAYERS else "void"

    def target(self, facing):
        here = self.block(self.position)
        if facing == "down" and self.position[0] == SURFACE and here in SOIL:
            return self.position
        return tuple(int(a + b) for a, b in zip(self.position, OFFSETS[DIRECTIONS.index(facing)], strict=True))

    def near(self, name):
        layer, row, column = self.position
        return any(self.block((layer, row + r, column + c)) == name for r in range(-HALO, HALO + 1) for c in range(-HALO, HALO + 1))

    def minable(self, where):
        name = self.block(where)
        if where == self.position:
            return True  # soil under the feet
        if name in SOIL or name in ("void", "cave_air", "water"):
            return False
        fact = self.data[{"log": "oak_log", "planks": "oak_planks"}.get(name, name)]
        return fact.drop in self.have and self.have[fact.drop] < 255 and (not fact.tools or any(self.have.get(t, 0) for t in fact.tools))

    def fuel(self, ingredients):
        return next((f for f, _ in self.tree.fuels if self.have[f] > dict(ingredients).get(f, 0)), None)

    def legal(self, action):
        kind, _, what = action.partition("_")
        if action == "noop":
            return True
        if kind == "move":
            sealed = self.target(what) == self.position
            return what != self.facing or (self.block(self.target(what)) in PASSABLE and not sealed)
        if kind == "mine":
            return self.minable(self.target(self.facing))
        if kind == "place":
            free = self.block(self.target(self.facing)) in (*PASSABLE, "water") and self.block(self.target(self.facing)) != "torch"
            return self.have[what] > 0 and free and self.facing not in ("up", "down")
        recipe = self.tree.recipes[self.tree.recipe_names.index(action)]
        ok = all(self.have[i] >= n for i, n in recipe.ingredients) and self.have[recipe.output] + recipe.count <= 255
        ok = ok and (not recipe.station or self.near(recipe.station))
        return ok and (recipe.station != "furnace" or self.heat >= 2 or self.fuel(recipe.ingredients) is not None)

    def step(self, action):
        if not self.legal(action):
            return
        kind, _, what = action.partition("_")
        if kind == "move":
            self.facing = what
            target = self.target(what)
            if target != self.position and self.block(target) in PASSABLE:
                self.position = target
        elif kind == "mine":
            where = self.target(self.facing)
            name = self.block(where)
            if where == self.position:
                left = "cave_air"
            else:
                self.have[self.data[{"log": "oak_log", "planks": "oak_planks"}.get(name, name)].drop] += 1
                left = "cave_air" if where[0] == UNDERGROUND else "grass_block" if name == "log" else "dirt"
            self.map[where] = ID[left]
        elif kind == "place":
            self.have[what] -= 1
            self.map[self.target(self.facing)] = ID[what]
        elif kind in ("craft", "smelt"):
            recipe = self.tree.recipes[self.tree.recipe_names.index(action)]
            if recipe.station == "furnace":
                if self.heat < 2:
                    fuel = self.fuel(recipe.ingredients)
                    self.have[fuel] -= 1
                    self.heat += dict(self.tree.fuels)[fuel]
                self.heat -= 2
            for item, count in recipe.ingredients:
                self.have[item] -= count
            self.have[recipe.output] += recipe.count

    def check(self, world, i, legal_names):
        assert self.position == tuple(int(x) for x in world.position[i])
        assert self.facing == DIRECTIONS[int(world.facing[i])]
        assert self.heat == int(world.heat[i])
        np.testing.assert_array_equal(self.map, world.map[i])
        assert {k: v for k, v in self.have.items() if v} == {
            item: int(n) for item, n in zip(self.tree.items, world.inventory[i], strict=True) if n
        }
        mine = {name for name in self.env.action_names if self.legal(name)}
        assert mine == legal_names, mine ^ legal_names


@pytest.mark.parametrize(("start", "steps"), [("bare", 120), ("rich", 80)])
def test_equals_the_oracle_step_by_step(env, programs, start, steps):
    """All fields and the whole action mask, under random play with illegal actions among it."""
    params, reset, step, with_mask = programs
    rng = np.random.RandomState(0)
    world, _ = reset(jax.random.split(jax.random.key(1), SLOTS), params)
    if start == "rich":
        inventory = rng.randint(0, 5, world.inventory.shape).astype(np.uint8) * (rng.rand(*world.inventory.shape) < 0.5)
        inventory[:, env.tree.index["log"]] = 9
        inventory[: SLOTS // 2, env.tree.index["crafting_table"]] = 2
        inventory[: SLOTS // 2, env.tree.index["furnace"]] = 2
        inventory[0] = 254
        world = with_mask(replace(world, inventory=jnp.asarray(inventory.astype(np.uint8))))
    oracles = [Oracle(env, jax.device_get(world), i) for i in range(SLOTS)]
    keys = jax.random.split(jax.random.key(2), SLOTS)
    used = set()
    for _ in range(steps):
        legal = np.asarray(world.legal)
        # Mostly legal actions, with a liking for recipes and mining; sometimes any action at all.
        weight = legal * np.where(np.arange(legal.shape[1]) >= 7, 3.0, 1.0) + 0.01
        action = np.array([rng.choice(legal.shape[1], p=w / w.sum()) for w in weight], np.int32)
        for i, a in enumerate(action):
            oracles[i].step(env.action_names[a])
            if legal[i, a]:
                used.add(env.action_names[a])
        world, timestep = step(keys, world, action, params)
        host = jax.device_get(world)
        np.testing.assert_array_equal(timestep.metrics["illegal_actions"], ~legal[np.arange(SLOTS), action])
        for i in range(SLOTS):
            oracles[i].check(host, i, {env.action_names[a] for a in np.flatnonzero(host.legal[i])})
    expected = {"mine", "craft_planks", "move_down"} | ({"smelt_charcoal", "place_furnace", "craft_torch"} if start == "rich" else set())
    assert expected <= used


def test_later_mechanics_are_off(env, programs):
    params, reset, step, _ = programs
    first, _ = reset(jax.random.split(jax.random.key(3), SLOTS), params)
    world = first
    for k in range(20):
        world, _ = step(jax.random.split(jax.random.key(k), SLOTS), world, jnp.full(SLOTS, 1 + k % 6), params)
    for name in ("vitals", "durability", "mobs", "clock"):
        np.testing.assert_array_equal(getattr(world, name), getattr(first, name))


def test_dynamics_need_no_randomness(env, programs):
    """Two different step keys give one successor: luck lies in the world alone."""
    params, reset, step, _ = programs
    world, _ = reset(jax.random.split(jax.random.key(4), SLOTS), params)
    action = jnp.full(SLOTS, 3)
    a, _ = step(jax.random.split(jax.random.key(5), SLOTS), world, action, params)
    b, _ = step(jax.random.split(jax.random.key(6), SLOTS), world, action, params)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_placeable_names_are_items(env):
    assert set(PLACEABLE) <= set(env.tree.items)


def test_state_fits_16_kb(programs):
    params, reset, _, _ = programs
    world, _ = reset(jax.random.split(jax.random.key(0), SLOTS), params)
    assert sum(x.nbytes for x in jax.tree.leaves(world)) / SLOTS <= 16 * 1024
