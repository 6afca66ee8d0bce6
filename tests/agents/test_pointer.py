"""Policies that point at the elements of a set: no order, no number, and everything else as it was."""

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import envs
from agents import registry
from agents.multiagent.joint import joint_spec
from agents.networks.pointer import Pointing, any_size
from baselines import build
from baselines.config import AgentConfig
from baselines.evaluation import evaluate
from baselines.runners.online import OnlineRunner
from envs.core.autoreset import ActInput
from envs.core.specs import EnvSpec, Ids, Set, Vector, spec_of
from tests.agents.probes import Pick, Whisper
from tests.toys import Chain

SMALL = {"hidden": (16, 16), "embed_dim": 2}
FLEET = "Allocation/Routing-mTSP-v0"


def network_of(spec, name="ppo", **fields):
    agent = registry.make(name, {**SMALL, **fields})
    train_state = agent.init(jax.random.key(0), spec)
    # The first policy is close to uniform: larger queries, so that differences show.
    params = {**train_state.params, "policy_head": jax.tree.map(lambda x: 100 * x + 0.1, train_state.params["policy_head"])}
    return agent, train_state.replace(params=params)


def seen(env, number=4):
    """Observations of first steps, `[number, ...]`."""
    states = jax.vmap(env.reset, in_axes=(0, None))(jax.random.split(jax.random.key(1), number), env.default_params())
    return states[1].observation


def logits_and_value(train_state, observation):
    network = nnx.merge(train_state.graphdef, train_state.params)
    rows = jax.tree.leaves(observation)[0].shape[0]
    features, _ = network.features(observation, (), jnp.zeros(rows, bool), None)
    task = jnp.zeros(rows, jnp.int32)
    return network.policy(features, task), network.value(features, task)


def padded(observation, more):
    """`more` elements that are not there, with arbitrary numbers in them."""
    things = jnp.pad(observation["things"], ((0, 0), (0, more), (0, 0)), constant_values=0.7)
    return {**observation, "things": things, "things_shown": jnp.pad(observation["things_shown"], ((0, 0), (0, more)))}


def test_the_order_of_elements_is_that_of_their_logits():
    env = Pick(things=5)
    _, train_state = network_of(spec_of(env))
    observation, order = seen(env), np.asarray([3, 1, 4, 0, 2])
    moved = {name: leaf[:, order] if name.startswith("things") else leaf for name, leaf in observation.items()}
    moved["last"] = jnp.argsort(order)[observation["last"]]
    logits, value = logits_and_value(train_state, observation)
    others, same = logits_and_value(train_state, moved)
    assert logits.std(axis=1).min() > 0.01
    np.testing.assert_allclose(others, logits[:, [*order, 5]], atol=1e-5)
    np.testing.assert_allclose(same, value, atol=1e-5)


def test_elements_that_are_not_there_change_nothing():
    few, many = Pick(things=5), Pick(things=9)
    _, train_state = network_of(spec_of(few))
    _, other = network_of(spec_of(many))
    observation = seen(few)
    logits, value = logits_and_value(train_state, observation)
    more, same = logits_and_value(other.replace(params=train_state.params), padded(observation, 4))
    np.testing.assert_allclose(more[:, [0, 1, 2, 3, 4, 9]], logits, atol=1e-5)
    np.testing.assert_allclose(same, value, atol=1e-5)
    # They have one logit, whatever stands in their place.
    np.testing.assert_allclose(more[:, 5:9], jnp.broadcast_to(more[:, 5:6], (4, 4)), atol=1e-5)


def test_logits_are_scaled_products_and_other_actions_have_their_own():
    """One set in two meanings of a second choice, after a first choice that stands for nothing."""
    kinds = {"self": Vector(), "shown": Vector(), "things": Set("shown", (range(2, 8, 2), range(3, 8, 2)))}
    box, flags = gym.spaces.Box, np.bool_
    space = gym.spaces.Dict({"self": box(-1, 1, (2,)), "shown": box(0, 1, (3,), flags), "things": box(-1, 1, (3, 4))})
    spec = EnvSpec(space, kinds, gym.spaces.MultiDiscrete([2, 7]), 1, np.zeros(1, np.int32), 1, 10, "hidden")
    assert Pointing.of(spec).others == (0, 1, 8)
    _, train_state = network_of(spec)
    space.seed(0)
    observation = jax.tree.map(lambda *x: jnp.stack(x), *(space.sample() for _ in range(3)))
    logits, _ = logits_and_value(train_state, observation)
    network = nnx.merge(train_state.graphdef, train_state.params)
    features, _ = network.features(observation, (), jnp.zeros(3, bool), None)
    x = np.asarray(network.actor(features.trunks[0]))
    query = (x @ network.policy_head.queries[0].kernel[...] + network.policy_head.queries[0].bias[...]).reshape(3, 2, -1)
    layer = network.encoders[0].leaves[2].layer
    embedded = np.maximum(np.asarray(observation["things"]) @ layer.kernel[...] + layer.bias[...], 0)
    absent = ~np.asarray(observation["shown"])[..., None]
    element = np.concatenate([np.where(absent, 0, embedded), absent], -1)
    match = np.einsum("bmd,bnd->bnm", query, element) / element.shape[-1] ** 0.5
    np.testing.assert_allclose(logits[:, 2:8], match.reshape(3, 6), atol=1e-4)
    others = x @ network.policy_head.others.kernel[...] + network.policy_head.others.bias[...]
    np.testing.assert_allclose(logits[:, [0, 1, 8]], others, atol=1e-4)


def test_ids_of_elements_are_these_elements():
    env = Pick(things=5)
    _, train_state = network_of(spec_of(env))
    observation = {**seen(env), "things_shown": jnp.ones((4, 5), bool)}
    swapped = {**observation, "last": (observation["last"] + 1) % 5}
    assert jnp.abs(logits_and_value(train_state, observation)[1] - logits_and_value(train_state, swapped)[1]).min() > 1e-5
    alike = {**observation, "things": jnp.full((4, 5, 2), 0.3)}
    both = [logits_and_value(train_state, {**alike, "last": last["last"]})[1] for last in (observation, swapped)]
    np.testing.assert_allclose(*both, atol=1e-6)


@pytest.mark.parametrize("name", ["ppo", "ippo", "mappo", "commnet", "tarmac", "bicnet"])
def test_the_gradient_of_the_policy_reaches_the_elements_in_every_agent(name):
    env = envs.make(FLEET, customers=5)
    spec = spec_of(env)
    _, train_state = network_of(spec, name)
    state = jax.vmap(env.reset, in_axes=(0, None))(jax.random.split(jax.random.key(1), 2), env.default_params())[1]
    rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), state.observation)
    observation = {"own": rows} if name == "mappo" else rows
    slots, carry = len(rows["self"]), ()
    if name == "bicnet":
        carry = jnp.zeros((slots, 1, 32))

    def first(params):
        network = nnx.merge(train_state.graphdef, params)
        features, _ = network.features(observation, carry, jnp.ones(slots, bool), None, jnp.ones(slots, bool))
        return network.policy(features, jnp.zeros(slots, jnp.int32))[:, 0].sum()

    gradient = jax.grad(first)(train_state.params)["encoders"][0]
    nodes = sorted(env.observation_space).index("nodes")
    assert jnp.abs(gradient["leaves"][nodes]["layer"]["kernel"]).max() > 1e-3


def test_who_sees_all_agents_sees_no_set():
    spec = spec_of(envs.make(FLEET, customers=5))
    kinds = joint_spec(spec, state=False).observation_kinds
    assert kinds["at"] == Ids(6) and kinds["nodes"] == Vector()
    assert Pointing.of(spec_of(envs.make(FLEET, customers=5, governance="central"))) is None
    params = network_of(spec, "mappo", critic="observations")[1].params
    assert set(params["policy_head"]) == {"queries"}


@pytest.mark.parametrize("name", ["ippo", "commnet", "tarmac", "bicnet"])
def test_one_set_of_parameters_serves_any_number(name):
    small, large = (envs.make(FLEET, customers=n, vehicles=v) for n, v in ((5, 2), (8, 3)))
    assert any_size(spec_of(small)) == any_size(spec_of(large))
    assert any_size(spec_of(small)) != any_size(spec_of(envs.make(FLEET, customers=5, vehicles=2, conditioning="hidden")))
    agent, train_state = network_of(spec_of(small), name)
    _, other = network_of(spec_of(large), name)
    shapes = [jax.tree.map(jnp.shape, one.params) for one in (train_state, other)]
    assert shapes[0] == shapes[1]
    timestep = jax.vmap(large.reset, in_axes=(0, None))(jax.random.split(jax.random.key(1), 2), large.default_params())[1]
    yes, task = jnp.ones(2, bool), jnp.zeros(2, jnp.int32)
    inputs = ActInput(timestep.observation, timestep.action_mask, yes, task, yes, timestep.alive)
    action, _, _ = agent.act(other.replace(params=train_state.params), agent.initial_carry((2, 3)), inputs, jax.random.key(2), True)
    assert action.shape == (2, 3)
    assert jnp.take_along_axis(timestep.action_mask, action[..., None], -1).all()
    without = [jax.tree.map(jnp.shape, network_of(spec_of(env), name, pointer=False)[1].params) for env in (small, large)]
    assert without[0] != without[1]


@pytest.mark.parametrize("env", [Chain(), Whisper(), envs.make("Allocation/FairDivision-v0")], ids=["chain", "whisper", "division"])
def test_without_actions_of_elements_nothing_is_new(env):
    assert any_size(spec_of(env)) is None
    with_it, without = (registry.make("ppo", {"pointer": flag}).init(jax.random.key(0), spec_of(env)) for flag in (True, False))
    jax.tree.map(np.testing.assert_array_equal, with_it.params, without.params)
    assert set(with_it.params["policy_head"]) == {"kernel", "bias"}


def test_the_head_can_be_as_it_was():
    params = registry.make("ppo", {"pointer": False}).init(jax.random.key(0), spec_of(Pick(things=5))).params
    assert params["policy_head"]["kernel"].shape == (128, 6)
    assert params["encoders"][0]["leaves"][1]["table"].shape == (5, 8)
    assert [kernel.shape[0] for kernel in params["encoders"][0]["kernels"].values()] == [1, 8, 128, 5]


@pytest.mark.parametrize("actions", [(range(4),), (range(2, 7),), (range(5), range(5))])
def test_actions_that_cannot_be_are_named(actions):
    with pytest.raises(ValueError, match="observation leaf 'things': actions="):
        Pointing.of(spec_of(Pick(things=5, actions=actions)))


@pytest.mark.parametrize(
    ("name", "others"),
    [("Routing-CVRP", 0), ("Routing-mTSP", 0), ("EdgeOffloading", 1), ("TaskGraph", 1), ("JobShop", 1), ("Cluster", 2), ("BoxNet1", 1),
     ("BoxNet2", 1), ("BoxLift", 1)],
)  # fmt: skip
def test_allocation_says_which_actions_are_elements(name, others):
    assert len(Pointing.of(spec_of(envs.make(f"Allocation/{name}-v0"))).others) == others


def test_it_learns_to_pick_and_picks_among_more():
    agent = registry.make("ppo", {**SMALL, "learning_rate": 5e-3, "rollout_length": 4, "minibatches": 4, "entropy": 0.003})
    runner = OnlineRunner(Pick(things=5), agent, 64, chunk_updates=150, total_updates=150, max_restarts=64)
    state, _ = runner.train_chunk(runner.init())
    model = runner.model(state)
    assert evaluate(Pick(things=5, split="test"), runner.policy(model), episodes=128).overall("success_at_end").value > 0.9
    large = Pick(things=12, split="test")
    policy = OnlineRunner(large, agent, 64, chunk_updates=1, total_updates=1, max_restarts=64).policy(model)
    assert evaluate(large, policy, episodes=128).overall("success_at_end").value > 0.75


def test_runs_from_before_there_were_pointers_are_what_they_were():
    assert build.make_agent(AgentConfig("ippo", {"discount": 0.9})).pointer
    old = build.stored_agent(AgentConfig("ippo", {"discount": 0.9}))
    assert not old.pointer and old.discount == 0.9
    assert build.stored_agent(AgentConfig("ippo", {"pointer": True})).pointer
