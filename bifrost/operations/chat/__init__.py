"""Chat: requests, responses, messages, chunks and structured output."""
