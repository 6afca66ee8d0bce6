"""Conformance checks for environments, ours and other people's.

    from envs.core import testing
    testing.check(MyEnv())            # AssertionError names the law that MyEnv breaks

`LAWS` lists every law; each is one small function of a `Case`, which holds recorded episodes and compiled functions so that each is
made once (those about several agents stand in `laws_agents`). `trajectory_hash` pins the behaviour of one version of an environment.
"""

from __future__ import annotations

import copy
import hashlib
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.core import laws_agents, oracles
from envs.core.autoreset import AutoReset, PoolConfig
from envs.core.case import Case, agents, choices, kinds_of, pick
from envs.core.functional import FunctionalEnv, Params, first_memory, params_axes, split_key
from envs.core.host import check_action_space
from envs.core.oracles import assert_same
from envs.core.specs import SPLITS, Ids, Image, Set, Tokens
from envs.core.suites import row_horizon, with_horizon
from envs.core.wrappers import TimeLimit

RESERVED_METRICS = ("task", "duration", "action_mask", "final_obs", "final_info")


# ---- the laws -------------------------------------------------------------------------------------------------------------------------


def hashable(case: Case) -> None:
    env = case.env
    twin = copy.deepcopy(env)
    assert hash(env) == hash(twin) and env == twin, "a copy must be equal and have the same hash"
    assert env == replace(env) and hash(env) == hash(replace(env)), "dataclasses.replace(env) must equal env"


def pickles(case: Case) -> None:
    assert pickle.loads(pickle.dumps(case.env)) == case.env, "a pickled copy must be equal"


def rows(case: Case) -> None:
    suite = case.env.suite
    horizon = np.asarray(row_horizon(suite.rows))
    assert horizon.dtype == np.int32, f"horizon has dtype {horizon.dtype}"
    assert (horizon >= 1).all(), f"horizon {horizon.min()} of task {suite.names[int(horizon.argmin())]} is below 1"
    for split in SPLITS:
        ids = suite.splits[split]
        assert ids.size and (ids >= 0).all() and (ids < len(suite)).all(), f"split {split} holds {ids} for {len(suite)} tasks"


def spaces(case: Case) -> None:
    env = case.env
    check_action_space(env.action_space)
    assert env.observation_space == env.observation_space and env.action_space == env.action_space, "spaces must be equal at each call"
    for timestep in case.seen:
        each = [timestep.observation] if not agents(env) else [pick(timestep.observation, a) for a in range(env.num_agents)]
        for observation in each:
            assert observation in env.observation_space, f"{observation} is not in {env.observation_space}"


def dtypes(case: Case) -> None:
    lead = agents(case.env)
    for when, timestep in zip(("reset", "step"), case.shapes, strict=True):
        wanted = {"reward": (np.float32, lead), "terminated": (np.bool_, lead), "truncated": (np.bool_, lead), "duration": (np.int32, ())}
        if lead:
            wanted["alive"] = (np.bool_, lead)
        else:
            assert timestep.alive is None, "alive belongs to several agents"
        for name, (dtype, shape) in wanted.items():
            value = getattr(timestep, name)
            found = f"{value.dtype}{list(value.shape)}" if hasattr(value, "dtype") else repr(value)
            assert found == f"{np.dtype(dtype)}{list(shape)}", f"{name} at {when} is {found}, not {np.dtype(dtype)}{list(shape)}"
    first, later = (jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), (t.observation, t.action_mask)) for t in case.shapes)
    assert first == later, f"observation or mask at reset {first} have other shapes or dtypes than at a step {later}"


def kinds(case: Case) -> None:
    lead, number = agents(case.env), sum(choices(case.env.action_space))
    for timestep in case.seen:
        leaves = kinds_of(case.env, timestep.observation)
        named = {name: leaf for name, leaf, _ in leaves}
        for name, leaf, kind in leaves:
            shape = leaf.shape[len(lead) :]
            if isinstance(kind, Ids | Tokens):
                assert leaf.dtype.kind in "iu", f"{name}: {kind} needs integers, got {leaf.dtype}"
                assert leaf.min() >= 0 and leaf.max() < kind.vocab, f"{name}: values {leaf.min()} to {leaf.max()} outside {kind}"
            if isinstance(kind, Tokens):
                assert len(shape) == 1 and leaf.dtype == np.int32, f"{name}: Tokens are int32[length], got {leaf.dtype}{shape}"
            if isinstance(kind, Image):
                assert len(shape) == 3 and leaf.dtype == np.uint8, f"{name}: an Image is uint8[H, W, C], got {leaf.dtype}{shape}"
            if isinstance(kind, Set):
                mask = named.get(f"{name.rpartition('[')[0]}['{kind.mask}']")
                assert mask is not None and mask.dtype == bool and mask.shape == leaf.shape[:-1], (
                    f"{name}: Set(mask={kind.mask!r}) needs a leaf of that name beside it, bool{leaf.shape[:-1]}"
                )
                for meaning in kind.actions:
                    said = f"{name}: actions={meaning}"
                    assert len(meaning) == shape[0], f"{said} are {len(meaning)}, not one for each of {shape[0]} elements"
                    assert min(meaning) >= 0 and max(meaning) < number, f"{said} reach beyond the {number} actions"
            if isinstance(kind, Ids) and kind.of is not None:
                others = named.get(f"{name.rpartition('[')[0]}['{kind.of}']")
                assert others is not None and others.shape[len(lead)] == kind.vocab, (
                    f"{name}: {kind} needs a Set of that name beside it, of {kind.vocab} elements"
                )
        pointed = [i for _, _, kind in leaves if isinstance(kind, Set) for meaning in kind.actions for i in meaning]
        assert len(set(pointed)) == len(pointed), f"an action stands for two elements: {sorted(pointed)}"


def episode_start(case: Case) -> None:
    for first, _ in case.record:
        assert not (first.terminated.any() or first.truncated.any()), "an episode must not be over at reset"
        assert not first.reward.any(), "the reward at reset must be 0"
        assert first.alive is None or first.alive.all(), "every agent must be alive at reset"


def finite(case: Case) -> None:
    for timestep in case.seen:
        for path, leaf in jax.tree_util.tree_leaves_with_path((timestep.observation, timestep.reward, dict(timestep.metrics))):
            assert np.isfinite(leaf).all(), f"{jax.tree_util.keystr(path)} holds {leaf}"


def metrics(case: Case) -> None:
    first, later = (timestep.metrics for timestep in case.shapes)
    assert set(first) == set(later), f"keys at reset {sorted(first)} are not those at a step {sorted(later)}"
    for when, found in (("reset", first), ("step", later)):
        for name, dtype in (("success", np.float32), ("illegal_actions", np.int32)):
            assert name in found, f"{name!r} is missing from {sorted(found)}"
            assert found[name].dtype == dtype, f"{name!r} at {when} is {found[name].dtype}, not {np.dtype(dtype)}"
        for name, value in found.items():
            assert value.shape == (), f"{name!r} at {when} must be a scalar, its shape is {value.shape}"
            assert name not in RESERVED_METRICS, f"{name!r} is a reserved name"
    for timestep in case.seen:
        assert timestep.metrics["success"] in (0, 1), f"success is {timestep.metrics['success']}, not 0 or 1"


def duration(case: Case) -> None:
    for _, transition in case.transitions:
        assert transition.timestep.duration >= 1, f"a transition took {transition.timestep.duration} steps"


def masks(case: Case) -> None:
    env, lead = case.env, agents(case.env)
    parts = choices(env.action_space)
    state, first = case.start
    apart = env.action_mask(state, case.one())
    assert (apart is None) == (first.action_mask is None), "env.action_mask and TimeStep.action_mask: one is None, the other is not"
    if first.action_mask is None:
        return
    assert parts, "only discrete actions have masks"
    assert_same(apart, first.action_mask, "env.action_mask(state) is not TimeStep.action_mask")
    for timestep in case.seen:
        mask: Any = timestep.action_mask
        assert mask.dtype == bool and mask.shape == (*lead, sum(parts)), f"mask is {mask.dtype}{mask.shape}, not bool{(*lead, sum(parts))}"
        for part in np.split(mask, np.cumsum(parts)[:-1], axis=-1):
            assert part.any(axis=-1).all(), f"no legal action: {mask.astype(int)}"


def illegal_actions(case: Case) -> None:
    """Legal actions count nothing; illegal ones are counted, and it makes no difference which of them was taken."""
    bounds = np.cumsum([0, *choices(case.env.action_space)])
    tried = 0
    for slot, now in case.transitions:
        counted = now.timestep.metrics["illegal_actions"]
        assert counted == 0, f"the legal action {now.action} was counted as illegal ({counted})"
        if now.mask is None or tried > 8:
            continue
        for agent in range(case.env.num_agents):
            if now.alive is not None and not now.alive[agent]:
                continue
            legal = now.mask[agent] if agents(case.env) else now.mask
            for part, (low, high) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
                illegal = np.flatnonzero(~legal[low:high])
                effects = []
                for choice in {int(illegal[0]), int(illegal[-1])} if illegal.size else ():
                    action = np.array(now.action)
                    action[(agent,) * bool(agents(case.env)) + (part,) * (len(bounds) > 2)] = choice
                    after, timestep = case.step(now.key, now.state, action, case.one(slot))
                    assert timestep.metrics["illegal_actions"] >= 1, f"illegal action {action} was not counted in metrics"
                    effects.append((after, timestep))
                    tried += 1
                assert_same(effects[:1], effects[-1:], f"illegal actions {illegal.tolist()} of choice {part} differ in effect: not no-ops")


def determinism(case: Case) -> None:
    for slot, (first, transitions) in enumerate(case.record[:2]):
        state, again = case.reset(case.keys[slot], case.one(slot))
        assert_same(first, jax.device_get(again), "the same key gave another start", exact=True)
        for now in transitions:
            state, timestep = case.step(now.key, state, now.action, case.one(slot))
            assert_same(now.timestep, jax.device_get(timestep), "the same keys and actions gave another episode", exact=True)


def key_reuse(case: Case) -> None:
    """No key is consumed twice. jax checks this while it traces a jitted function."""
    state, first = case.start
    action = case.legal_action(first.action_mask)
    with jax.debug_key_reuse(True):
        try:
            jax.eval_shape(jax.jit(lambda key: case.env.reset(key, case.one())), jax.random.key(2))
            jax.eval_shape(jax.jit(lambda key, now: case.env.step(key, now, action, case.one())), jax.random.key(3), state)
        except jax.errors.KeyReuseError as error:
            raise AssertionError(str(error).splitlines()[0]) from error


def pure(case: Case) -> None:
    """Calls leave nothing behind: no tracer leaks, and tracing once more gives the same program."""
    state, first = case.start
    action = case.legal_action(first.action_mask)
    calls = {
        "reset": lambda: jax.make_jaxpr(case.env.reset)(jax.random.key(6), case.one()),
        "step": lambda: jax.make_jaxpr(case.env.step)(jax.random.key(6), state, action, case.one()),
    }
    for name, trace in calls.items():
        with jax.checking_leaks():
            try:
                once, twice = trace(), trace()
            except Exception as error:
                if "Leaked" not in str(error):
                    raise
                raise AssertionError(f"{name} keeps a traced value beyond the call: {str(error).splitlines()[0]}") from error
        assert str(once) == str(twice), f"{name} depends on earlier calls: traced again it gives another program"
        assert_same(once.consts, twice.consts, f"{name} depends on earlier calls: its constants changed", exact=True)


def jit(case: Case) -> None:
    params = case.one()
    state, first = case.start
    assert_same(case.env.reset(case.keys[0], params), (state, first), "reset differs without jit")
    for t in range(2):
        key, action = jax.random.key(t), case.legal_action(first.action_mask, t)
        plain = case.env.step(key, state, action, params)
        state, first = case.step(key, state, action, params)
        assert_same(plain, (state, first), f"step {t} differs without jit")


def vmap(case: Case) -> None:
    reset = jax.jit(jax.vmap(case.env.reset, in_axes=(0, params_axes())))
    step = jax.jit(jax.vmap(case.env.step, in_axes=(0, 0, 0, params_axes())))
    states, firsts = reset(case.keys, case.params)
    for slot, (first, _) in enumerate(case.record):
        assert_same(jax.device_get(pick(firsts, slot)), first, f"reset of slot {slot} in a batch differs from it alone")
    plays = [transitions for _, transitions in case.record]
    for t in range(4):
        now = [play[min(t, len(play) - 1)] for play in plays]
        keys, actions = jnp.stack([one.key for one in now]), np.stack([one.action for one in now])
        states, timesteps = step(keys, states, actions, case.params)
        for slot, play in enumerate(plays):
            if t < len(play):
                alone = f"step {t} of slot {slot} in a batch differs from it alone"
                assert_same(jax.device_get(pick(timesteps, slot)), play[t].timestep, alone)


def horizon(case: Case) -> None:
    """The horizon ends an episode in truncation: whether a step terminates does not depend on it, and never are both true.

    That slots are truncated at their horizon is compared with a loop by the law "restart".
    """
    for slot, now in case.transitions:
        assert not (now.timestep.terminated & now.timestep.truncated).any(), "a time step is both terminated and truncated"
        params = case.one(slot)
        near = Params(params.shared, with_horizon(params.task, jnp.ones_like(row_horizon(params.task))))
        _, timestep = case.step(now.key, now.state, now.action, near)
        # A wrapper that repeats actions may stop before the step that terminates, but nothing terminates earlier.
        sooner = np.asarray(timestep.terminated) & ~now.timestep.terminated
        assert not sooner.any(), "with a horizon of 1 the step terminates: horizons must end in truncation"


def restart(case: Case) -> None:
    """`AutoReset` equals a python loop, with and without a pool, also where restarts must wait."""
    short = TimeLimit(case.env, 4)
    autos: list[AutoReset] = [AutoReset(short, max_restarts=1), AutoReset(short, pool=PoolConfig(1, max_reuse=2))]
    for auto in autos:
        oracles.assert_restarts(auto, num=3, steps=10, single=(case.reset, case.step))


def splits(case: Case) -> None:
    env = case.env
    for split in SPLITS:
        assert replace(env, split=split).split == split, f"replace(env, split={split!r}) does not take effect"
    worlds = {
        split: [oracles.plain(case.reset(split_key(key, split), case.one())[0]) for key in jax.random.split(jax.random.key(11), 6)]
        for split in SPLITS
    }
    train, test = worlds.values()
    if all(oracles.same(train[0], other) for other in train[1:]):
        return  # reset ignores its key: there are no worlds to hold out
    assert not oracles.same(train, test), "splits train and test hold the same worlds"


def references(case: Case) -> None:
    env = case.env
    assert "random" in env.references, f"'random' is missing from {sorted(env.references)}"
    top = np.asarray(choices(env.action_space))
    for name, reference in env.references.items():

        def body(carry, key, reference=reference):
            state, memory = carry
            k_act, k_step = jax.random.split(key)
            action, memory = reference.act(k_act, state, case.one(), memory)
            state, timestep = env.step(k_step, state, action, case.one())
            return (state, memory), (action, timestep.metrics["illegal_actions"])

        start = (case.start[0], first_memory(reference, case.start[0], case.one()))
        _, (actions, _) = jax.jit(lambda start, keys, body=body: jax.lax.scan(body, start, keys))(
            start, jax.random.split(jax.random.key(0), 4)
        )
        actions = np.asarray(actions)
        shape = (4, *agents(env), *(env.action_space.shape or ()))
        assert actions.shape == shape, f"{name!r} gives actions of shape {actions.shape[1:]}, not {shape[1:]}"
        if top.size:
            limit = top if isinstance(env.action_space, gym.spaces.MultiDiscrete) else top[0]
            assert actions.dtype.kind in "iu" and (actions >= 0).all() and (actions < limit).all(), f"{name!r} left the action space"


def adapters(case: Case) -> None:
    """Pickled and copied adapters go on identically, in the middle of an episode."""
    if agents(case.env):
        laws_agents.adapter(case)
        return
    from envs.core.gymnasium_adapter import GymnasiumEnv, VectorEnv

    for adapter in (GymnasiumEnv(case.env), VectorEnv(case.env, 2)):
        adapter.reset(seed=3)
        adapter.action_space.seed(0)
        actions = [adapter.action_space.sample() for _ in range(3)]
        _, _, terminated, truncated, _ = adapter.step(actions[0])
        if np.any(terminated) or np.any(truncated):
            adapter.reset(seed=4)
        others = [pickle.loads(pickle.dumps(adapter)), copy.deepcopy(adapter)]
        for action in actions[1:]:
            results = [one.step(action) for one in (adapter, *others)]
            for other, how in zip(results[1:], ("pickled", "copied"), strict=True):
                assert_same(results[0], other, f"a {how} {type(adapter).__name__} goes on differently", exact=True)
            if np.any(results[0][2]) or np.any(results[0][3]):
                break


@dataclass(frozen=True)
class Law:
    """`check(case)` raises AssertionError where the law is broken."""

    name: str
    text: str
    check: Callable[[Case], None]


LAWS = (
    Law("hashable", "environments are hashable values: equal configuration, equal hash", hashable),
    Law("pickles", "environments can be pickled", pickles),
    Law("rows", "task rows hold horizon: int32 >= 1, and every split holds tasks", rows),
    Law("spaces", "observations lie in the observation space; the action space is one that adapters know", spaces),
    Law("dtypes", "time steps have the shapes and dtypes of TimeStep, the same at reset and step", dtypes),
    Law("kinds", "observation_kinds has the structure of the observation, and each kind fits its leaf", kinds),
    Law("episode_start", "reset gives no reward and no end", episode_start),
    Law("finite", "observations, rewards and metrics are finite", finite),
    Law("metrics", "metrics are scalars with fixed keys, success (0/1) and illegal_actions among them", metrics),
    Law("duration", "every transition takes at least one env step", duration),
    Law("masks", "masks have the shape of the action space and leave at least one legal action per choice", masks),
    Law("illegal_actions", "illegal actions are no-ops, counted in metrics; legal ones are not counted", illegal_actions),
    Law("determinism", "the same keys give the same episode", determinism),
    Law("key_reuse", "no PRNG key is used twice", key_reuse),
    Law("pure", "reset and step change nothing but what they return", pure),
    Law("jit", "jit = no jit", jit),
    Law("vmap", "vmap = loop", vmap),
    Law("horizon", "episodes end in truncation at their horizon", horizon),
    Law("restart", "slots restart as a python loop would restart them", restart),
    Law("splits", "train and test hold different worlds", splits),
    Law("references", "references run and act within the action space", references),
    Law("several_agents", "agents keep to their axis, and what all see lies in its space", laws_agents.several_agents),
    Law("alive", "an agent that ends is out of the episode, and stays out", laws_agents.alive),
    Law("dead_actions", "what an agent does that is not alive changes nothing", laws_agents.dead_actions),
    Law("adapters", "adapters can be pickled and copied within an episode", adapters),
)


def check(env: FunctionalEnv, params: Params | None = None, *, skip: Sequence[str] = ()) -> None:
    """Check every law.

    Args:
        env: environment to check.
        params: parameters of all slots; default: the tasks of the split in turn.
        skip: names of laws not to check (`LAWS` lists them).

    Raises:
        AssertionError: names the first law that is broken. ValueError: an unknown name in `skip`.
    """
    names = [law.name for law in LAWS]
    unknown = sorted(set(skip) - set(names))
    if unknown:
        raise ValueError(f"skip={unknown}: legal values: {', '.join(names)}")
    case = Case(env, params)
    for law in LAWS:
        if law.name in skip:
            continue
        try:
            law.check(case)
        except AssertionError as error:
            raise AssertionError(f"{type(env).__name__} breaks the law {law.name!r} ({law.text}): {error}") from error
        except Exception as error:
            raise AssertionError(
                f"{type(env).__name__} fails the law {law.name!r} ({law.text}): {type(error).__name__}: {error}"
            ) from error


def trajectory_hash(env: FunctionalEnv, steps: int = 64, seed: int = 0, slots: int = 8) -> str:
    """Golden hash of random legal play: changes when dynamics, rewards or observations do, and not with platform or version.

    Slot i plays task i of the split (modulo their number) for `steps` decisions or until its episode ends. Hashed are, in this order and
    while the episode lasts: leaves of the observation with their names, reward, terminated, truncated, mask, duration, success and
    illegal_actions - integers exactly, floats rounded to 3 decimals. The state and further metrics may grow without a new hash.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for timestep in Case(env, slots=slots, steps=steps, seed=seed).seen:
        named = [
            *jax.tree_util.tree_leaves_with_path(timestep.observation),
            *((name, getattr(timestep, name)) for name in ("reward", "terminated", "truncated", "action_mask", "duration", "alive")),
            *((name, timestep.metrics[name]) for name in ("success", "illegal_actions")),
        ]
        for name, leaf in named:
            if leaf is None:
                continue
            leaf = np.asarray(leaf)
            if leaf.dtype.kind == "f":
                leaf = np.rint(leaf.astype(np.float64) * 1000)
            name = name if isinstance(name, str) else jax.tree_util.keystr(name)
            digest.update(f"{name}{leaf.shape}".encode())
            digest.update(np.ascontiguousarray(leaf.astype("<i8")).tobytes())
    return digest.hexdigest()[:16]
