"""The sections of the forward-diffusion tab, one file each."""
