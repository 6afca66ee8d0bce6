"""The rules of the large world, on hand-made states."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.skillgraph import minecraft
from envs.skillgraph.world.mechanics import SMELT_STEPS
from envs.skillgraph.world.rules import REGROW, STACK
from envs.skillgraph.world.state import AIR_STEPS, DUSK, FULL

AHEAD = (0, 1, 0)


def test_moving_turns_then_steps_and_stops_at_rock(stage):
    state = stage.world(blocks={(0, -1, 0): "stone"})
    turned = stage.act(state, "move_north")
    assert int(turned.position[1]) == int(state.position[1]) and int(turned.facing) == 0
    assert not stage.can(turned, "move_north")
    assert int(stage.act(state, "move_east").position[2]) == int(state.position[2]) + 1


def test_water_is_faced_before_it_is_entered(stage):
    state = stage.world(facing="north", blocks={AHEAD: "water"})
    faced = stage.act(state, "move_south")
    assert int(faced.position[1]) == int(state.position[1])
    assert int(stage.act(faced, "move_south").position[1]) == int(state.position[1]) + 1


@pytest.mark.parametrize("tool, block, item, works", [
    (None, "log", "log", True), (None, "stone", "cobblestone", False), ("wooden_pickaxe", "stone", "cobblestone", True),
    ("wooden_pickaxe", "iron_ore", "iron_ore", False), ("stone_pickaxe", "iron_ore", "iron_ore", True),
    ("stone_pickaxe", "diamond_ore", "diamond", False), ("iron_pickaxe", "diamond_ore", "diamond", True),
    ("iron_pickaxe", "obsidian", "obsidian", False), ("diamond_pickaxe", "obsidian", "obsidian", True),
])  # fmt: skip
def test_what_it_takes_to_mine(stage, tool, block, item, works):
    state = stage.world(held={tool: 1} if tool else None, blocks={AHEAD: block})
    assert stage.can(state, "attack") == works
    after = stage.act(state, "attack")
    assert stage.held(after, item) == works
    assert (stage.block(after, *AHEAD) != block) == works
    assert int(stage.timestep.metrics["illegal_actions"]) == (not works)


def test_digging_down_and_climbing_back(stage):
    state = stage.world(held={"wooden_pickaxe": 1})
    down = stage.act(state, "move_down", "attack", "attack", "move_down")
    assert int(down.position[0]) == 1 and stage.held(down, "dirt") == 1 and stage.held(down, "cobblestone") == 1
    assert int(stage.act(down, "move_up", "move_up").position[0]) == 0


def test_soil_gives_way_from_above_alone_on_the_surface(stage):
    assert not stage.can(stage.world(facing="south"), "attack")
    assert stage.can(stage.world(facing="down"), "attack")
    below = (1, stage.world().position[1].item(), stage.world().position[2].item())
    assert stage.can(stage.world(at=below, blocks={AHEAD: "dirt"}), "attack")


def test_crafting_needs_ingredients_and_a_table_in_reach(stage):
    far, near = (stage.world(held={"planks": 3, "stick": 2}, blocks={place: "crafting_table"}) for place in ((0, 20, 0), (0, 3, 2)))
    assert not stage.can(far, "craft_wooden_pickaxe") and stage.can(near, "craft_wooden_pickaxe")
    after = stage.act(near, "craft_wooden_pickaxe")
    assert [stage.held(after, item) for item in ("planks", "stick", "wooden_pickaxe")] == [0, 0, 1]
    assert not stage.can(stage.world(held={"planks": 2, "stick": 2}, blocks={(0, 3, 2): "crafting_table"}), "craft_wooden_pickaxe")


def test_every_recipe_changes_what_the_tree_says(stage):
    """Every crafting recipe, from exactly its ingredients, in one batch."""
    env = stage.env
    tree = env.tree
    crafts = [r for r, recipe in enumerate(tree.recipes) if recipe.station != "furnace"]
    base = stage.world(blocks={(0, 2, 0): "crafting_table"})
    inventory = jnp.asarray(tree.need[crafts])
    states = jax.vmap(lambda held: replace(base, inventory=held))(inventory)
    states = jax.vmap(lambda s: replace(s, legal=stage._legal(s)))(states)
    actions = jnp.asarray([env.action_names.index(tree.recipe_names[r]) for r in crafts])
    assert bool(jnp.take_along_axis(states.legal, actions[:, None], 1).all())
    after, _ = jax.jit(jax.vmap(lambda s, a: env.step(jax.random.key(0), s, a, stage.params)))(states, actions)
    expected = tree.need[crafts].astype(int) + tree.delta[crafts]
    assert np.array_equal(np.asarray(after.inventory), expected)


def test_a_full_stack_makes_a_recipe_illegal(stage):
    assert not stage.can(stage.world(held={"log": 1, "planks": STACK}), "craft_planks")
    assert stage.can(stage.world(held={"log": 1, "planks": STACK - 1}), "craft_planks")


def test_buckets_come_back(stage):
    cake = {"milk_bucket": 3, "sugar": 2, "egg": 1, "wheat": 3}
    after = stage.act(stage.world(held=cake, blocks={(0, 2, 0): "crafting_table"}), "craft_cake")
    assert stage.held(after, "cake") == 1 and stage.held(after, "bucket") == 3


def test_the_furnace_takes_fuel_and_time(stage):
    state = stage.world(held={"iron_ore": 2, "coal": 1}, blocks={(0, 2, 0): "furnace"})
    started = stage.act(state, "smelt_iron_ingot", "smelt_iron_ingot")
    assert stage.held(started, "iron_ore") == 0 and stage.held(started, "coal") == 0 and int(started.oven.queue) == 2
    waiting = stage.act(started, *["noop"] * (SMELT_STEPS - 3))
    assert stage.held(waiting, "iron_ingot") == 0
    first = stage.act(waiting, "noop", "noop")
    assert stage.held(first, "iron_ingot") == 1
    assert stage.held(stage.act(first, *["noop"] * SMELT_STEPS), "iron_ingot") == 2
    # The furnace works while the agent is away; what is done waits for it.
    away = replace(started, position=started.position + jnp.asarray([0, 20, 0]))
    done = stage.act(away, *["noop"] * (2 * SMELT_STEPS + 2))
    assert stage.held(done, "iron_ingot") == 0 and int(done.oven.ready) == 2
    back = stage.act(replace(done, position=started.position), "noop")
    assert stage.held(back, "iron_ingot") == 2 and int(back.oven.ready) == 0


def test_without_fuel_nothing_smelts_and_the_ingredient_is_not_burnt(stage):
    assert not stage.can(stage.world(held={"iron_ore": 1}, blocks={(0, 2, 0): "furnace"}), "smelt_iron_ingot")
    assert not stage.can(stage.world(held={"log": 1}, blocks={(0, 2, 0): "furnace"}), "smelt_charcoal")
    assert stage.can(stage.world(held={"log": 2}, blocks={(0, 2, 0): "furnace"}), "smelt_charcoal")


def test_a_furnace_at_work_takes_no_other_ingredient(stage):
    state = stage.world(held={"iron_ore": 1, "sand": 1, "coal": 1}, blocks={(0, 2, 0): "furnace"})
    busy = stage.act(state, "smelt_iron_ingot")
    assert not stage.can(busy, "smelt_glass")


@pytest.mark.parametrize("tool", ["wooden_pickaxe", "golden_pickaxe"])
def test_tools_wear_out(stage, tool):
    uses = minecraft.durability()[tool]
    d = list(np.asarray(stage.params.shared.tool_item)).index(stage.env.tree.index[tool])
    state = stage.world(held={tool: 1}, blocks={AHEAD: "stone"})
    state = replace(state, wear=state.wear.at[d].set(uses - 1))
    after = stage.act(state, "attack")
    assert stage.held(after, "cobblestone") == 1 and stage.held(after, tool) == 0 and int(after.wear[d]) == 0
    fresh = stage.act(stage.world(held={tool: 1}, blocks={AHEAD: "stone"}), "attack")
    assert stage.held(fresh, tool) == 1 and int(fresh.wear[d]) == 1


def test_the_cheapest_tool_that_fits_wears(stage):
    state = stage.world(held={"wooden_pickaxe": 1, "diamond_pickaxe": 1}, blocks={AHEAD: "stone"})
    after = stage.act(state, "attack")
    worn = {stage.env.tree.items[int(item)] for item, wear in zip(stage.params.shared.tool_item, after.wear, strict=True) if wear}
    assert worn == {"wooden_pickaxe"}


def test_water_comes_in_buckets_falls_and_quenches_lava(stage):
    filled = stage.act(stage.world(held={"bucket": 1}, blocks={AHEAD: "water"}), "use")
    assert stage.held(filled, "water_bucket") == 1 and stage.held(filled, "bucket") == 0 and stage.block(filled, *AHEAD) == "water"
    poured = stage.act(stage.world(held={"water_bucket": 1}, blocks={(1, 1, 0): "cave_air", (2, 1, 0): "cave_air"}), "place_water_bucket")
    assert [stage.block(poured, layer, 1, 0) for layer in range(4)] == ["water", "water", "water", "stone"]
    assert stage.held(poured, "bucket") == 1
    quenched = stage.act(stage.world(held={"water_bucket": 1}, blocks={AHEAD: "lava"}), "place_water_bucket")
    assert stage.block(quenched, *AHEAD) == "obsidian"


def test_animals_give_wool_milk_and_meat(stage):
    sheep = stage.world(held={"shears": 1}, mobs=[("sheep", 1, 0)])
    shorn = stage.act(sheep, "use")
    assert 1 <= stage.held(shorn, "wool") <= 3 and int(shorn.herd.regrow[0]) in (REGROW["sheep"], REGROW["sheep"] - 1)
    assert not stage.can(replace(shorn, herd=replace(shorn.herd, position=sheep.herd.position)), "use") or int(shorn.herd.kind[0]) == 0
    assert stage.held(stage.act(stage.world(held={"bucket": 1}, mobs=[("cow", 1, 0)]), "use"), "milk_bucket") == 1
    assert not stage.can(stage.world(mobs=[("cow", 1, 0)]), "use")
    killed = stage.act(stage.world(held={"diamond_sword": 1}, mobs=[("chicken", 1, 0)]), "attack")
    assert stage.held(killed, "chicken") == 1 and int(killed.herd.kind[0]) == 0


def test_fists_take_ten_blows_for_a_cow(stage):
    state = stage.world(mobs=[("cow", 1, 0)])
    for blow in range(10):
        assert stage.held(state, "beef") == 0
        herd = replace(state.herd, position=stage.world(mobs=[("cow", 1, 0)]).herd.position)
        state = stage.act(replace(state, herd=herd, facing=jnp.int32(1)), "attack", seed=blow)
    assert 1 <= stage.held(state, "beef") <= 3


def test_zombies_hit_armor_helps_and_torches_keep_them_away(stage):
    def hurt(held):
        state = stage.world(held=held, mobs=[("zombie", 1, 0)], clock=DUSK + 500)
        return FULL - int(stage.act(state, "noop").body.health)

    assert hurt(None) == 3
    iron = {f"iron_{part}": 1 for part in ("helmet", "chestplate", "leggings", "boots")}
    assert 0 < hurt(iron) < 3

    def monsters(blocks):
        state = stage.world(blocks=blocks, clock=DUSK + 100)
        after = stage.act(state, *["noop"] * 100)
        return int((np.asarray(stage.env.mob_kinds.hostile)[np.asarray(after.herd.kind)]).sum())

    assert monsters({(0, 2, 0): "torch"}) == 0 < monsters(None)


def test_creepers_blow_up_after_their_fuse(stage):
    state = stage.world(mobs=[("creeper", 1, 0)], clock=DUSK + 500, blocks={(0, 2, 0): "stone"})
    after = stage.act(state, *["noop"] * 8)
    assert int(after.body.health) == 0 and stage.env.mob_kinds.index["creeper"] not in np.asarray(after.herd.kind)


def test_death_ends_the_episode_without_success(stage):
    state = stage.world(mobs=[("zombie", 1, 0)], clock=DUSK + 500)
    state = replace(state, body=replace(state.body, health=jnp.uint8(2)))
    stage.act(state, "noop")
    assert bool(stage.timestep.terminated) and float(stage.timestep.metrics["success"]) == 0 and float(stage.timestep.metrics["died"]) == 1


def test_eating_sleeping_drowning_and_burning(stage):
    hungry = stage.world(held={"bread": 1})
    assert not stage.can(hungry, "eat")
    hungry = replace(hungry, body=replace(hungry.body, food=jnp.uint8(10)))
    hungry = replace(hungry, legal=stage._legal(hungry))
    fed = stage.act(hungry, "eat")
    assert int(fed.body.food) == 15 and stage.held(fed, "bread") == 0
    bed = {(0, 2, 0): "bed"}
    assert not stage.can(stage.world(blocks=bed), "sleep") and stage.can(stage.world(blocks=bed, clock=DUSK + 10), "sleep")
    assert int(stage.act(stage.world(blocks=bed, clock=DUSK + 10), "sleep").clock) == 0
    below = (1, *(int(x) for x in stage.world().position[1:]))
    diving = stage.world(at=below, blocks={(0, 0, 0): "water"})
    assert int(stage.act(diving, "noop").body.air) == AIR_STEPS - 1
    drowned = stage.act(replace(diving, body=replace(diving.body, air=jnp.uint8(0))), *["noop"] * 4)
    assert int(drowned.body.health) < FULL
    assert int(stage.act(stage.world(blocks={(0, 0, 0): "lava"}), "noop", "noop").body.health) < FULL


def test_hunger_comes_with_work(stage):
    state = stage.world()
    state = replace(state, body=replace(state.body, saturation=jnp.uint8(0), exhaustion=jnp.uint16(799)))
    assert int(stage.act(state, "move_south").body.food) == FULL - 1
