"""Episodes as pictures: MP4 and GIF reels, and the step-by-step trajectories that `play` shows.

An episode is the one that evaluation protocol v1 runs for the same seed, task and number: what a video shows is what the table counts.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from baselines import evaluation
from baselines.evaluation import AgentPolicy, Policy
from envs.core import rendering
from envs.core.autoreset import AutoReset
from envs.core.external.host_env import HostEnv
from envs.core.functional import FunctionalEnv, Params

FORMATS = (".mp4", ".gif")
BLOCK = 32
# (shrink, colours, every n-th frame), from the best to the smallest.
GIF_QUALITIES = ((1, 128, 1), (1, 32, 1), (2, 64, 1), (2, 32, 1), (2, 16, 1), (2, 16, 2), (2, 16, 3), (3, 16, 3))
SMALLEST_SIDE = 240  # smaller pictures are enlarged by whole factors


class VideoError(RuntimeError):
    """A video that cannot be made; the message says why and what works."""


@dataclass(frozen=True)
class Moment:
    """One state of an episode, on the host.

    Attributes:
        task: name. state: PyTree of numpy arrays. action: what led here (None at the start).
        elapsed: env steps so far. total: undiscounted return so far (mean over agents). success: at this step; ever: up to here.
        over: the episode ends here. trail: `env.trail` of the states up to here, where the environment keeps one.
    """

    task: str
    state: Any
    action: Any
    elapsed: int
    total: float
    success: bool
    ever: bool
    over: bool
    trail: tuple[Any, ...] = ()


class Episode:
    """One episode of protocol v1, advanced from the host: by a policy, or by actions from outside (`policy=None`).

    Args:
        env: the environment. policy: an `AgentPolicy`, one of `env.references`, or None.
        task: task name. number, seed: which episode.
    """

    def __init__(self, env: FunctionalEnv, policy: Policy | None, task: str, number: int = 0, seed: int = 0):
        self.env, self.task, self.policy = env, task, policy
        self.autoreset: AutoReset = AutoReset(env, stagger=False)
        self.shared = jax.tree.map(jnp.asarray, env.shared_params())
        self.slots = evaluation.first_slots(self.autoreset, seed, [task], [number])
        self.row = jax.tree.map(lambda x: np.asarray(x)[0], self.slots.rows)
        self._static: Any = None if isinstance(policy, AgentPolicy) else policy
        self._arrays: Any = policy if isinstance(policy, AgentPolicy) else None
        self.memory = () if policy is None else _first_memory(self.autoreset, self._static, self._arrays, self.slots)
        state = _host(self.slots.state)
        self.now = Moment(task, state, None, 0, 0.0, False, False, False, self._trail((), state))

    @property
    def params(self) -> Params:
        """Parameters of this episode, for `env.render`."""
        return Params(self.env.shared_params(), self.row)

    @property
    def mask(self) -> np.ndarray | None:
        """Legal actions now, as `TimeStep.action_mask`."""
        return None if self.slots.action_mask is None else np.asarray(self.slots.action_mask)[0]

    def step(self, action: Any) -> Moment:
        """Take an action from outside."""
        batched = jax.tree.map(lambda x: jnp.asarray(x)[None], action)
        self.slots, seen = _step(self.autoreset, self.shared, self.slots, batched)
        return self._advance(jax.tree.map(lambda x: np.asarray(x)[0], jax.device_get(seen)))

    def moments(self) -> Iterator[Moment]:
        """The rest of the episode under the policy, the present state first."""
        yield self.now
        while not self.now.over:
            (self.slots, self.memory), seen = _roll(self.autoreset, self._static, self._arrays, self.shared, (self.slots, self.memory))
            seen = jax.device_get(seen)
            for i in range(BLOCK):
                yield self._advance(jax.tree.map(lambda x, i=i: np.asarray(x)[i, 0], seen))
                if self.now.over:
                    break

    def _advance(self, seen: Any) -> Moment:
        state, action, timestep = seen
        success = bool(timestep["success"] > 0)
        self.now = Moment(
            self.task,
            state,
            action,
            self.now.elapsed + int(timestep["duration"]),
            self.now.total + float(np.mean(timestep["reward"])),
            success,
            self.now.ever or success,
            bool(timestep["done"]),
            self._trail(self.now.trail, state),
        )
        return self.now

    def _trail(self, before: tuple[Any, ...], state: Any) -> tuple[Any, ...]:
        one = self.env.trail(state)
        return before if one is None else (*before, one)


def _seen(slots: Any, action: Any, timestep: Any) -> Any:
    wanted = {"duration": timestep.duration, "reward": timestep.reward, "success": timestep.metrics["success"], "done": slots.done}
    return slots.state, action, wanted


@partial(jax.jit, static_argnums=(0, 1))
def _first_memory(autoreset: AutoReset, reference: Any, agent: Any, slots: Any) -> Any:
    return evaluation.first_memory(autoreset, reference, agent, slots)


@partial(jax.jit, static_argnums=(0,))
def _step(autoreset: AutoReset, shared: Any, slots: Any, action: Any) -> Any:
    slots, timestep = autoreset.step(slots.replace(shared=shared), action)
    return slots.replace(shared=()), _seen(slots, action, timestep)


@partial(jax.jit, static_argnums=(0, 1))
def _roll(autoreset: AutoReset, reference: Any, agent: Any, shared: Any, state: Any) -> Any:
    def body(state: Any, _: None) -> Any:
        slots, memory = state
        slots = slots.replace(shared=shared)
        _inputs, action, memory = evaluation.choose(reference, agent, slots, memory)
        slots, timestep = autoreset.step(slots, action)
        return (slots.replace(shared=()), memory), _seen(slots, action, timestep)

    return jax.lax.scan(body, state, None, length=BLOCK)


def _host(tree: Any) -> Any:
    return jax.tree.map(lambda x: np.asarray(x)[0], jax.device_get(tree))


def episode_of(env: Any, policy: Any, task: str, number: int = 0, seed: int = 0) -> Any:
    """The `Episode` of an environment, or what stands for it where the environment is stepped from the host."""
    if isinstance(env, HostEnv):
        from baselines.host_episodes import HostEpisode

        return HostEpisode(env, policy, task, number, seed)
    return Episode(env, policy, task, number, seed)


def picture(env: FunctionalEnv, params: Params, moment: Moment) -> np.ndarray:
    """uint8[H, W, 3]: the environment's own picture, enlarged if it is small, with a caption."""
    drawn = env.render_after(moment.trail, moment.state, params) if moment.trail else env.render(moment.state, params)
    frame = np.asarray(drawn, np.uint8)
    frame = rendering.enlarge(frame, max(1, -(-SMALLEST_SIDE // min(frame.shape[:2]))))
    color = rendering.INK
    state = f"step {moment.elapsed}"
    if moment.over:
        color = rendering.ACCENT if moment.success else rendering.WARNING
        state = f"{'success' if moment.success else 'failed'} after {moment.elapsed}"
    return rendering.even(rendering.caption(frame, moment.task, right=state, color=color))


def choose_tasks(env: FunctionalEnv, tasks: Sequence[str] | str | None, most: int) -> list[str]:
    """The named tasks, or `most` tasks of the split spread evenly over it, the last one (usually the hardest) included."""
    if tasks is not None:
        names = [tasks] if isinstance(tasks, str) else list(tasks)
        return [env.suite.names[env.suite.index(name)] for name in names]
    names = [env.suite.names[i] for i in env.suite.splits[env.split]]
    if len(names) <= most:
        return names
    return [names[round(i * (len(names) - 1) / (most - 1))] for i in range(most)] if most > 1 else names[-1:]


def reel(
    env: FunctionalEnv,
    policy: Policy,
    *,
    tasks: Sequence[str] | str | None = None,
    episodes: int = 1,
    seed: int = 0,
    fps: int = 10,
    most_tasks: int = 8,
    most_frames: int = 150,
) -> Iterator[np.ndarray]:
    """Frames of one or more episodes per task, all of one even size, without the pauses that a file adds.

    An episode with more than `most_frames` states is shortened: every n-th one is shown, the first and the last always.
    """
    size: tuple[int, int] | None = None
    for task in choose_tasks(env, tasks, most_tasks):
        for number in range(episodes):
            episode = episode_of(env, policy, task, number, seed)
            moments = list(episode.moments())
            every = max(1, -(-len(moments) // most_frames))
            shown = [m for i, m in enumerate(moments) if i % every == 0 or m.over]
            for moment in shown:
                frame = picture(env, episode.params, moment)
                size = size or frame.shape[:2]
                frame = _to_size(frame, size)
                yield frame
                if moment.over:  # time to read how it ended
                    for _ in range(max(1, fps)):
                        yield frame


def _to_size(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return rendering.pad(frame, *size)[: size[0], : size[1]]


def record(env: FunctionalEnv, policy: Policy, path: str | Path, *, fps: int = 10, most_bytes: int | None = None, **options: Any) -> Path:
    """Write a reel to `path` (.mp4 or .gif); options are those of `reel`. The file appears whole or not at all.

    `most_bytes` makes a GIF smaller and coarser until it fits.

    Raises:
        VideoError: another file ending, or no ffmpeg. ValueError: an environment that draws no pictures.
    """
    return write(reel(env, policy, fps=fps, **options), path, fps, most_bytes)


def write(frames: Iterable[np.ndarray], path: str | Path, fps: int = 10, most_bytes: int | None = None) -> Path:
    """Write equally large `uint8[H, W, 3]` frames as MP4 (H.264) or GIF (at most `most_bytes`)."""
    path = Path(path)
    check_format(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        if path.suffix == ".mp4":
            _write_mp4(frames, temporary, fps)
        else:
            _write_gif(frames, temporary, fps, most_bytes)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def check_format(path: Path) -> None:
    if path.suffix not in FORMATS:
        raise VideoError(f"out={path}: the file ending must be one of {', '.join(FORMATS)}")


def ffmpeg() -> str:
    """Path of the ffmpeg program (it comes with imageio-ffmpeg). Raises VideoError if there is none."""
    import imageio_ffmpeg

    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise VideoError("no ffmpeg found: install it, or set IMAGEIO_FFMPEG_EXE to its path; .gif needs none") from error


def _write_mp4(frames: Iterable[np.ndarray], path: Path, fps: int) -> None:
    import imageio_ffmpeg

    ffmpeg()
    writer = None
    try:
        for frame in frames:
            frame = np.ascontiguousarray(rendering.even(frame))
            if writer is None:
                writer = imageio_ffmpeg.write_frames(
                    str(path),
                    (frame.shape[1], frame.shape[0]),
                    fps=fps,
                    codec="libx264",
                    pix_fmt_out="yuv420p",
                    macro_block_size=2,
                    quality=None,
                    output_params=["-crf", "24", "-preset", "veryfast", "-tune", "animation", "-movflags", "+faststart"],
                    ffmpeg_log_level="error",
                )
                with warnings.catch_warnings():
                    # JAX warns of any fork; this child turns into ffmpeg at once and touches no lock of ours.
                    warnings.filterwarnings("ignore", message=r"os\.fork\(\)", category=RuntimeWarning)
                    writer.send(None)
            writer.send(frame)
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        raise VideoError("a video needs at least one frame")


def _write_gif(frames: Iterable[np.ndarray], path: Path, fps: int, most_bytes: int | None = None) -> None:
    pictures = list(frames)
    if not pictures:
        raise VideoError("a video needs at least one frame")
    for shrink, colors, every in GIF_QUALITIES if most_bytes is not None else GIF_QUALITIES[:1]:
        kept = [picture[::shrink, ::shrink] for picture in pictures[::every]]
        _encode_gif(kept, path, round(1000 * every / fps), colors)
        if most_bytes is None or path.stat().st_size <= most_bytes:
            return
    size = path.stat().st_size
    raise VideoError(f"most_bytes={most_bytes}: the smallest GIF of these {len(pictures)} frames has {size} bytes; show fewer of them")


def _encode_gif(pictures: Sequence[np.ndarray], path: Path, milliseconds: int, colors: int) -> None:
    from PIL import Image

    images = [Image.fromarray(np.ascontiguousarray(picture)) for picture in pictures]
    # One palette for all frames, no dithering: flat colours stay flat, and equal pixels stay equal from frame to frame.
    sample = Image.fromarray(np.concatenate([np.asarray(image) for image in images[:: max(1, len(images) // 24)]]))
    palette = sample.quantize(colors=colors, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    first, *others = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    first.save(path, format="GIF", save_all=True, append_images=others, duration=milliseconds, loop=0, optimize=False, disposal=1)


__all__ = ["Episode", "Moment", "VideoError", "choose_tasks", "episode_of", "ffmpeg", "picture", "record", "reel", "write"]
