"""The whole chain at small size: design, faces, experts, labels, training, test, blind study, one page about it."""
