"""Records labelled clips from a camera into a folder of classes."""
