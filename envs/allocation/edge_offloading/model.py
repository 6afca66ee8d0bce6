"""The physics of the room: channels, wires, processors, energy. Every duration is a whole number of slots.

Units: s, slots of `SLOT` s, Gcycles (10^9 processor cycles), GHz, Mbit, MHz, W, J, m.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

SLOT = 0.05  # s

# Radio: path loss and noise as in 3GPP TR 36.814 (2 GHz, urban macro, non line of sight); a user sends with 23 dBm.
BANDWIDTH = 10.0  # MHz of each server's channel
TRANSMIT = 0.2  # W
NOISE = -174.0  # dBm per Hz
LOSS_AT_1_KM, LOSS_PER_DECADE, SHADOWING = 128.1, 37.6, 8.0  # dB
NEAREST = 10.0  # m: nobody stands closer to an antenna

# Processors. A device's energy per cycle is KAPPA f^2 (dynamic power of CMOS, Mao et al. 2017, "A survey on mobile edge computing",
# eq. 2): 10^-27 J s^2 per cycle, which is 1 J for a Gcycle at 1 GHz.
KAPPA = 1.0  # J per Gcycle and GHz^2
DEVICE_SPEED, SERVER_SPEED = (0.6, 1.4), (4.0, 8.0)  # GHz, drawn uniformly
CLOUD_SPEED = 10.0  # GHz of each machine; there is one for every task

# Wires: from server to server or down to the device, and between a server and the cloud.
WIRE_RATE, WIRE_DELAY = 200.0, 1  # Mbit/s; slots
CLOUD_RATE, CLOUD_DELAY = 100.0, 3

ENERGY_PRICE = 0.5  # cost of a joule; a second of an application of priority 1 costs 1


def signal_to_noise(distance: Any, shadowing: Any) -> Any:
    """SNR (a ratio) of a user that has a server's whole band, from the distance in m and the shadowing in dB."""
    loss = LOSS_AT_1_KM + LOSS_PER_DECADE * jnp.log10(jnp.maximum(distance, NEAREST) / 1000.0) + shadowing
    power = 10.0 * jnp.log10(1000.0 * TRANSMIT)  # dBm
    noise = NOISE + 10.0 * jnp.log10(1e6 * BANDWIDTH)
    return 10.0 ** ((power - loss - noise) / 10.0)


def uplink(snr: Any, streams: Any) -> Any:
    """Mbit per slot of one stream when `streams` of them share a band evenly (Shannon): B/n log2(1 + n SNR).

    Power stays the same on the narrower band, so the SNR grows with n. The rate falls with n, the sum over the streams does not.
    """
    shared = jnp.maximum(streams, 1)
    return SLOT * BANDWIDTH / shared * jnp.log2(1.0 + shared * snr)


def slots(amount: Any, per_slot: Any) -> Any:
    """int32: whole slots that an amount takes. A hair less than a whole number of slots is that number."""
    return jnp.ceil(amount / per_slot - 1e-4).astype(jnp.int32)


def wires(air: jax.Array, lies: jax.Array, sink: jax.Array) -> jax.Array:
    """int32[N, P] slots that the data of a task spends on wires, for each place where the task could run.

    Args:
        air: float32[N] Mbit that the device sends if the task runs elsewhere. lies: float32[N, P] Mbit of the task's predecessors' outputs
            at each place (0: the device, then servers, last the cloud). sink: bool[N], the task's result is awaited on the device.

    Outputs at other servers or in the cloud come at WIRE_RATE (or, to and from the cloud, CLOUD_RATE) after one delay. To the cloud also
    what came through the air goes on; a sink's result takes the cloud's delay once more, on its way back.
    """
    remote = lies[:, 1:].sum(-1, keepdims=True)
    moved = jnp.maximum(remote - jnp.where(jnp.arange(lies.shape[1]) == 0, 0.0, lies), 0.0)
    from_cloud = jnp.minimum(lies[:, -1:], moved).at[:, -1].set(0.0)
    between = moved - from_cloud
    near = jnp.where(between > 0, WIRE_DELAY + slots(between, WIRE_RATE * SLOT), 0)
    near += jnp.where(from_cloud > 0, CLOUD_DELAY + slots(from_cloud, CLOUD_RATE * SLOT), 0)
    up = air + moved[:, -1]
    far = jnp.where(up > 0, CLOUD_DELAY + slots(up, CLOUD_RATE * SLOT), 0) + jnp.where(sink, CLOUD_DELAY, 0)
    return near.at[:, -1].set(far)
