"""From packed sets to batches: labels, order, cached features, data modules."""
