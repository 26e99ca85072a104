"""The MAR network in torch: encoder, bridging classifier, pixel decoder, checkpoints and their importers."""
