"""The maths room: torch only, usable from a notebook; imports nothing of the studio."""
