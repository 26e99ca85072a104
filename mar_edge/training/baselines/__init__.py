"""What is cheap and sure, before a network is trained: the largest class, a regression on optical flow, and probes."""
