"""Samples whose image is the face of a photo, cut out as `predict --faces` cuts it."""

import simplejpeg

from emonet_lightning.bad_samples import BadSample
from emonet_lightning.decoding import decode_image
from emonet_lightning.faces.crops import FaceCropper
from emonet_lightning.packing.samples import RawSample

_QUALITY = 95


def with_face_alone(sample: RawSample, cropper: FaceCropper) -> RawSample:
    """Return a sample with its largest face as image, a JPEG, and the face's box in the photo among what is known.

    Raises:
        BadSample: an unreadable image, or one without a face.
    """
    pixels = decode_image(sample.image, f"sample '{sample.key}'")
    faces = cropper.find(pixels)
    if not faces:
        raise BadSample(f"sample '{sample.key}': no face found in its image; leave --faces out to keep it", "no face")
    box = {f"face_{name}": round(value, 1) for name, value in zip("xywh", faces[0][:4], strict=True)}
    image = simplejpeg.encode_jpeg(cropper.cut(pixels, faces[0]), _QUALITY, "RGB", "444")
    return sample._replace(image=image, meta={**sample.meta, **box})
