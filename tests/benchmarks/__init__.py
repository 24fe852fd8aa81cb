"""The measuring programs work; how fast anything is, is not tested."""
