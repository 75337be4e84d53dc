"""The little world: scenes, their pictures and maps, and their captions. Free of torch."""
