"""sin, cos and tan."""
