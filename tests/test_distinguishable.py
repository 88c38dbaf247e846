"""All 40 emotions can be told apart by what a face does, and by nothing else."""

from dataclasses import replace

import numpy as np

from emonet_lightning.synthesis.actions import ACTION_INDEX, ACTION_NAMES, NUM_ACTIONS
from emonet_lightning.synthesis.expressions import display_similarity, load_expressions, perform, visible
from emonet_lightning.synthesis.factors import with_factor
from emonet_lightning.synthesis.identity import sample_identity, sample_scene
from emonet_lightning.synthesis.renderer import FaceParams, render_face

SLUGS = load_expressions().slugs
COLOURED = ("blush", "tears", "sweat")
SIZE = 80


def at_rest(seed: int, noise_seed: int = 0) -> FaceParams:
    rng = np.random.default_rng([seed, 5])
    person, scene = sample_identity(rng, NUM_ACTIONS), sample_scene(rng)
    person = replace(person, beard=0, glasses=0, hair_style=7)
    return FaceParams(
        person, np.zeros(NUM_ACTIONS), replace(scene, blur=0.0, clutter=0, noise=2.0, noise_seed=noise_seed)
    )


def upright(rest: FaceParams, slug: str, level: float) -> FaceParams:
    """An emotion on this face, the head held still."""
    params = with_factor(rest, f"intensity_{slug}", level)
    for name in ("yaw", "pitch", "roll"):
        params = with_factor(params, f"pose_{name}", 0)
    return params


def changes(rest: FaceParams, level: float) -> np.ndarray:
    """What each emotion changes in the picture of this face, [40, pixels] of length 1."""
    plain = render_face(rest, SIZE).astype(float)
    found = np.stack([render_face(upright(rest, slug, level), SIZE) - plain for slug in SLUGS]).reshape(40, -1)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_no_two_displays_are_alike():
    similarity = display_similarity() - np.eye(40)
    assert similarity.max() < 0.85
    seen = visible(load_expressions().actions)
    distance = np.linalg.norm(seen[:, None] - seen[None], axis=2) + 9 * np.eye(40)
    assert distance.min() > 0.4, "in units of a whole movement"


def test_performances_of_any_two_emotions_are_told_apart_by_their_actions():
    """Persons perform with their own style, omissions and chance; the nearest mean display still names most."""
    rng = np.random.default_rng(0)
    shown = np.zeros((40, 60, NUM_ACTIONS))
    for emotion in range(40):
        for trial in range(60):
            intensities = np.eye(40)[emotion] * rng.integers(4, 8)
            shown[emotion, trial] = visible(perform(intensities, sample_identity(rng, NUM_ACTIONS), rng))
    mean = shown[:, :30].mean(axis=1)
    within = shown[:, :30] - mean[:, None]
    covariance = np.einsum("kti,ktj->ij", within, within) / (40 * 30) + 1e-3 * np.eye(NUM_ACTIONS)
    weights = np.linalg.solve(covariance, mean.T)
    scores = shown[:, 30:] @ weights - 0.5 * (mean * weights.T).sum(axis=1)
    correct = np.array([[(scores[i, :, i] > scores[i, :, j]).mean() for j in range(40)] for i in range(40)])
    both = (correct + correct.T) / 2 + np.eye(40)
    assert both.min() > 0.70, "of 60 held-out performances of the two; chance is 0.5"
    assert (scores.argmax(axis=2) == np.arange(40)[:, None]).mean() > 0.5, "of 40; chance is 0.025"


def test_pixels_name_each_emotion_without_the_pose_of_the_head():
    """Shown at 4 and 6 in other noise, an emotion is nearest, of all 40, to itself at 3, 5 or 7."""
    known = [changes(at_rest(1), level) for level in (3, 5, 7)]
    for level in (4, 6):
        shown = changes(at_rest(1, noise_seed=1), level)
        nearest = np.max([shown @ templates.T for templates in known], axis=0).argmax(axis=1)
        assert [SLUGS[index] for index in nearest] == SLUGS


def test_at_intensity_0_all_emotions_are_the_same_picture():
    rest = at_rest(2)
    pictures = {render_face(with_factor(rest, f"intensity_{slug}", 0), SIZE).tobytes() for slug in SLUGS}
    assert pictures == {render_face(rest, SIZE).tobytes()}


def test_colour_tells_no_emotion():
    """Without blush, tears and sweat an emotion changes the colour of a picture far less than another person does."""
    rest = at_rest(1)
    plain = chromaticity(render_face(rest, SIZE))
    shifts = []
    for slug in SLUGS:
        params = upright(rest, slug, 7)  # a turned head hides some of the background
        for name in COLOURED:
            params = with_factor(params, f"action_{name}", 0)
        shifts.append(np.abs(chromaticity(render_face(params, SIZE)) - plain).max())
    persons = np.stack([chromaticity(render_face(at_rest(seed), SIZE)) for seed in range(3, 15)])
    assert max(shifts) < 0.006
    assert persons.std(axis=0).max() > 4 * max(shifts)


def chromaticity(picture: np.ndarray) -> np.ndarray:
    """Mean share of red and green."""
    mean = picture.reshape(-1, 3).mean(axis=0)
    return mean[:2] / mean.sum()


def test_only_blush_reddens_the_cheeks():
    rest = at_rest(4)
    plain = render_face(rest, SIZE).astype(float)
    reddening = {}
    for name in ACTION_NAMES:
        if name.startswith("head_"):
            continue
        actions = np.zeros(NUM_ACTIONS)
        actions[ACTION_INDEX[name]] = 1
        change = render_face(replace(rest, actions=actions), SIZE) - plain
        reddening[name] = (change[..., 0] - change[..., 1:].mean(axis=2)).mean()
    blush = reddening.pop("blush")
    assert blush > 0.4, "grey levels of the whole picture"
    assert max(np.abs(list(reddening.values()))) < 0.5 * blush
