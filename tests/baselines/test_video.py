import imageio_ffmpeg
import jax
import numpy as np
import pytest
from PIL import Image

import envs
from baselines import video
from baselines.evaluation import evaluate
from tests.toys import Chain, Corridor2, Options


@pytest.fixture(scope="module")
def chain():
    return Chain(split="test", slippery=0.3)


def test_what_is_shown_is_what_is_evaluated(chain):
    policy = chain.references["random"]
    result = evaluate(chain, policy, episodes=3)
    for task in chain.suite.names:
        for number in range(3):
            last = list(video.Episode(chain, policy, task, number).moments())[-1]
            expected = {k: v[number] for k, v in result.tasks[task].items()}
            assert (last.total, last.elapsed, last.success) == pytest.approx(
                (expected["return"], expected["length"], expected["success_at_end"])
            )
            assert last.over


def test_several_agents_and_options_end_as_evaluated():
    for env in (Corridor2(split="test"), Options(split="test")):
        policy = env.references["random"]
        expected = evaluate(env, policy, episodes=1).tasks[env.suite.names[0]]
        last = list(video.Episode(env, policy, env.suite.names[0]).moments())[-1]
        assert last.elapsed == expected["length"][0] and last.total == pytest.approx(expected["return"][0])


def test_actions_from_outside():
    env = Chain(split="test")
    episode = video.Episode(env, None, "right")
    assert episode.mask.tolist() == [True, True, True] and episode.now.action is None
    moment = episode.step(np.int32(1))
    assert (moment.elapsed, moment.total, moment.over) == (1, 0.0, False) and int(moment.state.position) == 3
    moment = episode.step(np.int32(1))
    assert moment.over and moment.success and moment.total == 1.0


def test_mp4_and_gif(chain, tmp_path):
    policy = chain.references["random"]
    frames = list(video.reel(chain, policy, fps=4))
    assert len({f.shape for f in frames}) == 1 and frames[0].shape[0] % 2 == 0 and frames[0].shape[1] % 2 == 0
    film = video.write(frames, tmp_path / "a.mp4", fps=4)
    reader = imageio_ffmpeg.read_frames(str(film))
    meta = next(reader)
    assert meta["size"] == (frames[0].shape[1], frames[0].shape[0]) and meta["fps"] == 4
    shown = [np.frombuffer(frame, np.uint8).reshape(frames[0].shape) for frame in reader]
    assert len(shown) == len(frames)
    assert np.abs(shown[0].astype(int) - frames[0]).mean() < 12, "lossy, but the same picture"
    clip = Image.open(video.write(frames, tmp_path / "a.gif", fps=4))
    assert clip.size == meta["size"] and clip.n_frames <= len(frames) and clip.info["duration"] >= 250
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_gif_is_made_to_fit(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (6, 60, 80, 3)).astype(np.uint8)
    whole = video.write(noise, tmp_path / "a.gif").stat().st_size
    fitting = video.write(noise, tmp_path / "b.gif", most_bytes=whole // 5)
    assert fitting.stat().st_size <= whole // 5 and Image.open(fitting).n_frames >= 2
    with pytest.raises(video.VideoError, match="most_bytes=100"):
        video.write(noise, tmp_path / "c.gif", most_bytes=100)
    assert not (tmp_path / "c.gif").exists()


def test_long_episodes_are_shortened_and_end_at_the_end():
    env = Chain(split="test", horizon=200, length=3, task="left", slippery=0.99)
    frames = list(video.reel(env, env.references["random"], fps=5, most_frames=20))
    assert len(frames) <= 20 + 1 + 5
    assert (frames[-1] == frames[-5]).all(), "the last frame stands for a second"


def test_choice_of_tasks():
    class Many:
        split = "test"

        class suite:
            names = tuple(f"t{i}" for i in range(20))
            splits = {"test": np.arange(20)}

    assert video.choose_tasks(Many(), None, 4) == ["t0", "t6", "t13", "t19"]
    assert video.choose_tasks(Many(), None, 1) == ["t19"] and len(video.choose_tasks(Many(), None, 30)) == 20


def test_errors(chain, tmp_path):
    with pytest.raises(video.VideoError, match=r"\.mp4, \.gif"):
        video.record(chain, chain.references["random"], tmp_path / "a.avi")
    with pytest.raises(ValueError, match="draws no pictures"):
        env = Options(split="test")
        video.record(env, env.references["random"], tmp_path / "a.gif")
    assert not list(tmp_path.iterdir()), "nothing half-written stays"
    with pytest.raises(video.VideoError, match="at least one frame"):
        video.write([], tmp_path / "a.mp4")


def test_missing_ffmpeg_is_said(monkeypatch, tmp_path):
    def nothing():
        raise RuntimeError("No ffmpeg exe could be found")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", nothing)
    with pytest.raises(video.VideoError, match="IMAGEIO_FFMPEG_EXE"):
        video.write([np.zeros((8, 8, 3), np.uint8)], tmp_path / "a.mp4")


def test_states_stay_on_the_host(chain):
    moment = next(video.Episode(chain, chain.references["random"], "left").moments())
    assert all(isinstance(leaf, (np.ndarray, np.generic)) for leaf in jax.tree.leaves(moment.state))


def test_films_of_routes_keep_what_was_driven():
    """Frames of a film are pictures after all states so far, also through wrappers and where frames are left out."""
    from envs.core.wrappers import TimeLimit

    env = envs.make("Allocation/Routing-CVRP-v0", customers=6)
    for one in (env, TimeLimit(env, limit=1000)):
        episode = video.Episode(one, one.references["random"], "uniform")
        moments = list(episode.moments())
        assert [len(m.trail) for m in moments] == list(range(1, len(moments) + 1))
        assert [int(node[0]) for node in moments[-1].trail] == [int(m.state.node[0]) for m in moments]
        after = env.render_after(moments[-1].trail, moments[-1].state, episode.params)
        assert (after != env.render(moments[-1].state, episode.params)).any()
        *_, last = video.reel(one, one.references["random"], tasks="uniform", most_frames=3)
        assert (last == video.picture(one, episode.params, moments[-1])).all()
