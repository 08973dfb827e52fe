"""The unified language: requests, answers, chunks. Values only, no I/O."""
