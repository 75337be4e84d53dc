"""Ways to compute a network in fewer bits: real ones, which cost less, and simulated ones, which only show errors."""
