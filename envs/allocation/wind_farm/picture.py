"""Pictures of the farm: the wind at the height of the hubs, and the rotors."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation import pictures_weather
from envs.allocation.wind_farm import wake
from envs.allocation.wind_farm.env import STEP, Farm, TaskRow
from envs.allocation.wind_farm.generator import TURBINES
from envs.core import rendering
from envs.core.rendering import INK, MUTED, Color

if TYPE_CHECKING:
    from envs.allocation.wind_farm.env import WindFarm

SIZE = 360  # pixels
SLOW, FAST = np.array([46, 58, 110.0]), np.array([150, 196, 214.0])


@partial(jax.jit, static_argnums=0)
def _wind(env: WindFarm, state: Farm, half: jax.Array) -> jax.Array:
    """float32[90, 90]: speed of the wind at the height of the hubs, over the undisturbed one, north up."""
    speed, direction = env.wind(state)
    line = jnp.linspace(-1, 1, 90) * half
    place = jnp.stack(jnp.meshgrid(line, -line), -1)
    x, y = wake.along_and_across(place, direction)
    at_x, at_y = wake.along_and_across(state.position, direction)
    yaw = env.yaw(state)
    cos = wake.cosine(yaw)
    c = jnp.where(speed <= wake.CUT_OUT, wake.curve(state.velocity)[:, 1], 1e-4) * cos
    angle = jnp.clip(jnp.deg2rad(yaw), -np.arccos(wake.LEAST_COSINE), np.arccos(wake.LEAST_COSINE))
    lost = jnp.zeros(x.shape)
    for i in range(TURBINES):
        lost = lost + wake.wake(c[i], cos[i], angle[i], state.turbulence[i], x - at_x[i], y - at_y[i], 0.0) ** 2
    return 1.0 - jnp.sqrt(lost)


def draw(env: WindFarm, state: Farm, row: TaskRow) -> np.ndarray:
    """uint8[360, 560, 3]: dark is slow; each rotor as a bar, its power beside it in percent of 5 MW."""
    position = np.asarray(state.position, np.float64)
    half = 1.15 * max(np.abs(position).max(), 8 * wake.DIAMETER)
    speeds = np.asarray(_wind(env, jax.tree.map(jnp.asarray, state), jnp.float32(half)), np.float64)
    share = np.clip((speeds - 0.3) / 0.7, 0, 1)[..., None]
    picture = rendering.enlarge((SLOW + share * (FAST - SLOW)).astype(np.uint8), SIZE // 90)
    heading = np.deg2rad(np.asarray(state.start, np.float64) + STEP * np.asarray(state.turns))
    power = np.asarray(state.power, np.float64)
    bar = max(7.0, 0.5 * wake.DIAMETER / half * SIZE / 2)
    for i in range(TURBINES):
        middle = np.array([-position[i, 1], position[i, 0]]) / half * SIZE / 2 + SIZE / 2
        facing = np.array([-np.cos(heading[i]), np.sin(heading[i])])
        across = np.array([-facing[1], facing[0]])
        pictures_weather.line(picture, tuple(middle - bar * across), tuple(middle + bar * across), INK, 3)
        pictures_weather.line(picture, tuple(middle), tuple(middle - 8 * facing), (250, 250, 250), 2)
        rendering.write(picture, f"{100 * power[i] / wake.RATED:.0f}", int(middle[0]) + 9, int(middle[1]) - 6, (16, 20, 30))
    speed, direction = (float(x) for x in env.wind(jax.tree.map(jnp.asarray, state)))
    lines: list[str | tuple[str, Color]] = [
        env.suite.names[int(row.index)],
        (f"minute {int(state.clock)} of {int(row.horizon)}", MUTED),
        f"wind {speed:.1f} m/s from {direction % 360:.0f} deg",
        f"power {power.sum():.1f} MW",
        f"score {float(state.score):.2f} MWh",
        (f"without wakes {float(state.available):.2f}", MUTED),
        "",
    ]
    panel = rendering.panel(lines, 200, SIZE)
    rendering.paste(panel, pictures_weather.wind_arrow(64, direction, speed), 110, 12)
    return rendering.join([picture, panel])
