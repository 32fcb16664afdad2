"""One file per resource of the API: its endpoints as data, then thin typed methods."""
