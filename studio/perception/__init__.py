"""The measuring eye: a small network that reads the world's attributes back from pixels."""
