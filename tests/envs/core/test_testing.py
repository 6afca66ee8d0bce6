"""Every law of the conformance checks holds for the toys, and a toy that breaks it is found."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.core import autoreset, testing
from envs.core.functional import RandomReference
from envs.core.specs import Ids, Image, Set, Tokens, Vector
from envs.core.suites import TaskSuite
from tests import toys
from tests.agents.probes import Pick

LAWS = {law.name: law for law in testing.LAWS}


def check_only(law, env):
    testing.check(env, skip=[name for name in LAWS if name != law])


QUICK = ("Chain", "Multi")  # one agent, several agents


@pytest.mark.parametrize(
    "toy", [pytest.param(toy, id=toy.__name__, marks=[] if toy.__name__ in QUICK else pytest.mark.slow) for toy in toys.ALL]
)
def test_toys_obey_every_law(toy):
    # test_autoreset restarts the others; Chain and Point (a key in its state) go through everything.
    testing.check(toy(), skip=() if toy in (toys.Chain, toys.Point) else ("restart", "jit"))


# ---- one broken toy per way to break a law ----------------------------------------------------------------------------------------------


def chain(**changes):
    """A `Chain` whose time steps are changed: name -> function of (time step, state, params)."""

    @dataclass(frozen=True)
    class Broken(toys.Chain):
        def step(self, key, state, action, params):
            state, timestep = super().step(key, state, action, params)
            return state, timestep.replace(**{name: change(timestep, state, params) for name, change in changes.items()})

    return Broken()


@dataclass(frozen=True)
class NoValue(toys.Chain):
    __eq__ = object.__eq__
    __hash__ = object.__hash__


@dataclass(frozen=True)
class Unhashable(toys.Chain):
    sizes: list = field(default_factory=list)


@dataclass(frozen=True)
class Unpicklable(toys.Chain):
    function: Callable = lambda: 0


@dataclass(frozen=True)
class ZeroHorizon(toys.Chain):
    @property
    def suite(self):
        suite = super().suite
        return TaskSuite(suite.names, {**suite.rows, "horizon": np.asarray([8, 0], np.int32)})


@dataclass(frozen=True)
class FloatHorizon(toys.Chain):
    @property
    def suite(self):
        suite = super().suite
        return TaskSuite(suite.names, {**suite.rows, "horizon": np.asarray([8.0, 8.0])})


@dataclass(frozen=True)
class SmallSpace(toys.Chain):
    @property
    def observation_space(self):
        return toys.Chain(length=3).observation_space


@dataclass(frozen=True)
class ShiftedActions(toys.Chain):
    @property
    def action_space(self):
        return toys.spaces.Discrete(3, start=1)


@dataclass(frozen=True)
class Kinds(toys.Multi):
    counts: object = Vector()
    grid: object = Ids(2)
    image: object = Image()

    @property
    def observation_kinds(self):
        return {"counts": self.counts, "grid": self.grid, "image": self.image}


@dataclass(frozen=True)
class FewKinds(toys.Multi):
    @property
    def observation_kinds(self):
        return {"counts": Vector()}


@dataclass(frozen=True)
class RewardAtReset(toys.Chain):
    def reset(self, key, params):
        state, timestep = super().reset(key, params)
        return state, timestep.replace(reward=jnp.float32(1))


@dataclass(frozen=True)
class NarrowAtStep(toys.Chain):
    def step(self, key, state, action, params):
        state, timestep = super().step(key, state, action, params)
        return state, timestep.replace(observation={**timestep.observation, "steps": timestep.observation["steps"].astype(jnp.int16)})


@dataclass(frozen=True)
class OtherMetricsAtReset(toys.Chain):
    def reset(self, key, params):
        state, timestep = super().reset(key, params)
        return state, timestep.replace(metrics=toys.metrics(0))


def without(name):
    return lambda timestep, state, params: {k: v for k, v in timestep.metrics.items() if k != name}


@dataclass(frozen=True)
class NoSuccess(toys.Chain):
    def reset(self, key, params):
        state, timestep = super().reset(key, params)
        return state, timestep.replace(metrics=without("success")(timestep, state, params))

    def step(self, key, state, action, params):
        state, timestep = super().step(key, state, action, params)
        return state, timestep.replace(metrics=without("success")(timestep, state, params))


@dataclass(frozen=True)
class NothingLegal(toys.Chain):
    def action_mask(self, state, params):
        return super().action_mask(state, params) & (state.position > 1)


@dataclass(frozen=True)
class IllegalHasEffect(toys.Multi):
    def step(self, key, state, action, params):
        after, timestep = super().step(key, state, action, params)
        illegal = timestep.metrics["illegal_actions"] > 0
        return toys.MultiState(after.grid, jnp.where(illegal, (action[0] + action[1]) % 3, after.row), after.toggles), timestep


@dataclass(frozen=True)
class HostRandom(toys.Chain):
    def step(self, key, state, action, params):
        state, timestep = super().step(key, state, action, params)
        luck = jax.pure_callback(
            lambda _: np.float32(random.random()), jax.ShapeDtypeStruct((), np.float32), state.steps, vmap_method="sequential"
        )
        return state, timestep.replace(reward=luck)


@dataclass(frozen=True)
class KeyTwice(toys.Point):
    def reset(self, key, params):
        state, timestep = super().reset(key, params)
        return toys.PointState(jax.random.uniform(key, (2,)), state.key), timestep


COUNTER = []


@dataclass(frozen=True)
class Remembers(toys.Chain):
    def step(self, key, state, action, params):
        COUNTER.append(0)
        state, timestep = super().step(key, state, action, params)
        return state, timestep.replace(reward=timestep.reward + len(COUNTER))


@dataclass(frozen=True)
class Leaks(toys.Chain):
    def step(self, key, state, action, params):
        object.__setattr__(self, "last", state.position + 1)
        return super().step(key, state, action, params)


@dataclass(frozen=True)
class OtherUnderJit(toys.Chain):
    def step(self, key, state, action, params):
        state, timestep = super().step(key, state, action, params)
        return state, timestep.replace(reward=timestep.reward + isinstance(state.steps, jax.core.Tracer))


@jax.custom_batching.custom_vmap
def batch_dependent(x):
    return x


@batch_dependent.def_vmap
def _(axis_size, in_batched, x):
    return x + 1.0, True


@dataclass(frozen=True)
class OtherInBatch(toys.Chain):
    def step(self, key, state, action, params):
        state, timestep = super().step(key, state, action, params)
        return state, timestep.replace(reward=batch_dependent(timestep.reward))


@dataclass(frozen=True)
class OneSplit(toys.Chain):
    def __post_init__(self):
        object.__setattr__(self, "split", "train")


class WildReference(RandomReference):
    def act(self, key, state, params, memory):
        return jnp.int32(3), memory


@dataclass(frozen=True)
class WildReferences(toys.Chain):
    @property
    def references(self):
        return {"random": RandomReference(self), "expert": WildReference(self)}


@dataclass(frozen=True)
class NoReferences(toys.Chain):
    references = {}


@dataclass(frozen=True)
class Undead(toys.Corridor2):
    def step(self, key, state, action, params):
        state, timestep = super().step(key, state, action, params)
        alive = state.alive | (state.position == 2)
        state = toys.CorridorState(jnp.where(alive & ~state.alive, 0, state.position), alive)
        return state, timestep


@dataclass(frozen=True)
class PaysTheDead(toys.Corridor2):
    def step(self, key, state, action, params):
        dead = ~state.alive
        state, timestep = super().step(key, state, action, params)
        return state, timestep.replace(reward=timestep.reward + dead)


@dataclass(frozen=True)
class EndsAlive(toys.Corridor2):
    def step(self, key, state, action, params):
        state, timestep = super().step(key, state, action, params)
        return state, timestep.replace(terminated=(state.position == 1) & jnp.asarray([True, False]))


@dataclass(frozen=True)
class GhostsWalk(toys.Corridor2):
    def step(self, key, state, action, params):
        after, timestep = super().step(key, state, action, params)
        return toys.CorridorState(after.position + jnp.where(state.alive, 0, action), after.alive), timestep


@dataclass(frozen=True)
class BlamesTheDead(toys.Corridor2):
    def step(self, key, state, action, params):
        after, timestep = super().step(key, state, action, params)
        return after, timestep.replace(metrics={**timestep.metrics, "illegal_actions": (~state.alive).sum(dtype=jnp.int32)})


@dataclass(frozen=True)
class WideView(toys.Corridor2):
    @property
    def global_observation_space(self):
        return toys.spaces.Box(-1, -0.5, (2,), np.float32)


@dataclass(frozen=True)
class ForgetsConfiguration(toys.Chain):
    def __reduce__(self):
        return ForgetsConfiguration, (9,)


BROKEN = [
    ("hashable", NoValue(), "must be equal"),
    ("hashable", Unhashable(), "unhashable type: 'list'"),
    ("pickles", Unpicklable(), "pickle"),
    ("rows", ZeroHorizon(), "horizon 0 of task left"),
    ("rows", FloatHorizon(), "horizon has dtype float64"),
    ("spaces", SmallSpace(), "is not in"),
    ("spaces", ShiftedActions(), "start at 0"),
    ("dtypes", chain(reward=lambda t, s, p: jnp.int32(0)), "reward at step is int32"),
    ("dtypes", chain(duration=lambda t, s, p: jnp.float32(1)), "duration at step is float32"),
    ("dtypes", NarrowAtStep(), "other shapes or dtypes"),
    ("dtypes", chain(alive=lambda t, s, p: jnp.ones(1, bool)), "alive belongs to several agents"),
    ("kinds", Kinds(grid=Ids(1)), r"\['grid'\]: values 0 to 1 outside Ids"),
    ("kinds", Kinds(grid=Tokens(2)), r"\['grid'\]: Tokens are"),
    ("kinds", Kinds(grid=Image()), r"\['grid'\]: an Image is"),
    ("kinds", Kinds(grid=Set("mask")), r"\['grid'\]: Set\(mask='mask'\) needs a leaf"),
    ("kinds", Kinds(grid=Ids(2, of="things")), "needs a Set of that name"),
    ("kinds", Pick(things=3, actions=(range(2),)), "are 2, not one for each of 3 elements"),
    ("kinds", Pick(things=3, actions=(range(2, 5),)), "reach beyond the 4 actions"),
    ("kinds", Pick(things=3, actions=(range(3), range(3))), "stands for two elements"),
    ("kinds", FewKinds(), "is not that of the observation"),
    ("episode_start", RewardAtReset(), "reward at reset must be 0"),
    ("finite", chain(reward=lambda t, s, p: 0 / t.reward), "holds nan"),
    ("metrics", OtherMetricsAtReset(), "keys at reset"),
    ("metrics", NoSuccess(), "'success' is missing"),
    ("metrics", chain(metrics=lambda t, s, p: {**t.metrics, "success": jnp.float32(0.5)}), "success is 0.5"),
    ("duration", chain(duration=lambda t, s, p: jnp.int32(0)), "took 0 steps"),
    ("masks", NothingLegal(), "no legal action"),
    ("masks", chain(action_mask=lambda t, s, p: t.action_mask[:2]), "(mask is|Incompatible|carry)"),
    ("illegal_actions", chain(metrics=lambda t, s, p: {**t.metrics, "illegal_actions": jnp.int32(0)}), "was not counted"),
    ("illegal_actions", chain(metrics=lambda t, s, p: {**t.metrics, "illegal_actions": jnp.int32(1)}), "was counted as illegal"),
    ("illegal_actions", IllegalHasEffect(), "not no-ops"),
    ("determinism", HostRandom(), "another episode"),
    ("key_reuse", KeyTwice(), "already consumed"),
    ("pure", Remembers(), "depends on earlier calls"),
    ("pure", Leaks(), "keeps a traced value"),
    ("jit", OtherUnderJit(), "differs without jit"),
    ("vmap", OtherInBatch(), "in a batch differs from it alone"),
    ("horizon", chain(terminated=lambda t, s, p: s.steps >= p.task["horizon"]), "must end in truncation"),
    ("horizon", chain(truncated=lambda t, s, p: t.terminated), "both terminated and truncated"),
    ("splits", OneSplit(), "split='test'"),
    ("references", WildReferences(), "'expert' left the action space"),
    ("references", NoReferences(), "'random' is missing"),
    ("several_agents", WideView(), "is not in Box"),
    ("alive", Undead(), "came back to life"),
    ("alive", PaysTheDead(), "not alive got a reward"),
    ("alive", EndsAlive(), "ended and is still alive"),
    ("dead_actions", GhostsWalk(), "of a dead agent makes a difference"),
    ("dead_actions", BlamesTheDead(), "counted as illegal"),
    ("adapters", ForgetsConfiguration(), "goes on differently"),
]


@pytest.mark.parametrize(("law", "env", "message"), BROKEN, ids=[f"{law}-{type(env).__name__}" for law, env, _ in BROKEN])
def test_a_broken_environment_is_found(law, env, message):
    with pytest.raises(AssertionError, match=f"(?s)the law '{law}'.*{message}"):
        check_only(law, env)


def test_worlds_that_do_not_depend_on_the_split(monkeypatch):
    monkeypatch.setattr(testing, "split_key", lambda key, split: key)
    with pytest.raises(AssertionError, match="hold the same worlds"):
        check_only("splits", toys.Point())


def forget_elapsed(self, slots):
    slots, inputs = BEGIN(self, slots)
    return slots.replace(elapsed=slots.elapsed + slots.is_first), inputs


def keep_old_observation(self, slots):
    after, inputs = BEGIN(self, slots)
    return after.replace(observation=slots.observation), autoreset.replace(inputs, observation=slots.observation)


def swap_tasks(self, slots):
    slots, inputs = BEGIN(self, slots)
    return slots.replace(task=jnp.roll(slots.task, 1)), autoreset.replace(inputs, task=jnp.roll(slots.task, 1))


BEGIN = autoreset.AutoReset.begin


@pytest.mark.parametrize("mistake", [forget_elapsed, keep_old_observation, swap_tasks])
def test_wrong_restarts_are_found(mistake, monkeypatch):
    monkeypatch.setattr(autoreset.AutoReset, "begin", mistake)
    with pytest.raises(AssertionError, match="the law 'restart'"):
        check_only("restart", toys.Chain(task="right", slippery=0.2) if mistake is not swap_tasks else toys.Chain())


def test_every_law_has_a_broken_toy():
    assert {law for law, *_ in BROKEN} | {"restart"} == set(LAWS)


def test_check_takes_parameters_and_names_unknown_laws():
    env = toys.Chain()
    left = testing.Params((), env.suite.take(1))
    case = testing.Case(env, left)
    assert [first.observation["task"].tolist() for first, _ in case.record] == [[0, 1]] * case.slots
    with pytest.raises(ValueError, match=r"skip=\['speling'\]: legal values: hashable"):
        testing.check(env, skip=("speling",))


def test_trajectory_hash_pins_behaviour():
    golden = testing.trajectory_hash(toys.Chain())
    assert golden == GOLDEN["Chain"]
    assert testing.trajectory_hash(toys.Point(noise=0.1)) == GOLDEN["Point"]
    # Other dynamics, rewards or observations: another hash. More metrics: the same.
    assert testing.trajectory_hash(chain(reward=lambda t, s, p: t.reward * 2)) != golden
    assert testing.trajectory_hash(OtherMetrics()) == golden


@dataclass(frozen=True)
class OtherMetrics(toys.Chain):
    def reset(self, key, params):
        state, timestep = super().reset(key, params)
        return state, timestep.replace(metrics={**timestep.metrics, "reward/more": jnp.float32(0)})

    def step(self, key, state, action, params):
        state, timestep = super().step(key, state, action, params)
        return state, timestep.replace(metrics={**timestep.metrics, "reward/more": jnp.float32(2)})


GOLDEN = {"Chain": "edc91c89c2bf0e29", "Point": "a78e392bf08fd164"}
