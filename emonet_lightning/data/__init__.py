"""From images and annotations on disk to batches."""
