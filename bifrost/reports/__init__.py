"""What a client tells of itself, as values that print as tables: what runs, what is set up, what a call would do."""
