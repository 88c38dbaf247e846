"""The same parameters give the same picture in any process, and within a grey level on any machine.

`python tests/test_rendering_everywhere.py` writes the reference pictures anew, after a change that is meant.
"""

import io
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from emonet_lightning.synthesis.actions import LOW, NUM_ACTIONS
from emonet_lightning.synthesis.identity import sample_identity, sample_scene
from emonet_lightning.synthesis.renderer import FaceParams, render_face

REFERENCE = Path(__file__).parent / "reference_faces.png"
FACES = range(8)
SIZE = 72
PROGRAM = "import sys; from test_rendering_everywhere import row; sys.stdout.buffer.write(row().tobytes())"
PLAIN_PROCESSOR = {
    "OPENCV_CPU_DISABLE": "AVX2,AVX512-SKX,AVX,FP16,SSE4.2",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4",
}
"""What takes the newer instructions away, which round differently."""


def row() -> np.ndarray:
    """Faces side by side: any actions, persons, poses, light and cameras."""
    return np.concatenate([render_face(any_face(index), SIZE) for index in FACES], axis=1)


def any_face(index: int) -> FaceParams:
    """A person who makes a third of all movements, by half or less."""
    rng = np.random.default_rng([77, index])
    actions = np.where(rng.random(NUM_ACTIONS) < 0.33, 0.5 * rng.uniform(LOW, 1), 0.0)
    return FaceParams(sample_identity(rng, NUM_ACTIONS), actions, sample_scene(rng))


def elsewhere(**environment: str) -> np.ndarray:
    """The same from another process."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)]), **environment}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=variables, capture_output=True, check=True)
    return np.frombuffer(done.stdout, dtype=np.uint8).reshape(row().shape)


def test_pictures_are_within_a_grey_level_of_the_stored_ones():
    with Image.open(io.BytesIO(REFERENCE.read_bytes())) as stored:
        difference = np.abs(np.asarray(stored).astype(int) - row())
    assert difference.max() <= 1


def test_another_process_with_other_threads_gives_equal_bytes():
    one = elsewhere(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", OPENCV_FOR_THREADS_NUM="1", PYTHONHASHSEED="1")
    np.testing.assert_array_equal(one, row())


def test_an_older_processor_differs_by_a_grey_level_at_most():
    if platform.machine() != "x86_64":
        plain = elsewhere(OPENCV_OPENCL_RUNTIME="disabled")
    else:
        plain = elsewhere(**PLAIN_PROCESSOR)
    assert np.abs(plain.astype(int) - row()).max() <= 1


if __name__ == "__main__":
    Image.fromarray(row()).save(REFERENCE)
