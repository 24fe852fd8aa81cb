"""What several test folders share: servers, endpoints, waiting with a deadline."""
