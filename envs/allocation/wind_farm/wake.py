"""Steady wakes of a wind farm: the Gaussian model with yaw deflection, of NREL 5 MW turbines.

For a turbine with thrust coefficient `c`, turbulence intensity `I` and yaw `g`, D the rotor diameter, s = sqrt(1 - c):

- Far wake from x0 = D cos g (1 + s) / (sqrt 2 (4 alpha I + 2 beta (1 - s))) behind it, with widths sigma = k (x - x0) + sigma0,
  k = ka I + kb, sigma0_z = D / sqrt 8, sigma0_y = sigma0_z cos g. Deficit of the wind speed, as a share of the undisturbed one:
  (1 - sqrt(1 - c cos g / (8 sigma_y sigma_z / D^2))) exp(-((y - delta) / sigma_y)^2 / 2 - ((z - h) / sigma_z)^2 / 2).
  Nearer than x0 the widths go linearly from 0.501 D sqrt(c / 2) to sigma0.
  (Bastankhah and Porte-Agel 2014, 2016; k after Niayifar and Porte-Agel 2016.)
- The centre line is deflected by delta: initial angle 0.3 g / cos g (1 - sqrt(1 - c cos g)), and eq. 7.4 of Bastankhah and Porte-Agel 2016.
- A wake adds turbulence 0.5 a^0.8 Ia^0.1 (x / D)^-0.32 up to 15 D behind a turbine and 2 D to the side, on the share of the rotor that it
  covers (Crespo and Hernandez 1996 with the constants that FLORIS 4 uses); a is the induction factor, Ia the ambient intensity. The largest
  such addition counts, as a sum of squares with Ia.
- Deficits of several wakes add as squares (Katic 1986). Rotors are sampled at 3 x 3 points within half their radius and averaged as
  cubes; the wind grows with height as (z / 90 m)^0.12.
- Yaw takes power as if the wind were slower by cos(g)^(1.88 / 3), and thrust by cos g.

Signs: yaw = direction of the wind - heading of the rotor, in degrees; positive yaw turns the rotor counter-clockwise, seen from above.
Yaws beyond 88.8 degrees count as 88.8.

The constants are the published defaults (alpha 0.58, beta 0.077, ka 0.38, kb 0.004). The tests compare with FLORIS 4.7.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

DIAMETER, HUB = 125.88, 90.0  # m
RATED = 5.0  # MW
CUT_IN, CUT_OUT = 2.9, 25.0  # m/s
AMBIENT = 0.06  # turbulence intensity
SHEAR = 0.12
ALPHA, BETA, KA, KB = 0.58, 0.077, 0.38, 0.004
YAW_LOSS = 1.88
LEAST_COSINE = 0.02

# NREL 5 MW reference turbine (Jonkman et al. 2009; corrected table of NREL/turbine-models): wind speed m/s, power MW, thrust.
CURVE = (
    (2.9, 0.0, 0.0), (3.0, 0.0405, 1.132), (4.0, 0.1777, 0.9995), (5.0, 0.4039, 0.9177), (6.0, 0.7376, 0.8608), (7.0, 1.1872, 0.8154),
    (7.2, 1.2925, 0.8079), (7.5, 1.4607, 0.7977), (7.8, 1.6421, 0.7886), (8.0, 1.7712, 0.7871), (9.0, 2.5186, 0.7858),
    (10.0, 3.4484, 0.7838), (10.2, 3.6580, 0.7833), (10.5, 3.9845, 0.7735), (10.8, 4.3262, 0.7623), (11.1, 4.6834, 0.7518),
    (11.3, 4.9299, 0.7451), (11.4, 5.0, 0.7178), (11.5, 5.0, 0.6722), (11.6, 5.0, 0.6383), (11.8, 5.0, 0.5855), (12.0, 5.0, 0.5429),
    (13.0, 5.0, 0.3993), (14.0, 5.0, 0.3105), (15.0, 5.0, 0.2486), (16.0, 5.0, 0.2035), (17.0, 5.0, 0.1696), (18.0, 5.0, 0.1435),
    (19.0, 5.0, 0.1229), (20.0, 5.0, 0.1065), (21.0, 5.0, 0.0930), (22.0, 5.0, 0.0816), (23.0, 5.0, 0.0722), (24.0, 5.0, 0.0644),
    (25.0, 5.0, 0.0578),
)  # fmt: skip
GRID = 0.1  # m/s between the entries of the table that steps read


class Flow(NamedTuple):
    """velocity: float32[A] m/s at the rotors; turbulence: float32[A]; power: float32[A] MW."""

    velocity: jax.Array
    turbulence: jax.Array
    power: jax.Array


@lru_cache(maxsize=1)
def table() -> np.ndarray:
    """float32[252, 2]: power in MW and thrust coefficient at 0, 0.1, ... 25.1 m/s; linear between them."""
    speed, power, thrust = np.asarray(CURVE).T
    at = np.arange(252) * GRID
    thrust = np.where(at < CUT_IN - 1e-6, 0.0, np.interp(at, speed, thrust))
    return np.stack([np.interp(at, speed, power, left=0.0), np.clip(thrust, 1e-4, 0.9999)], -1).astype(np.float32)


def curve(speed: jax.Array) -> jax.Array:
    """float32[..., 2]: power in MW and thrust coefficient at a rotor that faces a wind of `speed`; constant from 25 m/s on."""
    place = jnp.clip(speed, 0.0, CUT_OUT) / GRID
    low = place.astype(jnp.int32)
    rows = jnp.asarray(table())
    below, above = rows[low], rows[low + 1]
    return below + (place - low)[..., None] * (above - below)


def rotor() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float32[9] each: offset of the sampled points to the side and in height, m, and the wind there over the wind at the hub."""
    side, height = (axis.reshape(-1) for axis in np.meshgrid(*[np.array([-0.25, 0.0, 0.25]) * DIAMETER] * 2))
    return side.astype(np.float32), height.astype(np.float32), (((HUB + height) / HUB) ** SHEAR).astype(np.float32)


def undisturbed(yaw: Any, speed: Any) -> jax.Array:
    """Power in MW of a turbine in no wake; `yaw` in degrees and `speed` in m/s broadcast. No wake gives it more: see `power`."""
    _, _, profile = rotor()
    return power(jnp.asarray(speed) * float(np.cbrt((profile**3).mean())), yaw, speed)


def power(velocity: jax.Array, yaw: Any, speed: Any) -> jax.Array:
    """MW at a wind of `velocity` at the rotor: never less for more wind. The farm stops where the undisturbed `speed` exceeds 25 m/s."""
    facing = velocity * cosine(yaw) ** (YAW_LOSS / 3)
    return jnp.where(jnp.asarray(speed) > CUT_OUT, 0.0, curve(facing)[..., 0])


def cosine(yaw: Any) -> jax.Array:
    return jnp.maximum(jnp.cos(jnp.deg2rad(yaw)), LEAST_COSINE)


def along_and_across(position: jax.Array, direction: Any) -> tuple[jax.Array, jax.Array]:
    """Coordinates of `[..., 2]` (east, north) places with the wind and to its left, m, where it blows from `direction`."""
    sine, cosine_ = jnp.sin(jnp.deg2rad(direction)), jnp.cos(jnp.deg2rad(direction))
    east, north = position[..., 0], position[..., 1]
    return -east * sine - north * cosine_, east * cosine_ - north * sine


def flow(position: jax.Array, yaw: jax.Array, speed: jax.Array, direction: jax.Array) -> Flow:
    """Wind and power at every turbine.

    Args:
        position: float32[A, 2] east and north, m. yaw: float32[A] degrees, within (-180, 180]. speed, direction: of the undisturbed wind
            at the height of the hubs, m/s and degrees (it blows from there, clockwise from north).
    """
    turbines = position.shape[0]
    x, y = along_and_across(position, direction)
    # Upstream first. Ranks by counting and a permutation matrix: cheaper than a sort of few elements.
    number = np.arange(turbines)
    before = (x[None] < x[:, None]) | ((x[None] == x[:, None]) & (number[None] < number[:, None]))
    order = (before.sum(1)[None] == number[:, None]).astype(jnp.float32)
    x, y, angle = order @ x, order @ y, jnp.deg2rad(order @ yaw)
    cos = jnp.maximum(jnp.cos(angle), LEAST_COSINE)
    angle = jnp.clip(angle, -np.arccos(LEAST_COSINE), np.arccos(LEAST_COSINE))
    running = jnp.asarray(speed) <= CUT_OUT

    side, height, profile = rotor()
    # Of the turbines that are still to come: sums of squared deficits at their points, and turbulence.
    loss, intensity = jnp.zeros((turbines, 9)), jnp.full(turbines, AMBIENT, jnp.float32)
    velocities, intensities = [], []
    for i in range(turbines):
        velocity = speed * jnp.cbrt(((profile * (1.0 - jnp.sqrt(loss[0]))) ** 3).mean())
        velocities.append(velocity)
        intensities.append(intensity[0])
        if i == turbines - 1:
            break
        c = jnp.where(running, curve(velocity)[1], 1e-4) * cos[i]
        dx, dy = x[i + 1 :] - x[i], y[i + 1 :] - y[i]
        deficit = wake(c, cos[i], angle[i], intensity[0], dx[:, None], dy[:, None] + side, height)
        induction = (1.0 - jnp.sqrt(1.0 - c * cos[i])) / (2.0 * cos[i])
        covered = (deficit * profile * speed > 0.05).mean(1)
        near = (dx > 0.1) & (dx <= 15 * DIAMETER) & (jnp.abs(dy) < 2 * DIAMETER)
        added = 0.5 * induction**0.8 * AMBIENT**0.1 * (jnp.where(near, dx, DIAMETER) / DIAMETER) ** -0.32 * covered * near
        loss = loss[1:] + deficit**2
        intensity = jnp.maximum(intensity[1:], jnp.sqrt(added**2 + AMBIENT**2))
    back = order.T
    velocity, turbulence = back @ jnp.stack(velocities), back @ jnp.stack(intensities)
    return Flow(velocity, turbulence, power(velocity, yaw, speed))


def wake(c: jax.Array, cos: jax.Array, angle: jax.Array, intensity: jax.Array, dx: jax.Array, dy: jax.Array, dz: Any) -> jax.Array:
    """Deficit, as a share of the undisturbed wind, at `dx` behind, `dy` to the left and `dz` above a hub (m; they broadcast)."""
    s = jnp.sqrt(1.0 - c)
    spread = KA * intensity + KB
    shape = np.sqrt(2.0) * (4 * ALPHA * intensity + 2 * BETA * (1.0 - s))

    # Centre line. The rotor turns counter-clockwise with positive yaw, and its wake goes to the right.
    turned = jnp.sqrt(1.0 - c * cos)
    skew = -0.3 * angle / cos * (1.0 - turned)
    start = DIAMETER * cos * (1.0 + turned) / shape
    z0 = DIAMETER * 0.5 * jnp.sqrt((1.0 + turned) / (2.0 * (1.0 + s)))
    y0 = z0 * cos
    past = jnp.maximum(dx - start, 0.0)
    widths = jnp.sqrt((spread * past + y0) * (spread * past + z0) / (y0 * z0))
    c0 = 1.0 - s
    m = jnp.sqrt(c0 * (2.0 - c0))
    e0 = c0**2 - 3.0 * np.exp(1 / 12) * c0 + 3.0 * np.exp(1 / 3)
    ratio = (1.6 + m) * (1.6 * widths - m) / ((1.6 - m) * (1.6 * widths + m))
    bend = skew * e0 / 5.2 * jnp.sqrt(y0 * z0) / (spread * m) * jnp.log(ratio)
    delta = jnp.tan(skew) * jnp.minimum(dx, start) + jnp.where(dx > start, bend, 0.0)

    far = DIAMETER * cos * (1.0 + s) / shape
    share = jnp.clip(dx / far, 0.0, 1.0)
    sigma0 = DIAMETER / np.sqrt(8.0)
    first = (1.0 - share) * 0.501 * DIAMETER * jnp.sqrt(c / 2.0)
    grown = spread * jnp.maximum(dx - far, 0.0)
    sigma_y, sigma_z = first + share * sigma0 * cos + grown, first + share * sigma0 + grown
    depth = 1.0 - jnp.sqrt(jnp.clip(1.0 - c * cos * DIAMETER**2 / (8.0 * sigma_y * sigma_z), 0.0, 1.0))
    shape_ = jnp.exp(-0.5 * ((dy - delta) / sigma_y) ** 2 - 0.5 * (dz / sigma_z) ** 2)
    return jnp.where(dx > 0.1, depth * shape_, 0.0)
