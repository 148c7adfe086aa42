"""The API of metrics, as the console has scraped them."""
