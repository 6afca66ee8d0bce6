"""Plans are valid for every item; the controller carries them out on held-out worlds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.core.functional import Params, params_axes, split_key
from envs.skillgraph.obtain import Obtain
from envs.skillgraph.planner import Skill, make_plan, providers, run_plan
from envs.skillgraph.techtree import obtain_tree


def test_every_item_has_a_valid_plan():
    tree = obtain_tree()
    for item in tree.items:
        plan = make_plan(tree, item, 3)
        assert run_plan(tree, plan)[item] >= 3, item
        made = {tree.recipes[tree.recipe_names.index(s.name)].output if s.kind in ("craft", "smelt") else s.name for s in plan}
        assert tree.prerequisites(item) <= made, item


def test_plans_use_the_initial_inventory():
    tree = obtain_tree()
    start = {"wooden_pickaxe": 1, "log": 10}
    plan = make_plan(tree, "stone_pickaxe", 1, start)
    assert all(skill.name != "craft_wooden_pickaxe" and skill != ("mine", "log", 1) for skill in plan)
    assert run_plan(tree, plan, start)["stone_pickaxe"] == 1
    with pytest.raises(ValueError, match="target='diamond'"):
        make_plan(tree, "diamond")


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ([Skill("mine", "iron_ore", 1)], "step 0: no tool to mine iron_ore"),
        ([Skill("mine", "log", 1), Skill("craft", "craft_stick", 1)], "step 1: craft_stick needs 2 planks"),
        ([Skill("place", "furnace", 1)], "step 0: no furnace to place"),
        ([Skill("craft", "craft_furnace", 1)], "step 0: craft_furnace needs a crafting_table"),
    ],
)
def test_invalid_plans_are_refused(plan, message):
    with pytest.raises(ValueError, match=message):
        run_plan(obtain_tree(), plan)


def test_providers_have_no_cycle():
    tree = obtain_tree()
    chosen = providers(tree)
    place = {int(i): n for n, i in enumerate(chosen.order)}
    for i, r in enumerate(chosen.recipe):
        if r >= 0:
            assert all(place[tree.index[name]] > place[i] for name, _ in tree.recipes[r].ingredients)


def run(env, episodes, steps, seed=0):
    planner, axes = env.references["planner"], params_axes()
    ids = jnp.repeat(jnp.arange(len(env.suite)), episodes)
    params = Params(env.shared_params(), env.suite.take(ids))
    keys = jax.random.split(split_key(jax.random.key(seed), "test"), ids.shape[0])

    @jax.jit
    def block(carry, key):
        def body(carry, k):
            state, done, success = carry
            ks = jax.random.split(k, ids.shape[0])
            action, _ = jax.vmap(planner.act, in_axes=(0, 0, axes, None))(ks, state, params, ())
            state, ts = jax.vmap(env.step, in_axes=(0, 0, 0, axes))(ks, state, action, params)
            success = jnp.where(done, success, ts.metrics["success"])
            return (state, done | ts.done, success), None

        return jax.lax.scan(body, carry, jax.random.split(key, 50))[0]

    state, _ = jax.jit(jax.vmap(env.reset, in_axes=(0, axes)))(keys, params)
    carry = (state, jnp.zeros(ids.shape[0], bool), jnp.zeros(ids.shape[0]))
    for k in range(steps // 50):
        carry = block(carry, jax.random.key(k))
        if carry[1].all():
            break
    return dict(zip(env.suite.names, np.asarray(carry[2]).reshape(-1, episodes).mean(1), strict=True))


@pytest.mark.slow  # the planner is also judged by the rewards of test_obtain
def test_controller_climbs_the_iron_line():
    env = Obtain(task=("torch", "iron_ingot", "iron_pickaxe", "stone_slab"), split="test")
    success = run(env, 6, 400)
    assert np.mean(list(success.values())) >= 0.9, success


@pytest.mark.slow
def test_controller_obtains_every_item():
    success = run(Obtain(split="test"), 4, 1000)
    assert np.mean(list(success.values())) >= 0.97, {k: v for k, v in success.items() if v < 1}
