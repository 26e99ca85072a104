"""The site file: streams, models, event rules and outputs of an installation."""
