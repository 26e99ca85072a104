"""`mar-edge data`: commands on the videos for training and evaluation."""
