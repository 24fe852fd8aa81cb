"""What no daemon could pass: the same client, or the same server, with nothing around it."""
