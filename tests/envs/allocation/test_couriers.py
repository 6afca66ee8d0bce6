from collections import deque
from dataclasses import replace

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.allocation.couriers import generator
from envs.allocation.couriers.dispatch import FAR, distances
from envs.allocation.couriers.env import ABSENT, ACTIONS, CARRIED, DELIVERED, LOST, WAITING, Couriers, Fleet
from envs.core.functional import params_axes, random_action
from envs.core.wrappers import FlattenObservation

STAY, NORTH, SOUTH, EAST, WEST, PICK, DROP = range(7)


def at(row, column):
    return 9 * row + column


class Scene:
    """Three couriers in an empty depot, placed by hand."""

    def __init__(self, env, like=None):
        self.env = env
        self.params = env.default_params()
        self.step = jax.jit(env.step)
        self.legal = like.legal if like else jax.jit(env._legal)
        self.empty = like.empty if like else jax.jit(env.reset)(jax.random.key(0), self.params)[0]

    def place(self, positions, parcels=(), battery=(20, 20, 20), walls=(), clock=0, cargo=(-1, -1, -1)) -> Fleet:
        """`parcels`: (cell, destination, deadline) of the first ones; the others are absent."""
        p = self.env.parcels
        table = np.array([*parcels, *[(80, 0, 50)] * (p - len(parcels))], np.int32)
        status = np.full(p, ABSENT, np.int8)
        status[: len(parcels)] = WAITING
        status[[c for c in cargo if c >= 0]] = CARRIED
        wall = np.zeros(81, bool)
        wall[list(walls)] = True
        fleet = replace(
            self.empty,
            walls=jnp.asarray(wall),
            position=jnp.asarray(positions, jnp.int32),
            battery=jnp.asarray(battery, jnp.int32),
            cargo=jnp.asarray(cargo, jnp.int32),
            alive=jnp.ones(3, bool),
            cell=jnp.asarray(table[:, 0]),
            destination=jnp.asarray(table[:, 1]),
            deadline=jnp.asarray(table[:, 2]),
            release=jnp.zeros(p, jnp.int32),
            status=jnp.asarray(status),
            picked=jnp.asarray(status == CARRIED),
            clock=jnp.int32(clock),
        )
        return replace(fleet, legal=self.legal(fleet))

    def act(self, fleet, *actions, key=0):
        return jax.device_get(self.step(jax.random.key(key), fleet, jnp.asarray(actions, jnp.int32), self.params))


@pytest.fixture(scope="module")
def scene():
    return Scene(Couriers(couriers=3, task="one_parcel_each", reward="individual"))


# ---- rules, by hand ---------------------------------------------------------------------------------------------------------------------


def test_a_delivery_by_hand(scene):
    fleet = scene.place([at(4, 4), at(0, 0), at(8, 8)], parcels=[(at(4, 4), at(4, 5), 10), (at(0, 8), at(8, 0), 30)])
    assert np.asarray(fleet.legal).tolist() == [[1, 1, 1, 1, 1, 1, 0], [1, 0, 1, 1, 0, 0, 0], [1, 1, 0, 0, 1, 0, 0]]
    fleet, timestep = scene.act(fleet, PICK, SOUTH, STAY)
    assert fleet.cargo.tolist() == [0, -1, -1] and fleet.status[:2].tolist() == [CARRIED, WAITING]
    assert fleet.battery.tolist() == [19, 19, 20] and fleet.position.tolist() == [at(4, 4), at(1, 0), at(8, 8)]
    assert timestep.reward.tolist() == [0.25, 0, 0] and timestep.metrics["reward/pick"] == 0.25
    assert not fleet.legal[0][PICK] and not fleet.legal[0][DROP]  # hands full, not yet there
    fleet, timestep = scene.act(fleet, EAST, DROP, STAY)  # nothing to drop: illegal
    assert timestep.metrics["illegal_actions"] == 1 and fleet.battery.tolist() == [18, 19, 20] and fleet.legal[0][DROP]
    fleet, timestep = scene.act(fleet, DROP, STAY, STAY)
    assert fleet.status[:2].tolist() == [DELIVERED, WAITING] and fleet.cargo.tolist() == [-1, -1, -1]
    assert timestep.reward.tolist() == [1, 0, 0] and timestep.metrics["delivered"] == 1
    assert not timestep.terminated.any() and timestep.alive.all() and timestep.metrics["success"] == 0
    assert fleet.clock == 3 and fleet.battery.tolist() == [17, 19, 20]


def test_observations_by_hand(scene):
    fleet = scene.place([at(4, 4), at(4, 6), at(0, 0)], parcels=[(at(2, 4), at(0, 8), 32)], walls=[at(3, 3)], battery=(32, 16, 20), clock=0)
    _, timestep = scene.act(fleet, STAY, STAY, STAY)
    seen = jax.tree.map(lambda x: x[0], timestep.observation)
    assert seen["self"].tolist() == [0.5, 0.5, 0.5, 63 / 64] and seen["cargo"].tolist() == [0, 0, 0, 0]
    assert seen["view"].tolist() == [[0, 0, 3, 0, 0], [0, 1, 0, 0, 0], [0, 0, 2, 0, 2], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert timestep.observation["view"][2].tolist()[0] == [1, 1, 1, 1, 1]  # outside counts as wall
    # Two rows up: near = 1 - 0.25 / 2; from there two up and four to the right; 31 of 64 steps left.
    assert seen["parcels"][0].tolist() == [-0.25, 0, 0.875, -0.25, 0.5, 31 / 64] and seen["parcels_shown"].tolist()[:2] == [True, False]
    assert seen["couriers"].tolist() == [[0, 0, 0, 0], [0, 0.25, 0.25, 0], [-0.5, -0.5, 20 / 64, 0]]
    assert seen["couriers_shown"].tolist() == [False, True, True]
    whole = np.asarray(scene.env.global_observation(fleet, scene.params))
    assert whole.shape == scene.env.global_observation_space.shape and whole[:81].sum() == 1 and whole[at(3, 3)] == 1
    assert whole[81:86].tolist() == [0.5, 0.5, 0.5, 0, 1]
    assert whole[96:105].tolist() == [0.25, 0.5, 0, 1, 0.5, 1, 0, 0, 0] and not whole[105:].any()


def test_the_last_parcel_ends_the_episode(scene):
    fleet = scene.place([at(4, 4), 0, 80], parcels=[(at(4, 4), at(4, 4), 10)], cargo=(0, -1, -1))
    _, timestep = scene.act(fleet, DROP, STAY, STAY)
    assert timestep.metrics["success"] == 1 and timestep.terminated.all() and timestep.done and not timestep.truncated.any()


def test_a_parcel_that_is_late_is_lost(scene):
    # Delivered in the last step before the deadline, and one step too late.
    for deadline, status, success in ((6, DELIVERED, 1), (5, DELIVERED, 1), (4, LOST, 0)):
        fleet = scene.place([at(4, 3), 0, 80], parcels=[(at(4, 3), at(4, 4), deadline)], cargo=(0, -1, -1), clock=3)
        fleet, timestep = scene.act(fleet, EAST, STAY, STAY)
        if deadline > 4:
            fleet, timestep = scene.act(fleet, DROP, STAY, STAY)
        assert fleet.status[0] == status and timestep.metrics["success"] == success and timestep.done
        assert timestep.metrics["lost"] == 1 - success
        if status == LOST:
            assert fleet.cargo[0] == -1
            np.testing.assert_allclose(timestep.reward, [-0.5 / 3] * 3, rtol=1e-6)


def test_a_courier_without_battery_leaves_and_its_parcel_stays(scene):
    parcels = [(at(4, 4), at(0, 0), 40), (at(8, 8), at(0, 0), 40)]
    fleet = scene.place([at(4, 4), at(4, 7), at(8, 0)], parcels=parcels, battery=(1, 9, 9), cargo=(0, -1, -1))
    fleet, timestep = scene.act(fleet, EAST, STAY, STAY)
    assert timestep.alive.tolist() == [False, True, True] and timestep.terminated.tolist() == [True, False, False] and not timestep.done
    assert timestep.reward.tolist() == [-0.25, 0, 0] and timestep.metrics["reward/out_of_service"] == -0.25
    assert fleet.status[0] == WAITING and fleet.cell[0] == at(4, 5) and fleet.cargo[0] == -1
    assert fleet.legal[0].tolist() == [True] + [False] * 6
    # It blocks nobody, is not seen, and the parcel can be fetched by another, which pays no second time.
    again, timestep = scene.act(replace(fleet, position=jnp.asarray([at(4, 5), at(4, 6), 72])), WEST, WEST, STAY)
    assert again.position.tolist() == [at(4, 5), at(4, 5), 72] and timestep.metrics["illegal_actions"] == 0
    assert not timestep.observation["couriers_shown"][1][0] and again.legal[1][PICK]
    again, timestep = scene.act(again, STAY, PICK, STAY)
    assert again.cargo.tolist() == [-1, 0, -1] and timestep.reward.tolist() == [0, 0, 0]


def test_only_the_last_one_out_ends_the_episode(scene):
    fleet = scene.place([0, 40, 80], parcels=[(at(4, 0), at(0, 0), 40)], battery=(1, 1, 1))
    _, timestep = scene.act(fleet, SOUTH, SOUTH, NORTH)
    assert timestep.terminated.all() and not timestep.alive.any() and timestep.done and timestep.metrics["success"] == 0


def test_the_most_urgent_of_several_parcels_is_taken(scene):
    fleet = scene.place([40, 0, 80], parcels=[(40, 1, 20), (40, 2, 9), (40, 3, 9)])
    fleet, _ = scene.act(fleet, PICK, STAY, STAY)
    assert fleet.cargo[0] == 1


def test_the_horizon_truncates(scene):
    fleet = scene.place([40, 0, 80], parcels=[(20, 1, 90)], clock=62)
    fleet, timestep = scene.act(fleet, STAY, STAY, STAY)
    assert not timestep.truncated.any()
    _, timestep = scene.act(fleet, STAY, STAY, STAY)
    assert timestep.truncated.all() and not timestep.terminated.any()


# ---- who moves --------------------------------------------------------------------------------------------------------------------------

MEETINGS = {
    # positions, actions, walls -> positions afterwards (None: one of two, see below)
    "swap": ([40, 41, 0], [EAST, WEST, STAY], [40, 41, 0]),
    "follow": ([40, 41, 42], [EAST, EAST, EAST], [41, 42, 43]),
    "blocked chain": ([40, 41, 42], [EAST, EAST, STAY], [40, 41, 42]),
    "away": ([40, 41, 0], [EAST, SOUTH, STAY], [41, 50, 0]),
    "edge": ([8, 7, 0], [STAY, EAST, STAY], [8, 7, 0]),
    "swap with a third behind": ([40, 41, 42], [EAST, WEST, WEST], [40, 41, 42]),
}


@pytest.mark.parametrize("name", MEETINGS)
def test_meetings(scene, name):
    positions, actions, after = MEETINGS[name]
    for key in range(3):
        fleet, timestep = scene.act(scene.place(positions, [(60, 0, 50)]), *actions, key=key)
        assert fleet.position.tolist() == after
        refused = sum(a != STAY and p == q for a, p, q in zip(actions, positions, after, strict=True))
        assert timestep.metrics["blocked_moves"] == refused and timestep.metrics["illegal_actions"] == 0
        moved = [p != q for p, q in zip(positions, after, strict=True)]
        assert fleet.battery.tolist() == [20 - m for m in moved]  # a refused move costs nothing


def test_four_walk_in_a_circle():
    scene = Scene(Couriers(couriers=4, task="one_parcel_each"))
    fleet = replace(scene.empty, walls=jnp.zeros(81, bool), position=jnp.asarray([40, 41, 50, 49], jnp.int32))
    fleet = replace(fleet, legal=scene.legal(fleet))
    after, _ = scene.act(fleet, EAST, SOUTH, WEST, NORTH)
    assert after.position.tolist() == [41, 50, 49, 40]


def test_the_same_cell_goes_to_a_random_one_without_favour(scene):
    fleet = scene.place([40, 42, 50], [(60, 0, 50)])
    step = jax.jit(jax.vmap(scene.env.step, in_axes=(0, None, None, None)))
    after, _ = step(jax.random.split(jax.random.key(1), 3000), fleet, jnp.asarray([EAST, WEST, NORTH]), scene.params)
    moved = np.asarray(after.position) != np.asarray([40, 42, 50])
    assert (moved.sum(1) == 1).all()
    np.testing.assert_allclose(moved.mean(0), 1 / 3, atol=0.035)  # four standard deviations


# ---- worlds -----------------------------------------------------------------------------------------------------------------------------


def reached(walls, start):
    """Steps to every free cell, by breadth-first search; -1 where there is no way."""
    steps = np.full(81, -1)
    steps[start], queue = 0, deque([start])
    while queue:
        cell = queue.popleft()
        for row, column in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            r, c = cell // 9 + row, cell % 9 + column
            if 0 <= r < 9 and 0 <= c < 9 and not walls[at(r, c)] and steps[at(r, c)] < 0:
                steps[at(r, c)] = steps[cell] + 1
                queue.append(at(r, c))
    return steps


@pytest.fixture(scope="module")
def depots():
    make = jax.jit(jax.vmap(lambda key, haul: generator.generate(key, 8, 16, jnp.int32(256), haul), in_axes=(0, None)))
    keys = jax.random.split(jax.random.key(0), 200)
    return jax.device_get((make(keys, jnp.int32(0)), make(keys, jnp.int32(20_000))))


def test_worlds_are_legal_and_connected(depots):
    near, far = depots
    for i in range(200):
        walls = near.walls[i]
        assert 16 <= walls.sum() <= 32 and not walls.reshape(9, 9)[[0, -1]].any() and not walls.reshape(9, 9)[:, [0, -1]].any()
        assert ((reached(walls, 0) >= 0) == ~walls).all(), "a free cell cannot be reached"
        places = np.concatenate([near.starts[i], near.pickups[i]])
        assert len(set(places.tolist())) == 24 and not walls[places].any() and not walls[near.destinations[i]].any()
        assert (near.destinations[i] != near.pickups[i]).all()
    ways = [np.mean(generator.distance(d.pickups, d.destinations)) for d in depots]
    assert 5.5 < ways[0] < 6.5 and ways[1] > 9.5
    starts = np.bincount(near.starts.reshape(-1), minlength=81)
    assert (starts.reshape(9, 9)[0] > 0).all() and starts.max() < 60  # all over the grid


def test_distances_are_those_of_a_search(depots):
    walls, targets = depots[0].walls[3], depots[0].destinations[3][:4]
    found = np.asarray(jax.jit(distances)(jnp.asarray(walls), jnp.asarray(targets)))
    for row, target in zip(found, targets, strict=True):
        expected = reached(walls, target)
        assert np.where(row >= FAR, -1, row).tolist() == expected.tolist()


def test_parcels_appear_in_time():
    for couriers in (8, 2):
        env = Couriers(couriers=couriers, task=("rush_hour", "one_parcel_each"))
        reset = jax.jit(env.reset)
        state, _ = reset(jax.random.key(0), env.default_params())
        assert env.parcels == 2 * couriers and np.asarray(state.release).tolist() == [i * 12 // couriers for i in range(2 * couriers)]
        assert (state.status == WAITING).all() and state.release.max() < 24
    state, timestep = reset(jax.random.key(0), replace(env.default_params(), task=env.suite.take(1)))
    assert np.asarray(state.status).tolist() == [WAITING] * 2 + [ABSENT] * 2 and timestep.observation["parcels_shown"].sum() == 4


# ---- play -------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def play():
    """Random legal play of 96 slots with five couriers, 80 steps: (state before, action, state after, time step), `[T, N, ...]`."""
    env = Couriers(couriers=5)
    tasks = env.suite.take(jnp.arange(96) % 3)
    params = replace(env.default_params(), task=tasks)
    state, _ = jax.jit(jax.vmap(env.reset, in_axes=(0, params_axes())))(jax.random.split(jax.random.key(0), 96), params)

    def body(state, key):
        k_act, k_step = (jax.random.split(k, 96) for k in jax.random.split(key))
        action = jax.vmap(lambda k, mask: random_action(k, env, mask))(k_act, state.legal)
        after, timestep = jax.vmap(env.step, in_axes=(0, 0, 0, params_axes()))(k_step, state, action, params)
        return after, (state, action, after, timestep)

    return env, params, jax.device_get(jax.jit(lambda s: jax.lax.scan(body, s, jax.random.split(jax.random.key(1), 80)))(state)[1])


def test_what_holds_in_every_step(play):
    env, params, (before, action, after, timestep) = play
    apart = ~np.eye(5, dtype=bool)
    both = after.alive[..., None] & after.alive[..., None, :] & apart
    assert not ((after.position[..., None] == after.position[..., None, :]) & both).any(), "two couriers in one cell"
    swapped = (before.position[..., None] == after.position[..., None, :]) & (after.position[..., None] == before.position[..., None, :])
    moved = (before.position != after.position)[..., None]
    assert not (swapped & both & moved).any(), "two couriers swapped places"
    walls = np.take_along_axis(after.walls, after.position, -1)
    assert not walls.any(), "a courier in a wall"
    held = after.cargo[..., None] == np.arange(env.parcels)
    carried = after.status == CARRIED
    assert (held.sum(-2) == carried).all(), "a parcel is carried by one courier, and by one only, while it is CARRIED"
    assert (before.alive | ~after.alive).all() and (after.battery >= 0).all() and ((after.battery > 0) == after.alive).all()
    assert (before.battery - after.battery).max() <= 1 and not (timestep.reward != 0)[~before.alive].any()
    assert (timestep.metrics["illegal_actions"] == 0).all()
    for status in (DELIVERED, LOST, ABSENT):
        assert ((before.status != status) | (after.status == status)).all(), "what is delivered or lost stays so"
    assert timestep.metrics["blocked_moves"].sum() > 50 and (~after.alive).any() and (after.status == LOST).any()
    terms = sum(value for name, value in timestep.metrics.items() if name.startswith("reward/"))
    np.testing.assert_allclose(timestep.reward.sum(-1), terms, atol=1e-5)


def test_success_is_that_all_parcels_arrived(play):
    _, _, (_, _, after, timestep) = play
    arrived = ((after.status == DELIVERED) | (after.status == ABSENT)).all(-1)
    np.testing.assert_array_equal(timestep.metrics["success"] == 1, arrived)


def test_couriers_are_interchangeable(play):
    """Where chance decides nothing, renaming the couriers renames what happens to them."""
    env, params, (before, action, after, timestep) = play
    order = np.asarray([3, 0, 4, 1, 2])
    per_courier = ("position", "battery", "cargo", "alive", "legal")
    calm = np.argwhere(timestep.metrics["blocked_moves"] == 0)[::40]

    def renamed(fleet):
        return replace(fleet, **{name: getattr(fleet, name)[:, order] for name in per_courier})

    def chosen(tree):
        return jax.tree.map(lambda leaf: leaf[calm[:, 0], calm[:, 1]], tree)

    assert len(calm) > 50
    rows = jax.tree.map(lambda leaf: np.asarray(leaf)[calm[:, 1]], params.task)
    step = jax.jit(jax.vmap(env.step, in_axes=(0, 0, 0, params_axes())))
    keys = jax.random.split(jax.random.key(5), len(calm))
    now, seen = step(keys, renamed(chosen(before)), chosen(action)[:, order], replace(params, task=rows))
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(now), renamed(chosen(after)))
    was = chosen(timestep)
    for name in ("terminated", "truncated", "alive", "action_mask"):
        np.testing.assert_array_equal(getattr(seen, name), getattr(was, name)[:, order])
    np.testing.assert_allclose(seen.reward, was.reward[:, order], atol=1e-6)
    for name in ("self", "cargo", "view", "parcels"):
        np.testing.assert_array_equal(seen.observation[name], was.observation[name][:, order])


# ---- arguments --------------------------------------------------------------------------------------------------------------------------


def test_rewards_are_shared_as_asked(scene):
    found = {}
    for how in ("individual", "team", "mixed"):
        scene = scene if how == "individual" else Scene(replace(scene.env, reward=how), like=scene)
        fleet = scene.place([at(4, 4), 0, 80], parcels=[(40, 40, 9), (70, 1, 9)], cargo=(0, -1, -1), battery=(9, 9, 1))
        _, timestep = scene.act(fleet, DROP, SOUTH, NORTH)
        found[how] = timestep.reward
    assert found["individual"].tolist() == [1, 0, -0.25]
    np.testing.assert_allclose(found["team"], [0.25] * 3)
    np.testing.assert_allclose(found["mixed"], [0.625, 0.125, 0])


@pytest.mark.parametrize("conditioning", ["one_hot", "id"])
def test_flat_observations_are_the_leaves_in_a_row(conditioning):
    env = Couriers(couriers=2, observation="flat", conditioning=conditioning)
    plain = FlattenObservation(Couriers(couriers=2, conditioning=conditioning))
    params = env.default_params()
    _, flat = jax.jit(env.reset)(jax.random.key(0), params)
    _, wanted = jax.jit(plain.reset)(jax.random.key(0), params)
    np.testing.assert_array_equal(flat.observation, wanted.observation)
    assert flat.observation.shape == (2, *env.observation_space.shape) and np.asarray(flat.observation[0]) in env.observation_space


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"couriers": 1}, "couriers=1: a whole number from 2 to 8"),
        ({"couriers": 2.0}, "couriers=2.0"),
        ({"reward": "shared"}, "reward='shared'.*team, individual, mixed"),
        ({"observation": "pixels"}, "observation='pixels'.*dict, flat"),
        ({"conditioning": "language"}, "conditioning='language'.*one_hot, id, hidden"),
        ({"horizon": 0}, "horizon=0"),
        ({"governance": "anarchy"}, "governance='anarchy'.*central, decentral, hybrid"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        envs.make("Allocation/Couriers-v0", **arguments)


def test_one_dispatcher_for_all():
    env = gym.make("Allocation/Couriers-v0", governance="central", couriers=2, task="rush_hour", horizon=5)
    observation, info = env.reset(seed=0)
    assert env.action_space == gym.spaces.MultiDiscrete([len(ACTIONS)] * 2) and observation["parcels"].shape == (2, 4, 6)
    steps = 0
    over = False
    while not over:
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample(info["action_mask"]))
        assert observation in env.observation_space and type(reward) is float and info["illegal_actions"] == 0
        steps, over = steps + 1, terminated or truncated
    assert steps == 5 and truncated
    vector = gym.make_vec("Allocation/Couriers-v0", num_envs=2, governance="central", couriers=2)
    assert vector.reset(seed=0)[0] in vector.observation_space
    assert envs.make("Allocation/Couriers-v0", governance="decentral") == Couriers()


@pytest.mark.parametrize("couriers", [2, 8])
def test_pictures(couriers):
    env = Couriers(couriers=couriers, task="rush_hour")
    params = env.default_params()
    state, _ = jax.device_get(jax.jit(env.reset)(jax.random.key(0), params))
    picture = env.render(state, params)
    assert picture.dtype == np.uint8 and picture.shape == (288, 456, 3)
    status = state.status.copy()
    status[0] = CARRIED
    later = replace(
        state, clock=np.int32(30), status=status, cargo=np.where(np.arange(couriers) == 0, 0, -1), alive=np.arange(couriers) < 1
    )
    assert (env.render(later, params) != picture).any(-1).mean() > 0.01


def test_the_heuristic_delivers(play):
    env = Couriers(couriers=4)
    tasks = env.suite.take(jnp.arange(48) % 3)
    params = replace(env.default_params(), task=tasks)
    guide = env.references["heuristic"]

    @jax.jit
    def run(keys):
        state, first = jax.vmap(env.reset, in_axes=(0, params_axes()))(keys, params)

        def body(carry, t):
            state, done, won = carry
            k_act, k_step = (jax.vmap(lambda k, w=w: jax.random.fold_in(jax.random.fold_in(k, t), w))(keys) for w in (0, 1))
            action, _ = jax.vmap(guide.act, in_axes=(0, 0, params_axes(), None))(k_act, state, params, ())
            state, timestep = jax.vmap(env.step, in_axes=(0, 0, 0, params_axes()))(k_step, state, action, params)
            won = jnp.where(done, won, timestep.metrics["success"])
            illegal = jnp.where(done, 0, timestep.metrics["illegal_actions"]).sum()
            return (state, done | timestep.done, won), illegal

        (_, _, won), illegal = jax.lax.scan(body, (state, first.done, jnp.zeros(48)), jnp.arange(80))
        return won, illegal.sum()

    won, illegal = run(jax.random.split(jax.random.key(2), 48))
    assert illegal == 0 and np.asarray(won).reshape(-1, 3).mean(0).min() >= 0.7 and np.mean(won) >= 0.85
