"""What Mistral has beside OpenAI's dialect. Its row is in `bifrost.providers.compatible`."""
